"""A schedule of runs (what Kubeflow calls a recurring run) as a value, in words, and when it comes next."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any
from zoneinfo import ZoneInfo

import kfp_server_api

from components.shared.errors import ConfigError
from pipelines.backends.cluster.upload import Uploaded
from pipelines.schedule.cron import parse_cron, times_after
from pipelines.schedule.words import cron_words, every_words, show_moment

_MARK = re.compile(r"\n?\[([0-9a-f]{16})(?: replaces ([\w-]+)(, then enabled)?)?\]$")
_EPOCH_YEAR = 1970


@dataclass(frozen=True)
class Schedule:
    """When to run what.

    Attributes:
        name: what people call it.
        cron: six fields, seconds first; empty when ``every`` is set.
        every: seconds from one run to the next; 0 when ``cron`` is set.
        version: the pipeline's version that it runs.
        parameters: those that differ from the pipeline's defaults.
        experiment_id: where its runs are listed.
        start: not before, in UTC.
        end: not after, in UTC.
        max_concurrency: how many of its runs may go on at a time, 1 to 10.
        catch_up: whether runs that were missed are made up for, one by one.
        service_account: whose rights its pods have; empty: Kubeflow's default.
        enabled: whether it runs at all.
        description: a person's words.
        schedule_id: the server's name for it; empty before it is there.
        created: when, in UTC.
        token: by which one that was just made is found when the answer is lost.
        replaces: the id of the one whose place it is to take.
        then_enabled: whether it is to be enabled when it has that place.
    """

    name: str
    version: Uploaded
    parameters: Mapping[str, Any]
    experiment_id: str
    cron: str = ""
    every: int = 0
    start: datetime | None = None
    end: datetime | None = None
    max_concurrency: int = 1
    catch_up: bool = False
    service_account: str = ""
    enabled: bool = True
    description: str = ""
    schedule_id: str = field(default="", compare=False)
    created: datetime | None = field(default=None, compare=False)
    token: str = field(default="", compare=False)
    replaces: str = field(default="", compare=False)
    then_enabled: bool = field(default=False, compare=False)

    def is_like(self, other: "Schedule") -> bool:
        """Whether both would run the same at the same times from now on, enabled or not."""
        return _from_now_on(self) == _from_now_on(other)

    @property
    def words(self) -> str:
        """When it comes, without the time zone."""
        if self.every:
            return every_words(self.every)
        try:
            return cron_words(parse_cron(self.cron))
        except ConfigError:  # another hand made it
            return f"cron {self.cron}"

    def next_times(self, now: datetime, zone: ZoneInfo, count: int, last: datetime | None = None) -> list[datetime]:
        """The next moments at which it comes; fewer when it ends.

        Args:
            now: the present, with a time zone.
            zone: the time zone of Kubeflow's controller.
            count: how many at most.
            last: when it came last, which an interval counts from.
        """
        after = max(now, self.start - timedelta(seconds=1)) if self.start else now
        if self.every:
            found = self._interval_times(now, count, last)
        else:
            try:
                found = list(islice(times_after(parse_cron(self.cron), after, zone), count))
            except ConfigError:
                return []
        return [moment for moment in found if not self.end or moment <= self.end]

    def _interval_times(self, now: datetime, count: int, last: datetime | None) -> list[datetime]:
        step = timedelta(seconds=self.every)
        since = last or self.created or now
        first = max(since, self.start) + step if self.start else since + step
        first = max(first, now)
        return [first + step * number for number in range(count)]


def body_of(schedule: Schedule) -> kfp_server_api.V2beta1RecurringRun:
    """The schedule as the API takes it."""
    span = {"start_time": schedule.start, "end_time": schedule.end}
    if schedule.every:
        interval = kfp_server_api.V2beta1PeriodicSchedule(interval_second=str(schedule.every), **span)
        trigger = kfp_server_api.V2beta1Trigger(periodic_schedule=interval)
    else:
        trigger = kfp_server_api.V2beta1Trigger(
            cron_schedule=kfp_server_api.V2beta1CronSchedule(cron=schedule.cron, **span)
        )
    then = ", then enabled" if schedule.then_enabled else ""
    replaces = f" replaces {schedule.replaces}{then}" if schedule.replaces else ""
    return kfp_server_api.V2beta1RecurringRun(
        display_name=schedule.name,
        description=f"{schedule.description}\n[{schedule.token}{replaces}]".lstrip("\n"),
        experiment_id=schedule.experiment_id,
        pipeline_version_reference=schedule.version.reference,
        runtime_config=kfp_server_api.V2beta1RuntimeConfig(parameters=dict(schedule.parameters)),
        service_account=schedule.service_account or None,
        max_concurrency=str(schedule.max_concurrency),
        no_catchup=not schedule.catch_up,
        mode="ENABLE" if schedule.enabled else "DISABLE",
        trigger=trigger,
    )


def schedule_of(told: Any) -> Schedule:  # noqa: ANN401 - the generated client ships no types
    """The schedule that the API tells of."""
    trigger = told.trigger
    cron, interval = (trigger.cron_schedule, trigger.periodic_schedule) if trigger else (None, None)
    when = cron or interval
    reference, mark = told.pipeline_version_reference, _MARK.search(told.description or "")
    return Schedule(
        name=told.display_name or "",
        version=Uploaded(
            (reference and reference.pipeline_id) or "", (reference and reference.pipeline_version_id) or "", new=False
        ),
        parameters=(told.runtime_config and told.runtime_config.parameters) or {},
        experiment_id=told.experiment_id or "",
        cron=(cron and cron.cron) or "",
        every=int((interval and interval.interval_second) or 0),
        start=_moment(when and when.start_time),
        end=_moment(when and when.end_time),
        max_concurrency=int(told.max_concurrency or 1),
        catch_up=not told.no_catchup,
        service_account=told.service_account or "",
        enabled=told.status == "ENABLED",
        description=_MARK.sub("", told.description or ""),
        schedule_id=told.recurring_run_id or "",
        created=_moment(told.created_at),
        token=mark[1] if mark else "",
        replaces=(mark[2] or "") if mark else "",
        then_enabled=bool(mark and mark[3]),
    )


def summary(schedule: Schedule, zone: ZoneInfo, times: list[datetime]) -> dict[str, object]:
    """The schedule as JSON-able values."""
    return {
        "id": schedule.schedule_id,
        "name": schedule.name,
        "status": status_of(schedule),
        "schedule": schedule.words,
        "cron": schedule.cron or None,
        "every_seconds": schedule.every or None,
        "timezone": zone.key,
        "next": [moment.astimezone(zone).isoformat() for moment in times] if schedule.enabled else [],
        "start": schedule.start and schedule.start.isoformat(),
        "end": schedule.end and schedule.end.isoformat(),
        "max_concurrency": schedule.max_concurrency,
        "catch_up": schedule.catch_up,
        "pipeline_id": schedule.version.pipeline_id,
        "version_id": schedule.version.version_id,
        "experiment_id": schedule.experiment_id,
        "service_account": schedule.service_account or None,
        "description": schedule.description,
        "parameters": dict(schedule.parameters),
    }


def status_of(schedule: Schedule) -> str:
    """``enabled``, ``paused`` or ``ended``."""
    ended = schedule.end is not None and schedule.end < datetime.now(UTC)
    return "ended" if ended else "enabled" if schedule.enabled else "paused"


def shown_times(times: list[datetime], zone: ZoneInfo) -> str:
    """Moments for people, the time zone named with each."""
    return ", ".join(show_moment(moment, zone) for moment in times) or "never again"


def ahead(start: datetime | None) -> datetime | None:
    """A start that is still to come; a new schedule with one in the past would make up for the times since then."""
    return start if start and start > datetime.now(UTC) else None


def _from_now_on(schedule: Schedule) -> Schedule:
    version = replace(schedule.version, new=False)
    return replace(schedule, enabled=True, version=version, start=ahead(schedule.start))


def _moment(told: datetime | None) -> datetime | None:
    return None if told is None or told.year <= _EPOCH_YEAR else told.astimezone(UTC)
