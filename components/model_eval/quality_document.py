"""``quality.json``: everything the Model Quality Report says, for programs; its schema is ``quality.schema.json``.

Numbers that are not defined are null. Boxes are in pixels, shares in 0..1, latencies in milliseconds.
"""

import json
import math
from collections.abc import Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from components.model_eval.basis import Basis
from components.model_eval.bootstrap import Interval
from components.model_eval.evaluation import ChampionState, Evaluation
from components.shared.detection.inference import Inference
from components.shared.evaluation.curves import CONFIDENCES, RECALLS, Curves
from components.shared.runtime_table import RuntimeTable

SCHEMA = "quality.schema.json"
_DIGITS = 4  # of a curve's values


class Part(BaseModel):
    """A part of the document: nothing else may be in it."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Bounds(Part):
    """A number and its 95 % interval; null where it was not measured."""

    value: float | None
    low: float | None
    high: float | None


class Intervals(Part):
    """Intervals of the means, from that many resamples of the images; those of the classes are in ``per_class``."""

    resamples: int = Field(ge=1)
    map50: Bounds
    map50_95: Bounds


class Wanted(Part):
    """One demand of the gate: ``value`` is what was found, ``needed`` what was asked for."""

    name: str
    sentence: str
    passed: bool
    value: float | None
    needed: float


class ClassRow(Part):
    """One class at the operating point; average precisions are over all confidences."""

    category: str
    known: bool = Field(description="The model has the class.")
    ground_truths: int
    predictions: int
    true_positives: int
    false_positives: int
    missed: int
    precision: float | None
    recall: float | None
    f1: float | None
    ap50_95: float | None
    ap50_95_low: float | None
    ap50_95_high: float | None
    ap50: float | None
    ap50_low: float | None
    ap50_high: float | None
    ap75: float | None
    ar_100: float | None
    best_confidence: float | None
    best_f1: float | None


class ConfusionMatrix(Part):
    """Rows are what is there, columns what was predicted; the last of each is the background."""

    labels: tuple[str, ...]
    matrix: tuple[tuple[int, ...], ...]


class ClassCurves(Part):
    """Of one class: precision at each recall, and F1 at each confidence."""

    precision_at_recall: tuple[float, ...]
    f1: tuple[float, ...]


class CurvesPart(Part):
    """Curves of the classes with ground truth."""

    recalls: tuple[float, ...]
    confidences: tuple[float, ...]
    mean_f1: tuple[float, ...]
    classes: dict[str, ClassCurves]


class ErrorRow(Part):
    """A kind of error: how many at the operating point, and the mAP50 gained by mending it alone."""

    type: str
    count: int
    cost: float | None


class Errors(Part):
    """Why predictions are wrong and objects missed."""

    map50: float | None
    types: tuple[ErrorRow, ...]


class SliceRow(Part):
    """A part of the test set; its numbers are null below the least support."""

    slice: str
    kind: str
    support: int
    recall: float | None
    precision: float | None
    f1: float | None
    ap50: float | None
    meaning: str


class Bin(Part):
    """Predictions that score from ``low`` to ``high``; ``right`` is the share of right ones, with its interval."""

    low: float
    high: float
    count: int
    score: float | None
    right: float | None
    right_low: float | None
    right_high: float | None


class Reliability(Part):
    """How far a score can be read as a probability, of the ``count`` predictions that score ``floor`` or more."""

    error: float | None
    bias: float | None
    count: int
    floor: float
    bins: tuple[Bin, ...]


class ThresholdRow(Part):
    """The confidence at which a class would do best on these images."""

    category: str
    confidence: float
    own: bool
    f1: float | None
    truths: int
    reason: str | None


class ChampionClass(Part):
    """AP over IoU 0.5 to 0.95 of one class, of the model and of the champion."""

    category: str
    ours: float | None
    theirs: float | None


class ChampionPart(Part):
    """The comparison with the champion; all after ``sentence`` is empty when nothing was compared."""

    state: ChampionState
    version: str
    sentence: str
    tag: str = ""
    classes: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    ours: float | None = None
    theirs: float | None = None
    difference: Bounds | None = None
    per_class: tuple[ChampionClass, ...] = ()


class StartPart(Part):
    """The weights the training started from, on the same images."""

    map50: float
    map50_95: float


class Training(Part):
    """What the model's own manifest says of its training."""

    framework: str
    parameters: dict[str, str | int | float | bool | None]
    datasets: dict[str, str]
    libraries: dict[str, str]
    metrics: dict[str, float]


