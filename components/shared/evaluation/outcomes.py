"""Say of each prediction whether it is right and of each ground truth box whether it was found."""

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import polars as pl

from components.shared.dataset import Dataset
from components.shared.detection.match import ALONE, Matches, Outcome, match_boxes

BOX = ("x", "y", "width", "height")
DETECTIONS: dict[str, pl.DataType] = {
    "image_id": pl.UInt32(),
    "category": pl.String(),  # the model's class name
    "score": pl.Float64(),
    "x": pl.Float64(),
    "y": pl.Float64(),
    "width": pl.Float64(),
    "height": pl.Float64(),
}
PREDICTIONS: dict[str, pl.DataType] = {
    "image_id": pl.UInt32(),
    "name": pl.String(),
    "category": pl.String(),
    "score": pl.Float64(),
    "x": pl.Float64(),
    "y": pl.Float64(),
    "width": pl.Float64(),
    "height": pl.Float64(),
    "outcome": pl.String(),  # TP, FP or ignored
    "iou": pl.Float64(),  # with the matched box, else the best with any box of the class
    "annotation_id": pl.UInt32(),  # of the matched box; null when there is none
}
TRUTHS: dict[str, pl.DataType] = {
    "annotation_id": pl.UInt32(),
    "image_id": pl.UInt32(),
    "name": pl.String(),
    "category": pl.String(),
    "x": pl.Float64(),
    "y": pl.Float64(),
    "width": pl.Float64(),
    "height": pl.Float64(),
    "area": pl.Float64(),  # square pixels of the object, at most of its box; decides small, medium, large
    "crowd": pl.Boolean(),
    "difficult": pl.Boolean(),
    "ignore": pl.Boolean(),  # crowd or difficult
    "outcome": pl.String(),  # MTP, FN or ignored, at the confidence of the report
    "score": pl.Float64(),  # of the prediction that found it, whatever the confidence; null when none did
    "iou": pl.Float64(),  # with that prediction; null when none did
}
UNMATCHED = tuple(name for name in TRUTHS if name not in {"outcome", "score", "iou"})

Integers = npt.NDArray[np.int64]


def usable_images(dataset: Dataset) -> pl.DataFrame:
    """The images that can be looked at: stored and decodable."""
    return dataset.images.filter(pl.col("problem").is_null() & pl.col("shard").is_not_null()).sort("image_id")


def truth_table(dataset: Dataset, images: pl.DataFrame) -> pl.DataFrame:
    """Ground truth of ``images`` with the columns ``UNMATCHED``, sorted by image, then annotation.

    Boxes without a known class, without extent or with a coordinate that is no number cannot be found by any model
    and are left out. The object's area is the source's (``attributes.area``) when it fits into the box.
    """
    box_area = pl.col("width") * pl.col("height")
    stated = pl.col("attributes").str.json_path_match("$.area").cast(pl.Float64, strict=False)
    fits = stated.is_finite() & (stated > 0) & (stated <= box_area * 1.001)
    sound = pl.all_horizontal(pl.col(name).is_finite() for name in BOX) & (pl.col("width") > 0) & (pl.col("height") > 0)
    return (
        dataset.ground_truth()
        .filter(sound & pl.col("category").is_in(list(dataset.classes)))
        .join(images.select("image_id", "name"), on="image_id", how="inner")
        .with_columns(
            pl.when(fits).then(stated).otherwise(box_area).alias("area"),
            pl.col("crowd").fill_null(value=False),
            pl.col("difficult").fill_null(value=False),
        )
        .with_columns((pl.col("crowd") | pl.col("difficult")).alias("ignore"))
        .select(UNMATCHED)
        .sort("image_id", "annotation_id")
    )


def sort_detections(detections: pl.DataFrame) -> pl.DataFrame:
    """Detections by image, best score first; equal scores keep their order."""
    return detections.sort(["image_id", "score"], descending=[False, True], maintain_order=True)


