"""Precision, recall and F1 of each class as the confidence threshold moves."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import polars as pl

from components.shared.detection.match import Outcome

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

CONFIDENCES: Floats = np.arange(1001) / 1000
RECALLS: Floats = np.linspace(0.0, 1.0, 101)  # COCO's recall grid
_TIE = 1e-12


@dataclass(frozen=True)
class Curves:
    """Counts of right and wrong predictions by class and confidence; only classes with ground truth are in.

    Attributes:
        classes: the ``K`` class names.
        truths: int64 ``(K,)``: ground truth boxes that count.
        right: int64 ``(K, 1001)``: right predictions that score at least the confidence at that position.
        wrong: int64 ``(K, 1001)``: wrong ones.
        precision_at_recall: float64 ``(K, 101)``: best precision at this recall or a higher one.
    """

    classes: tuple[str, ...]
    truths: Integers
    right: Integers
    wrong: Integers
    precision_at_recall: Floats

    @cached_property
    def f1(self) -> Floats:
        """``(K, 1001)``: 2 TP / (2 TP + FP + FN)."""
        balanced: Floats = 2 * self.right / (self.right + self.wrong + self.truths[:, None])
        return balanced

    @cached_property
    def recall(self) -> Floats:
        """``(K, 1001)``."""
        share: Floats = self.right / self.truths[:, None]
        return share

    @cached_property
    def precision(self) -> Floats:
        """``(K, 1001)``; NaN where the class is not predicted at all."""
        made = self.right + self.wrong
        share: Floats = np.divide(self.right, made, out=np.full(made.shape, np.nan), where=made > 0)
        return share

    @cached_property
    def mean_f1(self) -> Floats:
        """``(1001,)``: mean over the classes; empty without classes."""
        mean: Floats = self.f1.mean(axis=0) if self.classes else np.empty(0)
        return mean

    @property
    def best(self) -> int | None:
        """Position of the confidence with the best mean F1; ``None`` when it is nowhere above 0."""
        return best_position(self.mean_f1)

    def best_of_class(self, index: int) -> int | None:
        """Position of the confidence with the best F1 of one class."""
        return best_position(self.f1[index])


def best_position(values: Floats) -> int | None:
    """Position of the largest value, in the middle of its first run of equals; ``None`` when none is above 0.

    The middle, because a threshold at the edge of a plateau is the least safe of equally good ones.
    """
    top = float(values.max(initial=0.0))
    if top <= 0:
        return None
    level = values >= top - _TIE
    start = int(np.argmax(level))
    below = np.flatnonzero(~level[start:])
    length = int(below[0]) if below.size else len(level) - start
    return start + (length - 1) // 2


def compute_curves(predictions: pl.DataFrame, truths: pl.DataFrame, classes: Sequence[str]) -> Curves:
    """Curves from predictions and ground truth with outcomes; ignored ones count neither way."""
    counts = dict(truths.filter(~pl.col("ignore")).group_by("category").len().iter_rows())
    present = tuple(name for name in classes if counts.get(name))
    judged = predictions.filter(pl.col("outcome") != Outcome.IGNORED.value).with_columns(
        (pl.col("outcome") == Outcome.TRUE_POSITIVE.value).alias("right")
    )
    by_class = {key[0]: group for key, group in judged.group_by("category", maintain_order=True)}
    nothing = judged.clear()
    rows = [_class_curve(by_class.get(name, nothing), counts[name]) for name in present]
    shape = (len(present), -1) if present else (0, 0)
    right, wrong, precision = (np.array([row[part] for row in rows]).reshape(shape) for part in range(3))
    totals = np.array([counts[name] for name in present], dtype=np.int64)
    return Curves(present, totals, right, wrong, precision)


def _class_curve(judged: pl.DataFrame, truths: int) -> tuple[Integers, Integers, Floats]:
    scores = judged.get_column("score").to_numpy()
    right = judged.get_column("right").to_numpy()
    return (
        _at_least(scores[right]),
        _at_least(scores[~right]),
        precision_envelope(scores, right, truths),
    )


def _at_least(scores: Floats) -> Integers:
    counts: Integers = len(scores) - np.searchsorted(np.sort(scores), CONFIDENCES, side="left")
    return counts


def precision_envelope(scores: Floats, right: npt.NDArray[np.bool_], truths: int) -> Floats:
    """Best precision ``(101,)`` at each recall of ``RECALLS`` or a higher one, as COCO interpolates it; its mean is AP.

    Args:
        scores: ``(N,)``.
        right: ``(N,)``: which predictions are right.
        truths: number of ground truth boxes, above 0.
    """
    order = np.argsort(-scores, kind="stable")
    hits = np.cumsum(right[order])
    # COCO's spacing keeps the numbers equal to the last digit.
    precision = hits / (np.arange(1, len(hits) + 1) + np.spacing(1))
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    positions = np.searchsorted(hits / truths, RECALLS, side="left")
    reached = positions < len(hits)
    levels = np.zeros(len(RECALLS))
    levels[reached] = envelope[positions[reached]]
    return levels
