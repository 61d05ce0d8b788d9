"""A trained model that turns images into boxes, the same way in evaluation, in the proof and in the service."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt


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
    """A model folder (see ``ModelManifest``) ready to predict on the CPU or a GPU."""

    def __init__(self, directory: Path, *, device: str = "cpu") -> None:
        raise NotImplementedError

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names; a label is an index into them."""
        raise NotImplementedError

    def predict(
        self,
        images: Sequence[npt.NDArray[np.uint8]],
        *,
        conf: float = 0.001,
        iou: float = 0.7,
        max_det: int = 300,
    ) -> list[Detections]:
        """Detect on RGB images of shape ``(height, width, 3)``; one result an image, in order."""
        raise NotImplementedError
