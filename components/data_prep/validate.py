"""Every record of a raw dataset judged by the rules: what is kept, what was mended, and a ledger row for the rest."""

from dataclasses import dataclass

import polars as pl

from components.data_prep import rows
from components.data_prep.classes import ClassPlan
from components.data_prep.copies import settle_copies
from components.data_prep.judge import LABEL, judge_annotations
from components.data_prep.rules import RuleBook
from components.data_prep.sizes import Mending, differs, find_mismatches
from components.shared.dataset import IMAGES, Dataset
from components.shared.ledger import Action, Rule
from components.shared.rules import Choice

MIN_EDGE = 10  # pixels; trainers leave out images with a shorter side, silently
_SIZES = ("width", "height", "declared_width", "declared_height")


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


def validate(dataset: Dataset, plan: ClassPlan, book: RuleBook) -> Checked:
    """Judge a raw dataset; every annotation comes out accepted, left out, or rejected with a ledger row.

    An annotation that has to be rejected gets one row for that, for the first rule it breaks; one of a rejected image
    is in that image's row.
    """
    annotations, left_out = _wanted(dataset.annotations, plan)
    unusable = _unusable_images(dataset.images, book)
    usable = _without(dataset.images, unusable)
    mismatches = find_mismatches(usable, annotations, mend=book.says(Rule.SIZE_MISMATCH, Choice.FIX))
    judged = judge_annotations(annotations, usable, mismatches, plan.mapping, book)
    copies = settle_copies(usable, judged.accepted, book)
    kept = _without(usable, copies.gone)
    sizes = mismatches.join(kept, on="image_id", how="inner", suffix="_of_image", maintain_order="left")
    rejected = copies.gone.filter("rejected")
    ledger = [
        _unusable_rows(unusable, annotations),
        _tiny_rows(kept, book),
        _orphan_rows(dataset.images, annotations),
        copies.ledger,
        _mismatch_rows(sizes),
        judged.rejected,
        judged.noticed.join(rejected, left_on="image", right_on="name", how="anti", maintain_order="left"),
    ]
    mended = judged.mended.filter(~judged.mended.is_in(rejected.get_column("image_id").implode())).len()
    return Checked(
        images=_with_true_size(kept, sizes).select(IMAGES.keys()),
        annotations=copies.annotations,
        ledger=pl.concat(ledger),
        left_out=left_out,
        images_rejected=unusable.height + rejected.height,
        annotations_rejected=annotations.height - copies.annotations.height,
        fixed=mended
        + sizes.filter(pl.col("mending") != Mending.KEPT.value).height
        + copies.gone.filter(~pl.col("rejected")).height,
    )


def _wanted(annotations: pl.DataFrame, plan: ClassPlan) -> tuple[pl.DataFrame, dict[str, int]]:
    """The annotations of the classes that are kept or unknown, and how many the others are, by class."""
    others = {name: target for name, target in plan.mapping.items() if target not in plan.classes}
    counts = annotations.get_column("category").value_counts().filter(pl.col("category").is_in(list(others)))
    if counts.is_empty():
        return annotations, {}
    totals = counts.group_by(pl.col("category").replace(others)).agg(pl.col("count").sum())
    totals = totals.sort("count", "category", descending=[True, False])
    kept = annotations.filter(~pl.col("category").is_in(list(others)).fill_null(value=False))
    return kept, dict(totals.iter_rows())


def _unusable_images(images: pl.DataFrame, book: RuleBook) -> pl.DataFrame:
    breaks = {
        Rule.MISSING_IMAGE: pl.col("sha256").is_null(),
        Rule.UNREADABLE_IMAGE: pl.col("problem").is_not_null() | (_shorter_side() == 0),
        Rule.TINY_IMAGE: _shorter_side() < MIN_EDGE,
        Rule.SIZE_MISMATCH: differs(),
    }
    rule = pl.coalesce(
        pl.when(broken).then(pl.lit(rule.value)).otherwise(None)
        for rule, broken in breaks.items()
        if book.says(rule, Choice.REJECT)
    )
    return images.select("image_id", "name", *_SIZES, "problem", rule.alias("rule")).filter(
        pl.col("rule").is_not_null()
    )


def _shorter_side() -> pl.Expr:
    return pl.min_horizontal("width", "height").fill_null(0)


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


def _unusable_rows(unusable: pl.DataFrame, annotations: pl.DataFrame) -> pl.DataFrame:
    why = (
        pl.when(pl.col("rule") == Rule.MISSING_IMAGE.value)
        .then(pl.col("problem").fill_null("its file was not found"))
        .when(pl.col("rule") == Rule.TINY_IMAGE.value)
        .then(pl.format("it has {} x {} pixels, the least is {}", "width", "height", pl.lit(MIN_EDGE)))
        .when(pl.col("rule") == Rule.SIZE_MISMATCH.value)
        .then(pl.format("it has {} x {} pixels, its annotations say {} x {}", *_SIZES))
        .otherwise(pl.col("problem").fill_null("its size is 0"))
    )
    return rows.image_rows(
        rows.with_lost(unusable, annotations),
        pl.col("rule"),
        Action.REJECTED,
        before=pl.struct(annotations="lost"),
        detail=pl.format("{}; {} annotations went with it", why, "lost"),
    )


def _tiny_rows(images: pl.DataFrame, book: RuleBook) -> pl.DataFrame:
    tiny = images.filter(_shorter_side() < MIN_EDGE) if book.says(Rule.TINY_IMAGE, Choice.KEEP) else images.clear()
    detail = pl.format("it has {} x {} pixels; trainers mostly pass over it", "width", "height")
    return rows.image_rows(tiny, Rule.TINY_IMAGE, Action.KEPT, before=pl.struct("height", "width"), detail=detail)


def _orphan_rows(images: pl.DataFrame, annotations: pl.DataFrame) -> pl.DataFrame:
    ids = annotations.select(pl.col("image_id").unique()).join(images.select("image_id"), on="image_id", how="anti")
    orphans = annotations.join(ids, on="image_id", how="semi", maintain_order="left") if ids.height else ids.clear()
    if orphans.is_empty():
        return rows.empty()
    return orphans.select(
        pl.format("image id {}", "image_id").alias("image"),
        LABEL.alias("annotation"),
        pl.lit(Rule.MISSING_IMAGE.value).alias("rule"),
        pl.lit(Action.REJECTED.value).alias("action"),
        pl.lit(None, dtype=pl.String).alias("before"),
        pl.lit(None, dtype=pl.String).alias("after"),
        pl.lit("the dataset has no such image").alias("detail"),
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
