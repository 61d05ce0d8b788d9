"""Heat maps: a grid of values shaded from the page's ground to its first colour, with or without names."""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from components.shared.report import numerals
from components.shared.report.figure import Cell, Chart, Table
from components.shared.report.frame import described, empty_chart
from components.shared.report.svg import hint, label, tag, words

_PLANE = 320.0  # pixels of the longer side of a map without names
_CELL = ((8, 44), (14, 34), (24, 24), (40, 16))  # names up to, pixels of a cell
_SMALLEST = 10
_NUMBERED = 30  # pixels a cell needs to hold a number
_STRONG = 0.6
_SIN_45 = 0.71

Grid = npt.NDArray[np.float64]


def heat_map(
    title: str, grid: Sequence[Sequence[float]] | Grid, *, x_label: str, y_label: str, value: str, aspect: float = 1.0
) -> Chart:
    """A plane seen from above, such as where in their images objects lie.

    Args:
        title: what it answers.
        grid: rows from top to bottom, columns from left to right; values of 0 and more.
        x_label: name of the horizontal axis.
        y_label: name of the vertical axis.
        value: what a cell's value is, for its hint and the table.
        aspect: width of the plane over its height.
    """
    values = _grid(grid)
    if not values.size or not values.max():
        return empty_chart(title, columns=[y_label, x_label, value], x_label=x_label, y_label=y_label)
    rows, columns = values.shape
    width, height = (_PLANE, _PLANE / aspect) if aspect >= 1 else (_PLANE * aspect, _PLANE)
    left, top = 8.0, 22.0
    across, down = width / columns, height / rows
    cells = [
        tag(
            "rect",
            hint(f"{numerals.compact(float(values[row, column]))} {value}"),
            x=left + column * across,
            y=top + row * down,
            width=across + 0.3,  # no hairlines between neighbours
            height=down + 0.3,
            fill_opacity=_opacity(values[row, column], values.max()),
            class_="s1 bar",
        )
        for row in range(rows)
        for column in range(columns)
        if values[row, column]
    ]
    row, column = np.unravel_index(int(values.argmax()), values.shape)
    description = (
        f"Heat map of {rows} by {columns} cells. The most {value} ({numerals.compact(float(values.max()))}) lie "
        f"{_place(column, columns, ('left', 'centre', 'right'))}, {_place(row, rows, ('top', 'middle', 'bottom'))}."
    )
    body = [
        label(f"{y_label} ↓", x=left, y=14, class_="axis"),
        label(f"{x_label} →", x=left + width, y=top + height + 16, class_="axis end"),
        tag("rect", x=left, y=top, width=width, height=height, class_="field"),
        *cells,
    ]
    size = (width + 2 * left, top + height + 24)
    strong = [(float(values[i, j]), i + 1, j + 1) for i, j in zip(*np.nonzero(values > values.max() / 4), strict=True)]
    table = tuple((int(i), int(j), number) for number, i, j in sorted(strong, reverse=True))
    data = Table((f"{y_label} (row)", f"{x_label} (column)", value), table)
    return Chart(title, _svg(title, description, body, size, size[0] * 0.6), description, data)


def named_heat_map(
    title: str, names: Sequence[str], grid: Sequence[Sequence[float]] | Grid, *, row: str, column: str, value: str
) -> Chart:
    """A square table of values by name and name, such as how many images show two classes together.

    Shading is the value's share of the row's diagonal, so a cell says how much of its row's own goes with a column.
    """
    values = _grid(grid)
    if not values.size or not values.max():
        return empty_chart(title, columns=[row, column, value], x_label=column, y_label=row)
    size = len(names)
    cell = float(next((pixels for most, pixels in _CELL if size <= most), _SMALLEST))
    letters = min(12.0, cell - 1.0)
    shown = [numerals.shorten(str(name), 16) for name in names]
    room = max(map(len, shown)) * letters * 0.58 + 12
    top, side = 26.0, cell * size
    body = [
        label(f"{row} ↓", x=2, y=14, class_="axis"),
        label(f"{column} →", x=room + side, y=top + side + room * _SIN_45 + 26, class_="axis end"),
        tag("rect", x=room, y=top, width=side, height=side, class_="field"),
        *_names(shown, cell, room, top),
        *_named_cells(names, values, cell, (room, top), value),
    ]
    pairs = [(values[i, j], names[i], names[j]) for i in range(size) for j in range(i) if values[i, j]]
    pairs.sort(key=lambda pair: (-pair[0], pair[1], pair[2]))
    said = ", ".join(f"{a} with {b} ({numerals.compact(float(count))})" for count, a, b in pairs[:3])
    description = f"{size} by {size} table of {value}. " + (f"Most often: {said}." if said else "No two go together.")
    data: tuple[tuple[Cell, ...], ...] = tuple((a, b, int(count)) for count, a, b in pairs)
    total = (room + side + 8, top + side + room * _SIN_45 + 34)
    narrowest = total[0] * 0.75 if size <= _CELL[0][0] else total[0]
    svg = _svg(title, description, body, total, narrowest, letters)
    return Chart(title, svg, description, Table((row, column, value), data))


def _grid(grid: Sequence[Sequence[float]] | Grid) -> Grid:
    values = np.atleast_2d(np.asarray(grid, dtype=np.float64))
    return np.where(np.isfinite(values) & (values > 0), values, 0.0)


def _opacity(value: float, most: float) -> str:
    return f"{0.06 + 0.94 * math.sqrt(value / most):.2f}"


def _place(index: int | np.integer, count: int, names: tuple[str, str, str]) -> str:
    return names[int((int(index) + 0.5) / count * 3)]


def _names(shown: Sequence[str], cell: float, left: float, top: float) -> list[str]:
    parts = []
    bottom = top + cell * len(shown)
    for i, text in enumerate(shown):
        middle = cell * (i + 0.5)
        parts.append(tag("text", words(text), x=left - 6, y=top + middle, dy="0.35em", class_="name end"))
        turn = f"translate({left + middle + 3:.1f} {bottom + 10:.1f}) rotate(-45)"
        parts.append(tag("text", words(text), transform=turn, class_="name end"))
    return parts


def _named_cells(names: Sequence[str], values: Grid, cell: float, origin: tuple[float, float], value: str) -> list[str]:
    parts = []
    for i, j in zip(*np.nonzero(values), strict=True):
        share = min(1.0, values[i, j] / (values[i, i] or values[i].max()))
        x, y = origin[0] + j * cell, origin[1] + i * cell
        text = f"{names[i]} with {names[j]}: {int(values[i, j]):,} {value} ({share:.1%} of those with {names[i]})"
        box = {"x": x + 0.5, "y": y + 0.5, "width": cell - 1, "height": cell - 1}
        parts.append(tag("rect", hint(text), **box, fill_opacity=_opacity(share, 1.0), class_="s1 bar"))
        if cell >= _NUMBERED:
            style = "number strong middle" if share >= _STRONG**2 else "number middle"
            middle = {"x": x + cell / 2, "y": y + cell / 2}
            parts.append(label(numerals.compact(float(values[i, j])), **middle, dy="0.35em", class_=style))
    return parts


def _svg(
    title: str, description: str, body: Sequence[str], size: tuple[float, float], narrowest: float, letters: float = 12
) -> str:
    inside, pointers = described(title, description)
    style = f"font-size:{letters:.0f}px;max-width:{size[0] * 1.25:.0f}px;min-width:{narrowest:.0f}px"
    frame = {"viewBox": f"0 0 {size[0]:.0f} {size[1]:.0f}"}
    return tag("svg", inside, *body, class_="matrix", style=style, **frame, **pointers)
