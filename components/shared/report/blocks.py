"""What a report is made of: the blocks of a page in reading order."""

from dataclasses import dataclass, field
from enum import StrEnum

from components.shared.report.figure import Chart
from components.shared.report.tables import TableBlock


class Level(StrEnum):
    """How good or bad something is."""

    GOOD = "good"
    WARN = "warn"
    BAD = "bad"
    NEUTRAL = "neutral"


@dataclass(frozen=True)
class Number:
    """A figure that matters: what it is, its value as text, and what to compare it with."""

    label: str
    value: str
    note: str = ""
    level: Level = Level.NEUTRAL


@dataclass(frozen=True)
class Picture:
    """An image of a gallery: a ``data:image/...`` URI, its size in pixels; ``tags`` are what the gallery filters by."""

    data_uri: str
    caption: str
    width: int
    height: int
    tags: tuple[str, ...] = ()


@dataclass(frozen=True)
class Numbers:
    """Numbers as tiles."""

    numbers: tuple[Number, ...]
    kind: str = field(default="numbers", init=False)


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    text: str
    kind: str = field(default="text", init=False)


@dataclass(frozen=True)
class Points:
    """Sentences as a list."""

    points: tuple[str, ...]
    kind: str = field(default="points", init=False)


@dataclass(frozen=True)
class Charts:
    """Charts side by side, each with the table behind it."""

    charts: tuple[tuple[Chart, TableBlock], ...]
    kind: str = field(default="charts", init=False)


@dataclass(frozen=True)
class Gallery:
    """Pictures in a grid; ``left_out`` were dropped to keep the page small; ``columns`` 0: as many as fit."""

    pictures: tuple[Picture, ...]
    caption: str = ""
    empty: str = ""
    left_out: int = 0
    columns: int = 0
    kind: str = field(default="gallery", init=False)

    @property
    def tags(self) -> tuple[tuple[str, int], ...]:
        """Tags in order of appearance with the number of their pictures."""
        every = [tag for picture in self.pictures for tag in dict.fromkeys(picture.tags)]
        return tuple((tag, every.count(tag)) for tag in dict.fromkeys(every))

    @property
    def size(self) -> int:
        """Bytes of the pictures."""
        return sum(len(picture.data_uri) for picture in self.pictures)


@dataclass(frozen=True)
class Facts:
    """Names and values; long values without spaces are set in a fixed-width face."""

    facts: tuple[tuple[str, str], ...]
    kind: str = field(default="facts", init=False)


Block = Numbers | Text | Points | Charts | TableBlock | Gallery | Facts


@dataclass
class Section:
    """A heading, its lead and the blocks below it; the first section of a page has no heading."""

    title: str = ""
    lead: str = ""
    blocks: list[Block] = field(default_factory=list)
