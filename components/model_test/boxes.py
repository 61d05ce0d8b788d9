"""Compare what two models found in the same image: each box clearly above the cut must have one partner, both ways."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from components.model_test.limits import EXACT, Tolerance
from components.shared.boxes import overlap_matrix
from components.shared.detection.detector import Detections

_FULL = 0.02  # of a result that holds as many boxes as it may, scores within this share of the last are its edge
Costs = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Found:
    """Boxes one model found in one image.

    Attributes:
        boxes: float64 ``(N, 4)``: left, top, right, bottom in pixels.
        scores: float64 ``(N,)``.
        names: class name of each.
        limited: whether there are as many as were asked for at most, so that others were cut off.
    """

    boxes: npt.NDArray[np.float64]
    scores: npt.NDArray[np.float64]
    names: tuple[str, ...]
    limited: bool = False

    @classmethod
    def of(cls, detections: Detections, classes: Sequence[str], *, limited: bool = False) -> "Found":
        """A detector's result with its class names."""
        names = tuple(classes[label] for label in detections.labels)
        return cls(detections.boxes, detections.scores, names, limited)

    def clear(self, floor: float | Mapping[str, float]) -> npt.NDArray[np.intp]:
        """Indices of the boxes from a score up, one for all classes or each class's own."""
        floors = floor if isinstance(floor, float | int) else np.array([floor.get(name, 0.0) for name in self.names])
        return np.flatnonzero(self.scores >= floors)

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
        differences: one sentence for each box without a partner that had to have one.
        asked: boxes of either that had to.
        apart: those of them that have none.
    """

    pairs: int
    max_score_difference: float
    max_box_difference: float
    differences: tuple[str, ...]
    asked: int = 0
    apart: int = 0


def compare_boxes(
    image: str,
    ours: Found,
    theirs: Found,
    *,
    other_is: str,
    within: Tolerance = EXACT,
    pixel: float = 1.0,
    clear: float | Mapping[str, float] = 0.0,
) -> Comparison:
    """Pair boxes of the same class that agree as the tolerance asks.

    Args:
        image: its name, for sentences.
        ours: what is expected.
        theirs: what is compared with it.
        other_is: whose result ``theirs`` is.
        within: what partners may differ by.
        pixel: pixels of the image for one the model sees; at least 1.
        clear: lowest score of a box that must have a partner, one for all classes or by class.
    """
    costs = _costs(ours, theirs, within, max(1.0, pixel))
    pairs = _pairs(costs)
    edge = max(_edge(ours), _edge(theirs))
    asked = [np.intersect1d(found.clear(clear), found.clear(edge)) for found in (ours, theirs)]
    lonely = [np.setdiff1d(indices, pairs[:, side]) for side, indices in enumerate(asked)]
    differences = [_missing(image, ours, int(index), theirs, other_is) for index in lonely[0]]
    if len(lonely[1]) > len(lonely[0]):
        differences += [f"{image}: {other_is} finds {theirs.describe(i)}, trained does not" for i in lonely[1]]
    first, second = pairs.T
    return Comparison(
        pairs=len(pairs),
        max_score_difference=float(np.abs(ours.scores[first] - theirs.scores[second]).max(initial=0.0)),
        max_box_difference=float(np.abs(ours.boxes[first] - theirs.boxes[second]).max(initial=0.0)),
        differences=tuple(differences),
        asked=len(asked[0]) + len(asked[1]),
        apart=len(lonely[0]) + len(lonely[1]),
    )


def _edge(found: Found) -> float:
    """Scores below it may be missing for want of room."""
    return float(found.scores.min()) * (1 + _FULL) if found.limited and len(found.scores) else 0.0


def _costs(ours: Found, theirs: Found, within: Tolerance, pixel: float) -> Costs:
    """How far each of our boxes is from each of theirs, as a share of what is allowed; infinite for other classes."""
    scores = np.abs(ours.scores[:, None] - theirs.scores[None, :])
    if within.overlap:
        apart = np.maximum(scores / within.score, (1 - _overlaps(ours, theirs)) / (1 - within.overlap))
    else:
        corners = np.abs(ours.boxes[:, None] - theirs.boxes[None, :])
        if within.relative:
            scales = np.maximum(1.0, np.maximum(np.abs(ours.boxes[:, None]), np.abs(theirs.boxes[None, :])))
            corners, allowed = corners / scales, within.relative
            scores = scores / np.maximum(np.maximum.outer(ours.scores, theirs.scores), np.finfo(float).tiny)
        else:
            allowed = within.pixels * pixel
        apart = np.maximum(corners.max(axis=2, initial=0.0) / allowed, scores / (within.relative or within.score))
    codes = {name: code for code, name in enumerate({*ours.names, *theirs.names})}
    first, second = (np.array([codes[name] for name in found.names], dtype=np.intp) for found in (ours, theirs))
    return np.where(first[:, None] == second[None, :], apart, np.inf)


def _overlaps(ours: Found, theirs: Found) -> Costs:
    first, second = (
        np.hstack([found.boxes[:, :2], found.boxes[:, 2:] - found.boxes[:, :2]]) for found in (ours, theirs)
    )
    return overlap_matrix(first, second, np.zeros(len(second), dtype=np.bool_))


def _pairs(costs: Costs) -> npt.NDArray[np.intp]:
    """``(N, 2)`` indices of partners: each of ours, in order, takes the nearest that is free and near enough."""
    pairs = []
    free = np.ones(costs.shape[1], dtype=bool)
    for index in np.flatnonzero((costs <= 1).any(axis=1)):
        candidates = np.where(free, costs[index], np.inf)
        best = int(candidates.argmin())
        if candidates[best] <= 1:
            free[best] = False
            pairs.append((index, best))
    return np.array(pairs, dtype=np.intp).reshape(-1, 2)


def _missing(image: str, ours: Found, index: int, theirs: Found, other_is: str) -> str:
    if not len(theirs.scores):
        return f"{image}: trained finds {ours.describe(index)}, {other_is} nothing"
    corners = np.abs(theirs.boxes - ours.boxes[index]).max(axis=1)
    nearest = int((corners + np.abs(theirs.scores - ours.scores[index])).argmin())
    return f"{image}: trained finds {ours.describe(index)}, {other_is} {theirs.describe(nearest)}"
