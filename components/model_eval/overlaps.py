"""Match a whole data set at once: overlaps of all pairs of boxes, then the greedy matching over those that overlap.

The numbers are those of ``match.match_boxes`` image by image, to the bit; only the work is laid out differently, so
that half a million predictions take about a second and several thresholds share the overlaps.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from components.shared.boxes import Flags, Floats
from components.shared.detection.match import ALONE
from components.shared.evaluation.outcomes import BOX, category_ids

Integers = npt.NDArray[np.int64]

_MOST_PAIRS = 1_000_000  # at once; about 150 MB
ALMOST_ONE = 1 - 1e-10  # as in match.py


@dataclass(frozen=True)
class Pairs:
    """Predictions and ground truth boxes that overlap, one position a pair.

    Attributes:
        prediction: int64 ``(P,)``: rows of the predictions.
        truth: int64 ``(P,)``: rows of the ground truth.
        overlap: float64 ``(P,)``: IoU, or the share of the prediction in an ignore region.
    """

    prediction: Integers
    truth: Integers
    overlap: Floats

    def where(self, chosen: Flags) -> "Pairs":
        """The pairs at the positions where ``chosen`` ``(P,)`` is set."""
        return Pairs(self.prediction[chosen], self.truth[chosen], self.overlap[chosen])


def overlapping_pairs(detections: pl.DataFrame, truths: pl.DataFrame, *, least: float, same_class: bool) -> Pairs:
    """All pairs within an image that overlap by ``least`` or more, grouped by prediction in the tables' order.

    Args:
        detections: image_id, category, x, y, width, height.
        truths: the same and ignore, which marks ignore regions.
        least: above 0.
        same_class: leave out pairs of different classes.
    """
    keys, true_keys = _keys(detections, truths, same_class=same_class)
    order = np.argsort(true_keys, kind="stable").astype(np.int64)
    sorted_keys = true_keys[order]
    first = np.searchsorted(sorted_keys, keys, side="left").astype(np.int64)
    counts = np.searchsorted(sorted_keys, keys, side="right").astype(np.int64) - first
    boxes, true_boxes = _columns(detections), _columns(truths)
    ignore = truths.get_column("ignore").to_numpy()
    parts = [_empty()]
    for start, stop in _chunks(counts):
        taken = counts[start:stop]
        found = np.repeat(np.arange(start, stop), taken)
        offset = np.repeat(first[start:stop] - (np.cumsum(taken) - taken), taken)
        true = order[np.arange(len(found)) + offset]
        overlap = paired_overlaps(boxes[:, found], true_boxes[:, true], ignore[true])
        parts.append(Pairs(found, true, overlap).where(overlap >= least))
    return Pairs(
        np.concatenate([part.prediction for part in parts]),
        np.concatenate([part.truth for part in parts]),
        np.concatenate([part.overlap for part in parts]),
    )


def paired_overlaps(predictions: Floats, truths: Floats, ignore: Flags) -> Floats:
    """``boxes.overlap_matrix`` for pairs: ``(4, P)`` boxes left, top, width, height each, ``(P,)`` in 0..1."""
    wide, high = (
        np.minimum(predictions[axis] + predictions[axis + 2], truths[axis] + truths[axis + 2])
        - np.maximum(predictions[axis], truths[axis])
        for axis in (0, 1)
    )
    shared = np.maximum(wide, 0.0) * np.maximum(high, 0.0)
    own = predictions[2] * predictions[3]
    base = np.where(ignore, own, own + truths[2] * truths[3] - shared)
    overlap: Floats = np.divide(shared, base, out=np.zeros_like(shared), where=shared > 0)
    return overlap


def in_match_order(pairs: Pairs, scores: Floats, ignore: Flags) -> Pairs:
    """The pairs in the order the matching takes them.

    That is by best score, then real boxes before ignore regions, then best overlap, then the last box of equals.

    Args:
        pairs: of one class each.
        scores: ``(N,)`` of all predictions; equal scores keep the tables' order.
        ignore: ``(M,)`` of all ground truth boxes.
    """
    rank = np.empty(len(scores), dtype=np.int64)
    rank[np.argsort(-scores, kind="stable")] = np.arange(len(scores))
    order = np.lexsort((-pairs.truth, -pairs.overlap, ignore[pairs.truth], rank[pairs.prediction]))
    return Pairs(pairs.prediction[order], pairs.truth[order], pairs.overlap[order])


def match_pairs(ordered: Pairs, ignore: Flags, *, predictions: int, threshold: float) -> Integers:
    """Row of the ground truth box each prediction is matched with, ``(predictions,)``; ``ALONE`` for those without.

    Args:
        ordered: pairs as ``in_match_order`` gives them.
        ignore: ``(M,)``: ignore regions take any number of predictions, other boxes one.
        predictions: how many there are.
        threshold: least overlap of a match.
    """
    reached = ordered.overlap >= min(threshold, ALMOST_ONE)
    partner = [ALONE] * predictions
    free = [True] * len(ignore)
    region: list[bool] = ignore.tolist()
    for found, true in zip(ordered.prediction[reached].tolist(), ordered.truth[reached].tolist(), strict=True):
        if free[true] and partner[found] == ALONE:
            partner[found] = true
            free[true] = region[true]
    return np.array(partner, dtype=np.int64)


def class_codes(categories: pl.Series, names: Sequence[str]) -> Integers:
    """Position of each category in ``names``, which may be empty when there is no category."""
    return category_ids(categories, names) if names else np.zeros(len(categories), dtype=np.int64)


def _keys(detections: pl.DataFrame, truths: pl.DataFrame, *, same_class: bool) -> tuple[Integers, Integers]:
    images, true_images = (
        table.get_column("image_id").cast(pl.Int64).to_numpy().astype(np.int64) for table in (detections, truths)
    )
    if not same_class:
        return images, true_images
    columns = [table.get_column("category") for table in (detections, truths)]
    names = pl.concat(columns).unique().to_list()
    codes, true_codes = (class_codes(column, names) for column in columns)
    return images * len(names) + codes, true_images * len(names) + true_codes


def _columns(table: pl.DataFrame) -> Floats:
    columns: Floats = np.stack([table.get_column(name).to_numpy().astype(np.float64) for name in BOX])
    return columns


def _chunks(counts: Integers) -> Iterator[tuple[int, int]]:
    """Runs of predictions with at most ``_MOST_PAIRS`` pairs together, or one prediction that has more."""
    total = np.cumsum(counts)
    start, done = 0, 0
    while start < len(counts):
        stop = max(start + 1, int(np.searchsorted(total, done + _MOST_PAIRS, side="right")))
        yield start, stop
        start, done = stop, int(total[stop - 1])


def _empty() -> Pairs:
    nothing = np.empty(0, dtype=np.int64)
    return Pairs(nothing, nothing, np.empty(0))
