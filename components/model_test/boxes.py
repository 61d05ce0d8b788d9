"""Compare what two models found in the same image: each box must have exactly one partner, both ways."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from components.shared.detection.detector import Detections

TOLERANCE = 1e-4


@dataclass(frozen=True)
class Found:
    """Boxes one model found in one image.

    Attributes:
        boxes: float64 ``(N, 4)``: left, top, right, bottom in pixels.
        scores: float64 ``(N,)``.
        names: class name of each.
    """

    boxes: npt.NDArray[np.float64]
    scores: npt.NDArray[np.float64]
    names: tuple[str, ...]

    @classmethod
    def of(cls, detections: Detections, classes: Sequence[str]) -> "Found":
        """A detector's result with its class names."""
        return cls(detections.boxes, detections.scores, tuple(classes[label] for label in detections.labels))

    def describe(self, index: int) -> str:
        """One box in words."""
        left, top, right, bottom = self.boxes[index]
        corners = f"({left:.3f}, {top:.3f}) to ({right:.3f}, {bottom:.3f})"
        return f"{self.names[index]!r} {self.scores[index]:.6f} at {corners}"


@dataclass(frozen=True)
class Comparison:
    """How two results for one image compare.

    Attributes:
        pairs: boxes with a partner.
        max_score_difference: largest difference of two partners' scores.
        max_box_difference: largest difference of two partners' corners, in pixels.
        differences: one sentence for each box without a partner.
    """

    pairs: int
    max_score_difference: float
    max_box_difference: float
    differences: tuple[str, ...]


def compare_boxes(image: str, trained: Found, other: Found, *, other_is: str) -> Comparison:
    """Pair boxes of the same class whose scores and corners agree to ``TOLERANCE``.

    The tolerance is relative: to the larger score, and to the larger coordinate but at least one pixel.
    """
    free = np.ones(len(other.scores), dtype=bool)
    score_gaps, box_gaps, differences = [0.0], [0.0], []
    pairs = 0
    for index in range(len(trained.scores)):
        apart = _apart(trained, index, other)
        candidates = np.where(free & _same_name(trained.names[index], other), apart, np.inf)
        best = int(candidates.argmin()) if candidates.size else -1
        if best < 0 or candidates[best] > TOLERANCE:
            nearest = other.describe(int(np.where(free, apart, np.inf).argmin())) if free.any() else "nothing"
            differences.append(f"{image}: trained finds {trained.describe(index)}, {other_is} {nearest}")
            continue
        free[best] = False
        pairs += 1
        score_gaps.append(abs(float(trained.scores[index] - other.scores[best])))
        box_gaps.append(float(np.abs(trained.boxes[index] - other.boxes[best]).max()))
    if len(other.scores) - pairs > len(differences):
        lonely = [other.describe(int(index)) for index in np.flatnonzero(free)]
        differences += [f"{image}: {other_is} finds {box}, trained does not" for box in lonely]
    return Comparison(pairs, max(score_gaps), max(box_gaps), tuple(differences))


def _same_name(name: str, other: Found) -> npt.NDArray[np.bool_]:
    return np.array([candidate == name for candidate in other.names], dtype=bool)


def _apart(trained: Found, index: int, other: Found) -> npt.NDArray[np.float64]:
    """How far each of the other's boxes is from one of ours, relative; 0 is the same."""
    box, score = trained.boxes[index], trained.scores[index]
    scales = np.maximum(1.0, np.maximum(np.abs(other.boxes), np.abs(box)))
    corners = (np.abs(other.boxes - box) / scales).max(axis=1, initial=0.0)
    scores = np.abs(other.scores - score) / np.maximum(np.maximum(other.scores, score), np.finfo(float).tiny)
    gaps: npt.NDArray[np.float64] = np.maximum(corners, scores)
    return gaps
