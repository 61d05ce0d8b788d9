"""The Model Quality Report: what a person looks at before the model goes out."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import polars as pl

from components.model_eval.evaluation import Evaluation
from components.model_eval.examples import Examples
from components.model_eval.report_charts import (
    MOST_LINES,
    average_precision_chart,
    confusion_chart,
    f1_chart,
    precision_recall_chart,
)
from components.shared.report.page import Level, Number, Report

_COLUMNS = {
    "class": "category",
    "objects": "ground_truths",
    "found": "true_positives",
    "missed": "missed",
    "wrong": "false_positives",
    "precision": "precision",
    "recall": "recall",
    "F1": "f1",
    "AP50-95": "ap50_95",
    "AP50": "ap50",
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


def write_report(evaluation: Evaluation, examples: Examples, facts: Mapping[str, str], path: Path) -> None:
    """Write the report as one HTML file.

    Args:
        evaluation: the numbers.
        examples: pictures of what went wrong and right.
        facts: what the evaluation rests on: versions, digests, thresholds.
        path: the file.
    """
    report = Report("Model Quality Report", subtitle=f"{facts.get('model', '')} on {facts.get('dataset', '')}")
    report.verdict(" ".join(evaluation.reasons), Level.GOOD if evaluation.passed else Level.BAD)
    report.numbers(_numbers(evaluation))
    for sentence in class_differences(evaluation.per_class):
        report.text(sentence)
    _add_classes(report, evaluation)
    _add_curves(report, evaluation)
    _add_examples(report, evaluation, examples)
    report.section("What it rests on")
    report.facts({**facts, **_thresholds(evaluation)})
    report.write(path)


def class_differences(per_class: pl.DataFrame) -> list[str]:
    """Sentences on classes that only the data or only the model has; empty when they agree."""
    unknown = per_class.filter(~pl.col("known")).get_column("category").to_list()
    without = pl.col("known") & (pl.col("ground_truths") == 0)
    untested = per_class.filter(without).get_column("category").to_list()
    sentences = []
    if unknown:
        sentences.append(f"The model does not have {_names(unknown)}: their objects count as missed.")
    if untested:
        sentences.append(
            f"The test set has no object of {_names(untested)}: predictions of them are false positives, "
            "and they do not enter mAP."
        )
    return sentences


def _numbers(evaluation: Evaluation) -> list[Number]:
    metrics = evaluation.metrics
    point = f"at confidence {evaluation.confidence:.2f}"
    gate = Level.GOOD if evaluation.passed else Level.BAD
    return [
        Number("mAP50", f"{metrics['map50']:.3f}", f"gate {evaluation.options.min_map50:.3f}", gate),
        Number("mAP50-95", f"{metrics['map50_95']:.3f}"),
        Number("Precision", _share(metrics, "precision"), point),
        Number("Recall", _share(metrics, "recall"), point),
        Number("Images tested", f"{metrics['images']:,.0f}", _left_out(metrics, "images_skipped")),
        Number("Objects", f"{metrics['ground_truths']:,.0f}", _left_out(metrics, "ground_truths_ignored", "ignored")),
        Number("Latency", _milliseconds(metrics), f"median, 95 %: {_milliseconds(metrics, 'latency_ms_p95')}"),
    ]


def _add_classes(report: Report, evaluation: Evaluation) -> None:
    report.section(
        "How good each class is",
        f"Counts, precision, recall and F1 at confidence {evaluation.confidence:.2f} "
        f"and IoU {evaluation.options.report_iou:.2f}; AP over all confidences.",
    )
    report.chart(average_precision_chart(evaluation.per_class))
    rows = evaluation.per_class.select(_COLUMNS.values()).rows()
    report.table(list(_COLUMNS), rows, caption="Every class")
    coco = [(name, text, evaluation.metrics[name]) for name, text in _COCO.items() if name in evaluation.metrics]
    report.table(["metric", "meaning", "value"], coco, caption="COCO metrics", folded=True)


def _add_curves(report: Report, evaluation: Evaluation) -> None:
    curves = evaluation.curves
    many = f" Of {len(curves.classes)} classes the {MOST_LINES} with most objects are drawn; quality.json has all."
    report.section(
        "Which confidence to use",
        "F1 weighs missed objects against wrong predictions." + (many if len(curves.classes) > MOST_LINES else ""),
    )
    report.charts([precision_recall_chart(curves), f1_chart(curves, evaluation.confidence)])
    report.section(
        "What is taken for what",
        "Rows are the objects, columns the predictions; the last column holds missed objects, "
        "the last row predictions where there is nothing.",
    )
    report.chart(confusion_chart(evaluation))


def _add_examples(report: Report, evaluation: Evaluation, examples: Examples) -> None:
    metrics = evaluation.metrics
    beside = "Left: ground truth, right: predictions."
    report.section("Missed objects", f"{metrics['false_negatives']:,.0f} objects were missed. {beside}")
    report.gallery(
        examples.missed, caption="Those without any prediction, then the largest", empty="No object was missed."
    )
    report.section("False alarms", f"{metrics['false_positives']:,.0f} predictions are wrong. {beside}")
    report.gallery(examples.false, caption="The highest scores", empty="No prediction is wrong.")
    report.section("Right predictions", f"{metrics['true_positives']:,.0f} predictions are right. {beside}")
    report.gallery(examples.right, caption="The highest scores", empty="No prediction is right.")


def _thresholds(evaluation: Evaluation) -> dict[str, str]:
    options = evaluation.options
    return {
        "gate": f"mAP50 >= {options.min_map50:g}",
        "lowest score kept": f"{options.conf:g}",
        "overlap of predictions suppressed": f"IoU > {options.iou:g}",
        "most predictions an image": f"{options.max_det}",
        "a prediction is right": f"same class, IoU >= {options.report_iou:g}",
        "confidence of the report": f"{evaluation.confidence:g}",
        "device": options.device,
    }


def _share(metrics: Mapping[str, float], name: str) -> str:
    return f"{metrics[name]:.3f}" if name in metrics else "–"  # noqa: RUF001 - an en dash stands for no value


def _milliseconds(metrics: Mapping[str, float], name: str = "latency_ms_p50") -> str:
    return f"{metrics[name]:.1f} ms" if name in metrics else "–"  # noqa: RUF001 - same


def _left_out(metrics: Mapping[str, float], name: str, word: str = "could not be read") -> str:
    return f"{metrics[name]:,.0f} {word}" if metrics[name] else ""


def _names(names: Sequence[str], most: int = 10) -> str:
    shown = ", ".join(repr(name) for name in names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more classes"
