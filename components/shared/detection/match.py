"""Match the predictions of one image with its ground truth, one to one, the way COCO does."""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from components.shared.boxes import Flags, Floats, overlap_matrix

Indices = npt.NDArray[np.int64]
ALONE = -1  # the partner of a box that has none
_ALMOST_ONE = 1 - 1e-10  # COCO's bound: two equal boxes match at an IoU of 1 in spite of rounding


class Outcome(StrEnum):
    """What became of a box: the first two are said of predictions, the next two of ground truth."""

    TRUE_POSITIVE = "TP"
    FALSE_POSITIVE = "FP"
    MATCHED = "MTP"
    MISSED = "FN"
    IGNORED = "ignored"


@dataclass(frozen=True)
class Matches:
    """How the ``N`` predictions and ``M`` ground truth boxes of an image belong together.

    Attributes:
        partner: int64 ``(N,)``: index of the ground truth box each prediction was matched with, or ``ALONE``.
        iou: float64 ``(N,)``: overlap with the partner; without one, the best overlap with any box of its class.
        ignored: bool ``(N,)``: the partner is an ignore region, so the prediction is neither right nor wrong.
        truth_partner: int64 ``(M,)``: index of the prediction that found the box, or ``ALONE``; always ``ALONE``
            for an ignore region, which takes any number of predictions.
        ignore: bool ``(M,)``: which ground truth boxes are ignore regions.
    """

    partner: Indices
    iou: Floats
    ignored: Flags
    truth_partner: Indices
    ignore: Flags


def match_boxes(
    boxes: Floats,
    scores: Floats,
    truths: Floats,
    *,
    ignore: Flags | None = None,
    labels: Indices | None = None,
    truth_labels: Indices | None = None,
    threshold: float = 0.5,
) -> Matches:
    """Match greedily: by descending score, each prediction takes the best free box that overlaps it enough.

    A prediction that finds no free box but lies in an ignore region (crowd, difficult) is ignored. As the order is by
    score, leaving out predictions below a score changes nothing for those above it.

    Args:
        boxes: predictions ``(N, 4)``: left, top, width, height in pixels.
        scores: ``(N,)``; equal scores keep their order.
        truths: ground truth ``(M, 4)``, same notation.
        ignore: ``(M,)``: boxes that are ignore regions; none when absent.
        labels: ``(N,)`` class ids; without them, and ``truth_labels``, any class matches any.
        truth_labels: ``(M,)`` class ids.
        threshold: least overlap of a match, in 0..1: IoU, or the share of the prediction in an ignore region.
    """
    regions = np.zeros(len(truths), dtype=np.bool_) if ignore is None else ignore
    overlaps = overlap_matrix(boxes, truths, regions)
    if labels is not None and truth_labels is not None:
        overlaps = np.where(labels[:, None] == truth_labels[None, :], overlaps, -1.0)
    partner, truth_partner = _greedy(overlaps, scores, regions, min(threshold, _ALMOST_ONE))
    rows = np.arange(len(boxes))
    best = overlaps.max(axis=1, initial=0.0)
    matched = partner != ALONE
    best[matched] = overlaps[rows[matched], partner[matched]]
    ignored = np.zeros(len(boxes), dtype=np.bool_)
    ignored[matched] = regions[partner[matched]]
    return Matches(partner, best, ignored, truth_partner, regions)


def _greedy(overlaps: Floats, scores: Floats, regions: Flags, threshold: float) -> tuple[Indices, Indices]:
    partner = np.full(overlaps.shape[0], ALONE, dtype=np.int64)
    truth_partner = np.full(overlaps.shape[1], ALONE, dtype=np.int64)
    reached: Flags = np.any(overlaps >= threshold, axis=1)
    order = np.argsort(-scores, kind="stable")
    free = ~regions
    for index in order[reached[order]]:
        row = overlaps[index]
        chosen = _last_best(row, free, threshold)
        if chosen == ALONE:
            partner[index] = _last_best(row, regions, threshold)
            continue
        partner[index], truth_partner[chosen] = chosen, index
        free[chosen] = False
    return partner, truth_partner


def _last_best(row: Floats, candidates: Flags, threshold: float) -> int:
    masked = np.where(candidates, row, -1.0)
    # Of equally good boxes COCO takes the last one.
    chosen = len(masked) - 1 - int(np.argmax(masked[::-1]))
    return chosen if masked[chosen] >= threshold else ALONE
