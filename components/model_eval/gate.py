"""What the gate asks of a model, demand by demand, each with a sentence on what was found."""

import difflib
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
import polars as pl

from components.model_eval.bootstrap import Interval
from components.model_eval.calibration import wilson_interval
from components.model_eval.evaluation import Demand, Diagnosis, EvaluateOptions

NO_TRUTH = "The test set has no ground truth box that counts, so the quality cannot be measured."
_ROUNDING = 1e-9  # COCO gives a perfect model 1 - 2e-16
_MOST_DIGITS = 6


def absolute_demands(
    metrics: Mapping[str, float], per_class: pl.DataFrame, diagnosis: Diagnosis, options: EvaluateOptions
) -> tuple[Demand, ...]:
    """What the options ask of the model alone; mAP50 is always the first.

    Args:
        metrics: ``map50``, ``map50_95``, ``ground_truths`` and ``detections`` at least.
        per_class: columns of ``per_class.PER_CLASS``.
        diagnosis: its intervals and slices.
        options: the gate.
    """
    if not metrics["ground_truths"]:
        return (Demand("map50", NO_TRUTH, passed=False, value=None, needed=options.min_map50),)
    intervals = diagnosis.intervals
    first = _measured("map50", "mAP50", metrics["map50"], options.min_map50, intervals.map50)
    if not metrics["detections"]:
        sentence = first.sentence.removesuffix(".")
        sentence += f": the model found nothing with a score of {options.conf:g} or more."
        first = Demand(first.name, sentence, first.passed, first.value, first.needed)
    demands = [first]
    if options.min_map50_95 > 0:
        demands.append(_measured("map50_95", "mAP50-95", metrics["map50_95"], options.min_map50_95, intervals.map50_95))
    demands += _class_demands(options.class_gates, per_class, intervals.by_class)
    demands += _slice_demands(options.slice_gates, diagnosis.slices)
    return tuple(demands)


def verdict(demands: Sequence[Demand]) -> tuple[bool, tuple[str, ...]]:
    """Whether every demand is met, and why: the sentences of those that are not, else all of them."""
    failed = tuple(demand.sentence for demand in demands if not demand.passed)
    return not failed, failed or tuple(demand.sentence for demand in demands)


def interval_text(interval: Interval) -> str:
    """`` (95 %: 0.87 to 0.94)``, or nothing where it is not known or resampling cannot tell, as of a single image."""
    if math.isnan(interval.low) or math.isnan(interval.high) or interval.low == interval.high:
        return ""
    return f" (95 %: {interval.low:.2f} to {interval.high:.2f})"


def near_name(name: str, known: Iterable[str]) -> str:
    """What to do about a name that is not known: the near one, or those there are."""
    names = list(known)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    if near:
        return f"did you mean {near[0]!r}?"
    return f"use one of {', '.join(repr(one) for one in names[:10])}." if names else "leave it out."


def _class_demands(gates: Mapping[str, float], per_class: pl.DataFrame, intervals: pl.DataFrame) -> Iterator[Demand]:
    rows = {row["category"]: row for row in per_class.iter_rows(named=True)}
    bounds = {row["category"]: row for row in intervals.iter_rows(named=True)}
    for name, needed in gates.items():
        title = f"class {name}"
        if name not in rows:
            sentence = f"class_gates names the class {name!r}, which is unknown: {near_name(name, rows)}"
            yield _unmeasured(title, sentence, needed)
        elif rows[name]["ap50"] is None:
            sentence = f"The test set has no object of the class {name!r}, so its AP50 cannot be measured"
            yield _unmeasured(title, f"{sentence}: take it out of class_gates, or add images of it.", needed)
        else:
            yield _measured(title, f"AP50 of {name!r}", rows[name]["ap50"], needed, _bounds(bounds.get(name)))


def _slice_demands(gates: Mapping[str, float], slices: pl.DataFrame) -> Iterator[Demand]:
    rows = {row["slice"]: row for row in slices.iter_rows(named=True)}
    for name, needed in gates.items():
        title = f"slice {name}"
        row = rows.get(name)
        if row is None:
            sentence = f"slice_gates names the slice {name!r}, which is unknown: {near_name(name, rows)}"
            yield _unmeasured(title, sentence, needed)
        elif row["recall"] is None:
            sentence = f"The slice {name!r} has only {row['support']} objects in the test set, too few for a recall"
            yield _unmeasured(title, f"{sentence}: take it out of slice_gates, or add such images.", needed)
        else:
            interval = _share_interval(row["recall"], row["support"])
            yield _measured(title, f"Recall of the slice {name!r}", row["recall"], needed, interval)


def _bounds(row: Mapping[str, float | None] | None) -> Interval:
    low, high = (row["ap50_low"], row["ap50_high"]) if row else (None, None)
    return Interval(math.nan, math.nan if low is None else low, math.nan if high is None else high)


def _share_interval(share: float, count: int) -> Interval:
    low, high = wilson_interval(np.array([share * count]), np.array([float(count)]))
    return Interval(share, float(low[0]), float(high[0]))


def _measured(name: str, title: str, value: float, needed: float, interval: Interval) -> Demand:
    passed = value >= needed - _ROUNDING
    shown, bound = _shown(value, needed)
    compared = f"at least the {bound} the gate asks for" if passed else f"below the {bound} the gate asks for"
    return Demand(name, f"{title} is {shown}{interval_text(interval)}, {compared}.", passed, value, needed)


def _unmeasured(name: str, sentence: str, needed: float) -> Demand:
    return Demand(name, sentence, passed=False, value=None, needed=needed)


def _shown(value: float, needed: float) -> tuple[str, str]:
    """Both numbers with as many digits as tell them apart, three at least for what was found."""
    bound = f"{needed:g}"
    for digits in range(3, _MOST_DIGITS):
        if abs(value - needed) < _ROUNDING or float(f"{value:.{digits}f}") != float(bound):
            return f"{value:.{digits}f}", bound
    return f"{value:.{_MOST_DIGITS}f}", bound
