"""From predictions to every number of an evaluation; nothing here touches a model, an image or a file."""

import math
from collections.abc import Sequence

import numpy as np
import polars as pl

from components.model_eval.bootstrap import bootstrap
from components.model_eval.calibration import calibration
from components.model_eval.coco_metrics import coco_metrics
from components.model_eval.confusion import confusion_matrix
from components.model_eval.curves import CONFIDENCES, Curves, compute_curves
from components.model_eval.error_types import error_types
from components.model_eval.evaluation import Diagnosis, EvaluateOptions, Evaluation
from components.model_eval.explorer import explorer_data
from components.model_eval.outcomes import at_confidence, sort_detections, truth_table, usable_images, with_outcomes
from components.model_eval.per_class import per_class_table
from components.model_eval.slices import slices
from components.model_eval.thresholds import threshold_table
from components.shared.dataset import Dataset
from components.shared.detection.match import Outcome

FALLBACK_CONFIDENCE = 0.25  # operating point when no confidence gives a find
Latencies = Sequence[float]
_ROUNDING = 1e-9  # COCO gives a perfect model 1 - 2e-16


def evaluate_predictions(
    dataset: Dataset,
    detections: pl.DataFrame,
    model_classes: Sequence[str],
    options: EvaluateOptions,
    latencies: Latencies = (),
) -> Evaluation:
    """Measure predictions against the dataset's ground truth.

    Classes are matched by name. A class the model does not have counts as missed; predictions of a class the data
    does not have are false positives in the tables and in the confusion matrix but do not enter mAP.

    Args:
        dataset: the test set.
        detections: columns of ``outcomes.DETECTIONS``; images that cannot be looked at must not be in it.
        model_classes: class names of the model.
        options: thresholds and the gate.
        latencies: milliseconds the model took for each image.
    """
    images = usable_images(dataset)
    truths = truth_table(dataset, images)
    ordered = sort_detections(detections)
    classes = (*dataset.classes, *(name for name in model_classes if name not in dataset.classes))
    coco = coco_metrics(ordered, truths, images.get_column("image_id").to_list(), dataset.classes)
    predictions, matched = with_outcomes(ordered, truths, images, threshold=options.report_iou)
    curves = compute_curves(predictions, matched, dataset.classes)
    confidence = FALLBACK_CONFIDENCE if curves.best is None else float(CONFIDENCES[curves.best])
    judged = at_confidence(matched, confidence)
    metrics = {"map50": 0.0, "map50_95": 0.0} | coco.summary | _operating_point(curves)
    metrics |= _counts(dataset, images, predictions, judged, confidence) | latency_metrics(latencies)
    passed, reasons = _gate(metrics, options)
    return Evaluation(
        metrics={name: float(value) for name, value in metrics.items() if math.isfinite(value)},
        per_class=per_class_table(predictions, judged, coco, curves, classes, model_classes, confidence),
        confusion=confusion_matrix(ordered, truths, classes, confidence=confidence, threshold=options.report_iou),
        curves=curves,
        confidence=confidence,
        predictions=predictions,
        truths=judged,
        options=options,
        passed=passed,
        reasons=reasons,
        diagnosis=Diagnosis(
            intervals=bootstrap(
                ordered, truths, images.get_column("image_id").to_list(), dataset.classes, seed=options.seed
            ),
            errors=error_types(
                predictions, truths, dataset.classes, confidence=confidence, foreground=options.report_iou
            ),
            slices=slices(predictions, judged, images, confidence=confidence),
            calibration=calibration(predictions),
            thresholds=threshold_table(curves, dataset.classes, overall=confidence),
            explorer=explorer_data(ordered, truths, classes),
        ),
    )


def latency_metrics(latencies: Latencies) -> dict[str, float]:
    """Median, 95th percentile and mean of milliseconds an image; nothing without a measurement."""
    if not latencies:
        return {}
    values = np.asarray(latencies, dtype=np.float64)
    middle, late = np.percentile(values, (50, 95))
    return {"latency_ms_p50": float(middle), "latency_ms_p95": float(late), "latency_ms_mean": float(values.mean())}


def _operating_point(curves: Curves) -> dict[str, float]:
    """Precision, recall and F1 at the best mean F1, each the mean over the classes that have ground truth.

    A class that is not predicted at this confidence has no precision and does not enter the mean of the precisions.
    """
    if not curves.classes:
        return {}
    best = curves.best
    if best is None:
        return {"precision": 0.0, "recall": 0.0, "f1": 0.0}
    return {
        "precision": float(np.nanmean(curves.precision[:, best])),
        "recall": float(curves.recall[:, best].mean()),
        "f1": float(curves.mean_f1[best]),
        "best_confidence": float(CONFIDENCES[best]),
    }


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


def _gate(metrics: dict[str, float], options: EvaluateOptions) -> tuple[bool, tuple[str, ...]]:
    if not metrics["ground_truths"]:
        return False, ("The test set has no ground truth box that counts, so the quality cannot be measured.",)
    reached, needed = metrics["map50"], options.min_map50
    passed = reached >= needed - _ROUNDING
    if passed:
        reasons = [f"mAP50 is {reached:.4f}, at least the {needed:.4f} the gate asks for."]
    else:
        reasons = [f"mAP50 is {reached:.4f}, below the {needed:.4f} the gate asks for."]
    if not metrics["detections"]:
        reasons.append(f"The model found nothing with a score of {options.conf:g} or more.")
    return passed, tuple(reasons)
