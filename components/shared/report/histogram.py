"""Histograms: how values are distributed, one group filled, several as outlines over shared bins."""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from components.shared.report import numerals
from components.shared.report.figure import Cell, Chart, Table
from components.shared.report.frame import (
    HEIGHT,
    Padding,
    colour,
    drawing,
    empty_chart,
    hinted,
    keys,
    left_room,
    plane,
    point,
    x_axis,
    y_axis,
)
from components.shared.report.scale import Scale, nice_step, scale_for
from components.shared.report.svg import percent, tag

_EXACT = 1e9  # whole numbers up to here have halves between them to put the edges at

Floats = npt.NDArray[np.float64]
Heights = npt.NDArray[np.int64] | npt.NDArray[np.float64]  # counts, or percentages of the group


def histogram(
    title: str,
    groups: Mapping[str, Sequence[float] | npt.NDArray[np.number]],
    *,
    bins: int = 30,
    x_label: str,
    y_label: str = "count",
    log_x: bool = False,
    shares: bool = False,
) -> Chart:
    """Counts of values in about ``bins`` bins of one width (one ratio with ``log_x``); several groups share the bins.

    Values that are not finite, and with ``log_x`` those not above 0, are left out. With ``shares`` a bin's height is
    its percentage of its group, so that groups of different sizes can be compared.
    """
    values = {name: _known(column, log_x=log_x) for name, column in groups.items()}
    everything = np.concatenate([*values.values(), np.empty(0)])
    if not everything.size:
        return empty_chart(title, columns=["from", "to", *groups], x_label=x_label, y_label=y_label)
    edges = _edges(everything, max(1, bins), log_x=log_x)
    counts: dict[str, Heights] = {
        name: np.histogram(np.clip(column, edges[0], edges[-1]), edges)[0] for name, column in values.items()
    }
    if shares:
        counts = {name: column * 100.0 / max(1, column.sum()) for name, column in counts.items()}
    x = Scale(float(edges[0]), float(edges[-1]), log=log_x)
    y = scale_for([float(count) for column in counts.values() for count in column], zero=True)
    padding = Padding(left=left_room(y))
    description = _describe(values, x_label)
    bars = _filled if len(counts) == 1 else _outlined
    body = [*y_axis(y, y_label, padding), *bars(counts, edges, x, y), *x_axis(x, x_label)]
    svg = drawing(title, description, body, height=HEIGHT, padding=padding)
    return Chart(title, svg, description, _table(counts, edges), keys(list(groups), "box"))


def _known(values: Sequence[float] | npt.NDArray[np.number], *, log_x: bool) -> Floats:
    if isinstance(values, np.ndarray):
        known = values.astype(np.float64)
        known = known[np.isfinite(known)]
    else:
        known = np.asarray(numerals.finite_values(values), dtype=np.float64)
    return known[known > 0] if log_x else known


def _edges(values: Floats, bins: int, *, log_x: bool) -> Floats:
    low, high = float(values.min()), float(values.max())
    if log_x:
        scale = scale_for([low, high], log=True, rounded=False)
        return np.geomspace(scale.low, scale.high, bins + 1)
    if bool(np.all(values == np.round(values))) and high - low < bins and max(abs(low), abs(high)) < _EXACT:
        return np.arange(low - 0.5, high + 1.0, 1.0)
    scale = scale_for([low, high], rounded=False)
    step = nice_step((scale.high - scale.low) / bins)
    first, last = np.floor(scale.low / step), np.ceil(scale.high / step)
    return np.arange(first, max(last, first + 1) + 0.5) * step


def _filled(counts: Mapping[str, Heights], edges: Floats, x: Scale, y: Scale) -> list[str]:
    parts = []
    for column in counts.values():
        for i, count in enumerate(column):
            left, right, high = x.place(edges[i]), x.place(edges[i + 1]), y.place(float(count))
            box = {"x": percent(left), "width": percent(right - left), "y": percent(1 - high), "height": percent(high)}
            text = f"{numerals.compact(edges[i])} to {numerals.compact(edges[i + 1])}: {_said(count)}"
            parts.append(hinted("rect", text, **box, class_=f"bar bin {colour(0)}") if count else "")
    return parts


def _outlined(counts: Mapping[str, Heights], edges: Floats, x: Scale, y: Scale) -> list[str]:
    paths = []
    for i, column in enumerate(counts.values()):
        steps = [point(x.place(edges[0]), 0.0)]
        for j, count in enumerate(column):
            high = y.place(float(count))
            steps += [point(x.place(edges[j]), high), point(x.place(edges[j + 1]), high)]
        steps.append(point(x.place(edges[-1]), 0.0))
        paths.append(tag("path", d="M" + "L".join(steps), class_=f"line area {colour(i)}"))
    return [plane(*paths)]


def _table(counts: Mapping[str, Heights], edges: Floats) -> Table:
    rows: list[tuple[Cell, ...]] = [
        (float(edges[i]), float(edges[i + 1]), *(column[i].item() for column in counts.values()))
        for i in range(len(edges) - 1)
    ]
    return Table(("from", "to", *counts), tuple(rows))


def _said(height: float) -> str:
    return f"{height:.1f} %" if isinstance(height, float) else f"{height:,}"


def _describe(values: Mapping[str, Floats], x_label: str) -> str:
    parts = []
    for name, column in values.items():
        if column.size:
            low, middle, high = (numerals.compact(float(v)) for v in np.percentile(column, [0, 50, 100]))
            parts.append(f"{name}: {column.size:,} values from {low} to {high}, median {middle}")
        else:
            parts.append(f"{name}: no values")
    return f"Histogram of {x_label}. {'; '.join(parts)}."
