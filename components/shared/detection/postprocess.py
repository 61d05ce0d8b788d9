"""From what a model gives to boxes in the image's pixels, with our own suppression of overlaps."""

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from components.shared.detection.contract import Layout
from components.shared.detection.frameworks import Rows
from components.shared.detection.preprocess import Placement

Array = npt.NDArray[np.generic]
Floats = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]

_CANDIDATES = 30_000  # best boxes of an image that go into the suppression, as in ultralytics
_CLASS_SHIFT = 7680  # pixels between classes there; it rounds boxes, and so decides ties
_CHUNK = 256  # boxes compared with each other at once
_LEAST_EDGE = 0.01  # pixels; what is narrower is no box for torchvision


def decode(
    outputs: Sequence[Array], layout: Layout, placement: Placement, *, conf: float, iou: float, max_det: int
) -> Rows:
    """Boxes of one image: float64 ``(N, 6)`` left, top, right, bottom, score, label, best score first.

    Args:
        outputs: what the engine gave for a tensor of one image.
        layout: what that is; see ``OutputContract``.
        placement: where the image lies in the tensor.
        conf: scores must be above it.
        iou: a box that overlaps a better one of its class by more is suppressed, where the layout asks for it.
        max_det: boxes at most.
    """
    corners, scores, labels = _READERS[layout](outputs, placement, conf)
    if layout in {"yolo", "boxes"}:
        shifted = corners + (labels[:, None] * _CLASS_SHIFT).astype(np.float32) if layout == "yolo" else corners
        kept = suppress(shifted, scores, labels, iou=iou, max_det=max_det)
    else:
        kept = np.arange(min(len(scores), max_det))
    boxes = placement.to_image(corners[kept])
    return np.concatenate([boxes, scores[kept, None], labels[kept, None]], axis=1, dtype=np.float64)


def suppress(boxes: Floats, scores: Floats, labels: Labels, *, iou: float, max_det: int) -> npt.NDArray[np.intp]:
    """Indices of the boxes that stay, best score first, as torchvision's ``nms`` of each class gives them.

    Args:
        boxes: ``(N, 4)`` corners.
        scores: ``(N,)``; of equal ones the first goes first.
        labels: ``(N,)``; a box is suppressed by those of its own class only.
        iou: overlap above which the worse of two boxes goes.
        max_det: boxes at most.
    """
    order = np.argsort(-scores, kind="stable")
    kept = np.empty(0, dtype=np.intp)
    for start in range(0, len(order), _CHUNK):
        chunk = order[start : start + _CHUNK]
        alive = ~_overlaps(boxes, labels, kept, chunk, iou).any(axis=0)
        chunk = chunk[alive]
        kept = np.concatenate([kept, chunk[_unsuppressed(_overlaps(boxes, labels, chunk, chunk, iou))]])
        if len(kept) >= max_det:
            break
    return kept[:max_det]


def _unsuppressed(overlapping: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Which of boxes in order of their scores stay, given who overlaps whom."""
    alive = np.ones(len(overlapping), dtype=bool)
    above = np.triu(overlapping, 1)
    for index in np.flatnonzero(above.any(axis=1)):
        if alive[index]:
            alive &= ~above[index]
    return alive


def _overlaps(
    boxes: Floats, labels: Labels, first: npt.NDArray[np.intp], second: npt.NDArray[np.intp], iou: float
) -> npt.NDArray[np.bool_]:
    """Which boxes of one class overlap by more than ``iou``: ``(first, second)``, in the arithmetic of torchvision."""
    ones, others = boxes[first].T[:, :, None], boxes[second].T[:, None, :]
    across = np.minimum(ones[2], others[2]) - np.maximum(ones[0], others[0])
    down = np.minimum(ones[3], others[3]) - np.maximum(ones[1], others[1])
    shared = np.maximum(across, 0) * np.maximum(down, 0)
    areas = (ones[2] - ones[0]) * (ones[3] - ones[1]) + (others[2] - others[0]) * (others[3] - others[1])
    with np.errstate(divide="ignore", invalid="ignore"):  # boxes without an area overlap nothing
        above = shared / (areas - shared) > np.float64(iou)
    return np.asarray(above & (labels[first][:, None] == labels[second][None, :]), dtype=bool)


def _read_yolo(outputs: Sequence[Array], _: Placement, conf: float) -> tuple[Floats, Floats, Labels]:
    places = np.asarray(outputs[0], dtype=np.float32)[0]
    best = places[4:].max(axis=0)
    chosen = np.flatnonzero(best > conf)
    if len(chosen) > _CANDIDATES:
        chosen = chosen[np.argsort(-best[chosen], kind="stable")[:_CANDIDATES]]
    labels = places[4:, chosen].argmax(axis=0).astype(np.int64)
    return _corners(places[:4, chosen].T), best[chosen], labels


def _read_end2end(outputs: Sequence[Array], _: Placement, conf: float) -> tuple[Floats, Floats, Labels]:
    rows = np.asarray(outputs[0], dtype=np.float32)[0]
    rows = rows[rows[:, 4] > conf]
    return rows[:, :4], rows[:, 4], rows[:, 5].astype(np.int64)


def _read_detr(outputs: Sequence[Array], placement: Placement, conf: float) -> tuple[Floats, Floats, Labels]:
    shares, scores, labels = _read_end2end(outputs, placement, conf)
    size = np.array([placement.tensor_width, placement.tensor_height] * 2, dtype=np.float32)
    return _corners(shares) * size, scores, labels


def _read_boxes(outputs: Sequence[Array], placement: Placement, conf: float) -> tuple[Floats, Floats, Labels]:
    boxes, scores = (np.asarray(each, dtype=np.float32) for each in outputs[:2])
    labels = np.asarray(outputs[2], dtype=np.int64)
    limits = np.array([placement.tensor_width, placement.tensor_height] * 2, dtype=np.float32)
    boxes = np.clip(boxes, np.float32(0), limits)
    edges = boxes[:, 2:] - boxes[:, :2]
    good = (scores > conf) & (edges >= _LEAST_EDGE).all(axis=1)
    return boxes[good], scores[good], labels[good]


def _corners(centred: Floats) -> Floats:
    """Centre, width, height ``(N, 4)`` as left, top, right, bottom."""
    half = centred[:, 2:] / 2
    return np.concatenate([centred[:, :2] - half, centred[:, :2] + half], axis=1, dtype=np.float32)


_READERS: dict[Layout, Callable[[Sequence[Array], Placement, float], tuple[Floats, Floats, Labels]]] = {
    "yolo": _read_yolo,
    "end2end": _read_end2end,
    "detr": _read_detr,
    "boxes": _read_boxes,
}
