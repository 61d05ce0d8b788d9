"""COCO's average precision and the best operating point, in numpy, for the validation after each epoch.

The numbers are those of ``pycocotools`` without crowds: 101 recall points, 10 thresholds, the 100 best boxes of an
image and class. Definition: https://cocodataset.org/#detection-eval
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from components.shared.boxes import corners_to_size, iou_matrix

Floats = npt.NDArray[np.float64]
THRESHOLDS = np.linspace(0.5, 0.95, 10)
RECALLS = np.linspace(0.0, 1.0, 101)
CONFIDENCES = np.linspace(0.0, 1.0, 1000)
MOST = 100  # boxes of an image and class that count
_ALMOST_ONE = 1 - 1e-10


@dataclass(frozen=True)
class Judged:
    """One image: what was found in it and what there is, boxes as left, top, right, bottom.

    Attributes:
        rows: ``(N, 6)``: box, score, label.
        boxes: ``(M, 4)``.
        labels: ``(M,)``.
    """

    rows: Floats
    boxes: Floats
    labels: npt.NDArray[np.int64]


def detection_metrics(images: Sequence[Judged], class_count: int) -> dict[str, float]:
    """``map50``, ``map50_95``, and ``precision`` and ``recall`` at the score where their mean F1 is best, at IoU 0.5.

    Classes without a box do not count; with no box at all every number is NaN.
    """
    precisions, curves = [], []
    for label in range(class_count):
        scores, hits, truths = _class_hits(images, label)
        if truths:
            precisions.append(_average_precision(hits, truths))
            curves.append(_operating_curve(scores, hits[:, 0], truths))
    if not precisions:
        return dict.fromkeys(("precision", "recall", "map50", "map50_95"), float("nan"))
    average = np.mean(precisions, axis=0)
    precision, recall = np.mean(curves, axis=0)
    f1 = np.mean([2 * p * r / np.maximum(p + r, 1e-16) for p, r in curves], axis=0)
    best = int(np.argmax(f1))
    return {
        "precision": float(precision[best]),
        "recall": float(recall[best]),
        "map50": float(average[0]),
        "map50_95": float(average.mean()),
    }


def _class_hits(images: Sequence[Judged], label: int) -> tuple[Floats, npt.NDArray[np.bool_], int]:
    """Scores, best first, whether each found a box at each threshold ``(N, 10)``, and how many boxes there are."""
    scores, hits, truths = [np.empty(0)], [np.empty((0, len(THRESHOLDS)), dtype=np.bool_)], 0
    for image in images:
        rows = image.rows[image.rows[:, 5] == label]
        rows = rows[np.argsort(-rows[:, 4], kind="stable")][:MOST]
        boxes = image.boxes[image.labels == label]
        truths += len(boxes)
        scores.append(rows[:, 4])
        hits.append(_hits(rows[:, :4], boxes))
    joined, found = np.concatenate(scores), np.concatenate(hits)
    order = np.argsort(-joined, kind="stable")
    return joined[order], found[order], truths


def _hits(found: Floats, boxes: Floats) -> npt.NDArray[np.bool_]:
    """Match greedily, best first, at every threshold at once; of equally good boxes the last is taken, as COCO does."""
    hits = np.zeros((len(found), len(THRESHOLDS)), dtype=np.bool_)
    if not len(found) or not len(boxes):
        return hits
    overlaps = iou_matrix(corners_to_size(found), corners_to_size(boxes))
    free = np.ones((len(THRESHOLDS), len(boxes)), dtype=np.bool_)
    bounds = np.minimum(THRESHOLDS, _ALMOST_ONE)
    levels = np.arange(len(THRESHOLDS))
    for index in np.flatnonzero(overlaps.max(axis=1) >= bounds[0]):
        masked = np.where(free, overlaps[index], -1.0)
        chosen = len(boxes) - 1 - np.argmax(masked[:, ::-1], axis=1)
        matched = masked[levels, chosen] >= bounds
        hits[index] = matched
        free[levels[matched], chosen[matched]] = False
    return hits


def _average_precision(hits: npt.NDArray[np.bool_], truths: int) -> Floats:
    """One number a threshold: the mean of the precision at 101 recalls."""
    averages = np.zeros(len(THRESHOLDS))
    for level in range(len(THRESHOLDS)):
        right = np.cumsum(hits[:, level])
        recall = right / truths
        precision = right / np.arange(1, len(right) + 1)
        envelope = np.append(np.maximum.accumulate(precision[::-1])[::-1], 0.0)
        averages[level] = envelope[np.searchsorted(recall, RECALLS, side="left")].mean()
    return averages


def _operating_curve(scores: Floats, hits: npt.NDArray[np.bool_], truths: int) -> Floats:
    """Precision and recall ``(2, 1000)`` of the boxes at or above each of ``CONFIDENCES``."""
    kept = np.searchsorted(-scores, -CONFIDENCES, side="right")
    right = np.append(0, np.cumsum(hits))[kept]
    return np.stack([right / np.maximum(kept, 1), right / truths])
