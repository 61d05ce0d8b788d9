"""Choose from what was measured: which runtime serves, and from which confidence on each class is served."""

import logging
import math
from collections.abc import Sequence

import polars as pl

from components.model_pack.measure import Measured
from components.model_pack.options import PackOptions
from components.model_pack.samples import Samples
from components.shared.detection.inference import TORCH, Inference
from components.shared.errors import ArchiveError
from components.shared.evaluation.curves import CONFIDENCES, compute_curves
from components.shared.evaluation.outcomes import with_outcomes
from components.shared.evaluation.thresholds import threshold_table
from components.shared.runtimes import SERVE_AUTO

PREFERRED = ("onnx", "openvino", "torchscript", TORCH, "openvino-bf16", "onnx-int8")
FASTER = 1.25  # how many times as fast a runtime must be to serve in place of one preferred to it
LEAST_OBJECTS = 20  # ground truth boxes that a threshold is chosen on
_STEPS = 100  # thresholds are whole hundredths: the same on machines whose scores differ in the sixth place
logger = logging.getLogger(__name__)


def drop_of(weights: Measured, other: Measured) -> float | None:
    """How much mAP50-95 a runtime loses; ``None`` without ground truth."""
    if weights.map50_95 is None or other.map50_95 is None:
        return None
    return weights.map50_95 - other.map50_95


def refuse_inaccurate(measured: Sequence[Measured], options: PackOptions) -> dict[str, str]:
    """Why a runtime is not packed although it could be converted: it loses more than ``max_drop``.

    Args:
        measured: the weights first.
        options: the limit, and what shall serve.

    Raises:
        ArchiveError: the one that shall serve does.
    """
    weights = measured[0]
    refused = {}
    for other in measured[1:]:
        drop = drop_of(weights, other)
        if drop is None or drop <= options.max_drop:
            continue
        reason = (
            f"It loses {drop:.4f} mAP50-95 ({other.map50_95:.4f} against {weights.map50_95:.4f} of the weights),"
            f" more than max_drop {options.max_drop:g}."
        )
        if other.runtime == options.serve_runtime:
            raise ArchiveError(f"{other.runtime!r} cannot serve. {reason} Serve another runtime, or raise max_drop.")
        refused[other.runtime] = reason
        logger.warning("The runtime %r is left out. %s", other.runtime, reason)
    return refused


def choose_runtime(measured: Sequence[Measured], options: PackOptions) -> str:
    """What serves on a CPU: what the options name, else the first of ``PREFERRED`` unless another is much faster.

    Without ground truth nobody knows what a runtime loses, so the weights serve.

    Args:
        measured: the weights first; those that lose too much are left out already.
        options: ``serve_runtime``.
    """
    if options.serve_runtime != SERVE_AUTO:
        return options.serve_runtime
    known = {one.runtime: one for one in measured if drop_of(measured[0], one) is not None}
    if TORCH not in known:
        if len(measured) > 1:
            logger.info("The validation images have no ground truth, so the weights serve.")
        return TORCH
    chosen, *others = [known[name] for name in PREFERRED if name in known]
    for other in others:
        if _median(chosen) >= FASTER * _median(other):
            chosen = other
    return chosen.runtime


def choose_thresholds(served: Measured, samples: Samples, inference: Inference) -> tuple[Inference, str]:
    """The inference with the confidences at which the served runtime has its best F1, and a sentence on where from.

    A class with few objects takes the overall confidence; with few objects in all, everything stays as it is.
    """
    if samples.objects < LEAST_OBJECTS:
        return inference, _unchanged(f"the measured validation images have {samples.objects} objects", inference)
    judged, truths = with_outcomes(served.table, samples.truths, samples.images, threshold=0.5)
    curves = compute_curves(judged, truths, samples.classes)
    if curves.best is None:
        return inference, _unchanged("the model finds nothing on the validation images", inference)
    overall = _rounded(float(CONFIDENCES[curves.best]))
    table = threshold_table(curves, samples.classes, overall=overall, least=LEAST_OBJECTS).filter(pl.col("own"))
    own = {name: _rounded(value) for name, value in table.select("category", "confidence").iter_rows()}
    source = (
        f"The confidences are those with the best F1 on {samples.images.height} validation images with"
        f" {samples.objects} objects; a class with fewer than {LEAST_OBJECTS} takes the overall one."
    )
    return inference.model_copy(update={"confidence": overall, "class_confidence": own}), source


def _unchanged(why: str, inference: Inference) -> str:
    sentence = f"The confidence stays {inference.confidence:g}, which nothing was measured for: {why}."
    logger.info("%s", sentence)
    return sentence


def _median(measured: Measured) -> float:
    return measured.latency(50) or math.inf


def _rounded(confidence: float) -> float:
    """Down, so that what was found at the threshold still is."""
    return max(1, math.floor(confidence * _STEPS + 1e-9)) / _STEPS
