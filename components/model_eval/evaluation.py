"""What an evaluation is asked for and what it finds out."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

import polars as pl

from components.model_eval.bootstrap import Interval, Intervals
from components.model_eval.calibration import Calibration
from components.model_eval.confusion import Confusion
from components.model_eval.error_types import ErrorTypes
from components.shared.detection.inference import Inference
from components.shared.errors import ConfigError
from components.shared.evaluation.curves import Curves
from components.shared.runtime_table import RuntimeTable


@dataclass(frozen=True)
class EvaluateOptions:
    """What an evaluation is asked for.

    Attributes:
        min_map50: the gate: mAP at IoU 0.5 the model needs, in 0..1.
        min_map50_95: the gate: mAP over IoU 0.5 to 0.95 the model needs; 0 for none.
        class_gates: the gate: AP at IoU 0.5 by class name.
        slice_gates: the gate: recall by slice, such as ``size:small``.
        champion_margin: the gate: by how much mAP over IoU 0.5 to 0.95 may be worse than the champion's on the same
            images, at the lower end of its 95 % interval; negative: the champion is not looked at.
        seed: of the resampling behind the intervals.
        device: ``cpu``, ``auto`` or a GPU number; of several (``0,1``) the first is used.
        conf: predictions below this score are not kept.
        iou: overlap above which the model suppresses the weaker of two boxes of one class; the archive's own.
        max_det: most predictions kept in one image; the archive's own.
        report_iou: overlap that makes a prediction right in tables, curves and the confusion matrix.

    Raises:
        ConfigError: a value is out of its bounds.
    """

    min_map50: float = 0.5
    min_map50_95: float = 0.0
    class_gates: Mapping[str, float] = field(default_factory=dict)
    slice_gates: Mapping[str, float] = field(default_factory=dict)
    champion_margin: float = -1.0
    seed: int = 0
    device: str = "cpu"
    conf: float = 0.001
    iou: float = 0.7
    max_det: int = 300
    report_iou: float = 0.5

    def __post_init__(self) -> None:
        for name in ("min_map50", "min_map50_95", "conf", "iou", "report_iou"):
            value = getattr(self, name)
            if not 0 <= value <= 1:
                raise ConfigError(f"{name} is {value!r}: give a number from 0 to 1.")
        for gates in ("class_gates", "slice_gates"):
            for name, value in getattr(self, gates).items():
                if not 0 <= value <= 1:
                    raise ConfigError(f"{gates} has {name}={value!r}: give a number from 0 to 1.")
        if self.max_det < 1:
            raise ConfigError(f"max_det is {self.max_det!r}: give a whole number above 0.")


@dataclass(frozen=True)
class Demand:
    """One thing the gate asks for.

    Attributes:
        name: what is asked for, such as ``map50``, ``class car``, ``slice size:small`` or ``champion``.
        sentence: what was asked for and what was found, for a person.
        passed: whether it was met.
        value: what was found; ``None`` where it cannot be measured, which fails the gate, except that there may be no
            champion to compare with.
        needed: what was asked for.
    """

    name: str
    sentence: str
    passed: bool
    value: float | None
    needed: float


class ChampionState(StrEnum):
    """What came of the wish to compare with the champion; all but ``failed`` and a bad comparison pass the gate."""

    OFF = "off"  # it was not asked for
    NONE = "none"  # the model has no champion yet
    SAME = "same"  # the champion is this very archive
    COMPARED = "compared"
    INCOMPARABLE = "incomparable"  # no class or no ground truth to compare on
    FAILED = "failed"  # the champion cannot be fetched, loaded or run


@dataclass(frozen=True)
class ChampionSeen:
    """Which champion the evaluation saw: publishing moves the alias only while it is still that one.

    Attributes:
        state: what came of it.
        version: of the champion in the registry, 64 digits; empty when there is none or it was not looked for.
        sentence: the same for a person; empty when it was not looked for.
    """

    state: ChampionState = ChampionState.OFF
    version: str = ""
    sentence: str = ""


@dataclass(frozen=True)
class ChampionComparison:
    """The model against the champion on the same test images.

    Attributes:
        version: of the champion in the registry, 64 digits.
        tag: the champion's archive.
        classes: the classes compared: those both models and the test set have.
        left_out: classes only one of the models has.
        ours: mAP over IoU 0.5 to 0.95 of the model on these classes.
        theirs: the champion's.
        difference: ours less theirs, with its 95 % interval of paired resamples of the images.
        per_class: columns ``category``, ``ours`` and ``theirs``: AP over IoU 0.5 to 0.95, null without ground truth.
        same: whether the champion is this very archive.
    """

    version: str
    tag: str
    classes: tuple[str, ...]
    left_out: tuple[str, ...]
    ours: float
    theirs: float
    difference: Interval
    per_class: pl.DataFrame
    same: bool = False


@dataclass(frozen=True)
class StartComparison:
    """What the training started from, on the same test images.

    Attributes:
        map50: mAP at IoU 0.5 of the start weights.
        map50_95: mAP over IoU 0.5 to 0.95.
        predictions: what they find: columns of ``outcomes.DETECTIONS``.
    """

    map50: float
    map50_95: float
    predictions: pl.DataFrame


@dataclass(frozen=True)
class Diagnosis:
    """What the numbers are made of.

    Attributes:
        intervals: 95 % intervals of mAP and of each class, by resampling the images.
        errors: kinds of error, how many there are and the mAP each costs, at the operating point.
        slices: columns of ``slices.SLICES``, at the operating point.
        calibration: how far scores are shares of right predictions.
        thresholds: columns of ``thresholds.THRESHOLDS``: the confidence at which each class would do best on these
            images; what serves was chosen on validation images.
        explorer: ``explorer.explorer_data`` for the page's own reckoning.
    """

    intervals: Intervals
    errors: ErrorTypes
    slices: pl.DataFrame
    calibration: Calibration
    thresholds: pl.DataFrame
    explorer: dict[str, object]


@dataclass(frozen=True)
class Evaluation:
    """How good a model is on a test set.

    Attributes:
        metrics: flat and finite. ``map50``, ``map50_95`` and the counts are always there; a number that is undefined
            (``map_small`` without small objects, ``precision`` without ground truth) is left out.
        per_class: one row a class, columns of ``per_class.PER_CLASS``.
        confusion: classes against each other and the background, at ``confidence``.
        curves: precision, recall and F1 behind the numbers.
        confidence: the operating point: the archive's own confidence where it has one, else where the mean F1 is best,
            or a fallback when it is nowhere above 0.
        predictions: one row a prediction, columns of ``outcomes.PREDICTIONS``.
        truths: one row a ground truth box, columns of ``outcomes.TRUTHS``.
        options: what was asked for.
        passed: whether the gate was met.
        reasons: why, in sentences.
        demands: what the gate asked for, one by one.
        diagnosis: errors, slices, intervals, calibration.
        champion: the comparison with the champion; ``None`` when there is none or it is not looked at.
        champion_seen: which champion was there, and what came of comparing.
        start: what the training started from; ``None`` when it cannot be run.
        runtimes: how the runtimes in the archive compare; ``None`` when that is not known.
        inference: how the model predicts, as served.
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
    diagnosis: Diagnosis
    demands: tuple[Demand, ...] = ()
    champion: ChampionComparison | None = None
    champion_seen: ChampionSeen = field(default_factory=ChampionSeen)
    start: StartComparison | None = None
    runtimes: RuntimeTable | None = None
    inference: Inference = field(default_factory=Inference)
    digest: str = ""
