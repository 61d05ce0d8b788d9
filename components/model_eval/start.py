"""What the training gained: the weights it started from on the same test images."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from components.model_eval.evaluation import Evaluation, StartComparison
from components.model_eval.predict import Contestant, Predicted
from components.shared.detection.detector import Detector
from components.shared.detection.inference import TORCH, Inference
from components.shared.detection.manifest import MANIFEST
from components.shared.errors import in_one_line
from components.shared.evaluation.coco_metrics import coco_metrics
from components.shared.evaluation.outcomes import sort_detections

_logger = logging.getLogger(__name__)


def open_start(folder: Path | None, inference: Inference, device: str) -> Contestant | None:
    """What the training started from, ready to predict with the overlaps and tiles of the model.

    ``None``, and a line in the log, when it cannot be run, as of a training from nothing.

    Args:
        folder: a model folder; ``None`` or one without a model when there is nothing to compare with.
        inference: how the model predicts.
        device: what it predicts on.
    """
    if folder is None or not (folder / MANIFEST).is_file():
        _logger.warning("There are no start weights, so nothing is compared with them.")
        return None
    try:
        return Contestant(Detector(folder, device=device), inference, TORCH)
    except Exception as error:  # noqa: BLE001 - no fault of those weights is a reason to fail
        _logger.warning("The start weights cannot be run, so nothing is compared with them: %s.", in_one_line(error))
        return None


def compare_with_start(
    evaluation: Evaluation, predicted: Predicted | None, image_ids: Sequence[int], classes: Sequence[str]
) -> Evaluation:
    """The evaluation with what the start weights find beside it; as it was when they found nothing out.

    Args:
        evaluation: of the model.
        predicted: what the start weights found.
        image_ids: every image that was looked at.
        classes: of the test set, by name; those the start weights do not have count as missed.
    """
    if predicted is None or predicted.failure:
        return evaluation
    found = sort_detections(predicted.detections)
    summary = coco_metrics(found, evaluation.truths, image_ids, classes).summary
    start = StartComparison(summary.get("map50", 0.0), summary.get("map50_95", 0.0), found)
    metrics = evaluation.metrics | {"start_map50": start.map50, "start_map50_95": start.map50_95}
    return replace(evaluation, start=start, metrics=metrics)
