"""What an evaluation is asked for and what it finds out."""

from dataclasses import dataclass

import polars as pl

from components.model_eval.confusion import Confusion
from components.model_eval.curves import Curves
from components.shared.errors import ConfigError


@dataclass(frozen=True)
class EvaluateOptions:
    """What an evaluation is asked for.

    Attributes:
        min_map50: the gate: mAP at IoU 0.5 the model needs, in 0..1.
        device: ``cpu``, ``auto`` or a GPU number; of several (``0,1``) the first is used.
        conf: predictions below this score are not kept.
        iou: overlap above which the model suppresses the weaker of two boxes of one class.
        max_det: most predictions kept in one image.
        report_iou: overlap that makes a prediction right in tables, curves and the confusion matrix.

    Raises:
        ConfigError: a value is out of its bounds.
    """

    min_map50: float = 0.5
    device: str = "cpu"
    conf: float = 0.001
    iou: float = 0.7
    max_det: int = 300
    report_iou: float = 0.5

    def __post_init__(self) -> None:
        for name in ("min_map50", "conf", "iou", "report_iou"):
            value = getattr(self, name)
            if not 0 <= value <= 1:
                raise ConfigError(f"{name} is {value!r}: give a number from 0 to 1.")
        if self.max_det < 1:
            raise ConfigError(f"max_det is {self.max_det!r}: give a whole number above 0.")


@dataclass(frozen=True)
class Evaluation:
    """How good a model is on a test set.

    Attributes:
        metrics: flat and finite. ``map50``, ``map50_95`` and the counts are always there; a number that is undefined
            (``map_small`` without small objects, ``precision`` without ground truth) is left out.
        per_class: one row a class, columns of ``per_class.PER_CLASS``.
        confusion: classes against each other and the background, at ``confidence``.
        curves: precision, recall and F1 behind the numbers.
        confidence: the operating point: where the mean F1 is best, or a fallback when it is nowhere above 0.
        predictions: one row a prediction, columns of ``outcomes.PREDICTIONS``.
        truths: one row a ground truth box, columns of ``outcomes.TRUTHS``.
        options: what was asked for.
        passed: whether the gate was met.
        reasons: why, in sentences.
        digest: sha256 of the predictions and the ground truth as COCO JSON; empty before they are written.
    """

    metrics: dict[str, float]
    per_class: pl.DataFrame
    confusion: Confusion
    curves: Curves
    confidence: float
    predictions: pl.DataFrame
    truths: pl.DataFrame
    options: EvaluateOptions
    passed: bool
    reasons: tuple[str, ...]
    digest: str = ""
