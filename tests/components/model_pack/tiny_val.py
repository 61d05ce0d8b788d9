"""A validation split in a file store whose ground truth is what a tiny model itself is sure of."""

from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path

import polars as pl

from components.shared.dataset import ANNOTATIONS, IMAGES, Dataset
from components.shared.detection.detector import Detector
from components.shared.images import decode
from components.shared.shards import ShardWriter
from components.shared.store import open_store

WIDTH, HEIGHT = 80, 60


def make_val(
    folder: Path, model: Path, paint: Callable[..., bytes], *, count: int = 6, sure: float = 0.5, broken: int = 0
) -> Path:
    """Images in ``folder / "store"`` and the data set in ``folder / "val"``; the last ``broken`` cannot be decoded."""
    detector = Detector(model)
    blobs = [paint(seed, WIDTH, HEIGHT) for seed in range(count)]
    blobs += [b"no image at all, whatever the data set says " * (number + 1) for number in range(broken)]
    with ShardWriter(open_store((folder / "store").as_uri())) as writer:
        for blob in blobs:
            writer.add(blob, sha256(blob).hexdigest())
    images = pl.DataFrame([_image_row(number, blob, writer) for number, blob in enumerate(blobs)], schema=IMAGES)
    rows = [row for number in range(count) for row in _truth_rows(number, detector, blobs[number], sure)]
    annotations = pl.DataFrame(rows, schema=ANNOTATIONS).with_columns(
        pl.int_range(pl.len(), dtype=pl.UInt32).alias("annotation_id")
    )
    dataset = Dataset("noise", detector.classes, images, annotations, shards=writer.shards, split="val")
    dataset.save(folder / "val")
    return folder


def _image_row(number: int, blob: bytes, writer: ShardWriter) -> dict[str, object]:
    digest = sha256(blob).hexdigest()
    place = writer.locations[digest]
    row = {"image_id": number, "name": f"{number}.png", "sha256": digest, "width": WIDTH, "height": HEIGHT}
    return row | {"format": "png", "orientation": 1, "bytes": len(blob), "shard": place.shard, "offset": place.offset}


def _truth_rows(number: int, detector: Detector, blob: bytes, sure: float) -> Iterator[dict[str, object]]:
    (found,) = detector.predict([decode(blob)], conf=sure)
    for (left, top, right, bottom), label in zip(found.boxes.tolist(), found.labels.tolist(), strict=True):
        row = {"image_id": number, "category": detector.classes[label], "kind": "ground_truth", "x": left, "y": top}
        yield row | {"width": right - left, "height": bottom - top, "crowd": False, "difficult": False}