def with_outcomes(
    detections: pl.DataFrame, truths: pl.DataFrame, images: pl.DataFrame, *, threshold: float
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Match within each image and class, whatever the scores.

    Args:
        detections: columns of ``DETECTIONS``, sorted by ``sort_detections``.
        truths: columns ``UNMATCHED``, sorted by image.
        images: gives the images' names.
        threshold: least IoU of a match.

    Returns:
        A table with the columns of ``PREDICTIONS`` and one with those of ``TRUTHS`` whose ``outcome`` still takes
        every score for a find (see ``at_confidence``), both in the order given.
    """
    partner = np.full(detections.height, ALONE, dtype=np.int64)
    overlap = np.zeros(detections.height)
    ignored = np.zeros(detections.height, dtype=np.bool_)
    finder = np.full(truths.height, ALONE, dtype=np.int64)
    for found, true, matches in matches_by_image(detections, truths, threshold=threshold, by_class=True):
        overlap[found] = matches.iou
        ignored[found] = matches.ignored
        partner[found] = _shift(matches.partner, true.start)
        finder[true] = _shift(matches.truth_partner, found.start)
    right = np.where(partner == ALONE, Outcome.FALSE_POSITIVE.value, Outcome.TRUE_POSITIVE.value)
    predictions = detections.join(images.select("image_id", "name"), on="image_id", how="left", maintain_order="left")
    predictions = predictions.with_columns(
        pl.Series("outcome", np.where(ignored, Outcome.IGNORED.value, right), dtype=pl.String),
        pl.Series("iou", overlap),
        _take(truths.get_column("annotation_id"), partner),
    ).select(*PREDICTIONS)
    matched = truths.with_columns(
        _take(predictions.get_column("score"), finder), _take(predictions.get_column("iou"), finder)
    )
    return predictions, at_confidence(matched, 0.0)


def at_confidence(truths: pl.DataFrame, confidence: float) -> pl.DataFrame:
    """Ground truth with ``outcome`` as it is when predictions below ``confidence`` are not made."""
    found = pl.col("score").is_not_null() & (pl.col("score") >= confidence)
    outcome = (
        pl.when("ignore")
        .then(pl.lit(Outcome.IGNORED.value))
        .when(found)
        .then(pl.lit(Outcome.MATCHED.value))
        .otherwise(pl.lit(Outcome.MISSED.value))
    )
    return truths.with_columns(outcome.alias("outcome")).select(*TRUTHS)


def matches_by_image(
    detections: pl.DataFrame, truths: pl.DataFrame, *, threshold: float, by_class: bool
) -> Iterator[tuple[slice, slice, Matches]]:
    """Match image by image where there is both; gives the image's rows in either table and their matches."""
    boxes, true_boxes = (table.select(BOX).to_numpy().astype(np.float64) for table in (detections, truths))
    scores = detections.get_column("score").to_numpy()
    ignore = truths.get_column("ignore").to_numpy()
    labels, true_labels = _labels(detections, truths)
    for found, true in _image_rows(detections, truths):
        yield (
            found,
            true,
            match_boxes(
                boxes[found],
                scores[found],
                true_boxes[true],
                ignore=ignore[true],
                labels=labels[found] if by_class else None,
                truth_labels=true_labels[true] if by_class else None,
                threshold=threshold,
            ),
        )


def category_ids(categories: pl.Series, names: Sequence[str]) -> Integers:
    """Position of each category in ``names``."""
    index = {name: position for position, name in enumerate(names)}
    ids: Integers = categories.replace_strict(index, return_dtype=pl.Int64).to_numpy()
    return ids


def _labels(detections: pl.DataFrame, truths: pl.DataFrame) -> tuple[Integers, Integers]:
    columns = [table.get_column("category") for table in (detections, truths)]
    names = pl.concat(columns).unique().to_list()
    return category_ids(columns[0], names), category_ids(columns[1], names)


def _image_rows(detections: pl.DataFrame, truths: pl.DataFrame) -> Iterator[tuple[slice, slice]]:
    left, right = (table.get_column("image_id").to_numpy() for table in (detections, truths))
    shared = np.intersect1d(left, right)
    bounds = [np.searchsorted(ids, shared, side=side) for ids in (left, right) for side in ("left", "right")]
    for a, b, c, d in zip(*(bound.tolist() for bound in bounds), strict=True):
        yield slice(a, b), slice(c, d)


def _shift(partner: Integers, start: int) -> Integers:
    return np.where(partner == ALONE, ALONE, partner + start)


def _take(values: pl.Series, rows: Integers) -> pl.Series:
    indices = pl.Series(rows).cast(pl.Int64).replace(ALONE, None).cast(pl.UInt32)
    return values.gather(indices)
