"""Cron expressions as Kubeflow's controller reads them (robfig/cron 1.2, seconds first), and when they come next."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import product
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from components.shared.errors import ConfigError

DESCRIPTORS = {
    "@yearly": "0 0 0 1 1 *",
    "@annually": "0 0 0 1 1 *",
    "@monthly": "0 0 0 1 * *",
    "@weekly": "0 0 0 * * 0",
    "@daily": "0 0 0 * * *",
    "@midnight": "0 0 0 * * *",
    "@hourly": "0 0 * * * *",
}
_SEARCHED = timedelta(days=5 * 366)  # the controller gives up after five years, and then runs without a pause
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_LONGEST = 200  # characters of an expression
_STARS = frozenset("*?")
_FIELD_COUNTS = (5, 6)
_PARTS_OF_RANGE = 2


@dataclass(frozen=True)
class Field:
    """One field of an expression: what it is called, its bounds, and names that stand for numbers."""

    name: str
    least: int
    most: int
    names: tuple[str, ...] = ()


FIELDS = (
    Field("second", 0, 59),
    Field("minute", 0, 59),
    Field("hour", 0, 23),
    Field("day of month", 1, 31),
    Field("month", 1, 12, _MONTHS),
    Field("day of week", 0, 6, _DAYS),
)


@dataclass(frozen=True)
class Cron:
    """An expression of six fields that was checked.

    Attributes:
        text: the six fields, seconds first, as the controller takes them.
        values: the numbers that each field of ``FIELDS`` matches, sorted.
        any_day: whether the day of month or the day of week is a star; when neither is, one that matches is enough.
    """

    text: str
    values: tuple[tuple[int, ...], ...]
    any_day: bool

    def is_on(self, day: date) -> bool:
        """Whether it comes on this day, in the time zone of the controller."""
        _, _, _, days, months, weekdays = self.values
        in_month, in_week = day.day in days, day.isoweekday() % 7 in weekdays
        return day.month in months and (in_month and in_week if self.any_day else in_month or in_week)


def parse_cron(text: str) -> Cron:
    """An expression of 5 fields (from the minute on), 6 (from the second on), or a name such as ``@daily``.

    Raises:
        ConfigError: a field is wrong (the message names it), it never comes, or it comes more often than once a minute.
    """
    asked = " ".join(text.split())
    if not asked or len(asked) > _LONGEST:
        raise ConfigError(f"The cron expression {asked[:40]!r} is empty or too long: write such as '0 2 * * *'.")
    fields = _expanded(asked).split(" ")
    if len(fields) not in _FIELD_COUNTS:
        raise ConfigError(
            f"The cron expression {asked!r} has {len(fields)} field{'s' if len(fields) > 1 else ''}: write 5 (minute,"
            " hour, day of month, month, day of week) or 6 with the second first."
        )
    if len(fields) < len(FIELDS):  # the controller itself would take the first of five for the second
        fields = ["0", *fields]
    values = tuple(_values(part, field, asked) for part, field in zip(fields, FIELDS, strict=True))
    cron = Cron(" ".join(fields), values, any(_has_star(fields[place]) for place in (3, 5)))
    _check_sense(cron, asked)
    return cron


def times_after(cron: Cron, moment: datetime, zone: ZoneInfo) -> Iterator[datetime]:
    """The moments after ``moment`` at which the clocks in ``zone`` show what ``cron`` says, in order.

    What falls into the hour that clocks skip in spring does not come; what falls into the hour they repeat in autumn
    comes twice: so does the controller.

    Args:
        cron: the expression.
        moment: with a time zone.
        zone: the time zone of the controller.

    Yields:
        Moments in ``zone``; the iterator ends when five years have none.
    """
    day = moment.astimezone(zone).date()
    end = day + _SEARCHED
    seconds, minutes, hours = cron.values[:3]
    clocks = list(product(hours, minutes, seconds))
    while day <= end:
        if cron.is_on(day):
            found = sorted({instant for clock in clocks for instant in _instants(day, clock, zone) if instant > moment})
            if found:
                end = day + _SEARCHED
            yield from (instant.astimezone(zone) for instant in found)
        day += timedelta(days=1)


def zone_of(name: str) -> ZoneInfo:
    """The time zone of that name, such as ``Europe/Berlin``.

    Raises:
        ConfigError: there is none.
    """
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ConfigError(f"There is no time zone {name!r}: write such as 'UTC' or 'Europe/Berlin'.") from error


def _expanded(asked: str) -> str:
    if not asked.startswith("@"):
        if re.match(r"(CRON_)?TZ=", asked):
            raise ConfigError(
                f"The cron expression {asked!r} sets a time zone: the controller has one for all schedules,"
                " its CRON_SCHEDULE_TIMEZONE; leave it out."
            )
        return asked
    if asked.lower().startswith("@every"):
        raise ConfigError(f"The cron expression {asked!r} is an interval: give it as --every, such as --every 6h.")
    if asked.lower() not in DESCRIPTORS:
        raise ConfigError(f"The cron expression {asked!r} is no name: write one of {', '.join(DESCRIPTORS)}.")
    return DESCRIPTORS[asked.lower()]


def _instants(day: date, clock: tuple[int, int, int], zone: ZoneInfo) -> Iterator[datetime]:
    """The moments, in UTC, at which clocks in ``zone`` show this: none, one or two."""
    hour, minute, second = clock
    for fold in (0, 1):
        shown = datetime(day.year, day.month, day.day, hour, minute, second, tzinfo=zone, fold=fold)
        instant = shown.astimezone(UTC)
        back = instant.astimezone(zone)
        if (back.hour, back.minute, back.date()) == (hour, minute, day):
            yield instant


def _has_star(text: str) -> bool:
    return any(part[:1] in _STARS for part in text.split(","))


def _values(text: str, field: Field, asked: str) -> tuple[int, ...]:
    found: set[int] = set()
    for part in text.split(","):
        try:
            found |= _range(part, field)
        except ValueError as error:
            raise ConfigError(
                f"In the cron expression {asked!r} the {field.name} {text!r} is wrong: {error}."
            ) from error
    return tuple(sorted(found))


def _range(part: str, field: Field) -> set[int]:
    """The numbers of ``*``, ``5``, ``1-5``, ``*/2``, ``1-9/2`` or ``5/10`` (from 5 on, every tenth)."""
    span, slash, step_text = part.partition("/")
    step = _number(step_text, field) if slash else 1
    if step < 1:
        raise ValueError(f"the step in {part!r} must be 1 or more")
    if span in _STARS:
        return set(range(field.least, field.most + 1, step))
    ends = [_named(end, field) for end in span.split("-")]
    if len(ends) > _PARTS_OF_RANGE:
        raise ValueError(f"{span!r} is no range")
    for end in ends:
        if not field.least <= end <= field.most:
            raise ValueError(_out_of_bounds(end, field))
    last = ends[1] if len(ends) > 1 else field.most if slash else ends[0]
    if ends[0] > last:
        raise ValueError(f"the range {span!r} ends before it begins, write it as two with a comma")
    return set(range(ends[0], last + 1, step))


def _out_of_bounds(number: int, field: Field) -> str:
    bounds = f"{number} is not between {field.least} and {field.most}"
    return f"{bounds}, Sunday is 0 or sun" if field.names is _DAYS else bounds


def _named(text: str, field: Field) -> int:
    name = text.lower()
    return field.names.index(name) + field.least if name in field.names else _number(text, field)


def _number(text: str, field: Field) -> int:
    if text.isascii() and text.isdigit() and len(text) <= len("9999"):
        return int(text)
    names = f" or {field.names[0]} to {field.names[-1]}" if field.names else ""
    if re.search(r"[LW#]", text):
        raise ValueError(f"{text!r}: the controller knows neither L nor W nor #, use numbers{names}")
    raise ValueError(f"{text!r} is no number{names.replace(' or ', ' and none of ')}")


def _check_sense(cron: Cron, asked: str) -> None:
    if len(cron.values[0]) > 1:
        raise ConfigError(
            f"The cron expression {asked!r} comes more often than once a minute: of six fields the first is the second,"
            " write 0 there."
        )
    utc = ZoneInfo("UTC")
    if next(times_after(cron, datetime(2025, 1, 1, tzinfo=utc), utc), None) is None:
        raise ConfigError(f"The cron expression {asked!r} never comes: no month it names has such a day.")
