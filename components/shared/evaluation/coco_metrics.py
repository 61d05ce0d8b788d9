"""The COCO metrics by the fastest engine there is; all engines give the same numbers for the same tables.

Definition: https://cocodataset.org/#detection-eval
"""

import functools
import logging
from collections.abc import Callable, Sequence

import polars as pl

from components.shared.evaluation.coco_results import BY_CLASS, SUMMARY, CocoMetrics
from components.shared.evaluation.outcomes import BOX

__all__ = ["BY_CLASS", "SUMMARY", "CocoMetrics", "coco_metrics", "sound_numbers"]

_LOG = logging.getLogger(__name__)
Engine = Callable[[pl.DataFrame, pl.DataFrame, Sequence[int], Sequence[str]], CocoMetrics]


def coco_metrics(
    detections: pl.DataFrame, truths: pl.DataFrame, image_ids: Sequence[int], classes: Sequence[str]
) -> CocoMetrics:
    """COCO metrics over these images; images without ground truth count.

    A class without ground truth has no average precision and does not enter the means. Of each image and class the
    100 best detections count. Detections of other classes than ``classes`` are left out. A score that is no number
    ranks last; a box with a coordinate that is no number or with a negative side finds nothing.

    Args:
        detections: image_id, category, score, x, y, width, height.
        truths: image_id, category, x, y, width, height, area, ignore (``iscrowd`` to COCO).
        image_ids: every image that was looked at.
        classes: class names of the ground truth, in order.
    """
    return _engine()(sound_numbers(detections), truths, image_ids, classes)


def sound_numbers(detections: pl.DataFrame) -> pl.DataFrame:
    """Detections in float64 that can be ranked and measured: boxes that are none have no extent and find nothing."""
    numbers = pl.col("score", *BOX).cast(pl.Float64)
    broken = pl.any_horizontal(pl.col(BOX).is_nan(), pl.col("width", "height") < 0)
    return detections.with_columns(numbers).with_columns(
        pl.col("score").fill_nan(float("-inf")),
        *(pl.when(broken).then(0.0).otherwise(name).alias(name) for name in BOX),
    )


@functools.cache
def _engine() -> Engine:
    try:
        from components.shared.evaluation import coco_engine  # noqa: PLC0415 - it has no wheel for every platform
    except ImportError as error:
        from components.shared.evaluation import coco_referee  # noqa: PLC0415 - seldom needed

        _LOG.warning("The fast COCO engine cannot be imported (%s); pycocotools takes its place.", error)
        return coco_referee.coco_metrics
    return coco_engine.coco_metrics
