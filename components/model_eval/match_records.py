"""Which detections of each class are right at COCO's ten overlaps, kept by image so that images can be weighted."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from components.model_eval.overlaps import in_match_order, match_pairs, overlapping_pairs
from components.shared.boxes import Flags
from components.shared.detection.match import ALONE
from components.shared.evaluation.coco_metrics import sound_numbers
from components.shared.evaluation.outcomes import Integers, category_ids, sort_detections

THRESHOLDS = np.linspace(0.5, 0.95, 10)
_MOST = 100  # detections of a class on an image
_LARGEST = 1e5**2  # square pixels; COCO ignores what is unmatched above it


@dataclass(frozen=True)
class ClassRecords:
    """The ``N`` detections of a class over ``I`` images, best score first, equal scores in the order of the images.

    Attributes:
        images: int64 ``(N,)``: position of each detection's image.
        right: bool ``(10, N)``: matched with a truth that counts, at each of ``THRESHOLDS``.
        ignored: bool ``(10, N)``: neither right nor wrong.
        truths: int64 ``(I,)``: truths that count on each image.
    """

    images: Integers
    right: Flags
    ignored: Flags
    truths: Integers


def match_records(
    detections: pl.DataFrame, truths: pl.DataFrame, image_ids: Sequence[int], classes: Sequence[str]
) -> list[ClassRecords]:
    """Match once, as COCO does; the arguments are those of ``coco_metrics``, the records in the order of ``classes``.

    Images have the positions of their sorted ids.
    """
    if not classes:
        return []
    images = np.unique(np.asarray(image_ids, dtype=np.int64))
    true = _chosen(truths, images, classes)
    place = pl.int_range(pl.len()).over("image_id", "category")
    found = sort_detections(sound_numbers(_chosen(detections, images, classes))).filter(place < _MOST)
    ignore = true.get_column("ignore").to_numpy()
    right, ignored = _outcomes(found, true, ignore)
    score = found.get_column("score").to_numpy()
    labels, true_labels = (category_ids(table.get_column("category"), classes) for table in (found, true))
    positions, true_positions = (
        np.searchsorted(images, table.get_column("image_id").to_numpy()).astype(np.int64) for table in (found, true)
    )
    order = np.lexsort((-score, labels))
    bounds = np.searchsorted(labels[order], np.arange(len(classes) + 1))
    counted = (true_labels * images.size + true_positions)[~ignore]
    counts = np.bincount(counted, minlength=len(classes) * images.size).reshape(len(classes), images.size)
    rows = [order[start:stop] for start, stop in itertools.pairwise(bounds.tolist())]
    return [
        ClassRecords(positions[chosen], right[:, chosen], ignored[:, chosen], count)
        for chosen, count in zip(rows, counts, strict=True)
    ]


def _chosen(table: pl.DataFrame, images: Integers, classes: Sequence[str]) -> pl.DataFrame:
    """Rows of these images and classes, the ids as 64-bit integers."""
    ids = pl.col("image_id").cast(pl.Int64)
    return table.with_columns(ids).filter(pl.col("image_id").is_in(images), pl.col("category").is_in(list(classes)))


def _outcomes(detections: pl.DataFrame, truths: pl.DataFrame, ignore: Flags) -> tuple[Flags, Flags]:
    pairs = overlapping_pairs(detections, truths, least=THRESHOLDS[0], same_class=True)
    ordered = in_match_order(pairs, detections.get_column("score").to_numpy(), ignore)
    huge = detections.select(pl.col("width") * pl.col("height") > _LARGEST).to_series().to_numpy()
    right = np.zeros((len(THRESHOLDS), detections.height), dtype=np.bool_)
    ignored = np.zeros_like(right)
    for number, threshold in enumerate(THRESHOLDS.tolist()):
        partner = match_pairs(ordered, ignore, predictions=detections.height, threshold=threshold)
        matched = partner != ALONE
        ignored[number, matched] = ignore[partner[matched]]
        right[number] = matched & ~ignored[number]
        ignored[number] |= huge & ~matched
    return right, ignored
