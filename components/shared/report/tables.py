"""Tables of a report: each cell as the text a person reads and the value it sorts by."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from components.shared.report import numerals
from components.shared.report.figure import Cell, Table

MAX_ROWS = 1000


@dataclass(frozen=True)
class Linked:
    """A cell with links (text, path relative to the page), a level that colours it, or a note below its row."""

    text: str
    links: tuple[tuple[str, str], ...] = ()
    level: str = ""
    note: str = ""


@dataclass(frozen=True)
class ShownCell:
    """A cell ready for the page: ``sort`` is what it sorts by, empty when it is missing."""

    text: str
    sort: str
    numeric: bool
    linked: Linked | None = None


@dataclass(frozen=True)
class TableBlock:
    """A table ready for the page; ``numeric`` says which columns hold numbers."""

    columns: tuple[str, ...]
    numeric: tuple[bool, ...]
    rows: tuple[tuple[ShownCell, ...], ...]
    caption: str = ""
    folded: bool = False
    sortable: bool = True
    left_out: int = 0
    kind: str = field(default="table", init=False)

    @property
    def total(self) -> int:
        """Rows there were before the table was cut."""
        return len(self.rows) + self.left_out


def table_block(
    columns: Sequence[str],
    rows: Sequence[Sequence[Cell | Linked]],
    *,
    caption: str = "",
    folded: bool = False,
    sortable: bool = True,
) -> TableBlock:
    """Cells as text: floats of a column share their decimals, missing ones are an en dash; at most 1000 rows."""
    width = len(columns)
    kept = [[*map(_plain, row), *[None] * (width - len(row))][:width] for row in rows[:MAX_ROWS]]
    shown = [_column([row[i] for row in kept]) for i in range(width)]
    numeric = tuple(any(cell.numeric for cell in column) for column in shown)
    cells = tuple(zip(*shown, strict=True))
    return TableBlock(tuple(columns), numeric, cells, caption, folded, sortable, max(0, len(rows) - MAX_ROWS))


def data_block(table: Table) -> TableBlock:
    """The table behind a chart."""
    return table_block(table.columns, table.rows, sortable=False)


def _plain(value: Cell | Linked) -> Cell | Linked:
    """Values of numpy as those of Python."""
    unwrapped: Cell | Linked = value.item() if isinstance(value, np.generic) else value
    return unwrapped


def _column(values: Sequence[Cell | Linked]) -> list[ShownCell]:
    floats = iter(numerals.column([value for value in values if isinstance(value, float)]))
    return [_cell(value, next(floats) if isinstance(value, float) else "") for value in values]


def _cell(value: Cell | Linked, as_float: str) -> ShownCell:
    if isinstance(value, Linked):
        return ShownCell(value.text, value.text, numeric=False, linked=value)
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ShownCell(numerals.MISSING, "", numeric=isinstance(value, float))
    if isinstance(value, bool):
        return ShownCell("yes" if value else "no", str(int(value)), numeric=False)
    if isinstance(value, int):
        return ShownCell(f"{value:,}".replace("-", numerals.MINUS), str(value), numeric=True)
    if isinstance(value, float):
        return ShownCell(as_float, repr(value), numeric=True)
    return ShownCell(str(value), str(value), numeric=False)
