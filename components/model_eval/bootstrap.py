"""How far the metrics would move with as many other images of the same kind: 95 % intervals of a bootstrap over images.

A resample draws as many images as there are, with replacement, and so gives each image a weight. Detections are
matched and sorted by score once; in a resample the true and false positives above a detection are the cumulative sums
of the weights of their images. Precision peaks at right detections, so it is computed at those only. The numbers are
those COCO would give for a data set in which each image is repeated as often as it was drawn, but for the order of
equal scores.

The best precision at a recall or above is a maximum, and a resample, which has fewer different images, flatters it:
with many classes of few boxes most resamples lie above the value itself. The percentiles are therefore moved by the
difference between the mean of the resamples and the value.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from components.model_eval.match_records import ClassRecords, match_records
from components.shared.boxes import Floats
from components.shared.evaluation.curves import RECALLS
from components.shared.evaluation.outcomes import Integers

RESAMPLES = 1000
_LEAST_RESAMPLES = 200
_AFFORDABLE = 200_000_000  # predictions times resamples: about four seconds
_LEVELS = (2.5, 97.5)  # percent
_AT_ONCE = 1 << 18  # weights: as many as fit a processor's cache
CLASS_INTERVALS: dict[str, pl.DataType] = {
    "category": pl.String(),
    "ap50_95": pl.Float64(),  # null, as its bounds, when the class has no ground truth that counts
    "ap50_95_low": pl.Float64(),
    "ap50_95_high": pl.Float64(),
    "ap50": pl.Float64(),
    "ap50_low": pl.Float64(),
    "ap50_high": pl.Float64(),
}


@dataclass(frozen=True)
class Interval:
    """A number and the bounds of its 95 % interval; all NaN where nothing was measured."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Intervals:
    """The intervals of a model.

    Attributes:
        map50: mean over the classes with ground truth in a resample.
        map50_95: same.
        by_class: one row a class, columns of ``CLASS_INTERVALS``.
        resamples: how many times the images were drawn.
    """

    map50: Interval
    map50_95: Interval
    by_class: pl.DataFrame
    resamples: int = RESAMPLES


def bootstrap(
    detections: pl.DataFrame,
    truths: pl.DataFrame,
    image_ids: Sequence[int],
    classes: Sequence[str],
    *,
    resamples: int | None = None,
    seed: int = 0,
) -> Intervals:
    """Intervals of one model's metrics; the tables are those of ``coco_metrics``.

    A class that has no ground truth in a resample does not enter that resample's means, nor its own interval.

    Args:
        detections: image_id, category, score, x, y, width, height.
        truths: image_id, category, x, y, width, height, area, ignore.
        image_ids: every image that was looked at.
        classes: class names of the ground truth, in order.
        resamples: how many; as ``affordable_resamples`` has it when absent.
        seed: the same seed gives the same intervals.
    """
    resamples = resamples or affordable_resamples(detections.height)
    records = match_records(detections, truths, image_ids, classes)
    weights = _weights(len(set(image_ids)), resamples, seed)
    point, drawn = (_class_precisions(records, each) for each in (np.ones_like(weights[:1]), weights))
    means = [_interval(_mean(point[..., kind])[0], _mean(drawn[..., kind])) for kind in range(2)]
    by_class = [
        [_interval(point[0, label, kind], drawn[:, label, kind]) for label in range(len(classes))] for kind in range(2)
    ]
    return Intervals(means[1], means[0], _table(classes, *by_class), resamples)


