"""One report page: blocks are added in reading order and come out as a single self-contained HTML file."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from components.shared.files import write_atomically
from components.shared.report.blocks import (
    Block,
    Charts,
    Facts,
    Gallery,
    Level,
    Number,
    Numbers,
    Picture,
    Points,
    Section,
    Text,
)
from components.shared.report.explorer import explorer_block
from components.shared.report.figure import Cell, Chart
from components.shared.report.render import render
from components.shared.report.tables import Linked, data_block, table_block

__all__ = ["MAX_BYTES", "Level", "Number", "Picture", "Report"]

MAX_BYTES = 5_000_000
_SLACK = 4_000  # bytes for the notes that say what was left out

logger = logging.getLogger(__name__)


class Report:
    """A page that collects blocks and writes them as one HTML file; every text is plain text and gets escaped.

    Args:
        title: heading of the page.
        subtitle: one line under it.
    """

    def __init__(self, title: str, *, subtitle: str = "") -> None:
        self.title = title
        self.subtitle = subtitle
        self._verdict: tuple[str, Level] | None = None
        self._sections = [Section()]

    def verdict(self, text: str, level: Level) -> None:
        """The banner on top: the outcome in one sentence. A second call replaces the first."""
        self._verdict = (text, level)

    def numbers(self, numbers: Sequence[Number]) -> None:
        """The few numbers that matter, as tiles: on top of the page, or within the section that was started."""
        self._add(Numbers(tuple(numbers)))

    def section(self, title: str, lead: str = "") -> None:
        """Start a section; the blocks that follow belong to it. Three sections or more get a table of contents."""
        self._sections.append(Section(title, lead))

    def text(self, text: str) -> None:
        """A paragraph; line breaks are kept."""
        self._add(Text(text))

    def points(self, points: Sequence[str]) -> None:
        """Sentences as a list."""
        self._add(Points(tuple(points)))

    def chart(self, chart: Chart) -> None:
        """A chart across the page."""
        self._add(Charts(((chart, data_block(chart.data)),)))

    def charts(self, charts: Sequence[Chart]) -> None:
        """Charts side by side, as many as fit."""
        self._add(Charts(tuple((chart, data_block(chart.data)) for chart in charts)))

    def table(
        self,
        columns: Sequence[str],
        rows: Sequence[Sequence[Cell | Linked]],
        *,
        caption: str = "",
        folded: bool = False,
        sortable: bool = True,
    ) -> None:
        """A table; numbers are right-aligned, ``None`` and NaN are an en dash, ``folded`` hides it behind its caption.

        Floats show 3 to 4 significant places and share their decimals within a column. A click on a heading sorts.
        Of more than 1000 rows the first 1000 are shown, and a note says so.
        """
        self._add(table_block(columns, rows, caption=caption, folded=folded, sortable=sortable))

    def gallery(
        self,
        pictures: Sequence[Picture],
        *,
        caption: str = "",
        empty: str = "",
        columns: int = 0,
        filters: Sequence[str] = (),
        wide: bool = False,
    ) -> None:
        """Pictures in a grid, filtered by their tags; ``empty`` is said when there are none. A click enlarges.

        ``columns`` keeps so many beside each other, for rows that compare: on a narrow page two, of three the first
        above the other two. Without it, as many as fit; ``wide`` is for pictures twice as wide as high. ``filters``
        name the places of the tags, such as class and error: each is then chosen on its own.
        """
        self._add(Gallery(tuple(pictures), caption, empty, columns=columns, filters=tuple(filters), wide=wide))

    def explorer(self, data: Mapping[str, object], *, confidence: float, iou: float) -> None:
        """Sliders for confidence and IoU that recompute precision, recall and counts; see ``explorer_block``."""
        self._add(explorer_block(data, confidence=confidence, iou=iou))

    def facts(self, facts: Mapping[str, str]) -> None:
        """Names and values, such as versions, digests and parameters."""
        self._add(Facts(tuple((str(name), str(value)) for name, value in facts.items())))

    def html(self) -> str:
        """The whole page, below 5 MB in UTF-8.

        When it would be larger, pictures are left out from the end of the largest gallery, with a note that says
        how many.
        """
        sections = self._sections
        while True:
            page = render(self.title, self.subtitle, self._verdict, sections)
            excess = len(page.encode("utf-8", "replace")) - MAX_BYTES
            if excess <= 0:
                return page
            smaller = _without_pictures(sections, excess + _SLACK)
            if smaller is None:
                logger.warning("The report %r is %d bytes over its limit and has no pictures left.", self.title, excess)
                return page
            sections = smaller

    def write(self, path: Path) -> None:
        """Write ``html()`` to ``path`` atomically, in UTF-8."""
        page = self.html().encode("utf-8", "replace")
        with write_atomically(path) as temporary:
            temporary.write_bytes(page)

    def _add(self, block: Block) -> None:
        self._sections[-1].blocks.append(block)


def _without_pictures(sections: Sequence[Section], excess: int) -> list[Section] | None:
    """The sections with at least ``excess`` bytes of pictures less, or ``None`` when there are no pictures."""
    sections = [replace(section, blocks=list(section.blocks)) for section in sections]
    removed = 0
    while removed < excess:
        places = [
            (block.size, section.blocks, i, block)
            for section in sections
            for i, block in enumerate(section.blocks)
            if isinstance(block, Gallery) and block.pictures
        ]
        if not places:
            return sections if removed else None
        _, blocks, i, gallery = max(places, key=lambda place: place[0])
        removed += len(gallery.pictures[-1].data_uri)
        blocks[i] = replace(gallery, pictures=gallery.pictures[:-1], left_out=gallery.left_out + 1)
    return sections
