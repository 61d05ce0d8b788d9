"""Run a detector over the test images, one image in memory at a time."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import polars as pl

from components.model_eval.evaluation import EvaluateOptions
from components.model_eval.outcomes import DETECTIONS
from components.shared.boxes import corners_to_size
from components.shared.detection.detector import Detections
from components.shared.errors import InputError
from components.shared.images import decode
from components.shared.progress import Notify


class Predictor(Protocol):
    """What a ``Detector`` can do, as far as an evaluation needs it."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names; a label is an index into them."""

    def predict(
        self, images: Sequence[npt.NDArray[np.uint8]], *, conf: float, iou: float, max_det: int
    ) -> list[Detections]:
        """Detect on RGB images; one result an image."""


class Images(Protocol):
    """What an ``ImageReader`` can do, as far as an evaluation needs it."""

    def read_many(self, images: pl.DataFrame) -> Iterator[tuple[int, bytes]]:
        """Image ids and encoded images, in any order."""


@dataclass(frozen=True)
class Predicted:
    """What a model found.

    Attributes:
        detections: columns of ``outcomes.DETECTIONS``.
        latencies: milliseconds the model took for each image, without reading and decoding it.
    """

    detections: pl.DataFrame
    latencies: tuple[float, ...]


def predict_images(
    detector: Predictor, reader: Images, images: pl.DataFrame, options: EvaluateOptions, notify: Notify
) -> Predicted:
    """Detect on every image of ``images``; ``notify`` hears of each.

    Raises:
        InputError: an image cannot be decoded; the message names it.
    """
    names = dict(images.select("image_id", "name").iter_rows())
    frames, latencies = [], []
    for done, (image_id, data) in enumerate(reader.read_many(images.sort("shard", "offset")), 1):
        pixels = decode_named(data, names[image_id])
        started = time.perf_counter()
        (found,) = detector.predict([pixels], conf=options.conf, iou=options.iou, max_det=options.max_det)
        latencies.append((time.perf_counter() - started) * 1000)
        frames.append(_table(image_id, found, detector.classes))
        notify(done / images.height, f"predicted {done} of {images.height} images")
    # The first image pays for what the library sets up on the way.
    measured = latencies[1:] or latencies
    return Predicted(pl.concat([pl.DataFrame(schema=DETECTIONS), *frames]), tuple(measured))


def decode_named(data: bytes, name: str) -> npt.NDArray[np.uint8]:
    """Pixels of an encoded image.

    Raises:
        InputError: it cannot be decoded; the message names it.
    """
    try:
        return decode(data)
    except InputError as error:
        raise InputError(f"The test image {name!r} is not what its dataset says; load it again. {error}") from error


def _table(image_id: int, found: Detections, classes: Sequence[str]) -> pl.DataFrame:
    x, y, width, height = corners_to_size(found.boxes).T
    sound = np.isfinite(found.scores) & np.isfinite(found.boxes).all(axis=1)
    table = pl.DataFrame(
        {
            "image_id": np.full(len(found.scores), image_id, dtype=np.uint32),
            "category": [classes[label] for label in found.labels.tolist()],
            "score": found.scores,
            "x": x,
            "y": y,
            "width": width,
            "height": height,
        },
        schema=DETECTIONS,
    )
    return table.filter(pl.Series(sound))
