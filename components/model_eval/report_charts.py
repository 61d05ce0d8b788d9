"""The charts of the Model Quality Report."""

import numpy as np

from components.model_eval.evaluation import Evaluation
from components.model_eval.report_words import named
from components.shared.evaluation.curves import CONFIDENCES, RECALLS, Curves, Floats, Integers
from components.shared.report.charts import Chart, Mark, Series, line_chart, matrix_chart

MOST_LINES = 7  # classes in a line chart, beside the mean
_EVERY = 10  # a curve over 1001 confidences is drawn at every tenth
_MANY_LABELS = 20  # from here on labels that never occur are left out of the matrix
_MOST_LABELS, _MOST_CELLS = 100, 2000  # of a matrix that is shown whole
_FEW_LABELS = 40
_NEAR = 0.005  # confidences that are written alike


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
    """F1 against the confidence threshold, with the serving one and the best one on these images marked."""
    lines = _lines(curves, curves.f1[:, ::_EVERY], CONFIDENCES[::_EVERY].tolist())
    best = None if curves.best is None else float(CONFIDENCES[curves.best])
    marks = [] if best is None else [Mark(confidence, f"serves from {confidence:.2f}")]
    if best is not None and abs(best - confidence) >= _NEAR:
        marks.append(Mark(best, f"best here: {best:.2f}"))
    return line_chart(
        "F1 by confidence",
        lines,
        x_label="confidence threshold",
        y_label="F1",
        marks=marks,
        x_range=(0.0, 1.0),
        y_range=(0.0, 1.0),
    )


def confusion_chart(evaluation: Evaluation) -> Chart:
    """Which class is taken for which, at the report's confidence; of very many classes those confused most."""
    confusion = evaluation.confusion
    counts = np.array(confusion.matrix, dtype=np.int64)
    shown = list(range(len(confusion.labels)))
    if len(shown) > _MANY_LABELS:
        shown = _occurring(counts)
    few = _most_confused(counts, shown)
    said = f", the {len(few) - 1} classes confused most" if len(few) < len(shown) else ""
    return matrix_chart(
        f"Confusion at confidence {evaluation.confidence:.2f}{said}",
        [named(confusion.labels[i]) for i in few],
        counts[np.ix_(few, few)].tolist(),
        x_label="predicted",
        y_label="true",
    )


def _occurring(counts: Integers) -> list[int]:
    seen = counts.sum(axis=0) + counts.sum(axis=1) > 0
    seen[-1] = True
    return [int(position) for position in np.flatnonzero(seen)]


def _most_confused(counts: Integers, shown: list[int]) -> list[int]:
    """All that are shown while the page can hold their cells, else those most often off the diagonal."""
    part = counts[np.ix_(shown, shown)]
    if np.count_nonzero(part) <= _MOST_CELLS and len(shown) <= _MOST_LABELS:
        return shown
    classes = part[:-1, :-1]
    off = classes.sum(axis=0) + classes.sum(axis=1) - 2 * np.diag(classes)
    worst = np.sort(np.argsort(-off, kind="stable")[:_FEW_LABELS])
    return [*(shown[position] for position in worst.tolist()), shown[-1]]


def _lines(curves: Curves, values: Floats, x: list[float]) -> list[Series]:
    """The mean, unless there is only one class, and the ``MOST_LINES`` classes with most objects."""
    if not curves.classes:
        return []
    frequent = np.sort(np.argsort(-curves.truths, kind="stable")[:MOST_LINES])
    lines = [Series(named(curves.classes[index], 30), x, values[index].tolist()) for index in frequent.tolist()]
    if len(curves.classes) > 1:
        lines.insert(0, Series("mean of all classes", x, values.mean(axis=0).tolist()))
    return lines
