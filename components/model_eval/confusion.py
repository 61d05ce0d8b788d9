"""Which class is taken for which: the confusion matrix with the background as one more class."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from components.shared.detection.match import ALONE
from components.shared.evaluation.outcomes import category_ids, matches_by_image

BACKGROUND = "background"


@dataclass(frozen=True)
class Confusion:
    """A square confusion matrix.

    Attributes:
        labels: class names; the last one stands for the background.
        matrix: ``matrix[i][j]`` counts objects of class ``i`` that were predicted as class ``j``. The last column
            holds missed objects, the last row predictions where there is nothing.
    """

    labels: tuple[str, ...]
    matrix: tuple[tuple[int, ...], ...]


def confusion_matrix(
    detections: pl.DataFrame,
    truths: pl.DataFrame,
    classes: Sequence[str],
    *,
    confidence: float,
    threshold: float,
) -> Confusion:
    """Match predictions with ground truth of any class, greedily by score, and count which class met which.

    Args:
        detections: columns of ``outcomes.DETECTIONS`` at least, sorted by image, best score first.
        truths: ground truth, sorted by image; ignore regions swallow the predictions in them.
        classes: names of every class either table holds.
        confidence: predictions below it are not made.
        threshold: least IoU of a match.
    """
    made = detections.filter(pl.col("score") >= confidence)
    predicted = category_ids(made.get_column("category"), classes)
    true = category_ids(truths.get_column("category"), classes)
    background = len(classes)
    met = np.full(made.height, background, dtype=np.int64)
    missed = ~truths.get_column("ignore").to_numpy()
    counted = np.ones(made.height, dtype=np.bool_)
    for found, there, matches in matches_by_image(made, truths, threshold=threshold, by_class=False):
        matched = matches.partner != ALONE
        met[found] = np.where(matched, true[there][matches.partner], background)
        counted[found] = ~matches.ignored
        missed[there] &= matches.truth_partner == ALONE
    counts = np.zeros((background + 1, background + 1), dtype=np.int64)
    np.add.at(counts, (met[counted], predicted[counted]), 1)
    np.add.at(counts[:, background], true[missed], 1)
    return Confusion((*classes, _background_name(classes)), tuple(tuple(row) for row in counts.tolist()))


def _background_name(classes: Sequence[str]) -> str:
    return BACKGROUND if BACKGROUND not in classes else f"({BACKGROUND})"
