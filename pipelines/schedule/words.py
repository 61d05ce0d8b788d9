"""Intervals, moments and triggers of schedules: from what a person writes, and into words."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from components.shared.errors import ConfigError
from pipelines.schedule.cron import Cron

LEAST_SECONDS, MOST_SECONDS = 60, 366 * 86_400
_UNITS = {"w": 604_800, "d": 86_400, "h": 3600, "m": 60, "s": 1}
_NAMES = {"w": "week", "d": "day", "h": "hour", "m": "minute", "s": "second"}
_INTERVAL = re.compile(r"(?:\d{1,8}[wdhms])+")
_WEEKDAYS = ("Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday")
_EVERY_DAY, _EVERY_MONTH, _EVERY_HOUR = 31, 12, 24
_MOST_CLOCKS = 4  # times of a day that are still worth listing


def parse_interval(text: str) -> int:
    """Seconds of ``6h``, ``90m``, ``1d12h`` or ``2w``.

    Raises:
        ConfigError: it is no such text, below a minute or above a year.
    """
    plain = text.strip().lower()
    if not _INTERVAL.fullmatch(plain):
        raise ConfigError(f"--every={text!r} is no interval: write such as 6h, 90m or 1d12h (w, d, h, m and s).")
    seconds = sum(int(part[:-1]) * _UNITS[part[-1]] for part in re.findall(r"\d+[wdhms]", plain))
    if not LEAST_SECONDS <= seconds <= MOST_SECONDS:
        raise ConfigError(f"--every={text!r} is {seconds} seconds: use a minute to a year.")
    return seconds


def interval_words(seconds: int) -> str:
    """Seconds as ``1 day 12 hours``."""
    parts = []
    for unit, size in _UNITS.items():
        count, seconds = divmod(seconds, size)
        if count:
            parts.append(f"{count} {_NAMES[unit]}{'s' if count > 1 else ''}")
    return " ".join(parts) or "0 seconds"


def every_words(seconds: int) -> str:
    """An interval as ``every day`` or ``every 6 hours``."""
    words = interval_words(seconds)
    return f"every {words.removeprefix('1 ') if words.count(' ') == 1 else words}"


def parse_moment(text: str, option: str, zone: ZoneInfo) -> datetime:
    """A moment as ``2026-12-24``, ``2026-12-24T18:00`` or with an offset; without one it is of ``zone``.

    Raises:
        ConfigError: it is no such text, or the clocks of ``zone`` never show it.
    """
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError as error:
        raise ConfigError(f"{option}={text!r} is no moment: write such as 2026-12-24 or 2026-12-24T18:00.") from error
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=zone)
    try:
        return moment.astimezone(UTC).replace(microsecond=0)
    except OverflowError as error:
        raise ConfigError(f"{option}={text!r} is too far away: use a year of this century.") from error


def show_moment(moment: datetime, zone: ZoneInfo) -> str:
    """A moment as ``Tue 2026-12-24 18:00 CET``."""
    local = moment.astimezone(zone)
    clock = "%H:%M:%S" if local.second else "%H:%M"
    return local.strftime(f"%a %Y-%m-%d {clock} %Z")


def brief_moment(moment: datetime, zone: ZoneInfo) -> str:
    """A moment for a table whose head names the time zone: ``2026-12-24 18:00``."""
    return moment.astimezone(zone).strftime("%Y-%m-%d %H:%M")


def cron_words(cron: Cron) -> str:
    """When a cron expression comes, without its time zone; what has no short words is shown as it is."""
    seconds, minutes, hours, days, months, weekdays = cron.values
    on = _days_words(days, months, weekdays)
    if on is None or any(seconds):
        return f"cron {cron.text}"
    if len(minutes) * len(hours) <= _MOST_CLOCKS:
        return f"{on} at {_listed([f'{hour:02}:{minute:02}' for hour in hours for minute in minutes])}"
    every = _clock_words(minutes, hours)
    if every is None:
        return f"cron {cron.text}"
    return every if on == "every day" else f"{on}, {every}"


def _clock_words(minutes: Sequence[int], hours: Sequence[int]) -> str | None:
    hour_step = _step(hours, 24)
    if len(minutes) == 1 and hour_step:
        every = "every hour" if hour_step == 1 else f"every {hour_step} hours"
        return f"{every} at minute {minutes[0]}" if minutes[0] else every
    minute_step = _step(minutes, 60)
    if minute_step and len(hours) == _EVERY_HOUR:
        return "every minute" if minute_step == 1 else f"every {minute_step} minutes"
    return None


def _step(numbers: Sequence[int], whole: int) -> int | None:
    """The step of numbers that go round evenly from 0, such as every 15th of 60."""
    step = whole // len(numbers)
    return step if list(numbers) == list(range(0, whole, step)) and whole % step == 0 else None


def _days_words(days: Sequence[int], months: Sequence[int], weekdays: Sequence[int]) -> str | None:
    if len(months) != _EVERY_MONTH:
        return None
    all_days, all_weekdays = len(days) == _EVERY_DAY, len(weekdays) == len(_WEEKDAYS)
    if all_days and all_weekdays:
        return "every day"
    if all_days:
        return _weekday_words(weekdays)
    if all_weekdays and len(days) <= _MOST_CLOCKS:
        return f"on day {_listed([str(day) for day in days])} of every month"
    return None


def _weekday_words(weekdays: Sequence[int]) -> str:
    if list(weekdays) == [1, 2, 3, 4, 5]:
        return "Monday to Friday"
    return f"every {_listed([_WEEKDAYS[day] for day in weekdays])}"


def _listed(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
