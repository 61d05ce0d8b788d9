"""Counts from which a browser recomputes precision and recall for any confidence and IoU, in bounded space.

The dictionary holds for each class, IoU and bin of scores how many predictions are right, wrong or ignored:

- ``classes``: the ``K`` names; ``truths``: ``K`` numbers of ground truth boxes that count;
- ``ious``: 0.5, 0.55 ... 0.95; ``bins``: ``B``, at most 200: bin ``b`` holds scores ``b / B <= score < (b + 1) / B``,
  the last one 1 as well;
- ``counts``: base64 of unsigned LEB128 numbers, pairs of a gap and a value. They fill an array ``(K, 21, B)`` that is
  0 elsewhere: the position of a value is that of the one before plus 1 plus the gap, starting before the first; the
  value is zigzag-coded (0, -1, 1, -2 are 0, 1, 2, 3). Row 0 of a class counts all its predictions, row 1 the right
  ones at the first IoU, rows 2 to 10 by how many the next IoU has more, rows 11 to 20 likewise the ignored ones.

Right ones of an IoU are thus the sum of its row and those before, from row 1; wrong ones are all less right less
ignored; missed objects are the truths less the right ones. Exactness: at confidences ``b / B`` and these IoUs every
count is that of COCO's matching (without its limit of 100 detections); between them nothing is known.
"""

import base64
from collections.abc import Sequence

import numpy as np
import polars as pl

from components.model_eval.overlaps import Integers, class_codes, in_match_order, match_pairs, overlapping_pairs
from components.shared.boxes import Flags, Floats
from components.shared.detection.match import ALONE

IOUS = np.linspace(0.5, 0.95, 10)  # COCO's, to the last bit
_BINS = (200, 100, 50, 25)
_ROWS = 1 + 2 * len(IOUS)
_MOST_CELLS = 10_000_000  # 80 MB; 200 bins of 2,380 classes
_MOST_CHARACTERS = 600_000
_SHIFT = 7  # payload bits of a byte in LEB128
_MORE = 0x80


def explorer_data(detections: pl.DataFrame, truths: pl.DataFrame, classes: Sequence[str]) -> dict[str, object]:
    """What the threshold explorer of a report needs, ready for JSON.

    There are 200 bins of scores, and 100, 50 or 25 when the counts would take more than 600,000 characters or there
    are thousands of classes; with 25 there is no further bound.

    Args:
        detections: columns of ``outcomes.DETECTIONS`` at least; scores in 0..1.
        truths: columns ``outcomes.UNMATCHED`` at least.
        classes: every class to show; predictions and ground truth of others are left out.

    Returns:
        classes, truths, ious, bins and counts, as the module says.
    """
    names = list(classes)
    made, true = (table.filter(pl.col("category").is_in(names)) for table in (detections, truths))
    labels = class_codes(made.get_column("category"), names)
    ignore = true.get_column("ignore").to_numpy()
    partners = _partners(made, true, ignore)
    scores = made.get_column("score").to_numpy()
    for bins in _BINS:
        if len(names) * _ROWS * bins > _MOST_CELLS and bins > _BINS[-1]:
            continue
        cells = labels * bins + _bin_of(scores, bins)
        counts = encode_counts(_counts(cells, partners, ignore, (len(names), bins)))
        if len(counts) <= _MOST_CHARACTERS:
            break
    counted = class_codes(true.get_column("category"), names)[~ignore]
    return {
        "classes": names,
        "truths": np.bincount(counted, minlength=len(names)).tolist(),
        "ious": [round(iou, 2) for iou in IOUS.tolist()],
        "bins": bins,
        "counts": counts,
    }


def encode_counts(counts: Integers) -> str:
    """Integers of any shape as the text the module describes."""
    flat = counts.ravel()
    positions = np.flatnonzero(flat)
    values = flat[positions]
    pairs = np.empty(2 * len(positions), dtype=np.int64)
    pairs[0::2] = np.diff(positions, prepend=-1) - 1
    pairs[1::2] = np.where(values < 0, -2 * values - 1, 2 * values)
    return base64.b64encode(_leb128(pairs)).decode("ascii")


def _partners(detections: pl.DataFrame, truths: pl.DataFrame, ignore: Flags) -> list[Integers]:
    scores = detections.get_column("score").to_numpy()
    pairs = overlapping_pairs(detections, truths, least=float(IOUS[0]), same_class=True)
    ordered = in_match_order(pairs, scores, ignore)
    return [match_pairs(ordered, ignore, predictions=len(scores), threshold=float(iou)) for iou in IOUS]


def _bin_of(scores: Floats, bins: int) -> Integers:
    # The edges are the numbers a browser computes, so that score >= b / bins is the same comparison there and here.
    found = np.searchsorted(np.arange(bins) / bins, scores, side="right") - 1
    return np.maximum(found, 0).astype(np.int64)


def _counts(cells: Integers, partners: Sequence[Integers], ignore: Flags, shape: tuple[int, int]) -> Integers:
    """``(K, 21, B)``: all, right and ignored predictions, the latter two as differences from one IoU to the next."""
    classes, bins = shape
    everything = np.bincount(cells, minlength=classes * bins)
    right, ignored = [], []
    for partner in partners:
        matched = np.flatnonzero(partner != ALONE)
        in_region = ignore[partner[matched]]
        right.append(np.bincount(cells[matched[~in_region]], minlength=classes * bins))
        ignored.append(np.bincount(cells[matched[in_region]], minlength=classes * bins))
    rows = np.stack([everything, *np.diff(right, axis=0, prepend=0), *np.diff(ignored, axis=0, prepend=0)])
    return rows.reshape(len(rows), classes, bins).transpose(1, 0, 2).astype(np.int64)


def _leb128(numbers: Integers) -> bytes:
    parts = []
    rest = numbers
    position = np.arange(len(numbers))
    while len(rest):
        more = rest >= _MORE
        parts.append((position, (rest & (_MORE - 1)) | np.where(more, _MORE, 0)))
        rest, position = rest[more] >> _SHIFT, position[more]
    if not parts:
        return b""
    order = np.argsort(np.concatenate([part[0] for part in parts]), kind="stable")
    return np.concatenate([part[1] for part in parts])[order].astype(np.uint8).tobytes()
