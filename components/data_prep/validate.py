"""Every record of a raw dataset judged by the rules: what is kept, what was mended, and a ledger row for the rest."""

from dataclasses import dataclass

import polars as pl

from components.data_prep import rows
from components.data_prep.classes import ClassPlan
from components.data_prep.duplicates import find_duplicate_images
from components.data_prep.judge import judge_annotations
from components.data_prep.sizes import Mending, find_mismatches
from components.shared.dataset import ANNOTATIONS, IMAGES, Dataset
from components.shared.ledger import Action, Rule

MIN_EDGE = 10  # pixels; trainers leave out images with a shorter side, silently


@dataclass(frozen=True)
class Checked:
    """What is left of a dataset, and what happened to the rest.

    Attributes:
        images: usable images, columns of ``IMAGES``.
        annotations: accepted annotations, columns of ``ANNOTATIONS``; ``category`` is one of the kept classes.
        ledger: rows for what was rejected, mended or kept on purpose here.
        left_out: annotations of classes nobody asked for, by class; no defect, so not in the ledger.
        images_rejected: images rejected here.
        annotations_rejected: annotations rejected here, those that went with a rejected image included.
        fixed: images and annotations mended here.
    """

    images: pl.DataFrame
    annotations: pl.DataFrame
    ledger: pl.DataFrame
    left_out: dict[str, int]
    images_rejected: int
    annotations_rejected: int
    fixed: int


def validate(dataset: Dataset, plan: ClassPlan, min_box_size: float) -> Checked:
    """Judge a raw dataset; every annotation comes out accepted, left out, or rejected with a ledger row.

    An annotation that breaks several rules gets one row, for the first; one of a rejected image is in that image's row.
    """
    resolved = _resolve(dataset, plan)
    wanted = pl.col("class").is_null() | pl.col("class").is_in(list(plan.classes))
    left_out = resolved.filter(~wanted).get_column("class").value_counts(sort=True)
    if not left_out.is_empty():
        resolved = resolved.filter(wanted)
    unusable = _unusable_images(dataset.images)
    usable = _without(dataset.images, unusable)
    mismatches = find_mismatches(usable, resolved)
    judged = judge_annotations(resolved, usable, mismatches, min_box_size)
    duplicates = find_duplicate_images(usable, judged.accepted)
    doubled = duplicates.filter("same")
    kept, accepted = _without(usable, doubled), _without(judged.accepted, doubled)
    sizes = mismatches.join(kept, on="image_id", how="inner", suffix="_of_image", maintain_order="left")
    ledger = [
        _unusable_rows(unusable, resolved),
        _orphan_rows(dataset.images, resolved),
        _duplicate_rows(duplicates, judged.accepted),
        _mismatch_rows(sizes),
        judged.rejected,
        judged.fixed.join(doubled, left_on="image", right_on="name", how="anti", maintain_order="left"),
    ]
    return Checked(
        images=_with_true_size(kept, sizes).select(IMAGES.keys()),
        annotations=accepted.select(ANNOTATIONS.keys()),
        ledger=pl.concat(ledger),
        left_out=dict(left_out.iter_rows()),
        images_rejected=unusable.height + doubled.height,
        annotations_rejected=resolved.height - accepted.height,
        fixed=int(accepted.get_column("mended").sum()) + sizes.filter(pl.col("mending") != Mending.KEPT.value).height,
    )


def _resolve(dataset: Dataset, plan: ClassPlan) -> pl.DataFrame:
    """Annotations with their ``class`` (null when unknown) and ``label``, what the ledger calls them."""
    return dataset.annotations.with_columns(
        pl.col("category").replace_strict(plan.mapping, default=None, return_dtype=pl.String).alias("class"),
        pl.coalesce("source_id", pl.format("#{}", "annotation_id")).alias("label"),
    )


def _unusable_images(images: pl.DataFrame) -> pl.DataFrame:
    rule = (
        pl.when(pl.col("sha256").is_null())
        .then(pl.lit(Rule.MISSING_IMAGE.value))
        .when(pl.col("problem").is_not_null() | (pl.min_horizontal("width", "height").fill_null(0) == 0))
        .then(pl.lit(Rule.UNREADABLE_IMAGE.value))
        .when(pl.min_horizontal("width", "height") < MIN_EDGE)
        .then(pl.lit(Rule.TINY_IMAGE.value))
    )
    columns = ("image_id", "name", "width", "height", "problem")
    return images.select(*columns, rule.alias("rule")).filter(pl.col("rule").is_not_null())


