"""The charts of the Model Quality Report."""

import numpy as np
import polars as pl

from components.model_eval.confusion import Confusion
from components.model_eval.curves import CONFIDENCES, RECALLS, Curves, Floats
from components.model_eval.evaluation import Evaluation
from components.shared.report.charts import Chart, Mark, Series, bar_chart, line_chart, matrix_chart

MOST_LINES = 7  # classes in a line chart, beside the mean
MOST_BARS = 40
_EVERY = 10  # a curve over 1001 confidences is drawn at every tenth
_MANY_LABELS = 20  # from here on labels that never occur are left out of the matrix


def precision_recall_chart(curves: Curves) -> Chart:
    """Precision against recall: the mean over the classes and the most frequent ones."""
    recalls = RECALLS.tolist()
    lines = _lines(curves, curves.precision_at_recall, recalls)
    return line_chart(
        "Precision and recall",
        lines,
        x_label="recall (share of the objects found)",
        y_label="precision (share of the finds that are right)",
        x_range=(0.0, 1.0),
        y_range=(0.0, 1.0),
    )


def f1_chart(curves: Curves, confidence: float) -> Chart:
    """F1 against the confidence threshold, with the best one marked."""
    lines = _lines(curves, curves.f1[:, ::_EVERY], CONFIDENCES[::_EVERY].tolist())
    marks = [Mark(confidence, f"best: {confidence:.2f}")] if curves.best is not None else []
    return line_chart(
        "F1 by confidence",
        lines,
        x_label="confidence threshold",
        y_label="F1",
        marks=marks,
        x_range=(0.0, 1.0),
        y_range=(0.0, 1.0),
    )


def average_precision_chart(per_class: pl.DataFrame) -> Chart:
    """Average precision of each class that has ground truth, the weakest last; of many classes the weakest."""
    measured = per_class.filter(pl.col("ap50").is_not_null()).sort("ap50", "category", descending=[True, False])
    shown = measured.tail(MOST_BARS)
    weakest = f", the weakest {MOST_BARS} classes" if measured.height > MOST_BARS else ""
    return bar_chart(
        f"Average precision{weakest}",
        shown.get_column("category").to_list(),
        {"AP50": shown.get_column("ap50").to_list(), "AP50-95": shown.get_column("ap50_95").to_list()},
        x_label="class",
        y_label="average precision",
        horizontal=True,
    )


def confusion_chart(evaluation: Evaluation) -> Chart:
    """Which class is taken for which, at the report's confidence."""
    confusion = evaluation.confusion
    shown = _occurring(confusion) if len(confusion.labels) > _MANY_LABELS else list(range(len(confusion.labels)))
    return matrix_chart(
        f"Confusion at confidence {evaluation.confidence:.2f}",
        [confusion.labels[i] for i in shown],
        [[confusion.matrix[i][j] for j in shown] for i in shown],
        x_label="predicted",
        y_label="true",
    )


def _occurring(confusion: Confusion) -> list[int]:
    counts = np.array(confusion.matrix)
    seen = counts.sum(axis=0) + counts.sum(axis=1) > 0
    seen[-1] = True
    return [int(position) for position in np.flatnonzero(seen)]


def _lines(curves: Curves, values: Floats, x: list[float]) -> list[Series]:
    """The mean, unless there is only one class, and the ``MOST_LINES`` classes with most objects."""
    if not curves.classes:
        return []
    frequent = np.sort(np.argsort(-curves.truths, kind="stable")[:MOST_LINES])
    lines = [Series(curves.classes[index], x, values[index].tolist()) for index in frequent.tolist()]
    if len(curves.classes) > 1:
        lines.insert(0, Series("mean of all classes", x, values.mean(axis=0).tolist()))
    return lines
