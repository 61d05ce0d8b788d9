"""Pictures for the report: records before and after each rule, and samples of each split."""

import json
import logging
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from components.data_prep.outcome import Audit, Prepared
from components.data_prep.rules import BOX
from components.shared.dataset import Dataset
from components.shared.errors import InputError
from components.shared.images import decode
from components.shared.ledger import Action
from components.shared.report.draw import DrawnBox, Pixels, Style, draw_boxes, picture
from components.shared.report.page import Picture
from components.shared.shards import ImageReader
from components.shared.store import Store

PER_RULE = 3
PER_SPLIT = 6
MARGIN = 0.4  # of the image's edge: how far around it a box outside of it is still shown
GREY = 128
SMALLEST = 1.0  # pixels a box without area is drawn with

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Example:
    """A picture to be drawn: the image's id, what is on it and what it is filtered by."""

    image_id: int
    boxes: tuple[DrawnBox, ...]
    caption: str
    tags: tuple[str, ...]


def rule_examples(prepared: Prepared) -> list[Example]:
    """Up to three records for each rule and action; dashed as they were, solid as they are now."""
    readable = pl.col("sha256").is_not_null() & pl.col("problem").is_null()
    images = prepared.audit.found.filter(readable).select("image_id", image="name")
    shown = prepared.audit.ledger.join(images, on="image", how="inner", maintain_order="left")
    about_boxes = shown.filter(pl.col("annotation").is_not_null() & pl.col("before").is_not_null())
    examples = [example for row in _first(about_boxes) if (example := _changed(row)) is not None]
    about_images = shown.filter(pl.col("annotation").is_null() & (pl.col("action") != Action.REJECTED.value))
    truth = pl.concat(part.ground_truth() for part in prepared.splits.values())
    examples += [
        Example(int(row["image_id"]), _boxes(truth, int(row["image_id"])), _caption(row), (row["rule"],))
        for row in _first(about_images)
    ]
    return examples


def split_samples(part: Dataset, split: str) -> list[Example]:
    """Up to six images of a split in the order of their digests, those with boxes first."""
    truth = part.ground_truth()
    positive = pl.col("image_id").is_in(truth.get_column("image_id").unique().implode())
    chosen = part.images.sort(~positive, "sha256").head(PER_SPLIT)
    return [
        Example(image_id, _boxes(truth, image_id), f"{split}: {name}", (split,))
        for image_id, name in chosen.select("image_id", "name").iter_rows()
    ]


def draw_examples(examples: Sequence[Example], audit: Audit, store: Store) -> list[Picture]:
    """Draw the examples; each image is read once. One that does not decode after all is left out."""
    wanted = pl.Series([example.image_id for example in examples], dtype=pl.UInt32).unique()
    images = audit.found.filter(pl.col("image_id").is_in(wanted.implode())).sort("shard", "offset")
    pictures: dict[int, Picture] = {}
    for image_id, data in ImageReader(store).read_many(images):
        try:
            pixels = decode(data)
        except InputError as error:
            logger.warning("Image %d is not shown in the report: %s", image_id, error)
            continue
        for place, example in enumerate(examples):
            if example.image_id == image_id:
                canvas, boxes = _with_room(pixels, example.boxes)
                pictures[place] = picture(draw_boxes(canvas, boxes), caption=example.caption, tags=example.tags)
    return [pictures[place] for place in sorted(pictures)]


def _first(ledger: pl.DataFrame) -> Iterable[dict[str, str]]:
    """The first rows of each rule and action, of different images where there are enough."""
    keys = ["rule", "action"]
    again = pl.int_range(pl.len()).over([*keys, "image"])
    ordered = ledger.with_row_index("row").with_columns(again=again).sort("again", "row")
    return ordered.group_by(keys, maintain_order=True).head(PER_RULE).sort("rule", "row").iter_rows(named=True)


def _changed(row: dict[str, str]) -> Example | None:
    before = _parse(row["before"], Style.PREDICTION)
    after = _parse(row["after"], Style.TRUTH)
    boxes = tuple(box for box in (before, after) if box is not None)
    return Example(int(row["image_id"]), boxes, _caption(row), (row["rule"],)) if boxes else None


def _parse(text: str | None, style: Style) -> DrawnBox | None:
    record = json.loads(text) if text else None
    if not isinstance(record, dict):
        return None
    values = [record.get(side) for side in BOX]
    if not all(isinstance(value, int | float) and math.isfinite(value) for value in values):
        return None
    x, y, width, height = map(float, values)  # type: ignore[arg-type]
    left, top = min(x, x + width), min(y, y + height)
    size = max(abs(width), SMALLEST), max(abs(height), SMALLEST)
    return DrawnBox(left, top, *size, str(record.get("category") or ""), style)


def _boxes(truth: pl.DataFrame, image_id: int) -> tuple[DrawnBox, ...]:
    boxes = truth.filter(pl.col("image_id") == image_id).select(*BOX, "category")
    return tuple(DrawnBox(x, y, width, height, category) for x, y, width, height, category in boxes.iter_rows())


def _caption(row: dict[str, str]) -> str:
    which = f", annotation {row['annotation']}" if row["annotation"] else ""
    return f"{row['rule']}, {row['action']}: {row['image']}{which}. {row['detail']}"


def _with_room(pixels: Pixels, boxes: tuple[DrawnBox, ...]) -> tuple[Pixels, list[DrawnBox]]:
    """The image with a grey margin as wide as boxes reach out of it, within reason, and the boxes moved along."""
    height, width = pixels.shape[:2]
    limits = (round(width * MARGIN), round(height * MARGIN))
    left = _room((-box.x for box in boxes), limits[0])
    top = _room((-box.y for box in boxes), limits[1])
    right = _room((box.x + box.width - width for box in boxes), limits[0])
    bottom = _room((box.y + box.height - height for box in boxes), limits[1])
    if not any((left, top, right, bottom)):
        return pixels, list(boxes)
    canvas = np.pad(pixels, ((top, bottom), (left, right), (0, 0)), constant_values=GREY)
    return canvas, [replace(box, x=box.x + left, y=box.y + top) for box in boxes]


def _room(reaches: Iterable[float], limit: int) -> int:
    return math.ceil(min(limit, max(0.0, *reaches, 0.0)))
