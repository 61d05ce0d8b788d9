"""The packed model ready to predict: one core for every way of asking it."""

import importlib
import os
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

import numpy as np
import numpy.typing as npt

from components.model_pack.serving.limits import RefusedError, limits_of, read_image
from components.model_pack.serving.sizing import DEVICE, RUNTIME, gpu_is_visible, sizing_of
from components.shared.archive import MODEL, load_archive_manifest
from components.shared.detection.detector import Detections, Detector
from components.shared.detection.inference import Inference, load_inference
from components.shared.detection.tiling import LEAST_TILE, Tiling
from components.shared.errors import ConfigError

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Prediction:
    """What was found in one image.

    Attributes:
        width: pixels of the upright image.
        height: likewise.
        found: boxes as corners in its pixels, scores and labels, best first.
        classes: class names; a label is an index into them.
        seconds: what the model took, without decoding the image and waiting for others.
    """

    width: int
    height: int
    found: Detections
    classes: tuple[str, ...]
    seconds: float


class Predictor:
    """A bento's model on the device and with the runtime that its ``inference.json`` and the environment say.

    ``DETECTOR_DEVICE`` is ``auto``, ``cpu``, ``cuda`` or ``cuda:N``, ``DETECTOR_RUNTIME`` one of the packed runtimes.
    Any number of threads may call it; the model sees one image after the other.

    Args:
        source: the bento's source folder: ``manifest.json``, ``inference.json``, ``model/`` and ``runtimes/``.
        environment: where the settings are read.

    Raises:
        ArchiveError: the model or its description is broken.
        ConfigError: a setting names a device or a runtime that is not here.
    """

    def __init__(self, source: Path, environment: Mapping[str, str] = os.environ) -> None:
        self.manifest = load_archive_manifest(source)
        self.inference: Inference = load_inference(source)
        self.limits = limits_of(environment)
        sizing = sizing_of(environment)
        self.workers, self.threads = sizing.workers, sizing.threads
        self.device, self.runtime = _choose(self.inference, self.manifest.runtime_names, environment)
        self._detector = Detector(source / MODEL, device=self.device, runtime=self.runtime, threads=self.threads)
        self.classes = self._detector.classes
        self._labels = {name: label for label, name in enumerate(self.classes)}
        self._own = np.array(self.inference.confidences(self.classes), dtype=np.float64)
        self._lock = Lock()
        _ = self.inference.tiling  # tiles that make no sense are refused here

    def warm_up(self) -> float:
        """Predict on a grey image, for what the libraries set up on their first; the seconds it took."""
        edge = self.manifest.imgsz
        return self.predict(np.full((edge, edge, 3), 114, dtype=np.uint8), tile=0).seconds

    def read(self, data: bytes) -> Pixels:
        """Pixels of an uploaded image, RGB ``(height, width, 3)`` and upright; raises ``RefusedError``."""
        return read_image(data, self.limits)

    def predict(
        self,
        pixels: Pixels,
        *,
        conf: float | None = None,
        iou: float | None = None,
        classes: Collection[str] | None = None,
        tile: int | None = None,
    ) -> Prediction:
        """Find objects in one RGB image of shape ``(height, width, 3)``.

        Args:
            pixels: the upright image.
            conf: lowest score of a box; ``None`` for each class's own.
            iou: two boxes of one class that overlap more than this are one object; ``None`` for the model's own.
            classes: names of the classes asked for; ``None`` or none for all.
            tile: larger images are cut into tiles of this edge in pixels; 0: never; ``None`` for the model's own.

        Raises:
            RefusedError: 422, a value is out of its bounds or no class of the model has that name.
        """
        self.check(conf=conf, iou=iou, classes=classes, tile=tile)
        least = self._thresholds(conf, classes)
        tiling = self._tiling(pixels, tile)
        with self._lock:
            started = time.perf_counter()
            (found,) = self._detector.predict(
                [pixels],
                conf=float(least.min(initial=1.0)),
                iou=self.inference.iou if iou is None else iou,
                max_det=self.inference.max_det,
                tiling=tiling,
            )
            seconds = time.perf_counter() - started
        kept = found.scores > least[found.labels]
        return Prediction(
            width=pixels.shape[1],
            height=pixels.shape[0],
            found=Detections(boxes=found.boxes[kept], scores=found.scores[kept], labels=found.labels[kept]),
            classes=self.classes,
            seconds=seconds,
        )

    def check(
        self,
        *,
        conf: float | None = None,
        iou: float | None = None,
        classes: Collection[str] | None = None,
        tile: int | None = None,
    ) -> None:
        """Refuse what ``predict`` would refuse of any image, before one is decoded; raises ``RefusedError``."""
        for name, value in (("conf", conf), ("iou", iou)):
            if value is not None and not 0 <= value <= 1:
                raise RefusedError(422, name, f"{name} is {value!r}: give a number from 0 to 1.")
        for name in classes or ():
            if name not in self._labels:
                raise RefusedError(422, "classes", f"There is no class {name[:80]!r}: use {_listed(self.classes)}.")
        if tile and tile < LEAST_TILE:
            raise RefusedError(422, "tile", f"tile is {tile!r}: give {LEAST_TILE} or more, or 0 for no tiles.")

    def _thresholds(self, conf: float | None, classes: Collection[str] | None) -> npt.NDArray[np.float64]:
        """Lowest score of each class's boxes; infinite for a class that was not asked for."""
        least = self._own if conf is None else np.full(len(self.classes), float(conf))
        if not classes:
            return least
        wanted = {self._labels[name] for name in classes}
        return np.array([value if label in wanted else np.inf for label, value in enumerate(least)])

    def _tiling(self, pixels: Pixels, tile: int | None) -> Tiling | None:
        edge = self.inference.tile if tile is None else tile
        if edge == 0:
            return None
        tiling = Tiling(edge, self.inference.tile_overlap, self.inference.tile_merge)
        tiles, most = tiling.count(pixels.shape[1], pixels.shape[0]), self.limits.max_tiles
        if tiles > most:
            message = (
                f"tile is {edge!r}, which makes {tiles} pieces of this image; the limit is {most}: use larger ones."
            )
            raise RefusedError(422, "tile", message)
        return tiling


def _listed(classes: tuple[str, ...], most: int = 100) -> str:
    names = ", ".join(repr(name) for name in classes[:most])
    return names if len(classes) <= most else f"{names} or one of {len(classes) - most} more"


def _choose(inference: Inference, packed: tuple[str, ...], environment: Mapping[str, str]) -> tuple[str, str]:
    """The device and the runtime."""
    asked = environment.get(DEVICE, "").strip().lower() or "auto"
    forced = environment.get(RUNTIME, "").strip()
    if forced and forced not in packed:
        raise ConfigError(f"{RUNTIME} is {forced!r}, which is not in this archive: use {' or '.join(packed)}.")
    device = asked
    if asked == "auto":
        runtime = forced or inference.runtime_for("cuda")
        device = "cuda" if gpu_is_visible(environment) and _runs_on_gpu(runtime) else "cpu"
    kind = "cpu" if device == "cpu" else "cuda"
    return device, forced or inference.runtime_for(kind)


def _runs_on_gpu(runtime: str) -> bool:
    """Whether a runtime's library finds a GPU here; it is imported, as it will be anyway."""
    if runtime.startswith("openvino"):
        return False
    try:
        library = importlib.import_module("onnxruntime" if runtime.startswith("onnx") else "torch")
    except ImportError:
        return False
    if runtime.startswith("onnx"):
        return bool("CUDAExecutionProvider" in library.get_available_providers())
    return bool(library.cuda.is_available())
