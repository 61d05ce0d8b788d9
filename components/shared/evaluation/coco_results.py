"""The COCO metrics of a model, read from the precision and recall tables that any COCO engine accumulates.

Definition: https://cocodataset.org/#detection-eval
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

SUMMARY = (
    "map50_95",
    "map50",
    "map75",
    "map_small",
    "map_medium",
    "map_large",
    "ar_1",
    "ar_10",
    "ar_100",
    "ar_small",
    "ar_medium",
    "ar_large",
)
BY_CLASS: dict[str, pl.DataType] = {
    "category": pl.String(),
    "ap50_95": pl.Float64(),  # null when the class has no ground truth that counts
    "ap50": pl.Float64(),
    "ap75": pl.Float64(),
    "ar_100": pl.Float64(),
}
Table = npt.NDArray[np.float64]

_UNDEFINED = -1.0
_IOU_50, _IOU_75 = 0, 5  # positions among COCO's ten IoU thresholds
_ALL_SIZES, _SMALL, _MEDIUM, _LARGE = range(4)
_ONE, _TEN, _HUNDRED = range(3)  # positions among the largest numbers of detections


@dataclass(frozen=True)
class CocoMetrics:
    """The COCO metrics of a model.

    Attributes:
        summary: those of ``SUMMARY`` that are defined, each in 0..1.
        by_class: one row a class, columns of ``BY_CLASS``.
    """

    summary: dict[str, float]
    by_class: pl.DataFrame


def metrics_from_tables(precision: Table, recall: Table, classes: Sequence[str]) -> CocoMetrics:
    """Average what an engine accumulated; -1 in a table says that there was no ground truth.

    Args:
        precision: (10 IoU, 101 recalls, classes, all/small/medium/large, 1/10/100 detections).
        recall: the same without the second axis.
        classes: names along the class axis.
    """
    means = (
        _mean(precision[..., _ALL_SIZES, _HUNDRED]),
        _mean(precision[_IOU_50, ..., _ALL_SIZES, _HUNDRED]),
        _mean(precision[_IOU_75, ..., _ALL_SIZES, _HUNDRED]),
        *(_mean(precision[..., size, _HUNDRED]) for size in (_SMALL, _MEDIUM, _LARGE)),
        *(_mean(recall[..., _ALL_SIZES, most]) for most in (_ONE, _TEN, _HUNDRED)),
        *(_mean(recall[..., size, _HUNDRED]) for size in (_SMALL, _MEDIUM, _LARGE)),
    )
    summary = {name: mean for name, mean in zip(SUMMARY, means, strict=True) if mean > _UNDEFINED}
    return CocoMetrics(summary, _by_class(precision, recall, classes))


def no_metrics() -> CocoMetrics:
    """What there is to say without images or classes."""
    return CocoMetrics({}, pl.DataFrame(schema=BY_CLASS))


def _mean(values: Table) -> float:
    defined = values[values > _UNDEFINED]
    return float(defined.mean()) if defined.size else _UNDEFINED


def _by_class(precision: Table, recall: Table, classes: Sequence[str]) -> pl.DataFrame:
    chosen = precision[:, :, :, _ALL_SIZES, _HUNDRED]
    columns = {
        "ap50_95": chosen.mean(axis=(0, 1)),
        "ap50": chosen[_IOU_50].mean(axis=0),
        "ap75": chosen[_IOU_75].mean(axis=0),
        "ar_100": recall[:, :, _ALL_SIZES, _HUNDRED].mean(axis=0),
    }
    frame = pl.DataFrame({"category": list(classes), **columns}, schema=BY_CLASS)
    values = pl.col(name for name in columns)
    return frame.with_columns(pl.when(values >= 0).then(values))
