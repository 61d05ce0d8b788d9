"""Ledger rows made from table columns, thousands at a time."""

import polars as pl

from components.data_prep.rules import BOX, RuleBook, found
from components.shared.ledger import SCHEMA, Action, Rule
from components.shared.rules import Choice

_REPEATS = pl.format("same class and box as annotation {}", "first")
_DONE = {Choice.FIX: Action.FIXED, Choice.KEEP: Action.KEPT, Choice.REJECT: Action.REJECTED}
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


def noticed_annotations(annotations: pl.DataFrame, book: RuleBook) -> pl.DataFrame:
    """A row for each thing that was mended or kept on purpose in an accepted annotation."""
    changed = annotations.filter(noticed())
    sizes = [pl.col(found(side)).round(2) for side in BOX[2:]]
    told: dict[str, tuple[Rule, pl.Expr]] = {
        "turned": (Rule.ZERO_AREA, pl.format("width was {} and height {}", *sizes)),
        "outside": (Rule.OUTSIDE, FRAME),
        "small": (Rule.TOO_SMALL, pl.format("min_box_size is {}; ", pl.lit(book.min_box_size)) + FRAME),
        "clipped": (Rule.CLIPPED, FRAME),
        "repeated": (Rule.DUPLICATE_ANNOTATION, _REPEATS),
    }
    mended = pl.format("{} to the real size of the image: ", "mending") + FRAME
    scaled = changed.filter(pl.col("mending").is_not_null())
    parts = [_accepted(scaled, Rule.SIZE_MISMATCH, Action.FIXED, mended)]
    for column, (rule, detail) in told.items():
        parts.append(_accepted(changed.filter(column), rule, _DONE[book.choices[rule.value]], detail))
    return pl.concat(parts)


def repeated_annotations(annotations: pl.DataFrame, action: Action) -> pl.DataFrame:
    """A row for each annotation with a ``first`` that it repeats; ``category`` is its class."""
    box = pl.struct(*sorted((*BOX, "category"))).struct.json_encode()
    return annotations.filter(pl.col("first").is_not_null()).select(
        "image",
        pl.col("label").alias("annotation"),
        pl.lit(Rule.DUPLICATE_ANNOTATION.value).alias("rule"),
        pl.lit(action.value).alias("action"),
        box.alias("before"),
        (pl.lit(None, dtype=pl.String) if action is Action.REJECTED else box).alias("after"),
        _REPEATS.alias("detail"),
    )


def noticed() -> pl.Expr:
    """Whether an accepted annotation has something to tell."""
    return pl.any_horizontal("turned", "outside", "small", "clipped", "repeated") | pl.col("mending").is_not_null()


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


def with_lost(images: pl.DataFrame, annotations: pl.DataFrame) -> pl.DataFrame:
    """The images with ``lost``, how many of these annotations they have."""
    own = annotations.select("image_id").join(images.select("image_id"), on="image_id", how="semi")
    counts = own.group_by("image_id").agg(lost=pl.len())
    return images.join(counts, on="image_id", how="left", maintain_order="left").with_columns(
        pl.col("lost").fill_null(0)
    )


def _accepted(annotations: pl.DataFrame, rule: Rule, action: Action, detail: pl.Expr) -> pl.DataFrame:
    return annotations.select(
        "image",
        pl.col("label").alias("annotation"),
        pl.lit(rule.value).alias("rule"),
        pl.lit(action.value).alias("action"),
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
        Rule.DUPLICATE_ANNOTATION: _REPEATS,
        Rule.OUTSIDE: FRAME,
        Rule.CLIPPED: FRAME,
    }
    return pl.coalesce(
        pl.when(pl.col("rule") == rule.value).then(detail).otherwise(None) for rule, detail in details.items()
    )
