"""``python -m pipelines.schedule``: train again and again, by the clock or at an interval."""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from rich.console import Console

from components.shared.errors import ConfigError, PipelineError
from pipelines.backends.cluster.connection import Cluster, add_endpoint_options, connect, endpoint_of
from pipelines.backends.cluster.start import Job, check_version, start_run
from pipelines.dataset_commands.output import Answer, line, page
from pipelines.runs.store import RunStores
from pipelines.schedule.cron import zone_of
from pipelines.schedule.kfp import RUNS_SHOWN, Schedules
from pipelines.schedule.look import page_of, see, table_of
from pipelines.schedule.model import Schedule
from pipelines.schedule.options import add_run_options, add_timezone_option, add_timing_options, checked_name
from pipelines.schedule.update import pair_of, update
from pipelines.schedule.wishes import changed_schedule, new_schedule, settled, wanted_of
from pipelines.terminal import print_error, print_line

INTERRUPTED = 130
Run = Callable[[argparse.Namespace, Schedules, ZoneInfo], Answer]
_ABOUT = """A scheduled run reads its source anew. When data, parameters and code are those of the champion, it ends at
once as unchanged; with --set only_if_changed=false it trains all the same.
What no version needs any more python -m pipelines.datasets gc removes; with our manifests a CronJob does it each night.

exit codes: 0 success, 1 a server failed, 2 bad input, 130 stopped"""
_WHICH = "its name, its id, or at least six of the id's first letters"


def main(arguments: Sequence[str] | None = None) -> int:
    """The command: 0 success, 1 a server failed, 2 bad input, 130 stopped."""
    options = _parser().parse_args(arguments)
    try:
        answer: Answer = options.run(options, Schedules(connect(endpoint_of(options))), zone_of(options.timezone))
    except PipelineError as error:
        print_error(error)
        if options.json:
            print_line(json.dumps({"error": str(error)}))
        return error.exit_code
    except KeyboardInterrupt:
        print_error("Stopped. If it was an update, run the same again to go on.")
        return INTERRUPTED
    if options.json:
        print_line(json.dumps(answer.data))
    else:
        answer.show(page())
    return int(answer.code)


def create(options: argparse.Namespace, schedules: Schedules, zone: ZoneInfo) -> Answer:
    """Make a schedule; asked for again with the same options it finds the one it made."""
    name = checked_name(options.name)
    wanted = wanted_of(options)
    schedule = new_schedule(options, wanted, zone)
    warn_of_version(schedules.cluster)
    there = schedules.all(name)
    schedule = settled(schedules.cluster, schedule, wanted, options.experiment)
    if there:
        if len(there) == 1 and there[0].is_like(schedule):
            return _page(schedules, there[0], zone, f"{name!r} is there already, as asked for")
        raise ConfigError(f"There is a schedule {name!r} already: change it with 'update', or use another name.")
    made = schedules.create(schedule)
    late = "; it begins in the past, so it makes up for that at once" if _begins_in_past(made) else ""
    return _page(schedules, made, zone, f"{name!r} was made{late}")


def change(options: argparse.Namespace, schedules: Schedules, zone: ZoneInfo) -> Answer:
    """Replace a schedule by one with other times, parameters, or the pipeline as it is here now."""
    warn_of_version(schedules.cluster)
    pair = pair_of(schedules, options.name)
    wanted = wanted_of(options, pair.former.parameters)
    schedule = changed_schedule(options, pair.former, wanted, zone)
    done = update(schedules, pair, settled(schedules.cluster, schedule, wanted, options.experiment))
    name = done.schedule.name
    head = f"{name!r} took the place of {done.former}" if done.former else f"{name!r} is as asked for already"
    return _page(schedules, done.schedule, zone, head)


def show_all(_: argparse.Namespace, schedules: Schedules, zone: ZoneInfo) -> Answer:
    """All schedules in a table."""
    stores = RunStores()
    return table_of([see(schedules, one, zone, stores=stores) for one in schedules.all()], zone)


def show_one(options: argparse.Namespace, schedules: Schedules, zone: ZoneInfo) -> Answer:
    """Everything of one schedule."""
    return _page(schedules, schedules.find(options.name), zone, "", RUNS_SHOWN)


