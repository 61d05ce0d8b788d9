"""From predictions to every number of an evaluation; nothing here touches a model, an image or a file."""

import math
from collections.abc import Sequence

import numpy as np
import polars as pl

from components.model_eval.bootstrap import Intervals, bootstrap
from components.model_eval.calibration import calibration
from components.model_eval.confusion import confusion_matrix
from components.model_eval.error_types import error_types
from components.model_eval.evaluation import Diagnosis, EvaluateOptions, Evaluation
from components.model_eval.explorer import explorer_data
from components.model_eval.gate import absolute_demands, verdict
from components.model_eval.per_class import per_class_table
from components.model_eval.slices import slices
from components.shared.dataset import Dataset
from components.shared.detection.inference import Inference
from components.shared.detection.match import Outcome
from components.shared.evaluation.coco_metrics import coco_metrics
from components.shared.evaluation.curves import CONFIDENCES, Curves, compute_curves
from components.shared.evaluation.outcomes import (
    at_confidence,
    sort_detections,
    truth_table,
    usable_images,
    with_outcomes,
)
from components.shared.evaluation.thresholds import threshold_table

FALLBACK_CONFIDENCE = 0.25  # operating point when no confidence gives a find
Latencies = Sequence[float]


def evaluate_predictions(
    dataset: Dataset,
    detections: pl.DataFrame,
    model_classes: Sequence[str],
    options: EvaluateOptions,
    latencies: Latencies = (),
    inference: Inference | None = None,
) -> Evaluation:
    """Measure predictions against the dataset's ground truth, and ask of them what the options ask of a model alone.

    Classes are matched by name. A class the model does not have counts as missed; predictions of a class the data
    does not have are false positives in the tables and in the confusion matrix but do not enter mAP.

    Args:
        dataset: the test set.
        detections: columns of ``outcomes.DETECTIONS``; images that cannot be looked at must not be in it.
        model_classes: class names of the model.
        options: thresholds and the gate.
        latencies: milliseconds the model took for each image.
        inference: how it is served; without it the operating point is where the mean F1 is best.
    """
    images = usable_images(dataset)
    ids = images.get_column("image_id").to_list()
    truths = truth_table(dataset, images)
    ordered = sort_detections(detections)
    classes = (*dataset.classes, *(name for name in model_classes if name not in dataset.classes))
    coco = coco_metrics(ordered, truths, ids, dataset.classes)
    predictions, matched = with_outcomes(ordered, truths, images, threshold=options.report_iou)
    curves = compute_curves(predictions, matched, dataset.classes)
    confidence = _operating_point(curves, inference)
    judged = at_confidence(matched, confidence)
    per_class = per_class_table(predictions, judged, coco, curves, classes, model_classes, confidence)
    diagnosis = Diagnosis(
        intervals=bootstrap(ordered, truths, ids, dataset.classes, seed=options.seed),
        errors=error_types(predictions, truths, dataset.classes, confidence=confidence, foreground=options.report_iou),
        slices=slices(predictions, judged, images, confidence=confidence),
        calibration=calibration(predictions),
        thresholds=threshold_table(curves, dataset.classes, overall=confidence),
        explorer=explorer_data(ordered, truths, classes),
    )
    metrics = {"map50": 0.0, "map50_95": 0.0} | coco.summary | operating_metrics(per_class) | _best(curves)
    metrics |= latency_metrics(latencies) | (served_metrics(predictions, matched, inference) if inference else {})
    metrics |= _bounds(diagnosis.intervals) | _counts(dataset, images, predictions, judged, confidence)
    demands = absolute_demands(metrics, per_class, diagnosis, options)
    passed, reasons = verdict(demands)
    return Evaluation(
        metrics={name: float(value) for name, value in metrics.items() if math.isfinite(value)},
        per_class=per_class,
        confusion=confusion_matrix(ordered, truths, classes, confidence=confidence, threshold=options.report_iou),
        curves=curves,
        confidence=confidence,
        predictions=predictions,
        truths=judged,
        options=options,
        passed=passed,
        reasons=reasons,
        diagnosis=diagnosis,
        demands=demands,
        inference=inference or Inference(confidence=confidence, iou=options.iou, max_det=options.max_det),
    )


