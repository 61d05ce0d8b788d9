"""The COCO metrics by hotcoco, fed with whole columns instead of one record a box.

https://derekallman.github.io/hotcoco/
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import polars as pl
from hotcoco import COCO, COCOeval

from components.shared.evaluation.coco_results import CocoMetrics, metrics_from_tables, no_metrics
from components.shared.evaluation.outcomes import BOX, Integers, category_ids


def coco_metrics(
    detections: pl.DataFrame, truths: pl.DataFrame, image_ids: Sequence[int], classes: Sequence[str]
) -> CocoMetrics:
    """The same as ``coco_metrics.coco_metrics``, from the same arguments."""
    if not image_ids or not classes:
        return no_metrics()
    images = np.unique(np.asarray(image_ids, dtype=np.int64))
    known = detections.filter(pl.col("category").is_in(list(classes)))
    truth = _ground_truth(_of_images(truths, images), images, classes)
    evaluation = COCOeval(truth, truth.load_res(_results(_of_images(known, images), images, classes)), "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    tables = evaluation.eval
    assert tables is not None  # noqa: S101 - accumulate has filled it
    return metrics_from_tables(tables["precision"], tables["recall"], classes)


def _ground_truth(truths: pl.DataFrame, images: Integers, classes: Sequence[str]) -> COCO:
    return COCO.from_arrays(
        [{"id": position} for position in range(images.size)],
        [{"id": position, "name": name} for position, name in enumerate(classes, 1)],
        _positions(truths, images),
        category_ids(truths.get_column("category"), classes) + 1,
        _columns(truths, *BOX),
        area=_columns(truths, "area").ravel(),
        iscrowd=truths.get_column("ignore").cast(pl.Boolean).to_numpy(),
    )


def _results(detections: pl.DataFrame, images: Integers, classes: Sequence[str]) -> npt.NDArray[np.float64]:
    """Rows of image, x, y, width, height, score, category."""
    labels = category_ids(detections.get_column("category"), classes) + 1
    return np.column_stack((_positions(detections, images), _columns(detections, *BOX, "score"), labels))


def _of_images(table: pl.DataFrame, images: Integers) -> pl.DataFrame:
    return table.filter(pl.col("image_id").cast(pl.Int64).is_in(images))


def _positions(table: pl.DataFrame, images: Integers) -> Integers:
    """Images by their place in the sorted ids: the engine reads ids as floats, which large ones do not survive."""
    return np.searchsorted(images, table.get_column("image_id").cast(pl.Int64).to_numpy()).astype(np.int64)


def _columns(table: pl.DataFrame, *names: str) -> npt.NDArray[np.float64]:
    values: npt.NDArray[np.float64] = table.select(pl.col(names).cast(pl.Float64)).to_numpy(order="c")
    return values
