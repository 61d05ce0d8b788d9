"""Images shrunk to a longest edge on their way out, and the boxes that go with them."""

import json
from dataclasses import replace
from io import BytesIO

import polars as pl
from PIL import Image

from components.shared.dataset import Dataset
from components.shared.errors import InputError
from components.shared.images import decode, probe

_QUALITY = 95
_KEPT = frozenset({"jpeg", "png", "bmp", "webp", "tiff", "gif"})  # encodings that Pillow writes as it reads them
_SIDES = ("width", "height")


def size_within(width: int, height: int, longest_edge: int) -> tuple[int, int]:
    """Size in pixels of an image shrunk so that its longer side is at most ``longest_edge``; 0 shrinks nothing.

    >>> size_within(4000, 3000, 1000), size_within(40, 30, 1000)
    ((1000, 750), (40, 30))
    """
    longest = max(width, height)
    if not longest_edge or longest <= longest_edge:
        return width, height
    return max(1, round(width * longest_edge / longest)), max(1, round(height * longest_edge / longest))


def shrink(data: bytes, longest_edge: int) -> bytes:
    """An encoded image at most that large, the right way up, in its own encoding; unchanged where it is small enough.

    A shrunk image has 8 bits a channel and no transparency, EXIF or further frames. Bytes that are no image come back
    as they are.
    """
    if not longest_edge:
        return data
    try:
        seen = probe(data)
        size = size_within(seen.width, seen.height, longest_edge)
        if seen.problem or size == (seen.width, seen.height):
            return data
        pixels = Image.fromarray(decode(data))
    except InputError:
        return data
    buffer = BytesIO()
    kind = seen.format if seen.format in _KEPT else "jpeg"
    pixels.resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0).save(buffer, kind, quality=_QUALITY)
    return buffer.getvalue()


def rescaled(dataset: Dataset, longest_edge: int) -> Dataset:
    """The dataset as it is when its images are shrunk: sizes, boxes and polygons in the new pixels.

    A run-length mask (``segmentation`` as an object) cannot be scaled and is left out of the attributes.
    """
    if not longest_edge:
        return dataset
    sizes = dataset.images.select("image_id", *_SIDES).rows()
    new = [size_within(width, height, longest_edge) for _, width, height in sizes]
    scale = pl.DataFrame(
        {
            "image_id": [image_id for image_id, _, _ in sizes],
            "horizontal": [to[0] / width if width else 1.0 for (_, width, _), to in zip(sizes, new, strict=True)],
            "vertical": [to[1] / height if height else 1.0 for (_, _, height), to in zip(sizes, new, strict=True)],
        },
        schema={"image_id": pl.UInt32, "horizontal": pl.Float64, "vertical": pl.Float64},
    )
    images = dataset.images.with_columns(
        pl.Series(side, [size[axis] for size in new], dtype=pl.UInt32) for axis, side in enumerate(_SIDES)
    )
    joined = dataset.annotations.join(scale, on="image_id", how="left", maintain_order="left")
    scales = joined.select("attributes", "horizontal", "vertical").iter_rows()
    annotations = joined.with_columns(
        pl.col("x", "width") * pl.col("horizontal"),
        pl.col("y", "height") * pl.col("vertical"),
        pl.Series("attributes", [_attributes(*row) for row in scales], dtype=pl.String),
    )
    return replace(dataset, images=images, annotations=annotations.select(dataset.annotations.columns))


def count_unscalable(dataset: Dataset, longest_edge: int) -> int:
    """How many run-length masks ``rescaled`` leaves out."""
    if not longest_edge:
        return 0
    shrunk = dataset.images.filter(pl.max_horizontal(*_SIDES) > longest_edge).select("image_id")
    masked = pl.col("attributes").str.contains('"segmentation":{', literal=True)
    return dataset.annotations.join(shrunk, on="image_id", how="semi").filter(masked).height


def _attributes(text: str | None, horizontal: float, vertical: float) -> str | None:
    if text is None or (horizontal == 1 and vertical == 1) or not ("segmentation" in text or "area" in text):
        return text
    attributes = json.loads(text)
    polygons = attributes.pop("segmentation", None)
    if isinstance(polygons, list):
        attributes["segmentation"] = [_polygon(points, horizontal, vertical) for points in polygons]
    if isinstance(attributes.get("area"), (int, float)):
        attributes["area"] *= horizontal * vertical
    return json.dumps(attributes, sort_keys=True, separators=(",", ":")) if attributes else None


def _polygon(points: object, horizontal: float, vertical: float) -> object:
    if not isinstance(points, list) or not all(isinstance(value, (int, float)) for value in points):
        return points
    return [value * (vertical if position % 2 else horizontal) for position, value in enumerate(points)]
