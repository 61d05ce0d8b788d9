"""The report on parts of the test set: recall by size, crowding, tag, border and shape, the worst first."""

import polars as pl

from components.model_eval.calibration import wilson_interval
from components.model_eval.evaluation import Evaluation
from components.model_eval.report_words import named
from components.model_eval.slices import LEAST
from components.shared.report.charts import Chart, Estimate, interval_chart
from components.shared.report.page import Report

MOST_ROWS = 30
_DECILE = "decile"  # sizes again, in tenths; in the table only


def add_slices(report: Report, evaluation: Evaluation) -> None:
    """The section on slices."""
    table = evaluation.diagnosis.slices
    report.section("Where it is weak", slice_sentence(table, evaluation.confidence))
    judged = table.filter(pl.col("recall").is_not_null())
    if not judged.is_empty():
        report.chart(recall_chart(judged))
    columns = ["slice", "meaning", "support", "recall", "precision", "f1", "ap50"]
    ordered = table.sort("recall", nulls_last=True, maintain_order=True)
    rows = [(named(name), named(meaning, 120), *rest) for name, meaning, *rest in ordered.select(columns).iter_rows()]
    report.table(
        ["part", "what is in it", "objects", "recall", "precision", "F1", "AP50"],
        rows,
        caption="Every part, the lowest recall first",
        folded=True,
    )


def slice_sentence(table: pl.DataFrame, confidence: float) -> str:
    """What the section shows and how many parts are too small to judge."""
    small = table.filter(pl.col("recall").is_null() & (pl.col("support") > 0)).height
    judged = table.filter(pl.col("recall").is_not_null())
    least = f"Parts with fewer than {LEAST} objects are not judged"
    if judged.is_empty():
        return f"{least}, and none has as many."
    worst = judged.sort("recall", maintain_order=True).row(0, named=True)
    others = f": {small:,} here" if small else ""
    return (
        f"The lowest recall is {worst['recall']:.3f}, of {worst['support']:,} objects: {named(worst['meaning'], 120)}. "
        f"At confidence {confidence:.2f}. {least}{others}."
    )


def recall_chart(judged: pl.DataFrame) -> Chart:
    """Recall of each part with its 95 % interval and the objects behind it, the worst first; without the deciles."""
    shown = judged.filter(pl.col("kind") != _DECILE).sort("recall", maintain_order=True).head(MOST_ROWS)
    support = shown.get_column("support").to_numpy().astype(float)
    recall = shown.get_column("recall").to_numpy()
    low, high = wilson_interval(recall * support, support)
    names = shown.get_column("slice").to_list()
    rows = [
        Estimate(named(name), float(value), float(least), float(most), f"{count:,.0f} objects")
        for name, value, least, most, count in zip(names, recall, low, high, support, strict=True)
    ]
    many = f", the worst {MOST_ROWS}" if judged.filter(pl.col("kind") != _DECILE).height > MOST_ROWS else ""
    return interval_chart(
        f"Recall of parts of the test set{many}, with 95 % intervals",
        rows,
        x_label="recall",
        name_label="part",
        x_range=(0.0, 1.0),
    )
