"""Confusion matrices: shading is the share of the row, the diagonal has a colour of its own."""

from collections.abc import Sequence

from components.shared.report import numerals
from components.shared.report.figure import Cell, Chart, Table
from components.shared.report.frame import described, empty_chart
from components.shared.report.svg import hint, label, tag, words

_SIZES = ((5, 52), (9, 42), (14, 36), (24, 30), (40, 18), (60, 14))  # labels up to, pixels of a cell
_SMALLEST = 10
_NUMBERED = 30  # pixels a cell needs to hold a count
_STRONG = 0.55  # share of the row from which a cell's text is drawn in the colour of the page
_WHOLE_TABLE = 12
_SIN_45 = 0.71
_SHRINKING = 9  # labels up to which a matrix shrinks with a phone's screen; larger ones scroll in their box

Counts = list[list[int]]


def matrix_chart(
    title: str, labels: Sequence[str], matrix: Sequence[Sequence[int]], *, x_label: str, y_label: str
) -> Chart:
    """Counts by row (``y_label``, the truth) and column (``x_label``, the prediction), shaded by share of the row.

    Counts are written into the cells while they are large enough. Labels are made up or added where there are fewer
    than rows or columns; counts that are missing are 0.
    """
    size = max([len(labels), len(matrix), *(len(row) for row in matrix)])
    names = [str(name) for name in labels] + [f"#{i}" for i in range(len(labels), size)]
    counts = [_whole(matrix[i] if i < len(matrix) else (), size) for i in range(size)]
    total = sum(map(sum, counts))
    if not total:
        return empty_chart(title, columns=[y_label, x_label, "count"], x_label=x_label, y_label=y_label)
    right = sum(counts[i][i] for i in range(size))
    description = (
        f"Matrix of {y_label} (rows) against {x_label} (columns) for {size} labels: {right:,} of {total:,} lie on the "
        f"diagonal ({right / total:.1%}). {_worst(names, counts)}"
    )
    svg = _drawn(title, description, names, counts, (x_label, y_label))
    return Chart(title, svg, description, _table(names, counts, x_label, y_label))


def _whole(row: Sequence[int], size: int) -> list[int]:
    known = [numerals.finite(value) for value in row]
    return [int(value) if value > 0 else 0 for value in known] + [0] * (size - len(known))


def _drawn(title: str, description: str, names: list[str], counts: Counts, labels: tuple[str, str]) -> str:
    size = len(names)
    cell = next((pixels for most, pixels in _SIZES if size <= most), _SMALLEST)
    letters = min(12.0, cell - 1.0)
    shown = [numerals.shorten(name, 16) for name in names]
    room = max(map(len, shown)) * letters * 0.58 + 12
    top, side = 26.0, cell * size
    below = room * _SIN_45 + 12
    width, height = room + side + 8, top + side + below + 18
    inside, pointers = described(title, description)
    body = [
        label(f"{labels[1]} ↓", x=2, y=14, class_="axis"),
        label(f"{labels[0]} →", x=room + side, y=height - 4, class_="axis end"),
        tag("rect", x=room, y=top, width=side, height=side, class_="field"),
        *_names(names, shown, cell, room, top + side),
        *_cells(names, counts, cell, (room, top)),
    ]
    frame = {"viewBox": f"0 0 {width:.0f} {height:.0f}"}
    narrowest = width * 0.75 if size <= _SHRINKING else width
    style = f"font-size:{letters:.0f}px;max-width:{width:.0f}px;min-width:{narrowest:.0f}px"
    return tag("svg", inside, *body, class_="matrix", style=style, **frame, **pointers)


def _names(names: list[str], shown: list[str], cell: float, left: float, bottom: float) -> list[str]:
    parts = []
    for i, (name, text) in enumerate(zip(names, shown, strict=True)):
        inside = (hint(name), words(text)) if name != text else (words(text),)
        middle = cell * (i + 0.5)
        top = bottom - cell * len(names)
        parts.append(tag("text", *inside, x=left - 6, y=top + middle, dy="0.35em", class_="name end"))
        turn = f"translate({left + middle + 3:.1f} {bottom + 10:.1f}) rotate(-45)"
        parts.append(tag("text", *inside, transform=turn, class_="name end"))
    return parts


def _cells(names: list[str], counts: Counts, cell: float, origin: tuple[float, float]) -> list[str]:
    parts = []
    gap = 1.0 if cell > 14 else 0.5  # noqa: PLR2004 - small cells need their pixels
    for i, row in enumerate(counts):
        whole = sum(row) or 1
        for j, count in enumerate(row):
            if not count:
                continue
            x, y, share = origin[0] + j * cell, origin[1] + i * cell, count / whole
            text = f"{names[i]} → {names[j]}: {count:,} ({share:.1%} of the row)"
            place = {"x": x + gap / 2, "y": y + gap / 2, "width": cell - gap, "height": cell - gap}
            kind = "right" if i == j else "wrong"
            strength = f"{0.08 + 0.92 * share**0.8:.2f}"
            parts.append(tag("rect", hint(text), **place, fill_opacity=strength, class_=kind))
            if cell >= _NUMBERED:
                style = "number strong middle" if share >= _STRONG else "number middle"
                middle = {"x": x + cell / 2, "y": y + cell / 2}
                parts.append(label(numerals.compact(count), **middle, dy="0.35em", class_=style))
    return parts


def _confusions(counts: Counts) -> list[tuple[int, int, int]]:
    pairs = [(count, i, j) for i, row in enumerate(counts) for j, count in enumerate(row) if count]
    return sorted(pairs, key=lambda pair: (-pair[0], pair[1], pair[2]))


def _worst(names: list[str], counts: Counts) -> str:
    worst = [(count, i, j) for count, i, j in _confusions(counts) if i != j][:3]
    said = ", ".join(f"{names[i]} as {names[j]} ({count:,})" for count, i, j in worst)
    return f"Most often off it: {said}." if said else "None lies off it."


def _table(names: list[str], counts: Counts, x_label: str, y_label: str) -> Table:
    if len(names) <= _WHOLE_TABLE:
        return Table(
            (f"{y_label} \\ {x_label}", *names), tuple((n, *row) for n, row in zip(names, counts, strict=True))
        )
    rows: list[tuple[Cell, ...]] = [
        (names[i], names[j], count, count / sum(counts[i])) for count, i, j in _confusions(counts)
    ]
    return Table((y_label, x_label, "count", "share of row"), tuple(rows))
