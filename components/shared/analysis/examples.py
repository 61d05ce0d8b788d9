"""Example images of a report: which image, which boxes on it, and the picture drawn from the store."""

import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl

from components.shared.dataset import IMAGES
from components.shared.errors import InputError
from components.shared.images import decode
from components.shared.report.draw import DrawnBox, Pixels, Style, draw_boxes, picture
from components.shared.report.page import Picture
from components.shared.shards import ImageReader
from components.shared.store import Store

ROW = ("image_id", "name", "sha256", "shard", "offset", "bytes")
MARGIN = 0.4  # of the image's edge: how far around it a box outside of it is still shown
GREY = 128
SMALLEST = 1.0  # pixels a box without area is drawn with

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Example:
    """A picture to be drawn.

    Attributes:
        image: row of the ``images`` table, at least the columns of ``ROW``.
        boxes: what is drawn on it, pixels of the oriented image.
        caption: said below it.
        tags: what its gallery filters by.
    """

    image: Mapping[str, Any]
    boxes: tuple[DrawnBox, ...]
    caption: str
    tags: tuple[str, ...] = ()


def readable(images: pl.DataFrame) -> pl.DataFrame:
    """The images that have bytes and decode."""
    return images.filter(pl.col("sha256").is_not_null() & pl.col("problem").is_null())


def drawn(boxes: pl.DataFrame, style: Style = Style.TRUTH) -> tuple[DrawnBox, ...]:
    """Boxes of an annotations table, with their class as label; ones without finite size are left out."""
    columns = ("x", "y", "width", "height", "category", "score")
    found = []
    for x, y, width, height, category, score in boxes.select(columns).iter_rows():
        if None not in (x, y, width, height) and all(map(math.isfinite, (x, y, width, height))):
            label = f"{category or '?'}" if score is None else f"{category or '?'} {score:.2f}"
            left, top = min(x, x + width), min(y, y + height)
            size = max(abs(width), SMALLEST), max(abs(height), SMALLEST)
            found.append(DrawnBox(left, top, *size, label, style))
    return tuple(found)


def draw_examples(examples: Sequence[Example], store: Store) -> list[Picture]:
    """Draw the examples in their order; each image is read once. One that does not decode after all is left out."""
    places: dict[str, list[int]] = {}
    for place, example in enumerate(examples):
        places.setdefault(str(example.image["sha256"]), []).append(place)
    firsts = [examples[found[0]].image for found in places.values()]
    schema = {name: IMAGES[name] for name in ROW}
    table = pl.DataFrame([{name: row[name] for name in ROW} for row in firsts], schema=schema)
    numbered = table.with_columns(image_id=pl.int_range(pl.len(), dtype=pl.UInt32)).sort("shard", "offset")
    digests = list(places)
    pictures: dict[int, Picture] = {}
    for number, data in ImageReader(store).read_many(numbered):
        try:
            pixels = decode(data)
        except InputError as error:
            logger.warning("The image %r is not shown in the report: %s", firsts[number]["name"], error)
            continue
        for place in places[digests[number]]:
            canvas, boxes = _with_room(pixels, examples[place].boxes)
            shown = draw_boxes(canvas, boxes)
            pictures[place] = picture(shown, caption=examples[place].caption, tags=examples[place].tags)
    return [pictures[place] for place in sorted(pictures)]


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
