"""The COCO metrics by pycocotools, the definition's own code: slow, and what any faster engine is judged by."""

import contextlib
import io
from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from components.shared.evaluation.coco_results import CocoMetrics, metrics_from_tables, no_metrics
from components.shared.evaluation.outcomes import category_ids


def coco_metrics(
    detections: pl.DataFrame, truths: pl.DataFrame, image_ids: Sequence[int], classes: Sequence[str]
) -> CocoMetrics:
    """The same as ``coco_metrics.coco_metrics``, from the same arguments."""
    if not image_ids or not classes:
        return no_metrics()
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
    return metrics_from_tables(evaluation.eval["precision"], evaluation.eval["recall"], classes)


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
