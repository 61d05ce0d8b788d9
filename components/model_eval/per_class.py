"""The table that says how good the model is at each class."""

from collections.abc import Sequence

import numpy as np
import polars as pl

from components.shared.detection.match import Outcome
from components.shared.evaluation.coco_metrics import CocoMetrics
from components.shared.evaluation.curves import CONFIDENCES, Curves

PER_CLASS: dict[str, pl.DataType] = {
    "category": pl.String(),
    "known": pl.Boolean(),  # the model has the class
    "ground_truths": pl.Int64(),  # without ignore regions
    "predictions": pl.Int64(),  # right and wrong ones at the report's confidence
    "true_positives": pl.Int64(),
    "false_positives": pl.Int64(),
    "missed": pl.Int64(),
    "precision": pl.Float64(),  # null when nothing was predicted
    "recall": pl.Float64(),  # null without ground truth, as all that follow
    "f1": pl.Float64(),
    "ap50_95": pl.Float64(),
    "ap50": pl.Float64(),
    "ap75": pl.Float64(),
    "ar_100": pl.Float64(),
    "best_confidence": pl.Float64(),  # where this class's own F1 is best
    "best_f1": pl.Float64(),
}


def per_class_table(
    predictions: pl.DataFrame,
    truths: pl.DataFrame,
    coco: CocoMetrics,
    curves: Curves,
    classes: Sequence[str],
    model_classes: Sequence[str],
    confidence: float,
) -> pl.DataFrame:
    """One row for each class of the data or the model, columns of ``PER_CLASS``.

    Args:
        predictions: with outcomes.
        truths: with outcomes at ``confidence``.
        coco: average precisions.
        curves: for each class's own best confidence.
        classes: every class, the data's first.
        model_classes: those the model has.
        confidence: the report's.
    """
    made = predictions.filter(pl.col("score") >= confidence)
    counts = [
        _count(made, Outcome.TRUE_POSITIVE, "true_positives"),
        _count(made, Outcome.FALSE_POSITIVE, "false_positives"),
        _count(truths, Outcome.MATCHED, "found"),
        _count(truths, Outcome.MISSED, "missed"),
    ]
    table = pl.DataFrame({"category": list(classes)}, schema={"category": pl.String})
    for frame in (*counts, coco.by_class, _own_best(curves)):
        table = table.join(frame, on="category", how="left", maintain_order="left")
    names = ("true_positives", "false_positives", "found", "missed")
    right, wrong, missed = (pl.col(name) for name in ("true_positives", "false_positives", "missed"))
    return (
        table.with_columns(pl.col(names).fill_null(0).cast(pl.Int64))
        .with_columns(
            pl.col("category").is_in(list(model_classes)).alias("known"),
            (pl.col("found") + missed).alias("ground_truths"),
            (right + wrong).alias("predictions"),
        )
        .with_columns(
            pl.when(pl.col("predictions") > 0).then(right / pl.col("predictions")).alias("precision"),
            pl.when(pl.col("ground_truths") > 0).then(right / pl.col("ground_truths")).alias("recall"),
            pl.when(pl.col("ground_truths") > 0).then(2 * right / (2 * right + wrong + missed)).alias("f1"),
        )
        .select(pl.col(name).cast(kind) for name, kind in PER_CLASS.items())
    )


def _count(table: pl.DataFrame, outcome: Outcome, name: str) -> pl.DataFrame:
    return table.filter(pl.col("outcome") == outcome.value).group_by("category").agg(pl.len().alias(name))


def _own_best(curves: Curves) -> pl.DataFrame:
    best = [curves.best_of_class(index) for index in range(len(curves.classes))]
    return pl.DataFrame(
        {
            "category": list(curves.classes),
            "best_confidence": [None if at is None else float(CONFIDENCES[at]) for at in best],
            "best_f1": [0.0 if at is None else float(np.max(curves.f1[index])) for index, at in enumerate(best)],
        },
        schema={"category": pl.String, "best_confidence": pl.Float64, "best_f1": pl.Float64},
    )
