"""Ledger rows made from table columns, thousands at a time."""

import polars as pl

from components.data_prep.rules import BOX, found
from components.shared.ledger import SCHEMA, Action, Rule

FRAME = pl.format(
    "the frame is {} x {} pixels", pl.col("image_width").cast(pl.Int64), pl.col("image_height").cast(pl.Int64)
)


def empty() -> pl.DataFrame:
    """A ledger without rows."""
    return pl.DataFrame(schema=SCHEMA)


def rejected_annotations(annotations: pl.DataFrame, min_box_size: float) -> pl.DataFrame:
    """One row for each annotation whose ``rule`` is set; ``first`` names what a duplicate repeats."""
    broken = annotations.filter(pl.col("rule").is_not_null())
    return broken.select(
        "image",
        pl.col("label").alias("annotation"),
        "rule",
        pl.lit(Action.REJECTED.value).alias("action"),
        _box(before=True).alias("before"),
        pl.lit(None, dtype=pl.String).alias("after"),
        _why_rejected(min_box_size).alias("detail"),
    )


def fixed_annotations(annotations: pl.DataFrame) -> pl.DataFrame:
    """One row for each accepted annotation that was scaled or turned, and one for each that was clipped."""
    size = annotations.filter(pl.col("rule").is_null() & pl.col("mending").is_not_null())
    clipped = annotations.filter(pl.col("rule").is_null() & pl.col("clipped"))
    mended = pl.format("{} to the real size of the image: ", "mending") + FRAME
    return pl.concat([_fixed(size, Rule.SIZE_MISMATCH, mended), _fixed(clipped, Rule.CLIPPED, FRAME)])


def image_rows(
    images: pl.DataFrame,
    rule: pl.Expr | Rule,
    action: pl.Expr | Action,
    *,
    detail: pl.Expr,
    before: pl.Expr | None = None,
    after: pl.Expr | None = None,
) -> pl.DataFrame:
    """One row about each image (``name``) as a whole."""
    nothing = pl.lit(None, dtype=pl.String)
    return images.select(
        pl.col("name").alias("image"),
        nothing.alias("annotation"),
        (pl.lit(rule.value) if isinstance(rule, Rule) else rule).alias("rule"),
        (pl.lit(action.value) if isinstance(action, Action) else action).alias("action"),
        (nothing if before is None else before.struct.json_encode()).alias("before"),
        (nothing if after is None else after.struct.json_encode()).alias("after"),
        detail.alias("detail"),
    )


def _fixed(annotations: pl.DataFrame, rule: Rule, detail: pl.Expr) -> pl.DataFrame:
    return annotations.select(
        "image",
        pl.col("label").alias("annotation"),
        pl.lit(rule.value).alias("rule"),
        pl.lit(Action.FIXED.value).alias("action"),
        _box(before=True).alias("before"),
        _box(before=False).alias("after"),
        detail.alias("detail"),
    )


def _box(*, before: bool) -> pl.Expr:
    category = pl.col("category" if before else "class").alias("category")
    sides = [pl.col(found(side) if before else side).alias(side) for side in sorted(BOX)]
    return pl.struct(category, *sides).struct.json_encode()


def _why_rejected(min_box_size: float) -> pl.Expr:
    category = (
        pl.when(pl.col("category").is_null())
        .then(pl.lit("the source names no class for it"))
        .otherwise(pl.format("the dataset has no class {}", pl.col("category").fill_null("")))
    )
    attributes = pl.when(pl.col("attributes").is_null()).then(pl.lit("")).otherwise(pl.lit(": ") + pl.col("attributes"))
    values = [pl.col(found(side)).cast(pl.String).fill_null("missing") for side in BOX]
    sizes = [pl.col(side).round(2) for side in ("width", "height")]
    details = {
        Rule.UNKNOWN_CATEGORY: category + attributes,
        Rule.NON_FINITE: pl.format("x is {}, y {}, width {}, height {}", *values),
        Rule.ZERO_AREA: pl.format("width {} and height {} must both be above 0", *(found(side) for side in BOX[2:])),
        Rule.TOO_SMALL: pl.format("{} x {} pixels inside the frame, min_box_size is {}", *sizes, pl.lit(min_box_size)),
        Rule.DUPLICATE_ANNOTATION: pl.format("same class and box as annotation {}", "first"),
        Rule.OUTSIDE: FRAME,
    }
    return pl.coalesce(
        pl.when(pl.col("rule") == rule.value).then(detail).otherwise(None) for rule, detail in details.items()
    )
