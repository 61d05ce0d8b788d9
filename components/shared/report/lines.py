"""Line and scatter charts."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from components.shared.report import numerals
from components.shared.report.figure import Band, Cell, Chart, Key, Mark, Series, Span, Table
from components.shared.report.frame import (
    HEIGHT,
    LETTER,
    Padding,
    colour,
    drawing,
    empty_chart,
    keys,
    left_room,
    plane,
    point,
    x_axis,
    y_axis,
)
from components.shared.report.scale import Scale, scale_for
from components.shared.report.svg import label, percent, tag

LINE_POINTS = 800
SCATTER_POINTS = 2000
TABLE_ROWS = 400
_DESCRIBED = 6
_FEW = 6  # thin marks that span the plot; more would look like its grid

Points = list[tuple[float, float]]


@dataclass(frozen=True)
class _Axes:
    x: Scale
    y: Scale

    def holds(self, points: Points) -> bool:
        """Whether no point lies outside of the plot."""
        known = [(self.x.place(x), self.y.place(y)) for x, y in points if not math.isnan(y)]
        slack = 1e-6
        return all(-slack <= share <= 1 + slack for pair in known for share in pair)


def line_chart(
    title: str,
    series: Sequence[Series],
    *,
    x_label: str,
    y_label: str,
    marks: Sequence[Mark] = (),
    spans: Sequence[Span | Band] = (),
    y_range: tuple[float, float] | None = None,
    x_range: tuple[float, float] | None = None,
) -> Chart:
    """Lines over a common x axis, in the order their points are given.

    A y that is ``None``, NaN or infinite leaves a gap. ``marks`` name positions on the x axis, ``spans`` shade
    stretches of it or the room between two lines. The ranges fix the ends of the axes; what lies outside is cut off.
    Pointing at the chart shows the values at that x.
    """
    lines = [_points(one) for one in series]
    known = [(x, y) for line in lines for x, y in line if not math.isnan(y)]
    if not known:
        return empty_chart(title, columns=[x_label, *(one.name for one in series)], x_label=x_label, y_label=y_label)
    bands, stretches = [one for one in spans if isinstance(one, Band)], [one for one in spans if isinstance(one, Span)]
    xs = [x for x, _ in known] + [mark.x for mark in marks] + [end for one in stretches for end in (one.low, one.high)]
    axes = _Axes(scale_for(xs, rounded=False, fixed=x_range), scale_for([y for _, y in known], fixed=y_range))
    padding = Padding(left=left_room(axes.y))
    curves = [_shaded(band, axes) for band in bands]
    curves += [
        path
        for i, line in enumerate(lines)
        for path in _curve(line, axes, i, dashed=series[i].dashed or i >= 8)  # noqa: PLR2004 - colours repeat from here
    ]
    clipped = not all(axes.holds(line) for line in lines)
    body = [*_spans(stretches, axes.x), *y_axis(axes.y, y_label, padding), *x_axis(axes.x, x_label)]
    body += [*_marks(marks, axes.x), plane(*curves, clipped=clipped)]
    description = f"Line chart of {y_label} over {x_label}: {_describe(series, lines)}{_named(marks, stretches)}."
    ends = {"data_from": repr(axes.x.low), "data_to": repr(axes.x.high)}
    svg = drawing(title, description, body, height=HEIGHT, padding=padding, **ends)
    legend = (
        *_line_keys(series),
        *(Key(band.name, "plain s1", "band") for band in bands),
        *_mark_keys(marks, stretches),
    )
    return Chart(title, svg, description, _line_table(series, lines, x_label), legend)


def scatter_chart(title: str, series: Sequence[Series], *, x_label: str, y_label: str, log: bool = False) -> Chart:
    """Points, thinned evenly to at most 2000 in all; ``log`` makes both axes logarithmic, for values above 0."""
    clouds = [
        [(x, y) for x, y in _points(one) if not math.isnan(y) and (not log or (x > 0 and y > 0))] for one in series
    ]
    total = sum(map(len, clouds))
    if not total:
        return empty_chart(title, columns=["series", "points"], x_label=x_label, y_label=y_label)
    axes = _Axes(
        scale_for([x for cloud in clouds for x, _ in cloud], log=log),
        scale_for([y for cloud in clouds for _, y in cloud], log=log),
    )
    padding = Padding(left=left_room(axes.y))
    ends = [0, *itertools.accumulate(map(len, clouds))]
    quotas = [SCATTER_POINTS * end // total for end in ends]
    drawn = [_thinned(cloud, after - before) for cloud, before, after in zip(clouds, quotas, quotas[1:], strict=False)]
    shown = sum(map(len, drawn))
    note = f" ({shown:,} of {total:,} points drawn)" if shown < total else ""
    dots = [_dots(cloud, axes, f"cloud {colour(i)}") for i, cloud in enumerate(drawn) if cloud]
    body = [*y_axis(axes.y, y_label, padding), *x_axis(axes.x, x_label + note, grid=True), plane(*dots)]
    description = f"Scatter chart of {y_label} against {x_label}: {total:,} points{note}."
    svg = drawing(title, description, body, height=HEIGHT, padding=padding)
    names = [one.name for one in series]
    return Chart(title, svg, description, _cloud_table(names, clouds, x_label, y_label), keys(names, "dot"))


def _points(series: Series) -> Points:
    pairs = zip(map(numerals.finite, series.x), map(numerals.finite, series.y), strict=False)
    return [(x, y) for x, y in pairs if not math.isnan(x)]


def _curve(line: Points, axes: _Axes, index: int, *, dashed: bool) -> list[str]:
    """Paths of one line: its pieces between gaps, and dots for points without neighbours."""
    pieces = [list(group) for gap, group in itertools.groupby(line, lambda pair: math.isnan(pair[1])) if not gap]
    lone = [piece[0] for piece in pieces if len(piece) == 1]
    drawn = "".join(_path(_peaks(piece), axes) for piece in pieces if len(piece) > 1)
    style = f"line {colour(index)} dashed" if dashed else f"line {colour(index)}"
    paths = [tag("path", d=drawn, class_=style)] if drawn else []
    return [*paths, _dots(lone, axes, f"dot {colour(index)}")] if lone else paths


def _shaded(band: Band, axes: _Axes) -> str:
    edge = [*zip(band.x, band.high, strict=True), *reversed(list(zip(band.x, band.low, strict=True)))]
    return tag("path", d=f"{_path(edge, axes)}Z" if edge else "", class_="band s1")


def _path(piece: Points, axes: _Axes) -> str:
    return "M" + "L".join(point(axes.x.place(x), axes.y.place(y)) for x, y in piece)


def _dots(points: Points, axes: _Axes, style: str) -> str:
    """Round dots of one size: lines without length, whose caps the stretched plane does not distort."""
    return tag("path", d="".join(f"M{point(axes.x.place(x), axes.y.place(y))}h0" for x, y in points), class_=style)


def _peaks(piece: Points) -> Points:
    """At most ``LINE_POINTS`` points of a line, keeping the lowest and highest of each stretch."""
    if len(piece) <= LINE_POINTS:
        return piece
    keep = {0, len(piece) - 1}
    for stretch in np.array_split(np.arange(len(piece)), LINE_POINTS // 2):
        heights = [piece[i][1] for i in stretch]
        keep |= {int(stretch[int(np.argmin(heights))]), int(stretch[int(np.argmax(heights))])}
    return [piece[i] for i in sorted(keep)]


def _thinned(points: Points, count: int) -> Points:
    if len(points) <= count:
        return points
    return [points[int(i)] for i in np.linspace(0, len(points) - 1, count)]


def _marks(marks: Sequence[Mark], scale: Scale) -> list[str]:
    """Vertical lines with their names; names take turns in height so that neighbours stay readable."""
    inside = [mark for mark in marks if math.isfinite(mark.x) and 0 <= scale.place(mark.x) <= 1]
    places = [percent(scale.place(mark.x)) for mark in inside if mark.thin]
    top = "0" if len(places) <= _FEW else "90%"
    parts = [tag("line", x1=at, x2=at, y1=top, y2="100%", class_="rule-thin") for at in dict.fromkeys(places)]
    for row, mark in enumerate(sorted((mark for mark in inside if not mark.thin), key=lambda mark: mark.x)):
        share = scale.place(mark.x)
        at, left = percent(share), share > 0.5  # noqa: PLR2004 - the half with more room
        parts.append(tag("line", x1=at, x2=at, y1="0", y2="100%", class_="mark"))
        side = "marked end" if left else "marked"
        text = numerals.shorten(mark.label, int(220 / LETTER))
        parts.append(label(text, x=at, y=0, dx=-6 if left else 6, dy=11 + 15 * (row % 4), class_=side))
    return parts


def _spans(spans: Sequence[Span], scale: Scale) -> list[str]:
    parts = []
    for span in spans:
        low, high = (max(0.0, min(1.0, scale.place(numerals.finite(end)))) for end in (span.low, span.high))
        if low < high:
            parts.append(tag("rect", x=percent(low), y="0", width=percent(high - low), height="100%", class_="span"))
    return parts


def _mark_keys(marks: Sequence[Mark], spans: Sequence[Span]) -> tuple[Key, ...]:
    """What the legend says of marks without a name of their own in the plot, and of shaded stretches."""
    thin = dict.fromkeys(mark.label for mark in marks if mark.thin)
    shaded = dict.fromkeys(span.label for span in spans)
    return (*(Key(name, "plain", "rule-thin") for name in thin), *(Key(name, "plain", "span") for name in shaded))


def _line_keys(series: Sequence[Series]) -> tuple[Key, ...]:
    plain = keys([one.name for one in series], "line")
    dashed = {i for i, one in enumerate(series) if one.dashed or i >= 8}  # noqa: PLR2004 - colours repeat from here
    return tuple(replace(key, mark="dashes") if i in dashed else key for i, key in enumerate(plain))


def _line_table(series: Sequence[Series], lines: Sequence[Points], x_label: str) -> Table:
    places = sorted({x for line in lines for x, _ in line})
    if len(places) > TABLE_ROWS:
        places = [places[int(i)] for i in np.linspace(0, len(places) - 1, TABLE_ROWS)]
    known = [dict(line) for line in lines]
    whole = all(x.is_integer() for x in places)
    rows: list[tuple[Cell, ...]] = [
        (int(x) if whole else x, *(values.get(x, math.nan) for values in known)) for x in places
    ]
    return Table((x_label, *(one.name for one in series)), tuple(rows))


def _cloud_table(names: Sequence[str], clouds: Sequence[Points], x_label: str, y_label: str) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for name, cloud in zip(names, clouds, strict=True):
        cells: list[Cell] = [name, len(cloud)]
        for axis in (0, 1):
            values = [pair[axis] for pair in cloud]
            cells += [float(v) for v in np.percentile(values, [0, 50, 100])] if values else [None, None, None]
        rows.append(tuple(cells))
    columns = [f"{axis}, {what}" for axis in (x_label, y_label) for what in ("lowest", "median", "highest")]
    return Table(("series", "points", *columns), tuple(rows))


def _describe(series: Sequence[Series], lines: Sequence[Points]) -> str:
    parts = []
    for one, line in list(zip(series, lines, strict=True))[:_DESCRIBED]:
        known = [y for _, y in line if not math.isnan(y)]
        if known:
            first, last, low, high = map(numerals.compact, (known[0], known[-1], min(known), max(known)))
            parts.append(f"{one.name} goes from {first} to {last} (lowest {low}, highest {high})")
    more = f"; {len(series) - _DESCRIBED} more lines" if len(series) > _DESCRIBED else ""
    return "; ".join(parts) + more


def _named(marks: Sequence[Mark], spans: Sequence[Span]) -> str:
    points = "".join(f"; {mark.label} at {numerals.compact(mark.x)}" for mark in marks)
    stretches = (f"; {span.label} from {numerals.compact(span.low)} to {numerals.compact(span.high)}" for span in spans)
    return points + "".join(stretches)