class QualityDocument(Part):
    """An evaluation of a packed model."""

    model_config = ConfigDict(frozen=True, extra="forbid", title="Model quality")

    schema_version: Literal[1] = 1
    passed: bool
    reasons: tuple[str, ...]
    demands: tuple[Wanted, ...]
    metrics: dict[str, float]
    intervals: Intervals
    confidence: float = Field(description="The operating point: the model's own overall threshold.")
    inference: Inference = Field(description="How the model predicts, as it is served.")
    facts: dict[str, str]
    training: Training | None
    per_class: tuple[ClassRow, ...]
    confusion: ConfusionMatrix
    curves: CurvesPart
    errors: Errors
    slices: tuple[SliceRow, ...]
    calibration: Reliability
    thresholds: tuple[ThresholdRow, ...]
    champion: ChampionPart
    start: StartPart | None
    runtimes: RuntimeTable | None


def describe_quality(evaluation: Evaluation, basis: Basis) -> QualityDocument:
    """The document of an evaluation."""
    diagnosis, start = evaluation.diagnosis, evaluation.start
    intervals, scores = diagnosis.intervals, diagnosis.calibration
    per_class = evaluation.per_class.join(
        intervals.by_class.drop("ap50", "ap50_95"), on="category", how="left", maintain_order="left"
    )
    content: dict[str, Any] = {
        "passed": evaluation.passed,
        "reasons": evaluation.reasons,
        "demands": [vars(demand) for demand in evaluation.demands],
        "metrics": evaluation.metrics,
        "intervals": {
            "resamples": intervals.resamples,
            "map50": _bounds(intervals.map50),
            "map50_95": _bounds(intervals.map50_95),
        },
        "confidence": evaluation.confidence,
        "inference": evaluation.inference,
        "facts": basis.facts,
        "training": _training(basis),
        "per_class": per_class.to_dicts(),
        "confusion": {"labels": evaluation.confusion.labels, "matrix": evaluation.confusion.matrix},
        "curves": _curves(evaluation.curves),
        "errors": {"map50": diagnosis.errors.map50, "types": diagnosis.errors.summary.to_dicts()},
        "slices": diagnosis.slices.to_dicts(),
        "calibration": {
            "error": scores.error,
            "bias": scores.bias,
            "count": scores.count,
            "floor": scores.floor,
            "bins": scores.bins.to_dicts(),
        },
        "thresholds": diagnosis.thresholds.to_dicts(),
        "champion": _champion(evaluation),
        "start": {"map50": start.map50, "map50_95": start.map50_95} if start else None,
        "runtimes": evaluation.runtimes,
    }
    return QualityDocument.model_validate(content)


def quality_schema() -> str:
    """The JSON schema of the document, as ``quality.schema.json`` beside this module holds it."""
    schema = QualityDocument.model_json_schema(mode="serialization")
    return json.dumps({"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}, indent=2) + "\n"


def _bounds(interval: Interval) -> dict[str, float | None]:
    return {name: None if math.isnan(value) else value for name, value in vars(interval).items()}


def _training(basis: Basis) -> dict[str, object] | None:
    if basis.training is None:
        return None
    return {name: getattr(basis.training, name) for name in Training.model_fields}


def _champion(evaluation: Evaluation) -> dict[str, object]:
    seen, found = evaluation.champion_seen, evaluation.champion
    told: dict[str, object] = {"state": seen.state, "version": seen.version, "sentence": seen.sentence}
    if found is None:
        return told
    return told | {
        "tag": found.tag,
        "classes": found.classes,
        "left_out": found.left_out,
        "ours": found.ours,
        "theirs": found.theirs,
        "difference": _bounds(found.difference),
        "per_class": found.per_class.to_dicts(),
    }


def _curves(curves: Curves) -> dict[str, object]:
    return {
        "recalls": _rounded(RECALLS.tolist()),
        "confidences": CONFIDENCES.tolist(),
        "mean_f1": _rounded(curves.mean_f1.tolist()),
        "classes": {
            name: {
                "precision_at_recall": _rounded(curves.precision_at_recall[index].tolist()),
                "f1": _rounded(curves.f1[index].tolist()),
            }
            for index, name in enumerate(curves.classes)
        },
    }


def _rounded(values: Sequence[float]) -> list[float]:
    return [round(value, _DIGITS) for value in values]
