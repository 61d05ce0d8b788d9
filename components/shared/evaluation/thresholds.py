"""The confidence from which a class is best served: where its own F1 is highest, if it has enough objects to tell."""

import logging
from collections.abc import Sequence

import numpy as np
import polars as pl

from components.shared.boxes import Floats
from components.shared.errors import ConfigError
from components.shared.evaluation.curves import CONFIDENCES, Curves

THRESHOLDS: dict[str, pl.DataType] = {
    "category": pl.String(),
    "confidence": pl.Float64(),
    "own": pl.Boolean(),  # from the class's own F1, not the overall confidence
    "f1": pl.Float64(),  # of the class at this confidence; null without ground truth
    "truths": pl.Int64(),
    "reason": pl.String(),  # why it is not its own; null when it is
}
_TIE = 1e-12
_logger = logging.getLogger(__name__)


def threshold_table(curves: Curves, classes: Sequence[str], *, overall: float, least: int = 20) -> pl.DataFrame:
    """The confidence to serve each class with, columns of ``THRESHOLDS``.

    The best F1 of a handful of objects says where those lie, not where the next ones will: a class with fewer than
    ``least`` ground truth boxes takes the overall confidence, as does one that is never found.

    Args:
        curves: of the evaluation.
        classes: one row each, in this order; those without ground truth are not in the curves.
        overall: confidence for classes that cannot have their own, in 0..1.
        least: ground truth boxes a class needs for its own.

    Raises:
        ConfigError: ``overall`` is not in 0..1.
    """
    if not 0 <= overall <= 1:
        raise ConfigError(f"The overall confidence is {overall!r}: give a number from 0 to 1.")
    position = {name: index for index, name in enumerate(curves.classes)}
    rows = [
        _row(name, curves, position[name], overall, least)
        if name in position
        else (name, overall, False, None, 0, "it has no ground truth")
        for name in classes
    ]
    return pl.DataFrame(rows, schema=THRESHOLDS, orient="row")


def best_thresholds(curves: Curves, classes: Sequence[str], *, overall: float, least: int = 20) -> dict[str, float]:
    """The confidence to serve each class with, as ``threshold_table`` has it; classes without their own are logged."""
    table = threshold_table(curves, classes, overall=overall, least=least)
    for name, reason in table.filter(~pl.col("own")).select("category", "reason").iter_rows():
        _logger.info("Class %r takes the overall confidence %g: %s.", name, overall, reason)
    return dict(table.select("category", "confidence").iter_rows())


def _row(
    name: str, curves: Curves, index: int, overall: float, least: int
) -> tuple[str, float, bool, float | None, int, str | None]:
    f1, truths = curves.f1[index], int(curves.truths[index])
    best = _highest_best(f1)
    reason = None
    if best is None:
        reason = "it is never found"
    elif truths < least:
        reason = f"it has {truths} ground truth boxes, fewer than {least}"
    if best is None or reason is not None:
        at = int(np.searchsorted(CONFIDENCES, overall, side="left"))
        return name, overall, False, float(f1[at]), truths, reason
    return name, float(CONFIDENCES[best]), True, float(f1[best]), truths, None


def _highest_best(f1: Floats) -> int | None:
    """Position of the best value, the last of equals; ``None`` when none is above 0."""
    top = float(f1.max(initial=0.0))
    return int(np.flatnonzero(f1 >= top - _TIE)[-1]) if top > 0 else None
