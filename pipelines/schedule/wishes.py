"""From options to a schedule that was checked: its times, its parameters and the pipeline that it runs."""

import argparse
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from components.shared.errors import ConfigError
from components.shared.sources import Kind, kind_of, split_sources
from pipelines.backends.cluster.connection import Cluster
from pipelines.backends.cluster.meter import BarMeter
from pipelines.backends.cluster.plan import Plan, Wishes, make_plan
from pipelines.backends.cluster.raw import RawData, RawStore, look_at, send
from pipelines.backends.cluster.upload import Uploaded, experiment_id, upload_package
from pipelines.catalogue import TRAINING
from pipelines.parameters import parse_setting, read_config
from pipelines.schedule.model import Schedule
from pipelines.schedule.options import at_once, checked_description, checked_name, timing_of
from pipelines.submit_cluster import EXPERIMENT, SERVICE_ACCOUNT
from pipelines.terminal import PatientConsole

ONLY_IF_CHANGED = "only_if_changed"
_NOT_YET = Uploaded("", "", new=False)


@dataclass(frozen=True)
class Wanted:
    """What each run of a schedule would be.

    Attributes:
        plan: the run, checked.
        raws: weights and models of this machine that go to the store first.
        parameters: those that differ from the pipeline's defaults.
    """

    plan: Plan
    raws: Mapping[Path, RawData]
    parameters: Mapping[str, Any]


def wanted_of(options: argparse.Namespace, former: Mapping[str, Any] | None = None) -> Wanted:
    """The run that each time would be, checked as ``submit`` checks it.

    Args:
        options: those of ``add_run_options``.
        former: parameters to begin with, of the schedule that is updated; without, ``only_if_changed`` is true.

    Raises:
        ConfigError: a parameter is wrong, or the source lies on this machine.
    """
    named = set(read_config(options.config)) if options.config else set()
    named |= {parse_setting(setting)[0] for setting in options.set}
    base = {ONLY_IF_CHANGED: True} if former is None else former
    overrides: dict[str, object] = {name: value for name, value in base.items() if name not in named}
    if options.data:
        overrides["source"] = options.data if len(options.data) > 1 else options.data[0]
    plan = make_plan(TRAINING, Wishes(options.config, tuple(options.set), overrides, spot=options.spot))
    local = [source for source in split_sources(plan.config.source) if kind_of(source) is Kind.LOCAL]
    if local:
        raise ConfigError(
            f"The source {local[0]!r} is on this machine, and a schedule reads its source anew at each run: give one"
            " that pods see, such as s3://bucket/prefix, a database or an address."
        )
    raws = {path: look_at(path) for path in plan.uploads}
    addresses = {path: raw.address(plan.config.store) for path, raw in raws.items()}
    return Wanted(plan, raws, plan.arguments(addresses))


def new_schedule(options: argparse.Namespace, wanted: Wanted, zone: ZoneInfo) -> Schedule:
    """The schedule that ``create`` is to make; its pipeline's version and experiment come with ``settled``.

    Raises:
        ConfigError: an option is wrong, or it would never run.
    """
    timing = timing_of(options, zone)
    if timing.cron is None and timing.every is None:
        raise ConfigError("Say when it is to run: --cron '0 2 * * *' (each night at two) or --every 6h.")
    schedule = Schedule(
        name=checked_name(options.name),
        version=_NOT_YET,
        parameters=wanted.parameters,
        experiment_id="",
        cron=timing.cron or "",
        every=timing.every or 0,
        start=timing.start,
        end=timing.end,
        max_concurrency=at_once(options.max_concurrency) or 1,
        catch_up=bool(options.catch_up),
        service_account=options.service_account or os.environ.get(SERVICE_ACCOUNT, ""),
        enabled=not options.paused,
        description=checked_description(options.description) or "",
    )
    return _checked(schedule, zone)


def changed_schedule(options: argparse.Namespace, former: Schedule, wanted: Wanted, zone: ZoneInfo) -> Schedule:
    """The schedule that ``update`` is to make of ``former``: what options do not name stays.

    Raises:
        ConfigError: an option is wrong, or it would never run.
    """
    timing = timing_of(options, zone)
    given: dict[str, Any] = {
        "start": timing.start,
        "end": timing.end,
        "max_concurrency": at_once(options.max_concurrency),
        "catch_up": options.catch_up,
        "service_account": options.service_account,
        "description": checked_description(options.description),
    }
    changes = {name: value for name, value in given.items() if value is not None}
    if timing.cron is not None or timing.every is not None:
        changes |= {"cron": timing.cron or "", "every": timing.every or 0}
    if timing.no_end:
        changes["end"] = None
    return _checked(replace(former, parameters=wanted.parameters, **changes), zone)


def settled(cluster: Cluster, schedule: Schedule, wanted: Wanted, experiment: str | None) -> Schedule:
    """The schedule with what the server has to have first: weights of this machine, the pipeline, the experiment.

    Raises:
        StoreError: the store failed.
        ClusterError: the server failed or refused.
    """
    if wanted.raws:
        with BarMeter(PatientConsole(stderr=True)) as meter:
            store = RawStore.of(wanted.plan.config.store)
            for raw in wanted.raws.values():
                send(raw, store, meter)
    version = upload_package(cluster, wanted.plan.package)
    identity = schedule.experiment_id
    if experiment or not identity:
        usual = next((os.environ[name] for name in EXPERIMENT if os.environ.get(name)), TRAINING.name)
        identity = experiment_id(cluster, experiment or usual)
    return replace(schedule, version=version, experiment_id=identity)


def _checked(schedule: Schedule, zone: ZoneInfo) -> Schedule:
    if schedule.start and schedule.end and schedule.end <= schedule.start:
        raise ConfigError(f"It would end ({_told(schedule.end)}) before it starts ({_told(schedule.start)}).")
    if not schedule.next_times(datetime.now(UTC), zone, 1):
        end = f" and ends {_told(schedule.end)}" if schedule.end else ""
        raise ConfigError(f"It would never run: it comes {schedule.words}{end}; give another time or --end.")
    return schedule


def _told(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"
