"""The report on scores: which confidence to use, the explorer, thresholds by class, and how far to believe scores."""

import numpy as np
import polars as pl

from components.model_eval.calibration import Calibration
from components.model_eval.evaluation import Evaluation
from components.model_eval.report_charts import MOST_LINES, f1_chart, precision_recall_chart
from components.model_eval.report_words import counted, named
from components.shared.evaluation.curves import CONFIDENCES, Curves
from components.shared.report.charts import Band, Chart, Series, bar_chart, line_chart
from components.shared.report.page import Report

_SURE = 0.02  # a mean distance of scores from shares that nobody notices


def add_curves(report: Report, evaluation: Evaluation) -> None:
    """The section with the curves."""
    curves = evaluation.curves
    many = f" Of {len(curves.classes)} classes the {MOST_LINES} with most objects are drawn; quality.json has all."
    report.section(
        "Which confidence to use",
        "F1 weighs missed objects against wrong predictions." + (many if len(curves.classes) > MOST_LINES else ""),
    )
    report.charts([precision_recall_chart(curves), f1_chart(curves, evaluation.confidence)])


def add_explorer(report: Report, evaluation: Evaluation) -> None:
    """The section with the sliders."""
    report.section(
        "Try other thresholds",
        "Move the sliders to see how many predictions are right or wrong and how many objects are missed. They start "
        f"at the confidence that serves and IoU {evaluation.options.report_iou:.2f}. All classes together count every "
        "box alike; precision and recall on top of the page are means over the classes.",
    )
    report.explorer(evaluation.diagnosis.explorer, confidence=evaluation.confidence, iou=evaluation.options.report_iou)


def add_thresholds(report: Report, evaluation: Evaluation) -> None:
    """The table of confidences by class: what serves against what would be best here."""
    table = evaluation.diagnosis.thresholds
    if table.is_empty():
        return
    served = {
        name: evaluation.inference.class_confidence.get(name, evaluation.confidence) for name in table["category"]
    }
    rows = [
        (
            named(name),
            objects,
            served[name],
            _f1_at(evaluation.curves, name, served[name]),
            best,
            value,
            "" if own else reason,
        )
        for name, best, own, value, objects, reason in table.select(
            "category", "confidence", "own", "f1", "truths", "reason"
        ).iter_rows()
    ]
    report.table(
        ["class", "objects", "serves from", "F1 there", "best on these images", "F1 there", "why not its own"],
        rows,
        caption="Confidence by class",
        folded=True,
    )


def add_calibration(report: Report, evaluation: Evaluation) -> None:
    """The section on how far a score is the chance to be right."""
    found = evaluation.diagnosis.calibration
    report.section("How far scores can be believed", calibration_sentence(found))
    report.charts([reliability_chart(found), _counts_chart(found)])


def calibration_sentence(found: Calibration) -> str:
    """The expected calibration error in words."""
    if found.error is None or found.bias is None:
        return f"There is no prediction with a score of {found.floor:g} or more, so scores cannot be judged."
    way = "too sure of itself" if found.bias > 0 else "too modest"
    means = "scores are about the share of right predictions"
    if abs(found.bias) > _SURE:
        means = (
            f"the model is {way}: its mean score is {abs(found.bias):.3f} {'above' if found.bias > 0 else 'below'} it"
        )
    elif found.error > _SURE:
        means = "too high and too low scores balance"
    rest = counted(found.count, "prediction", "predictions")
    return (
        f"The expected calibration error is {found.error:.3f}: so far a score is, on average, from the share of right "
        f"predictions; {means}. It rests on {rest} with a score of {found.floor:g} or more."
    )


def reliability_chart(found: Calibration) -> Chart:
    """Share of right predictions against the mean score of each bin, with its 95 % interval and the diagonal."""
    known = found.bins.filter(pl.col("count") > 0).sort("score")
    scores = known.get_column("score").to_list()
    lines = [
        Series("as it is", scores, known.get_column("right").to_list()),
        Series("as it should be", [0.0, 1.0], [0.0, 1.0], dashed=True),
    ]
    return line_chart(
        "Share of right predictions by score",
        lines if scores else [],
        x_label="mean score",
        y_label="share that is right",
        spans=[Band("95 % interval", scores, *(known.get_column(f"right_{end}").to_list() for end in ("low", "high")))],
        x_range=(0.0, 1.0),
        y_range=(0.0, 1.0),
    )


def _counts_chart(found: Calibration) -> Chart:
    known = found.bins
    names = [f"{low:.2g} to {high:.2g}" for low, high in known.select("low", "high").iter_rows()]
    return bar_chart(
        "How many predictions the shares rest on",
        names if found.count else [],
        {"predictions": known.get_column("count").to_list()},
        x_label="score",
        y_label="predictions",
        horizontal=True,
    )


def _f1_at(curves: Curves, name: str, confidence: float) -> float | None:
    """F1 of a class at a confidence; ``None`` without ground truth."""
    if name not in curves.classes:
        return None
    position = int(np.searchsorted(CONFIDENCES, confidence, side="left"))
    return float(curves.f1[curves.classes.index(name), min(position, len(CONFIDENCES) - 1)])
