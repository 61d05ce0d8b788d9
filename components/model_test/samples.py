"""The images that predictions are compared on: some of a dataset, and an empty, a noisy and a large one."""

from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import polars as pl
from PIL import Image

from components.shared.dataset import Dataset
from components.shared.detection.frameworks import Pixels
from components.shared.detection.inference import Inference
from components.shared.detection.manifest import ModelManifest
from components.shared.errors import InputError
from components.shared.images import decode, encode_jpeg
from components.shared.shards import ImageReader
from components.shared.store import open_store

EMPTY, NOISE, LARGE = "empty image", "noise image", "large image"
MADE = frozenset({EMPTY, NOISE, LARGE})  # not photographs, so nobody would send them often
_GREY = (114, 114, 114)
_MOST_WIDTH = 4000
_LARGER = 6  # times the edge that the model or a tile sees
_COLUMNS, _ROWS = 3, 2
_SEED = 20


@dataclass(frozen=True)
class Sample:
    """An image to compare on: its name for messages, its encoded bytes, and its pixels (RGB, upright)."""

    name: str
    encoded: bytes
    pixels: Pixels

    @classmethod
    def read(cls, name: str, encoded: bytes) -> "Sample":
        """Decode an image; raises ``InputError`` with its name."""
        try:
            return cls(name, encoded, decode(encoded))
        except InputError as error:
            raise InputError(f"The {name} cannot be compared on: {error}") from error

    @property
    def longest(self) -> int:
        """Longest edge in pixels."""
        return int(max(self.pixels.shape[:2]))


def read_samples(directory: Path, store: str, count: int) -> list[bytes]:
    """The encoded bytes of ``count`` decodable images of the dataset in ``directory`` (fewer when it has fewer).

    They are the first by digest: the same ones each time, and no particular ones.

    Raises:
        NotFoundError: the store does not have an image's shard.
        CorruptionError: the store gives other bytes than the dataset names.
    """
    images = Dataset.load(directory).images.filter(pl.col("problem").is_null() & pl.col("shard").is_not_null())
    chosen = images.sort("sha256", "image_id").unique("sha256", keep="first", maintain_order=True).head(count)
    return [encoded for _, encoded in ImageReader(open_store(store)).read_many(chosen)]


def all_samples(test_image: bytes, images: Sequence[bytes], trained: ModelManifest, how: Inference) -> list[Sample]:
    """The model's test image, ``images``, and three that are made; always the same for the same images.

    Raises:
        InputError: one of them cannot be decoded.
    """
    named = [("test image", test_image), *((f"image {number}", data) for number, data in enumerate(images, start=1))]
    photographs = [Sample.read(name, encoded) for name, encoded in named]
    made = [
        (EMPTY, empty_image(trained.imgsz)),
        (NOISE, noise_image(trained.imgsz)),
        (LARGE, large_image([each.pixels for each in photographs], how.tile or trained.imgsz)),
    ]
    return photographs + [Sample.read(name, encoded) for name, encoded in made]


def empty_image(imgsz: int) -> bytes:
    """A grey PNG, somewhat wider than high, with nothing in it."""
    return _png(Image.new("RGB", _size(imgsz), _GREY))


def noise_image(imgsz: int) -> bytes:
    """A PNG of the same size whose pixels are random, but always the same."""
    width, height = _size(imgsz)
    pixels = np.random.default_rng(_SEED).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return _png(Image.fromarray(pixels))


def large_image(images: Sequence[Pixels], edge: int) -> bytes:
    """A JPEG six times as wide as ``edge``, at most 4000 pixels, of six enlarged images; the list begins anew."""
    width = min(_MOST_WIDTH, _LARGER * edge)
    columns, rows = width // _COLUMNS, width * 3 // 4 // _ROWS
    canvas = Image.new("RGB", (columns * _COLUMNS, rows * _ROWS), _GREY)
    for place in range(_COLUMNS * _ROWS):
        enlarged = Image.fromarray(images[place % len(images)]).resize((columns, rows), Image.Resampling.BILINEAR)
        canvas.paste(enlarged, (place % _COLUMNS * columns, place // _COLUMNS * rows))
    return encode_jpeg(np.asarray(canvas), quality=92)


def _size(imgsz: int) -> tuple[int, int]:
    return imgsz, max(1, imgsz * 3 // 4)


def _png(image: Image.Image) -> bytes:
    buffer = BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()
