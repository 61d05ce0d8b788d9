"""Run models over the test images: each image is read once, a few are in memory at a time."""

import itertools
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt
import polars as pl

from components.shared.detection.detector import Detections
from components.shared.detection.inference import TORCH, Inference
from components.shared.detection.tiling import Tiling
from components.shared.errors import InputError, PipelineError, in_one_line
from components.shared.evaluation.detections import detection_table
from components.shared.evaluation.outcomes import DETECTIONS
from components.shared.images import decode
from components.shared.progress import Notify

MODEL, CHAMPION, START = "model", "champion", "start"  # the contestants
_TURN = 16  # images one model predicts before the next has its turn
_TURN_PIXELS = 1 << 26  # 192 MiB of decoded images
_logger = logging.getLogger(__name__)
Pixels = npt.NDArray[np.uint8]


class Predictor(Protocol):
    """What a ``Detector`` can do, as far as an evaluation needs it."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names; a label is an index into them."""

    def predict(
        self, images: Sequence[Pixels], *, conf: float, iou: float, max_det: int, tiling: Tiling | None
    ) -> list[Detections]:
        """Detect on RGB images; one result an image."""


class Images(Protocol):
    """What an ``ImageReader`` can do, as far as an evaluation needs it."""

    def read_many(self, images: pl.DataFrame) -> Iterator[tuple[int, bytes]]:
        """Image ids and encoded images, in any order."""


@dataclass(frozen=True)
class Contestant:
    """A model and its own way to predict.

    Attributes:
        detector: the model on a device.
        inference: overlaps, most boxes and tiles; the thresholds are not applied.
        runtime: what runs it.
    """

    detector: Predictor
    inference: Inference = field(default_factory=Inference)
    runtime: str = TORCH

    def predict(self, pixels: Pixels, conf: float) -> Detections:
        """Every box of one image that scores at least ``conf``."""
        how = self.inference
        (found,) = self.detector.predict([pixels], conf=conf, iou=how.iou, max_det=how.max_det, tiling=how.tiling)
        return found


@dataclass(frozen=True)
class Predicted:
    """What a model found.

    Attributes:
        detections: columns of ``outcomes.DETECTIONS``.
        latencies: milliseconds the model took for each image, without reading and decoding it.
        failure: why it could not predict, as the end of a sentence; empty when it could.
    """

    detections: pl.DataFrame
    latencies: tuple[float, ...] = ()
    failure: str = ""


def predict_images(
    contestants: Mapping[str, Contestant], reader: Images, images: pl.DataFrame, conf: float, notify: Notify
) -> dict[str, Predicted]:
    """Detect on every image of ``images`` with every contestant; ``notify`` hears of each image.

    A failure of ``MODEL`` ends the evaluation; one of another contestant is told in its result, which is then empty.

    Raises:
        InputError: an image cannot be decoded; the message names it.
    """
    runs = {name: _Run(name, contestant, conf) for name, contestant in contestants.items()}
    done = 0
    for turn in _turns(_decoded(reader, images)):
        for run in runs.values():
            run.take(turn)
        for _ in turn:
            done += 1
            notify(done / images.height, f"predicted {done} of {images.height} images")
    return {name: run.result() for name, run in runs.items()}


def decode_named(data: bytes, name: str) -> Pixels:
    """Pixels of an encoded image.

    Raises:
        InputError: it cannot be decoded; the message names it.
    """
    try:
        return decode(data)
    except InputError as error:
        raise InputError(f"The test image {name!r} is not what its dataset says; load it again. {error}") from error


class _Run:
    """One contestant on its way through the images."""

    def __init__(self, name: str, contestant: Contestant, conf: float) -> None:
        self._name, self._contestant, self._conf = name, contestant, conf
        self._frames: list[pl.DataFrame] = [pl.DataFrame(schema=DETECTIONS)]
        self._first: list[float] = []
        self._latencies: list[float] = []
        self._failure = ""

    def take(self, turn: Sequence[tuple[int, Pixels]]) -> None:
        if self._failure:
            return
        try:
            self._predict(turn)
        except Exception as error:
            if self._name == MODEL:
                raise
            _logger.warning("The %s cannot predict: %s.", self._name, in_one_line(error), exc_info=_defect(error))
            self._failure = in_one_line(error)

    def result(self) -> Predicted:
        if self._failure:
            return Predicted(pl.DataFrame(schema=DETECTIONS), failure=self._failure)
        return Predicted(pl.concat(self._frames), tuple(self._latencies or self._first))

    def _predict(self, turn: Sequence[tuple[int, Pixels]]) -> None:
        for place, (image_id, pixels) in enumerate(turn):
            started = time.perf_counter()
            found = self._contestant.predict(pixels, self._conf)
            # The first image of a turn pays for what the library sets up and for what the others left in the caches.
            (self._latencies if place else self._first).append((time.perf_counter() - started) * 1000)
            self._frames.append(detection_table(image_id, found, self._contestant.detector.classes))


def _defect(error: Exception) -> bool:
    return not isinstance(error, PipelineError)


def _decoded(reader: Images, images: pl.DataFrame) -> Iterator[tuple[int, Pixels]]:
    names = dict(images.select("image_id", "name").iter_rows())
    for image_id, data in reader.read_many(images.sort("shard", "offset")):
        yield image_id, decode_named(data, names[image_id])


def _turns(images: Iterator[tuple[int, Pixels]]) -> Iterator[list[tuple[int, Pixels]]]:
    """A few images at a time, fewer of large ones."""
    for first in images:
        most = min(_TURN, max(1, _TURN_PIXELS // first[1][..., 0].size))
        yield [first, *itertools.islice(images, most - 1)]
