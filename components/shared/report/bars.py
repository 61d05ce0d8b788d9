"""Bar charts, standing or lying."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral

from components.shared.report import numerals
from components.shared.report.figure import Cell, Chart, Table
from components.shared.report.frame import (
    HEIGHT,
    LETTER,
    Padding,
    axis_name,
    base_line,
    colour,
    drawing,
    empty_chart,
    hinted,
    keys,
    left_room,
    x_axis,
    y_axis,
)
from components.shared.report.scale import Scale, scale_for
from components.shared.report.svg import hint, label, percent, tag, words

_NAME_LETTERS = 20
_NARROW = 250.0  # pixels of plot on a phone
_DESCRIBED = 5


@dataclass(frozen=True)
class _Bar:
    """One bar: its category and place beside its neighbours (shares of the axis), its ends as values."""

    category: int
    series: int
    start: float
    end: float
    value: float
    lane: float
    thickness: float


@dataclass(frozen=True)
class _Bars:
    """Values of a bar chart, a list of the categories' length a series, NaN where there is none; ``counted``: whole."""

    categories: tuple[str, ...]
    names: tuple[str, ...]
    values: tuple[tuple[float, ...], ...]
    stacked: bool
    counted: bool

    def bars(self) -> Iterator[_Bar]:
        """Bars in the order they are drawn."""
        count, lanes = len(self.categories), 1 if self.stacked else len(self.names)
        gap = 0.28 / count
        thickness = (1 / count - gap) / lanes
        for i in range(count):
            ends = {True: 0.0, False: 0.0}
            for j, values in enumerate(self.values):
                if math.isnan(values[i]):
                    continue
                start = ends[values[i] < 0] if self.stacked else 0.0
                ends[values[i] < 0] = start + values[i]
                lane = i / count + gap / 2 + (0.0 if self.stacked else j * thickness)
                yield _Bar(i, j, start, start + values[i], values[i], lane, thickness)

    def hint(self, bar: _Bar) -> str:
        """What to say about one bar."""
        name = f"{self.categories[bar.category]}, {self.names[bar.series]}" if len(self.names) > 1 else ""
        return f"{name or self.categories[bar.category]}: {numerals.compact(bar.value)}"


def bar_chart(
    title: str,
    categories: Sequence[str],
    series: Mapping[str, Sequence[float]],
    *,
    x_label: str,
    y_label: str,
    stacked: bool = False,
    horizontal: bool = False,
) -> Chart:
    """One bar per category and series, beside each other or ``stacked``; values that are not finite are left out.

    ``x_label`` names the axis of the categories, ``y_label`` that of the values, whichever way the bars lie.
    Lying bars (``horizontal``) grow in height with their number; standing bars lie down by themselves when the names
    of their categories would not fit side by side on a phone.
    """
    names = tuple(map(str, categories))
    values = tuple(_padded(column, len(names)) for column in series.values())
    data = _Bars(names, tuple(series), values, stacked, counted=_are_counts(series, len(names)))
    if not names or not numerals.finite_values(value for column in values for value in column):
        return empty_chart(title, columns=[x_label, *series], x_label=x_label, y_label=y_label)
    ends = [bar.end for bar in data.bars()]
    scale = scale_for(ends, zero=True)
    description = _describe(data, x_label, y_label)
    build = _lying if horizontal or not _fit_side_by_side(names) else _standing
    svg = build(title, description, data, scale, (x_label, y_label))
    cell = int if data.counted else float
    rows: list[tuple[Cell, ...]] = [(name, *(cell(column[i]) for column in values)) for i, name in enumerate(names)]
    return Chart(title, svg, description, Table((x_label, *series), tuple(rows)), keys(data.names, "box"))


def _padded(values: Sequence[float], count: int) -> tuple[float, ...]:
    known = [numerals.finite(value) for value in values][:count]
    return (*known, *([math.nan] * (count - len(known))))


def _are_counts(series: Mapping[str, Sequence[float]], count: int) -> bool:
    """Whether every value was given as a whole number, to be shown as one."""
    return all(len(column) >= count and all(isinstance(v, Integral) for v in column) for column in series.values())


def _fit_side_by_side(names: Sequence[str]) -> bool:
    longest = max(len(name) for name in names)
    return all(map(_is_number, names)) or len(names) * (longest * LETTER + 6) <= _NARROW