def _without(table: pl.DataFrame, images: pl.DataFrame) -> pl.DataFrame:
    if images.is_empty():
        return table  # a join would copy the whole table
    return table.join(images, on="image_id", how="anti", maintain_order="left")


def _with_true_size(images: pl.DataFrame, mismatches: pl.DataFrame) -> pl.DataFrame:
    """Where the boxes were mended they belong to the real size now, so nobody may mend them again."""
    mended = mismatches.filter(pl.col("mending") != Mending.KEPT.value).get_column("image_id").implode()
    return images.with_columns(
        pl.when(pl.col("image_id").is_in(mended)).then(side).otherwise(f"declared_{side}").alias(f"declared_{side}")
        for side in ("width", "height")
    )


def _lost(images: pl.DataFrame, annotations: pl.DataFrame) -> pl.DataFrame:
    """Images with ``lost``, how many of these annotations they have."""
    counts = annotations.group_by("image_id").agg(lost=pl.len())
    return images.join(counts, on="image_id", how="left", maintain_order="left").with_columns(
        pl.col("lost").fill_null(0)
    )


def _unusable_rows(unusable: pl.DataFrame, annotations: pl.DataFrame) -> pl.DataFrame:
    why = (
        pl.when(pl.col("rule") == Rule.MISSING_IMAGE.value)
        .then(pl.lit("its file was not found"))
        .when(pl.col("rule") == Rule.TINY_IMAGE.value)
        .then(pl.format("it has {} x {} pixels, the least is {}", "width", "height", pl.lit(MIN_EDGE)))
        .otherwise(pl.col("problem").fill_null("its size is 0"))
    )
    return rows.image_rows(
        _lost(unusable, annotations),
        pl.col("rule"),
        Action.REJECTED,
        before=pl.struct(annotations="lost"),
        detail=pl.format("{}; {} annotations went with it", why, "lost"),
    )


def _orphan_rows(images: pl.DataFrame, annotations: pl.DataFrame) -> pl.DataFrame:
    orphans = annotations.join(images.select("image_id"), on="image_id", how="anti", maintain_order="left")
    return orphans.select(
        pl.format("image id {}", "image_id").alias("image"),
        pl.col("label").alias("annotation"),
        pl.lit(Rule.MISSING_IMAGE.value).alias("rule"),
        pl.lit(Action.REJECTED.value).alias("action"),
        pl.lit(None, dtype=pl.String).alias("before"),
        pl.lit(None, dtype=pl.String).alias("after"),
        pl.lit("the dataset has no such image").alias("detail"),
    )


def _duplicate_rows(duplicates: pl.DataFrame, accepted: pl.DataFrame) -> pl.DataFrame:
    facts = _lost(duplicates, accepted)
    same = pl.format("same content and annotations as {}; {} annotations went with it", "first", "lost")
    other = pl.format("same content as {}, but other annotations: look which are right", "first")
    return rows.image_rows(
        facts,
        Rule.DUPLICATE_IMAGE,
        pl.when("same").then(pl.lit(Action.REJECTED.value)).otherwise(pl.lit(Action.KEPT.value)),
        before=pl.struct(annotations="lost"),
        detail=pl.when("same").then(same).otherwise(other),
    )


def _mismatch_rows(mismatches: pl.DataFrame) -> pl.DataFrame:
    mended = pl.col("mending") != Mending.KEPT.value
    fixed = pl.format("its {} boxes were {} to the real size", "boxes", "mending")
    kept = pl.format("its {} boxes are left as they are: look whether they fit", "boxes")
    return rows.image_rows(
        mismatches,
        Rule.SIZE_MISMATCH,
        pl.when(mended).then(pl.lit(Action.FIXED.value)).otherwise(pl.lit(Action.KEPT.value)),
        before=pl.struct(height="declared_height", width="declared_width"),
        after=pl.struct("height", "width"),
        detail=pl.when(mended).then(fixed).otherwise(kept),
    )
