"""The report on classes: how good each one is, with intervals, and what is taken for what."""

import math

import polars as pl

from components.model_eval.evaluation import Evaluation
from components.model_eval.report_charts import confusion_chart
from components.model_eval.report_words import interval, named
from components.shared.report.charts import Chart, Estimate, interval_chart
from components.shared.report.page import Report
from components.shared.report.tables import Linked

MOST_BARS = 40
_COLUMNS = {
    "objects": "ground_truths",
    "found": "true_positives",
    "missed": "missed",
    "wrong": "false_positives",
    "precision": "precision",
    "recall": "recall",
    "F1": "f1",
    "AP75": "ap75",
    "AR100": "ar_100",
    "own best confidence": "best_confidence",
    "own best F1": "best_f1",
}
_COCO = {
    "map50_95": "mAP, mean over IoU 0.50 to 0.95",
    "map50": "mAP at IoU 0.50",
    "map75": "mAP at IoU 0.75",
    "map_small": "mAP of objects below 32 x 32 px",
    "map_medium": "mAP of objects from 32 x 32 to 96 x 96 px",
    "map_large": "mAP of objects above 96 x 96 px",
    "ar_1": "recall with 1 prediction an image and class",
    "ar_10": "recall with 10 predictions",
    "ar_100": "recall with 100 predictions",
    "ar_small": "recall of objects below 32 x 32 px",
    "ar_medium": "recall of objects from 32 x 32 to 96 x 96 px",
    "ar_large": "recall of objects above 96 x 96 px",
}


def add_classes(report: Report, evaluation: Evaluation) -> None:
    """The section on classes."""
    table = class_table(evaluation)
    report.section(
        "How good each class is",
        f"Counts, precision, recall and F1 at confidence {evaluation.confidence:.2f} "
        f"and IoU {evaluation.options.report_iou:.2f}; AP over all confidences, with 95 % intervals.",
    )
    report.chart(class_chart(table))
    columns = ["class", "AP50-95", "95 %", "AP50", "95 %", *_COLUMNS]
    rows = [
        (
            named(row["category"]),
            *(cell for name in ("ap50_95", "ap50") for cell in (row[name], Linked(_interval(row, name)))),
            *(row[name] for name in _COLUMNS.values()),
        )
        for row in table.to_dicts()
    ]
    report.table(columns, rows, caption="Every class")
    coco = [(name, text, evaluation.metrics[name]) for name, text in _COCO.items() if name in evaluation.metrics]
    report.table(["metric", "meaning", "value"], coco, caption="COCO metrics", folded=True)


def class_table(evaluation: Evaluation) -> pl.DataFrame:
    """The table by class with the bounds of the average precisions beside them."""
    bounds = evaluation.diagnosis.intervals.by_class.drop("ap50", "ap50_95")
    return evaluation.per_class.join(bounds, on="category", how="left", maintain_order="left")


def class_chart(table: pl.DataFrame) -> Chart:
    """AP50 of each class that has ground truth, the best first; of many classes the weakest."""
    measured = table.filter(pl.col("ap50").is_not_null()).sort("ap50", "category", descending=[True, False])
    shown = measured.tail(MOST_BARS)
    weakest = f", the weakest {MOST_BARS} classes" if measured.height > MOST_BARS else ""
    rows = [Estimate(named(row["category"]), row["ap50"], *_bounds(row, "ap50")) for row in shown.to_dicts()]
    return interval_chart(
        f"AP50{weakest}, with 95 % intervals", rows, x_label="AP50", name_label="class", x_range=(0.0, 1.0)
    )


def add_confusion(report: Report, evaluation: Evaluation) -> None:
    """The section with the confusion matrix."""
    report.section(
        "What is taken for what",
        "Rows are the objects, columns the predictions; the last column holds missed objects, "
        "the last row predictions where there is nothing.",
    )
    report.chart(confusion_chart(evaluation))


def _interval(row: dict[str, float | None], name: str) -> str:
    return interval(row[f"{name}_low"], row[f"{name}_high"])


def _bounds(row: dict[str, float | None], name: str) -> tuple[float, float]:
    """The ends of an interval; NaN where ``interval`` has none to say."""
    low, high = row[f"{name}_low"], row[f"{name}_high"]
    return (math.nan, math.nan) if low is None or high is None or not low < high else (low, high)
