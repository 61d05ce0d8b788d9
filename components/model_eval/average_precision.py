"""Average precision of every class at one IoU, from predictions that are already judged."""

import numpy as np

from components.model_eval.overlaps import Integers
from components.shared.boxes import Flags, Floats
from components.shared.evaluation.curves import precision_envelope


def average_precisions(labels: Integers, scores: Floats, right: Flags, truths: Integers) -> Floats:
    """COCO's 101-point average precision of each class, ``(K,)`` in 0..1; NaN for a class without ground truth.

    Args:
        labels: ``(N,)``: class of each prediction; those of ``K`` or more are left out. Ignored predictions must not
            be in.
        scores: ``(N,)``; equal scores keep their order, which is by image as COCO's.
        right: ``(N,)``.
        truths: ``(K,)``: ground truth boxes of each class.
    """
    order = np.argsort(labels, kind="stable")
    bounds = np.searchsorted(labels[order], np.arange(len(truths) + 1))
    values = np.full(len(truths), np.nan)
    for label in np.flatnonzero(truths > 0).tolist():
        rows = order[bounds[label] : bounds[label + 1]]
        values[label] = precision_envelope(scores[rows], right[rows], int(truths[label])).mean()
    return values


def mean_average_precision(labels: Integers, scores: Floats, right: Flags, truths: Integers) -> float | None:
    """Mean of ``average_precisions`` over the classes with ground truth; ``None`` when there is none."""
    values = average_precisions(labels, scores, right, truths)
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if defined.size else None
