"""What a chart is made of: the values that go in, and the finished chart that a report shows."""

from collections.abc import Sequence
from dataclasses import dataclass

Cell = str | int | float | None


@dataclass(frozen=True)
class Table:
    """Rows under named columns; what a chart shows, as text."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]


@dataclass(frozen=True)
class Key:
    """One entry of a legend: a name, the class of its colour (``s1`` to ``s8``) and its mark."""

    name: str
    colour: str
    mark: str = "box"


@dataclass(frozen=True)
class Chart:
    """A finished chart.

    Attributes:
        title: plain text.
        svg: one well-formed ``<svg>`` element; its colours come from the page's style.
        description: what it shows in a sentence or two, for readers who cannot see it.
        data: the same values as a table.
        legend: names of the series, empty when there is only one.
    """

    title: str
    svg: str
    description: str
    data: Table
    legend: tuple[Key, ...] = ()


@dataclass(frozen=True)
class Series:
    """One line or cloud of points; a y that is ``None``, NaN or infinite leaves a gap."""

    name: str
    x: Sequence[float]
    y: Sequence[float | None]
    dashed: bool = False


@dataclass(frozen=True)
class Band:
    """A stretch between two lines, shaded in the first series' colour and named in the legend."""

    name: str
    x: Sequence[float]
    low: Sequence[float]
    high: Sequence[float]


@dataclass(frozen=True)
class Mark:
    """A position on the x axis worth naming, such as the best epoch; a ``thin`` one is named in the legend only."""

    x: float
    label: str
    thin: bool = False


@dataclass(frozen=True)
class Span:
    """A stretch of the x axis that is shaded and named in the legend."""

    low: float
    high: float
    label: str