def pause(options: argparse.Namespace, schedules: Schedules, zone: ZoneInfo) -> Answer:
    """Start no more runs."""
    found = schedules.find(options.name)
    schedules.disable(found)
    return _page(schedules, replace(found, enabled=False), zone, f"{found.name!r} is paused; a run that goes on is not")


def resume(options: argparse.Namespace, schedules: Schedules, zone: ZoneInfo) -> Answer:
    """Start runs again."""
    found = schedules.find(options.name)
    schedules.enable(found)
    missed = "all times it missed" if found.catch_up else "the latest time, if it missed any,"
    head = f"{found.name!r} is enabled; {missed} it makes up for at once"
    return _page(schedules, replace(found, enabled=True), zone, head)


def remove(options: argparse.Namespace, schedules: Schedules, _: ZoneInfo) -> Answer:
    """Delete a schedule; its runs stay."""
    found = schedules.find(options.name)
    schedules.delete(found)
    text = f"{found.name!r} ({found.schedule_id}) is deleted; its runs stay, and one that goes on goes on"
    return Answer({"deleted": found.schedule_id, "name": found.name}, lambda console: line(console, "schedule", text))


def run_now(options: argparse.Namespace, schedules: Schedules, _: ZoneInfo) -> Answer:
    """Start a run with the schedule's version and parameters, whether it is enabled or not."""
    found, cluster = schedules.find(options.name), schedules.cluster
    name = f"{found.name} {datetime.now(UTC):%Y-%m-%d %H:%M:%S}"
    job = Job(name, found.experiment_id, found.version, found.parameters, found.service_account)
    run_id = start_run(cluster, job)
    link = cluster.ui_link(run_id)
    rows = [("run", f"{run_id}: submitted"), ("page", link or cluster.ui_hint(run_id))]
    rows.append(("watch", f"python -m pipelines.runs watch {run_id}"))
    data = {"run_id": run_id, "name": name, "schedule": found.schedule_id, "page": link}

    def show(console: Console) -> None:
        for label, text in rows:
            line(console, label, text)

    return Answer(data, show)


def _begins_in_past(schedule: Schedule) -> bool:
    return schedule.enabled and schedule.start is not None and schedule.start < datetime.now(UTC)


def warn_of_version(cluster: Cluster) -> None:
    """Say what may not fit; raises ``ClusterAccessError`` for a server that is too old."""
    warning = check_version(cluster.health)
    if warning:
        print(f"warning: {warning}", file=sys.stderr)


def _page(schedules: Schedules, schedule: Schedule, zone: ZoneInfo, head: str, runs: int = 1) -> Answer:
    return page_of(schedules.cluster, see(schedules, schedule, zone, runs), zone, head=head)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m pipelines.schedule",
        description="Train again and again on a cluster, by the clock or at an interval.",
        epilog=_ABOUT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def add(name: str, run: Run, text: str, *, named: str = _WHICH) -> argparse.ArgumentParser:
        made: argparse.ArgumentParser = commands.add_parser(
            name, help=text, description=f"{text[0].upper()}{text[1:]}."
        )
        made.set_defaults(run=run)
        if named:
            made.add_argument("name", metavar="SCHEDULE", help=named)
        made.add_argument("--json", action="store_true", help="print one JSON object instead of lines")
        add_timezone_option(made)
        add_endpoint_options(made)
        return made

    made = add("create", create, "make a schedule", named="what to call it")
    made.add_argument("--paused", action="store_true", help="start no runs before resume")
    add_timing_options(made)
    add_run_options(made)
    add("list", show_all, "all schedules: when they come next, and how their last runs ended", named="")
    add("show", show_one, "one schedule: its times, parameters and latest runs")
    made = add("update", change, "change times or parameters, and take the pipeline as it is here now")
    add_timing_options(made)
    add_run_options(made)
    add("pause", pause, "start no more runs; one that goes on is left alone")
    add("resume", resume, "start runs again")
    add("delete", remove, "delete a schedule; its runs stay")
    add("run-now", run_now, "start a run with a schedule's pipeline and parameters")
    return parser


if __name__ == "__main__":
    sys.exit(main())
