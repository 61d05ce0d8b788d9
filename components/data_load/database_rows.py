"""The rows of a database query as images and boxes.

A row is one box: ``image`` (path or address), ``label``, and ``x, y, width, height`` or ``xmin, ymin, xmax, ymax`` in
pixels; optionally ``split``, ``score``, ``image_width`` and ``image_height``. A row without label and box says that
the image exists, and has none.
"""

import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

import polars as pl

from components.shared.errors import SourceError
from components.shared.formats.base import PARSED_ANNOTATIONS, PARSED_IMAGES, Parsed
from components.shared.formats.names import clean, normal, split_of_folder, why_unsafe
from components.shared.ledger import Action, Entry, Rule

ALIASES = {
    "image": ("image", "file_name", "filename", "path", "uri"),
    "label": ("label", "category", "class"),
    **{name: (name,) for name in ("x", "y", "width", "height", "xmin", "ymin", "xmax", "ymax")},
    **{name: (name,) for name in ("split", "score", "image_width", "image_height")},
}
_BOXES = (("x", "y", "width", "height"), ("xmin", "ymin", "xmax", "ymax"))
_TEXTS = ("image", "label", "split")
_ADDRESSES = ("s3://", "https://", "http://")
_BOX = ("x", "y", "width", "height")

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Images:
    """Where relative image paths lie: below a folder, or below an address."""

    folder: Path | None
    address: str | None


@dataclass(frozen=True)
class Columns:
    """What the columns of a query mean.

    Attributes:
        positions: our name -> position in a row.
        corners: boxes are given by two corners.
    """

    positions: Mapping[str, int]
    corners: bool

    @classmethod
    def of(cls, names: Sequence[str]) -> "Columns":
        """Recognise the columns by name, whatever their case.

        Raises:
            SourceError: a needed one is missing, or two mean the same; the message lists what the query yields.
        """
        given = [name.lower() for name in names]
        positions: dict[str, int] = {}
        for meaning, aliases in ALIASES.items():
            found = [position for position, name in enumerate(given) if name in aliases]
            if len(found) > 1:
                both = " and ".join(repr(names[position]) for position in found)
                raise SourceError(f"The columns {both} of sql_query mean the same ({meaning}): yield one of them.")
            if found:
                positions[meaning] = found[0]
        boxes = next((box for box in _BOXES if all(name in positions for name in box)), None)
        missing = [name for name in ("image", "label") if name not in positions]
        missing += [] if boxes else ["x, y, width, height (or xmin, ymin, xmax, ymax)"]
        if missing:
            raise SourceError(
                f"sql_query yields the columns {', '.join(names) or 'none'}, but not {' and '.join(missing)}:"
                " name the columns with AS."
            )
        others = [names[position] for position in range(len(names)) if position not in positions.values()]
        if others:
            logger.info("The columns %s of sql_query are not used.", ", ".join(others))
        return cls(positions, corners=boxes == _BOXES[1])


def to_parsed(columns: Columns, batches: Iterable[Sequence[Sequence[object]]], images: Images) -> Parsed:
    """Every row as a table row; those that are none are in the ledger.

    Args:
        columns: what the columns mean.
        batches: rows, many at a time.
        images: where relative paths lie.

    Raises:
        SourceError: relative paths lie nowhere.
    """
    frames = [_frame(columns, batch) for batch in batches]
    rows = pl.concat(frames) if frames else _frame(columns, [])
    rows = rows.with_columns(pl.int_range(1, pl.len() + 1, dtype=pl.UInt32).alias("row"))
    found, ledger = _find_images(rows, images)
    rows = rows.join(found.select("image", "image_id"), on="image", how="left", maintain_order="left")
    boxes, malformed = _boxes(rows)
    classes = sorted(boxes.get_column("category").drop_nulls().unique().to_list())
    return Parsed(tuple(classes), _image_table(rows, found), boxes, (*ledger, *malformed))


def _frame(columns: Columns, batch: Sequence[Sequence[object]]) -> pl.DataFrame:
    """One batch: texts as text, numbers as numbers, ``broken`` where a value is not what its column holds."""
    values = list(zip(*batch, strict=True))
    series: dict[str, pl.Series] = {}
    broken = pl.repeat(value=False, n=len(batch), dtype=pl.Boolean, eager=True)
    for name in ALIASES:
        position = columns.positions.get(name)
        column = values[position] if position is not None and values else [None] * len(batch)
        if name in _TEXTS:
            series[name] = pl.Series(name, [_text(value) for value in column], dtype=pl.String)
        else:
            numbers = pl.Series(name, [_number(value) for value in column], dtype=pl.Float64)
            broken |= numbers.is_null() & pl.Series([value is not None for value in column], dtype=pl.Boolean)
            series[name] = numbers
    frame = pl.DataFrame(series).with_columns(broken.alias("broken"))
    if columns.corners:
        frame = frame.with_columns(
            pl.col("xmin").alias("x"),
            pl.col("ymin").alias("y"),
            (pl.col("xmax") - pl.col("xmin")).alias("width"),
            (pl.col("ymax") - pl.col("ymin")).alias("height"),
        )
    return frame.select(*_TEXTS, *_BOX, "score", "image_width", "image_height", "broken")


def _text(value: object) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)


def _number(value: object) -> float | None:
    try:
        return None if value is None or isinstance(value, bool) else float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return None


