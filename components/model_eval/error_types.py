"""Why a prediction is wrong or a ground truth box not found, and how much mAP each reason costs.

Types and oracles are those of TIDE: Bolya, Foley, Hays, Hoffman, "TIDE: A General Toolbox for Identifying Object
Detection Errors", ECCV 2020, sections 2.2 and 2.3, and its code, https://github.com/dbolya/tide.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt
import polars as pl

from components.model_eval.average_precision import mean_average_precision
from components.model_eval.overlaps import (
    ALMOST_ONE,
    Integers,
    Pairs,
    class_codes,
    in_match_order,
    match_pairs,
    overlapping_pairs,
)
from components.shared.boxes import Flags, Floats
from components.shared.detection.match import ALONE
from components.shared.errors import ConfigError

Names = npt.NDArray[np.str_]
NO_ERROR = ""


class ErrorType(StrEnum):
    """What is wrong. The first that holds is given, in the order location, class, duplicate, background, both."""

    CLASS = "class"  # the place is that of an object of another class: IoU at least the foreground's
    LOCATION = "location"  # the class is right, the IoU is between the background's and the foreground's
    BOTH = "both"  # wrong class and between the two IoUs
    DUPLICATE = "duplicate"  # class and place are right, but a better prediction found the object
    BACKGROUND = "background"  # no object there: IoU at most the background's
    MISSED = "missed"  # of an object: not found, and no class or location error could be mended to find it


SUMMARY: dict[str, pl.DataType] = {
    "type": pl.String(),  # in the order of ``ErrorType``
    "count": pl.Int64(),  # predictions at or above the confidence, for ``missed`` ground truth boxes
    "cost": pl.Float64(),  # mAP50 gained by mending this type alone; null without ground truth
}


@dataclass(frozen=True)
class ErrorTypes:
    """The errors of a model.

    Attributes:
        summary: one row a type, columns of ``SUMMARY``.
        map50: mAP at the foreground IoU before anything is mended; ``None`` without ground truth.
        predictions: column ``error``, one value a prediction in the table's order: a type, null for those that are
            right or ignored. It does not depend on the confidence.
        truths: column ``error``, one value a ground truth box in the table's order: ``missed``, ``class`` or
            ``location`` for a box that is not found at the confidence, null for the others.
    """

    summary: pl.DataFrame
    map50: float | None
    predictions: pl.Series
    truths: pl.Series


@dataclass(frozen=True)
class _Judged:
    """What the matching and the overlaps say of ``N`` predictions and ``M`` ground truth boxes."""

    scores: Floats  # (N,)
    labels: Integers  # (N,)
    true_labels: Integers  # (M,)
    counts: Flags  # (M,): no ignore region
    partner: Integers  # (N,): row of the box found, or ALONE
    errors: Names  # (N,): a type or NO_ERROR
    target: Integers  # (N,): row of the box a class or location error is about, or ALONE


def error_types(
    predictions: pl.DataFrame,
    truths: pl.DataFrame,
    classes: Sequence[str],
    *,
    confidence: float,
    foreground: float = 0.5,
    background: float = 0.1,
) -> ErrorTypes:
    """Sort every error into one of six types and say what each costs.

    Counts are those at the confidence; costs are over all predictions given, as mAP is: mending one type alone and
    measuring again, negative differences as 0. To mend is: a class error gets the object's class and a location
    error its box, when the object is not found and this is the best-scored such error about it, else the prediction
    goes; both, duplicate and background errors go; missed objects leave the recall. A class all of whose objects
    were missed then has no average precision and leaves the mean; when no class is left, the mean is 1.

    The average precision is our own at one IoU (``average_precision``); it equals ``coco_metrics``' ``map50`` as long
    as no image holds more than 100 predictions of a class. Unlike TIDE, ignored predictions are no errors, and classes
    without ground truth do not count as 0 in the mean.

    Args:
        predictions: columns of ``outcomes.DETECTIONS`` at least (``outcomes.PREDICTIONS`` has them); they are matched
            anew at the foreground IoU, whatever their outcomes.
        truths: columns ``outcomes.UNMATCHED`` at least.
        classes: classes that enter mAP, in any order.
        confidence: predictions below it are not made, as far as counts and ``truths`` go.
        foreground: least IoU of a right prediction.
        background: IoU below which a prediction has nothing to do with an object.

    Raises:
        ConfigError: the IoUs are not 0 < background < foreground <= 1.
    """
    if not 0 < background < foreground <= 1:
        raise ConfigError(
            f"The background IoU is {background!r} and the foreground IoU {foreground!r}: give 0 < background < "
            "foreground <= 1."
        )
    judged = _judge(predictions, truths, classes, foreground, background)
    true_errors = _true_errors(judged, confidence)
    made = judged.errors[judged.scores >= confidence]
    base, costs = _costs(judged, classes)
    summary = pl.DataFrame(
        {
            "type": [kind.value for kind in ErrorType],
            "count": [
                np.count_nonzero((true_errors if kind is ErrorType.MISSED else made) == kind) for kind in ErrorType
            ],
            "cost": [costs[kind] for kind in ErrorType],
        },
        schema=SUMMARY,
    )
    return ErrorTypes(summary, base, _series(judged.errors), _series(true_errors))


def _judge(
    predictions: pl.DataFrame, truths: pl.DataFrame, classes: Sequence[str], foreground: float, background: float
) -> _Judged:
    scores = predictions.get_column("score").to_numpy()
    ignore = truths.get_column("ignore").to_numpy()
    labels, true_labels = _labels(predictions, truths, classes)
    pairs = overlapping_pairs(predictions, truths, least=background, same_class=False)
    same = labels[pairs.prediction] == true_labels[pairs.truth]
    enough = min(foreground, ALMOST_ONE)
    candidates = in_match_order(pairs.where(same & (pairs.overlap >= enough)), scores, ignore)
    partner = match_pairs(candidates, ignore, predictions=len(scores), threshold=foreground)
    counts = ~ignore[pairs.truth]
    own, own_truth = _best(pairs.where(same & counts), len(scores))
    other, other_truth = _best(pairs.where(~same & counts), len(scores))
    located = (own >= background) & (own < enough)
    tests = [partner != ALONE, located, other >= enough, own >= enough, other <= background]
    kinds = [NO_ERROR, ErrorType.LOCATION, ErrorType.CLASS, ErrorType.DUPLICATE, ErrorType.BACKGROUND]
    errors = np.select(tests, [str(kind) for kind in kinds], str(ErrorType.BOTH))
    target = np.where(errors == ErrorType.CLASS, other_truth, np.where(errors == ErrorType.LOCATION, own_truth, ALONE))
    return _Judged(scores, labels, true_labels, ~ignore, partner, errors, target)


def _labels(predictions: pl.DataFrame, truths: pl.DataFrame, classes: Sequence[str]) -> tuple[Integers, Integers]:
    """Positions in ``classes``; categories that are not in it come after them."""
    columns = [table.get_column("category") for table in (predictions, truths)]
    others = set(pl.concat(columns).unique()) - set(classes)
    names = [*classes, *sorted(others)]
    return class_codes(columns[0], names), class_codes(columns[1], names)


def _best(pairs: Pairs, predictions: int) -> tuple[Floats, Integers]:
    """Best overlap of each prediction and with which box, the first of equals; 0 and ``ALONE`` without any."""
    best = np.zeros(predictions)
    np.maximum.at(best, pairs.prediction, pairs.overlap)
    top = pairs.where(pairs.overlap == best[pairs.prediction])
    truth = np.full(predictions, ALONE, dtype=np.int64)
    # The last assignment stays, so the order is turned round.
    truth[top.prediction[::-1]] = top.truth[::-1]
    return best, truth


def _menders(judged: _Judged, confidence: float) -> tuple[Flags, Integers]:
    """Which boxes are found, and by which wrong prediction each other one would be if that were mended.

    Of several class and location errors about a box it is the best-scored one, as in TIDE's ``BestGTMatch``.
    """
    made = judged.scores >= confidence
    found = np.zeros(len(judged.counts), dtype=np.bool_)
    found[judged.partner[made & (judged.partner != ALONE)]] = True
    rows = np.flatnonzero(made & (judged.target != ALONE))
    rows = rows[~found[judged.target[rows]]]
    worst_first = rows[np.argsort(-judged.scores[rows], kind="stable")][::-1]
    mender = np.full(len(judged.counts), ALONE, dtype=np.int64)
    mender[judged.target[worst_first]] = worst_first
    return found, mender


def _true_errors(judged: _Judged, confidence: float) -> Names:
    found, mender = _menders(judged, confidence)
    near = np.full(len(mender), str(ErrorType.MISSED), dtype=judged.errors.dtype)
    near[mender != ALONE] = judged.errors[mender[mender != ALONE]]
    errors: Names = np.where(found | ~judged.counts, NO_ERROR, near)
    return errors


def _costs(judged: _Judged, classes: Sequence[str]) -> tuple[float | None, dict[ErrorType, float | None]]:
    """MAP as it is, and what mending each type adds to it."""
    truths = _per_class(judged, judged.counts, classes)
    matched = judged.partner != ALONE
    right = matched & judged.counts[judged.partner] if len(judged.counts) else matched
    counted = ~matched | right
    base = mean_average_precision(judged.labels[counted], judged.scores[counted], right[counted], truths)
    if base is None:
        return None, dict.fromkeys(ErrorType)
    gone = _per_class(judged, _true_errors(judged, -np.inf) == ErrorType.MISSED, classes)
    without = mean_average_precision(judged.labels[counted], judged.scores[counted], right[counted], truths - gone)
    mended = {kind: _mended(judged, kind, right, counted, truths) for kind in ErrorType}
    mended[ErrorType.MISSED] = 1.0 if without is None else without
    return base, {kind: max(mended[kind] - base, 0.0) for kind in ErrorType}


def _mended(judged: _Judged, kind: ErrorType, right: Flags, counted: Flags, truths: Integers) -> float:
    of_kind = judged.errors == kind
    _, mender = _menders(judged, -np.inf)
    boxes = np.flatnonzero(mender != ALONE)
    boxes = boxes[of_kind[mender[boxes]]]
    labels, mended, kept = judged.labels.copy(), right.copy(), counted & ~of_kind
    labels[mender[boxes]] = judged.true_labels[boxes]
    mended[mender[boxes]] = kept[mender[boxes]] = True
    value = mean_average_precision(labels[kept], judged.scores[kept], mended[kept], truths)
    return 0.0 if value is None else value


def _per_class(judged: _Judged, chosen: Flags, classes: Sequence[str]) -> Integers:
    """How many of the chosen ground truth boxes each of ``classes`` has."""
    counts: Integers = np.bincount(judged.true_labels[chosen], minlength=len(classes))[: len(classes)]
    return counts


def _series(errors: Names) -> pl.Series:
    return pl.Series("error", errors.tolist(), dtype=pl.String).replace(NO_ERROR, None)
