"""A trained model that turns images into boxes, the same way in evaluation, in the proof and in the service."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from components.shared.detection.frameworks import Pixels, Rows, Runtime, find_framework
from components.shared.detection.manifest import ModelManifest, load_manifest
from components.shared.detection.tiling import Tiling, predict_in_tiles
from components.shared.errors import ArchiveError, InputError

__all__ = ["Detections", "Detector", "Pixels", "Rows"]

_CHANNELS = 3


@dataclass(frozen=True)
class Detections:
    """Boxes found in one image, best score first.

    Attributes:
        boxes: float64 ``(N, 4)``: left, top, right, bottom in pixels of the oriented image, half-open.
        scores: float64 ``(N,)`` in 0..1.
        labels: int64 ``(N,)``: index into the detector's ``classes``.
    """

    boxes: npt.NDArray[np.float64]
    scores: npt.NDArray[np.float64]
    labels: npt.NDArray[np.int64]


class Detector:
    """A model folder (see ``ModelManifest``) ready to predict on the CPU or a GPU.

    The digests of the folder's files are not checked here: that is ``verify_files``' and ``open_archive``'s part.

    Args:
        directory: the model folder.
        device: ``cpu``, ``cuda``, ``cuda:1``, or ``auto`` for a GPU where there is one.
        runtime: the converted model to run instead of the weights: a folder of ``runtimes`` beside the model folder,
            such as ``onnx``, whose digests are checked; ``''`` or ``torch`` for the weights themselves.
        threads: CPU threads of one prediction of a converted model; 0 for what this process may use.

    Raises:
        ArchiveError: the manifest, the weights or the runtime are missing or unreadable, or their classes differ.
        ConfigError: the device or a library that the runtime needs does not exist.
    """

    def __init__(self, directory: Path, *, device: str = "cpu", runtime: str = "", threads: int = 0) -> None:
        self.manifest = load_manifest(directory)
        self._runtime, origin = _open(directory, self.manifest, device, runtime, threads)
        if self._runtime.names != self.manifest.classes:
            raise ArchiveError(_class_difference(self.manifest.classes, self._runtime.names, origin))

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names; a label is an index into them."""
        return self.manifest.classes

    def predict(
        self,
        images: Sequence[Pixels],
        *,
        conf: float = 0.001,
        iou: float = 0.7,
        max_det: int = 300,
        tiling: Tiling | None = None,
    ) -> list[Detections]:
        """Detect on RGB images of shape ``(height, width, 3)``; one result an image, in order.

        Each image goes through the model alone, and so does each tile, so the boxes do not depend on what else is
        asked for. Boxes are clipped to the image; those with nothing left inside are dropped.

        Args:
            images: uint8 arrays.
            conf: scores must be above it.
            iou: boxes of one class that overlap by more are one object.
            max_det: boxes at most in an image, or in each tile's worth of one that is cut.
            tiling: how images larger than a tile are cut; ``None``: they are predicted whole.

        Raises:
            InputError: an image is not a uint8 array of that shape.
        """

        def predict(pixels: Pixels) -> Rows:
            return self._runtime.predict(pixels, conf=conf, iou=iou, max_det=max_det)

        found = []
        for index, image in enumerate(images):
            _check_image(image, index)
            rows = predict_in_tiles(image, tiling, predict, iou=iou, max_det=max_det) if tiling else predict(image)
            found.append(_detections(rows, image.shape[1], image.shape[0]))
        return found


def _open(directory: Path, manifest: ModelManifest, device: str, runtime: str, threads: int) -> tuple[Runtime, Path]:
    """What predicts, and the file or folder it was made of."""
    if runtime not in {"", "torch"}:
        from components.shared.detection.engine_runtime import open_runtime  # noqa: PLC0415 - not in every archive

        opened = open_runtime(directory, runtime, device=device, threads=threads)
        return opened, directory.parent / "runtimes" / runtime
    weights = directory / manifest.weights
    if not weights.is_file():
        raise ArchiveError(f"The weights {manifest.weights!r} are missing from {str(directory)!r}.")
    return find_framework(manifest.framework).open_runtime(weights, manifest.imgsz, device), weights


def _class_difference(declared: tuple[str, ...], learned: tuple[str, ...], weights: Path) -> str:
    if len(declared) != len(learned):
        return f"The manifest names {len(declared)} classes, but the weights {str(weights)!r} know {len(learned)}."
    index = next(i for i, pair in enumerate(zip(declared, learned, strict=True)) if pair[0] != pair[1])
    return (
        f"Class {index} is {declared[index]!r} in the manifest but {learned[index]!r} in the weights {str(weights)!r}."
    )


def _check_image(image: Pixels, index: int) -> None:
    if image.dtype != np.uint8 or image.ndim != _CHANNELS or image.shape[2] != _CHANNELS or not image.size:
        raise InputError(
            f"Image {index} is a {image.dtype} array of shape {image.shape!r}: give RGB uint8 of (height, width, 3)."
        )


def _detections(rows: Rows, width: int, height: int) -> Detections:
    """Rows clipped to the image and ordered by score, then label, then corner, so that ties have one order."""
    boxes = np.clip(rows[:, :4], 0.0, [width, height, width, height])
    kept = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
    boxes, scores, labels = boxes[kept], rows[kept, 4], rows[kept, 5].astype(np.int64)
    order = np.lexsort((*boxes.T[::-1], labels, -scores))
    return Detections(boxes=boxes[order], scores=scores[order], labels=labels[order])
