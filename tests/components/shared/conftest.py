"""Small real datasets whose images lie in a real store."""

import hashlib
from collections.abc import Callable
from io import BytesIO

import numpy as np
import polars as pl
import pytest
from PIL import Image

from components.shared.dataset import ANNOTATIONS, IMAGES, Dataset
from components.shared.images import probe
from components.shared.shards import ShardWriter
from components.shared.store import Store

MakeDataset = Callable[..., Dataset]


def picture(seed: int, kind: str = "JPEG", size: tuple[int, int] = (48, 32), **options: object) -> bytes:
    """An encoded image of noise that is the same for the same seed."""
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **options)
    return buffer.getvalue()


def pack(store: Store, pictures: list[bytes], target_bytes: int = 8192, name: str = "demo") -> Dataset:
    """A dataset of these pictures, one box a picture and none on every fifth, packed into small shards."""
    digests = [hashlib.sha256(data).hexdigest() for data in pictures]
    with ShardWriter(store, target_bytes=target_bytes) as writer:
        for data, digest in zip(pictures, digests, strict=True):
            writer.add(data, digest)
    images, annotations = [], []
    for index, (data, digest) in enumerate(zip(pictures, digests, strict=True)):
        seen, place = probe(data), writer.locations[digest]
        row = {"image_id": index, "name": f"{index}.jpg", "sha256": digest, "width": seen.width, "height": seen.height}
        row |= {"format": seen.format, "orientation": seen.orientation, "bytes": len(data), "problem": seen.problem}
        images.append(row | {"shard": place.shard, "offset": place.offset, "split": None, "source_id": str(index)})
        if index % 5 != 4:
            box = {"x": 1.5, "y": 2.25, "width": 10.0 + index % 7, "height": 7.0}
            row = {"annotation_id": index, "image_id": index, "category": ("cat", "dog")[index % 2], **box}
            row |= {"crowd": False, "difficult": False, "truncated": False, "kind": "ground_truth"}
            annotations.append(row)
    return Dataset(
        name=name,
        classes=("cat", "dog"),
        images=pl.DataFrame(images, schema=IMAGES),
        annotations=pl.DataFrame(annotations, schema=ANNOTATIONS),
        shards=writer.shards,
    )


@pytest.fixture(name="picture")
def picture_fixture() -> Callable[..., bytes]:
    return picture


@pytest.fixture
def make_dataset() -> MakeDataset:
    """``make_dataset(store, count=12, seed=0)``, or ``make_dataset(store, pictures=[...])``."""

    def make(
        store: Store, count: int = 12, seed: int = 0, pictures: list[bytes] | None = None, target_bytes: int = 8192
    ) -> Dataset:
        chosen = pictures if pictures is not None else [picture(seed * 1000 + index) for index in range(count)]
        return pack(store, chosen, target_bytes)

    return make
