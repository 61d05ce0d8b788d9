"""What a report is made of: the blocks of a page in reading order."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from components.shared.report.explorer import Explorer
from components.shared.report.figure import Chart
from components.shared.report.tables import TableBlock

_MOST_BUTTONS = 14


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
class Choice:
    """A filter of a gallery: tags in order of appearance with the number of their pictures.

    ``place`` is which of a picture's tags counts; without it any of them does.
    """

    name: str
    tags: tuple[tuple[str, int], ...]
    place: int | None = None

    @property
    def many(self) -> bool:
        """Whether a list to choose from takes less room than a button for each tag."""
        return len(self.tags) > _MOST_BUTTONS


@dataclass(frozen=True)
class Gallery:
    """Pictures in a grid; ``left_out`` were dropped to keep the page small; ``columns`` 0: as many as fit.

    ``filters`` name the places of the pictures' tags, each filtered by on its own; ``wide`` suits pictures twice as
    wide as high.
    """

    pictures: tuple[Picture, ...]
    caption: str = ""
    empty: str = ""
    left_out: int = 0
    columns: int = 0
    filters: tuple[str, ...] = ()
    wide: bool = False
    kind: str = field(default="gallery", init=False)

    @property
    def choices(self) -> tuple["Choice", ...]:
        """What can be chosen from; tags that are all the same are no choice."""
        if self.filters:
            columns = [
                [picture.tags[place : place + 1] for picture in self.pictures] for place in range(len(self.filters))
            ]
            found = [
                Choice(name, _counted(tags), place)
                for place, (name, tags) in enumerate(zip(self.filters, columns, strict=True))
            ]
        else:
            found = [Choice("", _counted([tuple(dict.fromkeys(picture.tags)) for picture in self.pictures]))]
        return tuple(choice for choice in found if len(choice.tags) > 1)

    @property
    def size(self) -> int:
        """Bytes of the pictures."""
        return sum(len(picture.data_uri) for picture in self.pictures)


@dataclass(frozen=True)
class Facts:
    """Names and values; long values without spaces are set in a fixed-width face."""

    facts: tuple[tuple[str, str], ...]
    kind: str = field(default="facts", init=False)


Block = Numbers | Text | Points | Charts | TableBlock | Gallery | Facts | Explorer


@dataclass
class Section:
    """A heading, its lead and the blocks below it; the first section of a page has no heading."""

    title: str = ""
    lead: str = ""
    blocks: list[Block] = field(default_factory=list)


def _counted(tags: Sequence[tuple[str, ...]]) -> tuple[tuple[str, int], ...]:
    return tuple(Counter(tag for one in tags for tag in one).items())
