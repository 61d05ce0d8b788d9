"""Interval charts: a value a row with the range it may as well lie in, against named marks."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from components.shared.report import numerals
from components.shared.report.figure import Cell, Chart, Mark, Table
from components.shared.report.frame import LETTER, Padding, drawing, empty_chart, hinted, x_axis
from components.shared.report.scale import Scale, scale_for
from components.shared.report.svg import hint, label, percent, tag, words

_ROW, _NOTED_ROW = 25.0, 37.0  # pixels
_HEAD = 16.0  # room for the name of a mark
_NAME_LETTERS = 20
_NOTE_LETTERS = 26  # of a smaller face
_THICK = 12.0
_CAP = 4.0  # half the height of an interval's end
_DESCRIBED = 5
_DIGITS = 3


@dataclass(frozen=True)
class Estimate:
    """One row: a value with its interval, whose ends are NaN where it is not known, and a few words below its name."""

    name: str
    value: float
    low: float = math.nan
    high: float = math.nan
    note: str = ""

    @property
    def has_interval(self) -> bool:
        """Whether both ends are known."""
        return math.isfinite(self.low) and math.isfinite(self.high)

    def said(self) -> str:
        """The row in words."""
        interval = f" ({_number(self.low)} to {_number(self.high)})" if self.has_interval else ""
        note = f", {self.note}" if self.note else ""
        return f"{self.name}: {_number(self.value)}{interval}{note}"


@dataclass(frozen=True)
class _Rows:
    """The rows and where they lie, as shares of the plot's height."""

    estimates: tuple[Estimate, ...]
    head: float
    height: float  # of one row

    @property
    def total(self) -> float:
        return self.head + self.height * len(self.estimates)

    def middle(self, index: int) -> float:
        return (self.head + (index + 0.5) * self.height) / self.total

    def share(self, pixels: float) -> float:
        return pixels / self.total


def interval_chart(
    title: str,
    estimates: Sequence[Estimate],
    *,
    x_label: str,
    name_label: str,
    marks: Sequence[Mark] = (),
    x_range: tuple[float, float] | None = None,
    bars: bool = True,
) -> Chart:
    """One row an estimate, from top to bottom: a bar from 0 (or a dot, without ``bars``) and the line of its interval.

    Rows whose value is not finite are left out. ``marks`` are vertical lines with a name; ``x_range`` fixes the ends
    of the axis.
    """
    known = tuple(one for one in estimates if math.isfinite(one.value))
    columns = (name_label, x_label, "from", "to")
    if not known:
        return empty_chart(title, columns=list(columns), x_label=x_label, y_label=name_label)
    noted = any(one.note for one in known)
    rows = _Rows(known, _HEAD * len(marks) + 4, _NOTED_ROW if noted else _ROW)
    ends = [end for one in known for end in (one.value, one.low, one.high)] + [mark.x for mark in marks]
    scale = scale_for([end for end in ends if math.isfinite(end)], zero=bars, fixed=x_range)
    names = [numerals.shorten(one.name, _NAME_LETTERS) for one in known]
    notes = [numerals.shorten(one.note, _NOTE_LETTERS) for one in known]
    longest = max([*(len(name) * LETTER for name in names), *(len(note) * LETTER * 0.85 for note in notes)])
    padding = Padding(top=8, left=16 + longest, right=52)
    body = [*x_axis(scale, x_label, grid=True, count=5), *_marks(marks, scale)]
    body += [part for index in range(len(known)) for part in _row(rows, index, scale, bars=bars)]
    body += [part for index in range(len(known)) for part in _names(rows, index, names[index], notes[index])]
    said = "; ".join(one.said() for one in known[:_DESCRIBED])
    more = f"; {len(known) - _DESCRIBED} more" if len(known) > _DESCRIBED else ""
    lines = "".join(f"; {mark.label} at {numerals.compact(mark.x)}" for mark in marks)
    description = f"{x_label} with intervals by {name_label}. {said}{more}{lines}."
    svg = drawing(title, description, body, height=rows.total, padding=padding)
    cells: tuple[tuple[Cell, ...], ...] = tuple(
        (one.name, one.value, one.low, one.high, *((one.note,) if noted else ())) for one in known
    )
    return Chart(title, svg, description, Table((*columns, *(("note",) if noted else ())), cells))


def _number(value: float) -> str:
    return numerals.column([value])[0] if abs(value) >= 10**-_DIGITS or not value else numerals.compact(value)


def _row(rows: _Rows, index: int, scale: Scale, *, bars: bool) -> list[str]:
    one, middle = rows.estimates[index], rows.middle(index)
    at = scale.place(one.value)
    parts = []
    if bars:
        zero, half = scale.place(0.0), rows.share(_THICK / 2)
        low, high = sorted((zero, at))
        box = {"x": percent(low), "y": percent(middle - half)}
        size = {"width": percent(high - low), "height": percent(2 * half)}
        parts.append(hinted("rect", one.said(), **box, **size, class_="bar s1"))
    if one.has_interval:
        parts += _whisker(scale.place(one.low), scale.place(one.high), middle, rows.share(_CAP))
    if not bars:
        parts.append(hinted("circle", one.said(), cx=percent(at), cy=percent(middle), r=5, class_="bar s1"))
    right = max(at, scale.place(one.high)) if one.has_interval else at
    parts.append(label(_number(one.value), x=percent(right), y=percent(middle), dx=8, dy="0.33em", class_="tick"))
    return parts


def _whisker(low: float, high: float, middle: float, cap: float) -> list[str]:
    level = {"y1": percent(middle), "y2": percent(middle)}
    upright = {"y1": percent(middle - cap), "y2": percent(middle + cap)}
    ends = [tag("line", x1=percent(end), x2=percent(end), **upright, class_="whisker") for end in (low, high)]
    return [tag("line", x1=percent(low), x2=percent(high), **level, class_="whisker"), *ends]


def _names(rows: _Rows, index: int, name: str, note: str) -> list[str]:
    one, y = rows.estimates[index], percent(rows.middle(index))
    whole = (hint(one.said()), words(name))
    if not note:
        return [tag("text", *whole, x=0, y=y, dx=-8, dy="0.33em", class_="tick end name")]
    return [
        tag("text", *whole, x=0, y=y, dx=-8, dy="-0.1em", class_="tick end name"),
        label(note, x=0, y=y, dx=-8, dy="1.15em", class_="tick end small"),
    ]


def _marks(marks: Sequence[Mark], scale: Scale) -> list[str]:
    parts = []
    for row, mark in enumerate(sorted(marks, key=lambda mark: mark.x)):
        share = scale.place(mark.x)
        if not math.isfinite(mark.x) or not 0 <= share <= 1:
            continue
        at, left = percent(share), share > 0.5  # noqa: PLR2004 - the half with more room
        parts.append(tag("line", x1=at, x2=at, y1="0", y2="100%", class_="mark"))
        text = numerals.shorten(mark.label, 24)
        parts.append(
            label(text, x=at, y=0, dx=-6 if left else 6, dy=10 + _HEAD * row, class_="marked end" if left else "marked")
        )
    return parts