def _find_images(rows: pl.DataFrame, images: Images) -> tuple[pl.DataFrame, list[Entry]]:
    """Each distinct ``image`` with its id, name and place; unsafe ones have none and are in the ledger."""
    ledger: list[Entry] = []
    ids: dict[str, int] = {}
    found: dict[str, list[object]] = {"image": [], "image_id": [], "name": [], "path": [], "uri": []}
    for text in rows.get_column("image").unique(maintain_order=True).drop_nulls():
        name, path, uri, problem = _place(text, images)
        if problem:
            detail = f"{problem}, so its rows were left out"
            ledger.append(Entry(clean(text), Rule.UNSAFE_NAME, Action.REJECTED, detail=detail))
            continue
        # Two ways to write one path are one image.
        image_id = ids.setdefault(name, len(ids))
        for column, value in zip(found, (text, image_id, name, path, uri), strict=True):
            found[column].append(value)
    schema = {"image": pl.String(), **{name: PARSED_IMAGES[name] for name in ("image_id", "name", "path", "uri")}}
    nameless = rows.filter(pl.col("image").is_null()).get_column("row").to_list()
    ledger += [Entry(f"row {row}", Rule.MALFORMED, Action.REJECTED, detail="it names no image") for row in nameless]
    return pl.DataFrame(found, schema=schema), ledger


def _place(text: str, images: Images) -> tuple[str, str | None, str | None, str | None]:
    """(name, path on disk, address, problem) of an image as a row names it."""
    if text.startswith(_ADDRESSES):
        name = normal(unquote(text.partition("://")[2]))
        return name, None, text, why_unsafe(name)
    written = unquote(text.removeprefix("file://")) if text.startswith("file://") else text
    if images.folder is None and images.address is None:
        raise SourceError(
            f"The image {text!r} of the database is a path, but below which folder is not known: set"
            " PIPELINE_SQL_IMAGES to a folder or an address, or yield full s3:// or https:// addresses."
        )
    if images.address is not None:
        name = normal(written)
        return name, None, f"{images.address}/{name}", why_unsafe(written)
    folder = str(images.folder)
    inside = os.path.relpath(written, folder) if os.path.isabs(written) else written  # noqa: PTH117 - hot
    name = normal(inside.replace("\\", "/"))
    problem = why_unsafe(inside)
    if problem:
        return name, None, None, f"{problem} ({folder!r})" if inside != written else problem
    path = os.path.realpath(os.path.join(folder, inside))  # noqa: PTH118 - hot
    if not path.startswith(f"{folder.rstrip('/')}/"):
        return name, None, None, "it is a link that leaves the folder of the images"
    return name, path if os.path.isfile(path) else None, None, None  # noqa: PTH113 - hot


def _image_table(rows: pl.DataFrame, found: pl.DataFrame) -> pl.DataFrame:
    splits = {text: split_of_folder(text.strip()) for text in rows.get_column("split").unique().drop_nulls()}
    said = rows.drop_nulls("image_id").with_columns(
        pl.col("split").replace_strict(splits, return_dtype=pl.String, default=None)
    )
    sizes = (pl.col(f"image_{side}").drop_nulls().first() for side in ("width", "height"))
    one_split = pl.col("split").drop_nulls()
    facts = said.group_by("image_id").agg(
        # An image that two rows put into different splits belongs to none.
        pl.when(one_split.n_unique() == 1).then(one_split.first()).alias("split"),
        *(size.alias(f"declared_{side}") for size, side in zip(sizes, ("width", "height"), strict=True)),
    )
    images = found.unique("image_id", keep="first", maintain_order=True).join(facts, on="image_id", how="left")
    valid = [
        pl.when(pl.col(name).is_between(1, 2**32 - 1)).then(pl.col(name)).cast(pl.UInt32, strict=False).alias(name)
        for name in ("declared_width", "declared_height")
    ]
    images = images.with_columns(*valid, pl.col("image").alias("source_id"), pl.lit(None, pl.String).alias("tags"))
    return images.sort("image_id").select(PARSED_IMAGES.keys()).cast(PARSED_IMAGES)  # type: ignore[arg-type]


def _boxes(rows: pl.DataFrame) -> tuple[pl.DataFrame, list[Entry]]:
    numbers = pl.sum_horizontal(pl.col(name).is_not_null() for name in _BOX)
    plain = pl.col("label").is_null() & (numbers == 0) & ~pl.col("broken")
    given = rows.filter(pl.col("image_id").is_not_null() & ~plain)
    whole = (pl.sum_horizontal(pl.col(name).is_not_null() for name in _BOX) == len(_BOX)) & ~pl.col("broken")
    bad = given.filter(~whole)
    shown = bad.select("row", "image", "broken").iter_rows()
    ledger = [
        Entry(
            clean(image),
            Rule.MALFORMED,
            Action.REJECTED,
            annotation=f"row {row}",
            detail="a value is no number" if broken else "its box is not complete",
        )
        for row, image, broken in shown
    ]
    boxes = given.filter(whole).with_columns(
        pl.col("label").alias("category"),
        pl.when(pl.col("score").is_null()).then(pl.lit("ground_truth")).otherwise(pl.lit("prediction")).alias("kind"),
        pl.format("row {}", "row").alias("source_id"),
        pl.lit(None, pl.String).alias("attributes"),
        *(pl.lit(value=False).alias(name) for name in ("relative", "crowd", "difficult", "truncated")),
    )
    return boxes.select(PARSED_ANNOTATIONS.keys()).cast(PARSED_ANNOTATIONS), ledger  # type: ignore[arg-type]