def operating_metrics(per_class: pl.DataFrame) -> dict[str, float]:
    """Precision, recall and F1 at the table's confidence, each the mean over the classes that have ground truth.

    A class that is not predicted at this confidence has no precision and does not enter the mean of the precisions;
    when none is, the precision is 0. Without ground truth there is nothing to say.
    """
    counted = per_class.filter(pl.col("ground_truths") > 0)
    if counted.is_empty():
        return {}
    means = counted.select(pl.col("precision", "recall", "f1").mean()).row(0, named=True)
    return {name: float(value or 0.0) for name, value in means.items()}


def served_metrics(predictions: pl.DataFrame, truths: pl.DataFrame, inference: Inference) -> dict[str, float]:
    """What ``operating_metrics`` says when each class has the threshold it is served with.

    Args:
        predictions: with outcomes.
        truths: with outcomes and the score of the prediction that found each box.
        inference: the thresholds.
    """
    least = pl.col("category").replace_strict(
        inference.class_confidence, default=inference.confidence, return_dtype=pl.Float64
    )
    outcome = pl.col("outcome")
    counts = (
        predictions.filter(pl.col("score") >= least)
        .group_by("category")
        .agg(
            (outcome == Outcome.TRUE_POSITIVE.value).sum().alias("right"),
            (outcome == Outcome.FALSE_POSITIVE.value).sum().alias("wrong"),
        )
    )
    objects = truths.filter(~pl.col("ignore")).group_by("category", maintain_order=True).agg(pl.len().alias("objects"))
    right, wrong, total = pl.col("right"), pl.col("wrong"), pl.col("objects")
    table = objects.join(counts, on="category", how="left").with_columns(pl.col("right", "wrong").fill_null(0))
    per_class = table.select(
        pl.col("objects").alias("ground_truths"),
        pl.when(right + wrong > 0).then(right / (right + wrong)).alias("precision"),
        (right / total).alias("recall"),
        (2 * right / (right + wrong + total)).alias("f1"),
    )
    return {f"served_{name}": value for name, value in operating_metrics(per_class).items()}


def latency_metrics(latencies: Latencies) -> dict[str, float]:
    """Median, 95th percentile and mean of milliseconds an image; nothing without a measurement."""
    if not latencies:
        return {}
    values = np.asarray(latencies, dtype=np.float64)
    middle, late = np.percentile(values, (50, 95))
    return {"latency_ms_p50": float(middle), "latency_ms_p95": float(late), "latency_ms_mean": float(values.mean())}


def _operating_point(curves: Curves, inference: Inference | None) -> float:
    if inference is not None:
        return inference.confidence
    return FALLBACK_CONFIDENCE if curves.best is None else float(CONFIDENCES[curves.best])


def _best(curves: Curves) -> dict[str, float]:
    """The best mean F1 over the classes with ground truth, and where it is."""
    best = curves.best
    return {} if best is None else {"best_f1": curves.mean_f1[best], "best_confidence": CONFIDENCES[best]}


def _bounds(intervals: Intervals) -> dict[str, float]:
    """The 95 % intervals; left out, as NaN, where nothing was measured."""
    pairs = {"map50": intervals.map50, "map50_95": intervals.map50_95}
    ends = {f"{name}_low": pair.low for name, pair in pairs.items()}
    return ends | {f"{name}_high": pair.high for name, pair in pairs.items()}


def _counts(
    dataset: Dataset, images: pl.DataFrame, predictions: pl.DataFrame, truths: pl.DataFrame, confidence: float
) -> dict[str, float]:
    made = predictions.filter(pl.col("score") >= confidence)
    ignored = truths.filter("ignore").height
    return {
        "images": images.height,
        "images_skipped": dataset.images.height - images.height,
        "ground_truths": truths.height - ignored,
        "ground_truths_ignored": ignored,
        "ground_truths_unusable": _unusable(dataset, images, truths),
        "detections": predictions.height,
        "true_positives": made.filter(pl.col("outcome") == Outcome.TRUE_POSITIVE.value).height,
        "false_positives": made.filter(pl.col("outcome") == Outcome.FALSE_POSITIVE.value).height,
        "false_negatives": truths.filter(pl.col("outcome") == Outcome.MISSED.value).height,
    }


def _unusable(dataset: Dataset, images: pl.DataFrame, truths: pl.DataFrame) -> int:
    return dataset.ground_truth().join(images, on="image_id", how="semi").height - truths.height
