"""The rules for single boxes: which one a box breaks, and where it ends up inside its image's frame."""

from collections.abc import Iterable

import polars as pl

from components.shared.ledger import Rule

BOX = ("x", "y", "width", "height")
TOLERANCE = 1e-6  # pixels; float noise at the frame's edge
WORTH_A_ROW = 0.01  # pixels; less is rounding of relative coordinates
CENTS = 100  # two boxes are equal when they agree to a hundredth of a pixel


def found(column: str) -> str:
    """Name of the column that holds ``column`` as the source gave it."""
    return f"found_{column}"


def finite(columns: Iterable[str] = BOX) -> pl.Expr:
    """Whether a box's four coordinates are all finite numbers."""
    return pl.all_horizontal(pl.col(column).is_finite().fill_null(value=False) for column in columns)


def judge_boxes(annotations: pl.DataFrame, min_box_size: float) -> pl.DataFrame:
    """Clip each box to its frame and name the first rule it breaks beyond repair.

    Args:
        annotations: one box a row: ``x, y, width, height`` (to be judged) and the same as ``found_*`` (as the
            source gave them), ``class`` (null when unknown), ``image_width`` and ``image_height``; pixels.
        min_box_size: the least length of a clipped box's shorter side, pixels.

    Returns:
        The same rows with the boxes clipped, and two columns more: ``rule``, null when the box is accepted, and
        ``clipped``, true when an accepted box moved by more than a hundredth of a pixel.
    """
    left, top = pl.col("x").clip(0, pl.col("image_width")), pl.col("y").clip(0, pl.col("image_height"))
    right = (pl.col("x") + pl.col("width")).clip(0, pl.col("image_width"))
    bottom = (pl.col("y") + pl.col("height")).clip(0, pl.col("image_height"))
    inside = (
        (pl.col("x") >= 0)
        & (pl.col("y") >= 0)
        & (pl.col("x") + pl.col("width") <= pl.col("image_width"))
        & (pl.col("y") + pl.col("height") <= pl.col("image_height"))
    )
    return (
        annotations.with_columns(
            inside=inside,
            **{f"in_{side}": edge for side, edge in zip(BOX, (left, top, right - left, bottom - top), strict=True)},
        )
        .with_columns(rule=_broken_rule(min_box_size))
        .with_columns(clipped=pl.col("rule").is_null() & ~pl.col("inside") & _moved())
        .with_columns(pl.when("inside").then(side).otherwise(f"in_{side}").alias(side) for side in BOX)
        .drop("inside", *(f"in_{side}" for side in BOX))
    )


def _broken_rule(min_box_size: float) -> pl.Expr:
    size = pl.min_horizontal("in_width", "in_height")
    return (
        pl.when(pl.col("class").is_null())
        .then(pl.lit(Rule.UNKNOWN_CATEGORY.value))
        .when(~finite(map(found, BOX)))
        .then(pl.lit(Rule.NON_FINITE.value))
        .when(pl.min_horizontal("width", "height") <= 0)
        .then(pl.lit(Rule.ZERO_AREA.value))
        .when(size <= TOLERANCE)
        .then(pl.lit(Rule.OUTSIDE.value))
        .when(size < min_box_size - TOLERANCE)
        .then(pl.lit(Rule.TOO_SMALL.value))
    )


def _moved() -> pl.Expr:
    edges = (
        pl.col("x") - pl.col("in_x"),
        pl.col("y") - pl.col("in_y"),
        pl.col("x") + pl.col("width") - pl.col("in_x") - pl.col("in_width"),
        pl.col("y") + pl.col("height") - pl.col("in_y") - pl.col("in_height"),
    )
    return pl.max_horizontal(edge.abs() for edge in edges) > WORTH_A_ROW


def identity(category: str) -> list[pl.Expr]:
    """What makes two annotations of one image the same: class, kind, crowd flag and the box to 0.01 pixels."""
    box = ((pl.col(column) * CENTS).round().cast(pl.Int64, strict=False).alias(f"cents_{column}") for column in BOX)
    return [pl.col(category), pl.col("kind"), pl.col("crowd").fill_null(value=False).alias("is_crowd"), *box]
