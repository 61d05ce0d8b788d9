"""The options of ``schedule``: when, in which time zone, and what to run."""

import argparse
import os
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

from components.shared.errors import ConfigError
from pipelines.schedule.cron import parse_cron
from pipelines.schedule.words import parse_interval, parse_moment
from pipelines.submit_cluster import SERVICE_ACCOUNT

TIMEZONE = "CRON_SCHEDULE_TIMEZONE"
NEVER = "never"
LEAST_AT_ONCE, MOST_AT_ONCE = 1, 10  # as the server has it
LONGEST_NAME, LONGEST_DESCRIPTION = 100, 1000


@dataclass(frozen=True)
class Timing:
    """When a schedule comes, as options gave it: ``None`` where they say nothing."""

    cron: str | None
    every: int | None
    start: datetime | None
    end: datetime | None
    no_end: bool


def add_timing_options(parser: argparse.ArgumentParser) -> None:
    """Give a command the options of when and how often."""
    group = parser.add_argument_group("when")
    kind = group.add_mutually_exclusive_group()
    fields = "5 fields (minute hour day month weekday), 6 with the second first, or @hourly, @daily, @weekly, @monthly"
    kind.add_argument("--cron", metavar="TEXT", help=fields)
    kind.add_argument(
        "--every", metavar="TIME", help="an interval such as 6h, 90m or 1d12h; the first run comes after one of them"
    )
    group.add_argument("--start", metavar="MOMENT", help="not before, such as 2026-12-24 or 2026-12-24T18:00")
    group.add_argument("--end", metavar="MOMENT", help=f"not after; with update also {NEVER!r}")
    group.add_argument(
        "--max-concurrency", type=int, metavar="N", help="runs of it that may go on at a time, 1 to 10 (default: 1)"
    )
    group.add_argument(
        "--catch-up",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="make up for runs that were missed, one by one (default: only the latest)",
    )


def add_timezone_option(parser: argparse.ArgumentParser) -> None:
    """Give a command the option that says what the controller's clock shows."""
    parser.add_argument(
        "--timezone",
        default=os.environ.get(TIMEZONE, "UTC"),
        metavar="ZONE",
        help=f"the time zone that Kubeflow's controller has as {TIMEZONE}, to show times in; it is the server's,"
        " and no schedule has its own (default: UTC)",
    )


def add_run_options(parser: argparse.ArgumentParser) -> None:
    """Give a command the options of what is run, as ``submit`` has them."""
    group = parser.add_argument_group("what", "Parameters are those of python -m pipelines.submit --help.")
    group.add_argument(
        "--data", nargs="+", metavar="SOURCE", help="the same as --set source=SOURCE; it is read anew at each run"
    )
    group.add_argument("--config", type=_path, metavar="FILE", help="YAML file with parameters")
    group.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="set one parameter; wins over --config"
    )
    group.add_argument("--spot", action="store_true", help="train on nodes that may be taken away, for less")
    group.add_argument("--experiment", metavar="NAME", help="where its runs are listed (default: the pipeline's)")
    group.add_argument("--service-account", metavar="NAME", help=f"whose rights its pods have (or {SERVICE_ACCOUNT})")
    group.add_argument("--description", metavar="TEXT", help="what it is for")


def timing_of(options: argparse.Namespace, zone: ZoneInfo) -> Timing:
    """What ``add_timing_options`` gave, checked.

    Args:
        options: as parsed.
        zone: the time zone of moments that have none.

    Raises:
        ConfigError: a time is wrong.
    """
    no_end = options.end == NEVER
    return Timing(
        cron=None if options.cron is None else parse_cron(options.cron).text,
        every=None if options.every is None else parse_interval(options.every),
        start=None if options.start is None else parse_moment(options.start, "--start", zone),
        end=None if options.end is None or no_end else parse_moment(options.end, "--end", zone),
        no_end=no_end,
    )


def at_once(number: int | None) -> int | None:
    """How many runs may go on at a time.

    Raises:
        ConfigError: the server takes no such number.
    """
    if number is not None and not LEAST_AT_ONCE <= number <= MOST_AT_ONCE:
        raise ConfigError(f"--max-concurrency={number}: use {LEAST_AT_ONCE} to {MOST_AT_ONCE}.")
    return number


def checked_name(text: str) -> str:
    """A schedule's name.

    Raises:
        ConfigError: it is empty, too long or cannot be printed.
    """
    name = text.strip()
    if not name or len(name) > LONGEST_NAME or not name.isprintable():
        raise ConfigError(f"The name {text[:40]!r} cannot be used: write up to {LONGEST_NAME} printable characters.")
    return name


def checked_description(text: str | None) -> str | None:
    """What a schedule is for.

    Raises:
        ConfigError: it is too long or cannot be printed.
    """
    if text is None:
        return None
    if len(text) > LONGEST_DESCRIPTION or not text.replace("\n", "").isprintable():
        raise ConfigError(
            f"--description has {len(text)} characters: write up to {LONGEST_DESCRIPTION} printable ones."
        )
    return text.strip()


def _path(text: str) -> Path:
    return Path(text).expanduser()