def affordable_resamples(predictions: int) -> int:
    """How many resamples of that many predictions take seconds: a thousand up to 200,000 predictions, at least 200.

    A thousand make the bounds steady to a tenth of the interval.
    """
    return max(_LEAST_RESAMPLES, min(RESAMPLES, _AFFORDABLE // max(1, predictions)))


def paired_bootstrap(
    ours: pl.DataFrame,
    theirs: pl.DataFrame,
    truths: pl.DataFrame,
    image_ids: Sequence[int],
    classes: Sequence[str],
    *,
    resamples: int | None = None,
    seed: int = 0,
) -> Interval:
    """mAP50-95 of ``ours`` minus that of ``theirs`` on the same images, each resample drawn for both.

    Args:
        ours: detections as in ``bootstrap``.
        theirs: those of the other model.
        truths: see ``bootstrap``.
        image_ids: see ``bootstrap``.
        classes: those compared; detections and truths of others are left out.
        resamples: same.
        seed: the same seed gives the same interval.
    """
    resamples = resamples or affordable_resamples(max(ours.height, theirs.height))
    drawn = _weights(len(set(image_ids)), resamples, seed)
    weights = np.concatenate([np.ones_like(drawn[:1]), drawn])
    means = [
        _mean(_class_precisions(match_records(detections, truths, image_ids, classes), weights)[..., 0])
        for detections in (ours, theirs)
    ]
    difference = means[0] - means[1]
    return _interval(difference[0], difference[1:], least=-1.0)


def average_precisions(records: ClassRecords, weights: Integers) -> Floats:
    """AP ``(R, 10)`` of a class at each overlap, for ``weights`` ``(R, I)`` of its images; NaN without ground truth."""
    parts = [_precisions(records, chunk) for chunk in _chunks(weights, len(records.images))]
    return np.concatenate(parts) if parts else np.empty((0, len(records.right)))


def _precisions(records: ClassRecords, weights: Integers) -> Floats:
    truths = (weights @ records.truths)[:, None]
    small = weights.astype(np.int32)
    above = np.cumsum(small.take(records.images, axis=1), axis=1, dtype=np.int32)
    values = np.zeros((len(weights), len(records.right)))
    for number, (right, ignored) in enumerate(zip(records.right, records.ignored, strict=True)):
        hits, skipped = np.flatnonzero(right), np.flatnonzero(ignored)
        made = above.take(hits, axis=1)
        if skipped.size:
            before = np.cumsum(small.take(records.images[skipped], axis=1), axis=1, dtype=np.int32)
            made -= np.pad(before, ((0, 0), (1, 0))).take(np.searchsorted(skipped, hits), axis=1)
        found = np.cumsum(small.take(records.images[hits], axis=1), axis=1, dtype=np.int32)
        values[:, number] = _interpolated(found, made, truths)
    return np.where(truths > 0, values, np.nan)


def _interpolated(found: npt.NDArray[np.int32], made: npt.NDArray[np.int32], truths: Integers) -> Floats:
    """COCO's mean of the best precision at 101 recalls: each level is reached at one of the right detections."""
    precision = found / (made + np.spacing(1))  # the denominator is COCO's
    envelope = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    reached = _levels(found / np.maximum(truths, 1))
    values: Floats = (envelope * np.diff(reached, axis=1, prepend=0)).sum(axis=1) / len(RECALLS)
    return values


def _levels(recalls: Floats) -> npt.NDArray[np.int32]:
    """How many of ``RECALLS`` each recall reaches; ``searchsorted(side="right")``, but without the search."""
    below = (recalls * (len(RECALLS) - 1)).astype(np.int32)
    bounds = np.append(RECALLS, np.inf)
    return below + (bounds.take(below) <= recalls) + (bounds.take(below + 1) <= recalls)


def _class_precisions(records: Sequence[ClassRecords], weights: Integers) -> Floats:
    """``(R, K, 2)``: AP50-95 and AP50 of each resample and class."""
    values = np.full((len(weights), len(records), 2), np.nan)
    for label, record in enumerate(records):
        if record.truths.any():
            found = average_precisions(record, weights)
            values[:, label, 0], values[:, label, 1] = found.mean(axis=1), found[:, 0]
    return values


def _weights(images: int, resamples: int, seed: int) -> Integers:
    """How often each image is drawn, ``(resamples, images)``."""
    random = np.random.default_rng(seed)
    drawn = random.integers(0, max(images, 1), (resamples, images)) + np.arange(resamples)[:, None] * images
    return np.bincount(drawn.ravel(), minlength=resamples * images).reshape(resamples, images)


def _chunks(weights: Integers, width: int) -> Iterator[Integers]:
    step = max(1, _AT_ONCE // max(width, 1))
    for start in range(0, len(weights), step):
        yield weights[start : start + step]


def _mean(values: Floats) -> Floats:
    """Mean over the classes ``(R,)`` of ``(R, K)``, leaving out the undefined; NaN when all are."""
    defined = ~np.isnan(values)
    count = defined.sum(axis=1)
    total = np.where(defined, values, 0.0).sum(axis=1)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _interval(value: float, drawn: Floats, least: float = 0.0) -> Interval:
    defined = drawn[~np.isnan(drawn)]
    if np.isnan(value) or not defined.size:
        return Interval(float(value), float("nan"), float("nan"))
    percentiles = np.percentile(defined, _LEVELS) - (defined.mean() - value)
    low, high = np.clip(percentiles, least, 1.0).tolist()
    return Interval(float(value), low, high)


def _table(classes: Sequence[str], many: Sequence[Interval], one: Sequence[Interval]) -> pl.DataFrame:
    rows = [
        (name, *(number for interval in pair for number in (interval.value, interval.low, interval.high)))
        for name, *pair in zip(classes, many, one, strict=True)
    ]
    return pl.DataFrame(rows, schema=CLASS_INTERVALS, orient="row").with_columns(pl.col(pl.Float64).fill_nan(None))
