"""What is shown of schedules: a table of all, and everything of one with its latest runs."""

import json
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from rich.console import Console
from rich.table import Table
from rich.text import Text

from components.shared.errors import ClusterError
from components.shared.run_record import read_outcome
from pipelines.backends.cluster.calls import asked
from pipelines.backends.cluster.connection import Cluster
from pipelines.dataset_commands.output import Answer, line
from pipelines.runs.facts import with_record
from pipelines.runs.model import BAD, RunFacts
from pipelines.runs.status import FINAL, run_status
from pipelines.runs.store import RunStores
from pipelines.schedule.kfp import Schedules
from pipelines.schedule.model import Schedule, shown_times, status_of, summary
from pipelines.schedule.words import brief_moment, show_moment

TIMES = 3


@dataclass(frozen=True)
class LastRun:
    """A run of a schedule: its id, when it was due, and how it stands in the words of ``runs``."""

    run_id: str
    name: str
    at: datetime
    outcome: str
    why: str

    def summary(self) -> dict[str, object]:
        """The same as JSON-able values."""
        found = {"run_id": self.run_id, "name": self.name, "at": self.at.isoformat()}
        return {**found, "outcome": self.outcome, "why": self.why}


@dataclass(frozen=True)
class Seen:
    """A schedule with its latest runs, the newest first, and its next times."""

    schedule: Schedule
    runs: list[LastRun]
    times: list[datetime]

    def summary(self, zone: ZoneInfo) -> dict[str, object]:
        """The same as JSON-able values."""
        runs = [run.summary() for run in self.runs]
        return {**summary(self.schedule, zone, self.times), "last_run": runs[0] if runs else None, "runs": runs}


def see(
    schedules: Schedules, schedule: Schedule, zone: ZoneInfo, count: int = 1, stores: RunStores | None = None
) -> Seen:
    """Look at a schedule and its latest ``count`` runs; what ``stores`` found out of reach is not asked again."""
    stores = stores or RunStores()
    runs = [last_run(run, stores) for run in schedules.runs(schedule, count)]
    last = runs[0].at if runs else None
    return Seen(schedule, runs, schedule.next_times(datetime.now(UTC), zone, TIMES, last))


def last_run(run: Any, stores: RunStores) -> LastRun:  # noqa: ANN401 - the generated client ships no types
    """A run as the API tells it, with what its own record says where the store can be read."""
    parameters = (run.runtime_config and run.runtime_config.parameters) or {}
    facts = RunFacts(run_id=run.run_id, state=(run.state or "").removeprefix("RUNTIME_STATE_UNSPECIFIED"))
    store = stores.of(parameters) if facts.state in FINAL else None
    if store:
        facts = replace(facts, termination=stores.termination(store, run.run_id))
    record = read_outcome(store, run.run_id) if store and stores.of(parameters) else None  # it may just have failed
    status = run_status(with_record(facts, record))
    why = status.text if record or status.state not in BAD else f"python -m pipelines.runs show {run.run_id}"
    due = run.scheduled_at if run.scheduled_at and run.scheduled_at.year > 1970 else run.created_at  # noqa: PLR2004 - none
    return LastRun(run.run_id, run.display_name or "", due.astimezone(UTC), status.state, why)


def table_of(seen: list[Seen], zone: ZoneInfo) -> Answer:
    """All schedules."""

    def show(console: Console) -> None:
        if not seen:
            console.print("no schedules; make one with python -m pipelines.schedule create", highlight=False)
            return
        table = Table(box=None, pad_edge=False)
        for title in ("NAME", "ID", "STATUS", f"SCHEDULE ({zone.key})", "NEXT", "LAST RUN"):
            table.add_column(title, overflow="fold", no_wrap=title in {"ID", "NEXT"})
        for one in seen:
            table.add_row(*(Text(_printable(cell)) for cell in _row(one, zone)))
        console.print(table)

    return Answer({"timezone": zone.key, "schedules": [one.summary(zone) for one in seen]}, show)


def _row(one: Seen, zone: ZoneInfo) -> tuple[str, ...]:
    schedule = one.schedule
    running = schedule.enabled and one.times
    last = f"{one.runs[0].outcome}, {brief_moment(one.runs[0].at, zone)}" if one.runs else "none yet"
    coming = brief_moment(one.times[0], zone) if running else "-"
    return schedule.name, schedule.schedule_id, status_of(schedule), schedule.words, coming, last


def page_of(cluster: Cluster, one: Seen, zone: ZoneInfo, *, head: str = "") -> Answer:
    """Everything of one schedule."""
    version = version_name(cluster, one.schedule)

    def show(console: Console) -> None:
        for label, text in (*([("done", head)] if head else []), *_lines(one, zone, version)):
            line(console, label, _printable(str(text)))

    return Answer({**one.summary(zone), "version": version}, show)


def _lines(one: Seen, zone: ZoneInfo, version: str) -> list[tuple[str, object]]:
    schedule = one.schedule
    rows: list[tuple[str, object]] = [
        ("schedule", f"{schedule.name} ({schedule.schedule_id}): {status_of(schedule)}"),
        ("when", f"{schedule.words} ({zone.key}{f', cron {schedule.cron}' if schedule.cron else ''})"),
        ("next", shown_times(one.times, zone) if schedule.enabled else "paused; python -m pipelines.schedule resume"),
        ("from", show_moment(schedule.start, zone) if schedule.start else ""),
        ("until", show_moment(schedule.end, zone) if schedule.end else ""),
        ("at once", f"{schedule.max_concurrency} run{'s' if schedule.max_concurrency > 1 else ''} at most"),
        ("missed", "made up for one by one" if schedule.catch_up else "only the latest is made up for"),
        ("pipeline", version),
        ("account", schedule.service_account),
        ("about", schedule.description),
        *(("parameter", f"{name}={_brief(value)}") for name, value in sorted(schedule.parameters.items())),
        *(("run", _run_line(run, zone)) for run in one.runs),
    ]
    return [row for row in rows if row[1] != ""]


def _printable(text: str) -> str:
    """A text of whatever hand, without what would steer a terminal."""
    return "".join(letter if letter.isprintable() else " " for letter in text)


def _brief(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _run_line(run: LastRun, zone: ZoneInfo) -> str:
    why = f": {run.why}" if run.why else ""
    return f"{show_moment(run.at, zone)}  {run.outcome:<12}{run.run_id}{why}"


def version_name(cluster: Cluster, schedule: Schedule) -> str:
    """What the schedule's version is called; its id when it cannot be asked."""
    version = schedule.version
    call = cluster.kfp.pipelines.pipeline_service_get_pipeline_version
    try:
        found = asked(call, version.pipeline_id, version.version_id, what="read the pipeline's version")
    except ClusterError:
        return version.version_id
    return str(found.display_name or version.version_id)
