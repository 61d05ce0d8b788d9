"""Measure a packed model on the test split: predict, keep the predictions, judge them and report."""

import dataclasses
import logging
import tempfile
from pathlib import Path

from components.model_eval.evaluation import EvaluateOptions, Evaluation
from components.model_eval.examples import draw_examples
from components.model_eval.export import write_predictions, write_quality
from components.model_eval.outcomes import usable_images
from components.model_eval.predict import Images, Predictor, predict_images
from components.model_eval.quality import evaluate_predictions
from components.model_eval.report import write_report
from components.shared.archive import open_archive
from components.shared.dataset import Dataset
from components.shared.detection.detector import Detector
from components.shared.progress import Notify, silent
from components.shared.shards import ImageReader
from components.shared.store import open_store

__all__ = ["EvaluateOptions", "Evaluation", "confusion_for_kfp", "evaluate", "evaluate_with"]

logger = logging.getLogger(__name__)
_PREDICTING = 0.85  # share of the step that predicting takes


def evaluate(
    test_dir: Path,
    archive_dir: Path,
    store_uri: str,
    predictions_dir: Path,
    report: Path,
    options: EvaluateOptions,
    *,
    start: Path | None = None,
    overview: Path | None = None,
    notify: Notify = silent,
) -> Evaluation:
    """Evaluate the model in the archive, and nothing but that, on the test dataset.

    Args:
        test_dir: folder of the test dataset.
        archive_dir: folder of the packed model.
        store_uri: where the images lie.
        predictions_dir: where predictions, ground truth and numbers are kept (see ``export``).
        report: the Model Quality Report, an HTML file.
        options: thresholds, device and the gate.
        start: folder of the model the training started from.
        overview: receives the report in short, as Markdown.
        notify: hears how far it is.

    Raises:
        ArchiveError: the archive is broken or not what it claims to be.
        FormatError: the dataset is not one of ours.
        InputError: an image cannot be decoded.
        StoreError: the store failed.
        ConfigError: an option or the device is wrong.
    """
    del start
    if overview:
        overview.write_text("", encoding="utf-8")
    dataset = Dataset.load(test_dir)
    with tempfile.TemporaryDirectory(prefix="model-eval-") as work:
        notify(0.0, "opening the archive")
        archive = open_archive(archive_dir, Path(work))
        # One image at a time needs one GPU; training may have named several.
        detector = Detector(archive.model, device=options.device.split(",")[0])
        facts = {
            "model": archive.manifest.tag,
            "model digest": archive.manifest.model_digest,
            "dataset": dataset.name,
            "dataset version": dataset.version,
            "split": dataset.split or "whole dataset",
        }
        reader = ImageReader(open_store(store_uri))
        return evaluate_with(dataset, detector, reader, facts, predictions_dir, report, options, notify)


def evaluate_with(
    dataset: Dataset,
    detector: Predictor,
    reader: Images,
    facts: dict[str, str],
    predictions_dir: Path,
    report: Path,
    options: EvaluateOptions,
    notify: Notify = silent,
) -> Evaluation:
    """Evaluate any detector on any source of images; ``facts`` say what both are."""
    images = usable_images(dataset)
    predicted = predict_images(
        detector, reader, images, options, lambda share, message: notify(share * _PREDICTING, message)
    )
    notify(_PREDICTING, "computing the metrics")
    evaluation = evaluate_predictions(dataset, predicted.detections, detector.classes, options, predicted.latencies)
    evaluation = dataclasses.replace(evaluation, digest=write_predictions(evaluation, images, predictions_dir))
    notify(0.95, "drawing the report")
    write_report(evaluation, draw_examples(evaluation, reader, images), facts, report)
    write_quality(evaluation, facts, predictions_dir)
    for reason in evaluation.reasons:
        logger.info("%s", reason)
    notify(1.0, evaluation.reasons[0])
    return evaluation


def confusion_for_kfp(evaluation: Evaluation) -> tuple[list[str], list[list[int]]]:
    """Labels, the background last, and the square matrix, as ``ClassificationMetrics.log_confusion_matrix`` takes them.

    Rows are what is there, columns what was predicted.
    """
    return list(evaluation.confusion.labels), [list(row) for row in evaluation.confusion.matrix]
