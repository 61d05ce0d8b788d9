"""The tables every reader fills: plain columns while reading, one polars frame each at the end."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import polars as pl

from components.shared.compact import compact
from components.shared.errors import FormatError
from components.shared.formats.base import PARSED_ANNOTATIONS, PARSED_IMAGES, Parsed
from components.shared.formats.names import clean, distinct
from components.shared.ledger import Action, Entry, Rule

_LARGEST = 2**32 - 1
_SHOWN = 200
CHUNK = 20_000  # annotations held as Python objects, which take ten times the memory of a table
MOST_DEFECTS = 100_000  # ledger entries, of half a kilobyte each, however few rows there are


Box = tuple[float, float, float, float]


class Extras(NamedTuple):
    """What an annotation has beside its box and category; the fields are the table's columns.

    Attributes:
        relative: coordinates are shares of the image; ``None``: as ``Rows.relative`` says.
        kind: ``ground_truth`` or ``prediction``; ``None``: a prediction when it has a score.
    """

    crowd: bool = False
    difficult: bool = False
    truncated: bool = False
    score: float | None = None
    source_id: str | None = None
    attributes: str | None = None
    relative: bool | None = None
    kind: str | None = None


PLAIN = Extras()
_COLUMNS = ("image_id", "category", "x", "y", "width", "height", *Extras._fields)
_SCHEMA = {name: PARSED_ANNOTATIONS[name] for name in _COLUMNS}


@dataclass
class Rows:
    """Images and annotations in the making; annotations become a typed table every ``CHUNK`` of them.

    Attributes:
        relative: coordinates are shares of the image.
        image_ids: long name (path below the source) -> image id.
        ledger: records that are no rows.
    """

    relative: bool = False
    image_ids: dict[str, int] = field(default_factory=dict)
    ledger: list[Entry] = field(default_factory=list)
    _categories: set[str] = field(default_factory=set)
    _boxes: list[tuple[object, ...]] = field(default_factory=list)
    _tables: list[pl.DataFrame] = field(default_factory=list)
    _short: list[str] = field(default_factory=list)
    _path: list[str | None] = field(default_factory=list)
    _width: list[int | None] = field(default_factory=list)
    _height: list[int | None] = field(default_factory=list)
    _split: list[str | None] = field(default_factory=list)
    _image_source: list[str | None] = field(default_factory=list)
    _uri: list[str | None] = field(default_factory=list)
    _tags: list[str | None] = field(default_factory=list)
    _torn: set[int] = field(default_factory=set)

    def add_image(
        self,
        long: str,
        *,
        short: str | None = None,
        path: str | None = None,
        size: tuple[int | None, int | None] = (None, None),
        split: str | None = None,
        source_id: str | None = None,
        uri: str | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> int:
        """The id of the image with this long name, added when it is new.

        An image that two records put into different splits belongs to none.
        """
        known = self.image_ids.get(long)
        if known is not None:
            self._join_split(known, split)
            return known
        number = len(self._short)
        self.image_ids[long] = number
        self._short.append(short or long)
        self._path.append(path)
        self._width.append(size[0])
        self._height.append(size[1])
        self._split.append(split)
        self._image_source.append(source_id)
        self._uri.append(uri)
        self._tags.append(json.dumps(dict(tags), sort_keys=True, separators=(",", ":")) if tags else None)
        return number

    def add_box(self, image_id: int, category: str | None, box: Box, extras: Extras = PLAIN) -> None:
        """Add an annotation; ``box`` is left, top, width, height as the source gives it."""
        self._boxes.append((image_id, category, *box, *extras))
        if len(self._boxes) >= CHUNK:
            self._flush()

    def reject(
        self, image: str, rule: Rule, detail: str, *, annotation: str | None = None, before: object = None
    ) -> None:
        """Record what cannot become a row; ``before`` is the record, shown shortened; raises as ``record`` does."""
        shown: dict[str, object] | None = None if before is None else {"record": clean(shorten(before))}
        self.record(
            Entry(clean(image), rule, Action.REJECTED, annotation=annotation, before=shown, detail=clean(detail))
        )

    def record(self, entry: Entry) -> None:
        """Add an entry to the ledger.

        Raises:
            FormatError: it is one of more than ``MOST_DEFECTS``, and of more than there are images and boxes.
        """
        self.ledger.append(entry)
        defects = len(self.ledger)
        if defects <= MOST_DEFECTS:
            return
        good = len(self._short) + len(self._boxes) + sum(table.height for table in self._tables)
        if defects > good:
            raise FormatError(
                f"More than {defects - 1:,} records are broken, the last of {entry.image!r} ({entry.detail}), and only"
                f" {good:,} images and boxes can be read: check that the source is what its format says."
            )

    def categories(self) -> frozenset[str]:
        """Every category an annotation has so far."""
        self._flush()
        return frozenset(self._categories)

    def parsed(self, classes: tuple[str, ...]) -> Parsed:
        """Everything added so far as tables."""
        long = list(self.image_ids)
        images = {
            "image_id": range(len(long)),
            "name": distinct(self._short, long),
            "path": self._path,
            "declared_width": self._width,
            "declared_height": self._height,
            "split": self._split,
            "source_id": self._image_source,
            "uri": self._uri,
            "tags": self._tags,
        }
        self._flush()
        annotations = pl.concat(self._tables) if self._tables else pl.DataFrame(schema=_SCHEMA)
        return Parsed(
            classes=classes,
            images=pl.DataFrame(images, schema=PARSED_IMAGES),
            annotations=annotations.select(*PARSED_ANNOTATIONS),
            ledger=tuple(self.ledger),
        )

    def _flush(self) -> None:
        if not self._boxes:
            return
        columns = dict(zip(_COLUMNS, zip(*self._boxes, strict=True), strict=True))
        self._boxes.clear()
        table = pl.DataFrame(columns, schema=_SCHEMA)
        self._categories.update(table.get_column("category").drop_nulls().unique())
        said = pl.when(pl.col("score").is_null()).then(pl.lit("ground_truth")).otherwise(pl.lit("prediction"))
        table = table.with_columns(pl.col("kind").fill_null(said), pl.col("relative").fill_null(self.relative))
        self._tables.append(compact(table))

    def _join_split(self, image_id: int, split: str | None) -> None:
        if split is None or image_id in self._torn:
            return
        if self._split[image_id] not in {None, split}:
            self._torn.add(image_id)
            self._split[image_id] = None
        else:
            self._split[image_id] = split


def shorten(record: object) -> str:
    """A record in at most 200 characters."""
    text = record if isinstance(record, str) else repr(record)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."


def declared(value: object) -> int | None:
    """A width or height as an annotation file says it; ``None`` when it says nothing that can be one."""
    if isinstance(value, str):
        value = number(value)
    if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value <= _LARGEST:
        return int(value)
    return None


def number(text: str) -> float | None:
    """A number as people write it, a decimal comma included; ``None`` when it is none."""
    if "_" in text:
        return None
    try:
        return float(text.replace(",", "."))
    except ValueError:
        return None
