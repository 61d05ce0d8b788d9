"""The COCO metrics, with pycocotools as the engine.

Another engine replaces this module as long as it gives the same numbers for the same tables.
Definition: https://cocodataset.org/#detection-eval
"""

import contextlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from components.model_eval.outcomes import category_ids

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
_UNDEFINED = -1.0
_IOU_50, _IOU_75 = 0, 5  # positions among COCO's ten IoU thresholds
_ALL_SIZES, _MOST_DETECTIONS = 0, 2


@dataclass(frozen=True)
class CocoMetrics:
    """The COCO metrics of a model.

    Attributes:
        summary: those of ``SUMMARY`` that are defined, each in 0..1.
        by_class: one row a class, columns of ``BY_CLASS``.
    """

    summary: dict[str, float]
    by_class: pl.DataFrame


def coco_metrics(
    detections: pl.DataFrame, truths: pl.DataFrame, image_ids: Sequence[int], classes: Sequence[str]
) -> CocoMetrics:
    """COCO metrics over these images; images without ground truth count.

    A class without ground truth has no average precision and does not enter the means. Of each image and class the
    100 best detections count. Detections of other classes than ``classes`` are left out.

    Args:
        detections: image_id, category, score, x, y, width, height.
        truths: image_id, category, x, y, width, height, area, ignore (``iscrowd`` to COCO).
        image_ids: every image that was looked at.
        classes: class names of the ground truth, in order.
    """
    if not image_ids or not classes:
        return CocoMetrics({}, pl.DataFrame(schema=BY_CLASS))
    known = detections.filter(pl.col("category").is_in(list(classes)))
    images = [{"id": image_id} for image_id in image_ids]
    categories = [{"id": position + 1, "name": name} for position, name in enumerate(classes)]
    shared = {"images": images, "categories": categories}
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation = COCOeval(
            _coco({**shared, "annotations": _truth_records(truths, classes)}),
            _coco({**shared, "annotations": _detection_records(known, classes)}),
            "bbox",
        )
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    stats = dict(zip(SUMMARY, map(float, evaluation.stats), strict=True))
    summary = {name: value for name, value in stats.items() if value > _UNDEFINED}
    return CocoMetrics(summary, _by_class(evaluation.eval["precision"], evaluation.eval["recall"], classes))


def _coco(dataset: Mapping[str, object]) -> Any:  # noqa: ANN401 - pycocotools is untyped
    coco = COCO()
    coco.dataset = dict(dataset)
    coco.createIndex()
    return coco


def _truth_records(truths: pl.DataFrame, classes: Sequence[str]) -> list[dict[str, object]]:
    labels = category_ids(truths.get_column("category"), classes)
    columns = ("image_id", "x", "y", "width", "height", "area", "ignore")
    # An id of 0 would read as "not matched".
    return [
        {
            "id": number,
            "image_id": row[0],
            "category_id": label + 1,
            "bbox": list(row[1:5]),
            "area": row[5],
            "iscrowd": row[6],
        }
        for number, (row, label) in enumerate(zip(truths.select(columns).iter_rows(), labels, strict=True), 1)
    ]


def _detection_records(detections: pl.DataFrame, classes: Sequence[str]) -> list[dict[str, object]]:
    labels = category_ids(detections.get_column("category"), classes)
    columns = ("image_id", "x", "y", "width", "height", "score")
    return [
        {
            "id": number,
            "image_id": row[0],
            "category_id": label + 1,
            "bbox": list(row[1:5]),
            "area": row[3] * row[4],
            "score": row[5],
            "iscrowd": 0,
        }
        for number, (row, label) in enumerate(zip(detections.select(columns).iter_rows(), labels, strict=True), 1)
    ]


def _by_class(
    precision: npt.NDArray[np.float64], recall: npt.NDArray[np.float64], classes: Sequence[str]
) -> pl.DataFrame:
    """``precision`` is (IoU, recall, class, size, detections), ``recall`` the same without the second axis."""
    chosen = precision[:, :, :, _ALL_SIZES, _MOST_DETECTIONS]
    columns = {
        "ap50_95": chosen.mean(axis=(0, 1)),
        "ap50": chosen[_IOU_50].mean(axis=0),
        "ap75": chosen[_IOU_75].mean(axis=0),
        "ar_100": recall[:, :, _ALL_SIZES, _MOST_DETECTIONS].mean(axis=0),
    }
    frame = pl.DataFrame({"category": list(classes), **columns}, schema=BY_CLASS)
    values = pl.col(name for name in columns)
    return frame.with_columns(pl.when(values >= 0).then(values))
