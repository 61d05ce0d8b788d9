"""Run every runtime of a staged model over the same images: what each finds, how good it is, how long it takes."""

import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from components.model_pack.conversions import RUNTIMES, TENSORRT
from components.model_pack.samples import Samples
from components.shared.archive import MODEL
from components.shared.detection.detector import Detections, Detector
from components.shared.detection.frameworks import Pixels
from components.shared.detection.inference import TORCH, Inference
from components.shared.detection.tiling import Tiling
from components.shared.errors import ArchiveError, ConfigError, PipelineError, in_one_line
from components.shared.evaluation.coco_metrics import coco_metrics
from components.shared.evaluation.detections import detection_table
from components.shared.evaluation.outcomes import DETECTIONS, sort_detections
from components.shared.progress import Notify

TIMED = 32  # images whose prediction is timed; each was predicted once before, so that its shape is known
CHUNK = 16  # images a runtime predicts before the next one does: a machine that slows down slows all of them
CHUNK_BYTES = 256 << 20
LEAST_SCORE = 0.001
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Measured:
    """What one runtime did.

    Attributes:
        runtime: its name.
        found: detections by image id, from a score of ``LEAST_SCORE`` on.
        table: the same, with the columns of ``outcomes.DETECTIONS``.
        latencies: milliseconds from the decoded image to its boxes.
        map50_95: ``None`` without ground truth.
        map50: likewise.
        megabytes: size of its files.
    """

    runtime: str
    found: dict[int, Detections]
    table: pl.DataFrame
    latencies: tuple[float, ...]
    map50_95: float | None
    map50: float | None
    megabytes: float

    def latency(self, percentile: float) -> float | None:
        """Milliseconds an image at a percentile of 0..100; ``None`` without images."""
        return float(np.percentile(self.latencies, percentile)) if self.latencies else None


@dataclass(frozen=True)
class Measurement:
    """The runtimes that were measured, the weights first, and why the others cannot be opened here."""

    measured: list[Measured]
    refused: dict[str, str]


class _Run:
    """A runtime under way."""

    def __init__(self, source: Path, runtime: str, inference: Inference) -> None:
        self.runtime = runtime
        self.detector = Detector(source / MODEL, device="cuda" if runtime == TENSORRT else "cpu", runtime=runtime)
        self.found: dict[int, Detections] = {}
        self.latencies: list[float] = []
        self._iou, self._max_det = inference.iou, inference.max_det
        self._tiling: Tiling | None = inference.tiling
        self._try()

    def _try(self) -> None:
        """Predict once, for an engine may load a model that it cannot run.

        Raises:
            ArchiveError: it cannot.
        """
        edge = self.detector.manifest.imgsz
        try:
            self._predict(np.full((edge, edge, 3), 114, dtype=np.uint8))
        except PipelineError:
            raise
        except Exception as error:  # the engines raise types of their own
            reason = in_one_line(error, most=200)
            raise ArchiveError(f"The runtime {self.runtime!r} cannot predict: {reason}.") from error

    def look(self, chunk: Sequence[tuple[int, Pixels]]) -> None:
        """Predict each image, then some of them again with the clock running."""
        for image_id, pixels in chunk:
            self.found[image_id] = self._predict(pixels)
        for _, pixels in chunk[: TIMED - len(self.latencies)]:
            started = time.perf_counter()
            self._predict(pixels)
            self.latencies.append((time.perf_counter() - started) * 1000)

    def _predict(self, pixels: Pixels) -> Detections:
        (found,) = self.detector.predict(
            [pixels], conf=LEAST_SCORE, iou=self._iou, max_det=self._max_det, tiling=self._tiling
        )
        return found


def measure(
    source: Path, runtimes: Sequence[str], samples: Samples, inference: Inference, notify: Notify, *, serving: str
) -> Measurement:
    """Measure the weights, then each of ``runtimes``, on the CPU; TensorRT on its GPU.

    Args:
        source: the staged source folder, with ``model`` and ``runtimes``.
        runtimes: what it was converted to.
        samples: the images.
        inference: overlaps, most boxes and tiles; its thresholds are not used.
        notify: hears the share of the images that is done.
        serving: the runtime that must not be refused.

    Raises:
        ArchiveError: the weights, or the runtime that shall serve, cannot be opened.
        ConfigError: likewise, for a missing library.
    """
    runs = [_Run(source, TORCH, inference)]
    refused: dict[str, str] = {}
    for name in runtimes:
        try:
            runs.append(_Run(source, name, inference))
        except (ArchiveError, ConfigError) as error:
            if name == serving:
                raise
            refused[name] = in_one_line(error) + "."
            logger.warning("The runtime %r is left out: %s", name, error)
    done = 0
    for chunk in _chunks(samples):
        for run in runs:
            run.look(chunk)
        done += len(chunk)
        notify(done / samples.images.height, f"measured {done} of {samples.images.height} images")
    return Measurement([_judged(run, samples, source) for run in runs], refused)


def _chunks(samples: Samples) -> Iterator[list[tuple[int, Pixels]]]:
    """The images a few at a time; large ones, which would fill the memory, fewer."""
    chunk: list[tuple[int, Pixels]] = []
    for image_id, pixels in samples.pixels():
        chunk.append((image_id, pixels))
        if len(chunk) == CHUNK or sum(held.nbytes for _, held in chunk) >= CHUNK_BYTES:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def _judged(run: _Run, samples: Samples, source: Path) -> Measured:
    classes = run.detector.classes
    tables = [detection_table(image_id, found, classes) for image_id, found in run.found.items()]
    table = sort_detections(pl.concat([pl.DataFrame(schema=DETECTIONS), *tables]))
    summary = coco_metrics(table, samples.truths, samples.image_ids, samples.classes).summary
    folder = source / RUNTIMES / run.runtime
    files = folder.iterdir() if run.runtime != TORCH else [source / MODEL / run.detector.manifest.weights]
    return Measured(
        runtime=run.runtime,
        found=run.found,
        table=table,
        latencies=tuple(run.latencies),
        map50_95=summary.get("map50_95"),
        map50=summary.get("map50"),
        megabytes=round(sum(path.stat().st_size for path in files) / 1e6, 3),
    )