def _is_number(text: str) -> bool:
    return text.replace(".", "", 1).removeprefix("-").isdigit()


def _standing(title: str, description: str, data: _Bars, scale: Scale, labels: tuple[str, str]) -> str:
    padding = Padding(left=left_room(scale))
    body = y_axis(scale, labels[1], padding)
    for bar in data.bars():
        low, high = sorted((scale.place(bar.start), scale.place(bar.end)))
        box = {"x": percent(bar.lane), "y": percent(1 - high)}
        size = {"width": percent(bar.thickness), "height": percent(high - low)}
        body.append(hinted("rect", data.hint(bar), **box, **size, class_=_style(bar, data)))
    count = len(data.categories)
    longest = max(len(name) for name in data.categories)
    every = max(1, math.ceil(count * (longest * LETTER + 6) / _NARROW))
    for i in range(0, count, every):
        body.append(label(data.categories[i], x=percent((i + 0.5) / count), y="100%", dy=17, class_="tick middle"))
    body += [_zero(scale, lying=False), axis_name(labels[0])]
    return drawing(title, description, body, height=HEIGHT, padding=padding)


def _lying(title: str, description: str, data: _Bars, scale: Scale, labels: tuple[str, str]) -> str:
    count = len(data.categories)
    shown = [numerals.shorten(name, _NAME_LETTERS) for name in data.categories]
    valued = len(data.names) == 1
    padding = Padding(left=16 + LETTER * max(map(len, shown)), right=46 if valued else 16)
    body = [label(labels[0], x=0, y=0, dx=-padding.left + 2, dy=-14, class_="axis")]
    body += x_axis(scale, labels[1], grid=True, count=5)
    numbers = [bar.value for bar in data.bars()]
    said = [f"{number:,.0f}" for number in numbers] if data.counted else numerals.column(numbers)
    for bar, value in zip(data.bars(), said, strict=True):
        low, high = sorted((scale.place(bar.start), scale.place(bar.end)))
        box = {"x": percent(low), "y": percent(bar.lane)}
        size = {"width": percent(high - low), "height": percent(bar.thickness)}
        body.append(hinted("rect", data.hint(bar), **box, **size, class_=_style(bar, data)))
        if valued:
            middle = percent(bar.lane + bar.thickness / 2)
            body.append(label(value, x=percent(high), y=middle, dx=6, dy="0.33em", class_="tick"))
    for i, (name, text) in enumerate(zip(data.categories, shown, strict=True)):
        inside = (hint(name), words(text)) if name != text else (words(text),)
        middle = percent((i + 0.5) / count)
        body.append(tag("text", *inside, x=0, y=middle, dx=-8, dy="0.33em", class_="tick end name"))
    body.append(_zero(scale, lying=True))
    return drawing(title, description, body, height=count * _row_height(data), padding=padding)


def _style(bar: _Bar, data: _Bars) -> str:
    return f"bar {colour(bar.series)} bin" if data.stacked else f"bar {colour(bar.series)}"


def _row_height(data: _Bars) -> float:
    lanes = 1 if data.stacked else len(data.names)
    many = 40
    return max(18.0 if len(data.categories) > many else 24.0, 10.0 * lanes + 6)


def _zero(scale: Scale, *, lying: bool) -> str:
    """The line bars start from."""
    if not lying:
        at = percent(1 - scale.place(0.0))
        return tag("line", x1="0", x2="100%", y1=at, y2=at, class_="base") if scale.low < 0 else base_line()
    at = percent(scale.place(0.0))
    return tag("line", x1=at, x2=at, y1="0", y2="100%", class_="zero")


def _describe(data: _Bars, x_label: str, y_label: str) -> str:
    parts = []
    for name, values in zip(data.names, data.values, strict=True):
        known = sorted(
            ((value, category) for value, category in zip(values, data.categories, strict=True) if value == value),  # noqa: PLR0124 - false for NaN
            reverse=True,
        )
        top = ", ".join(f"{category} {numerals.compact(value)}" for value, category in known[:_DESCRIBED])
        parts.append(f"{name}: highest {top}" if len(known) > _DESCRIBED else f"{name}: {top}")
    return f"Bar chart of {y_label} by {x_label}, {len(data.categories)} in all. {'; '.join(parts[:_DESCRIBED])}."
