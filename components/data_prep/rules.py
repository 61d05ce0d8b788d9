"""The rules for single boxes: which one a box breaks, what is done about it, and where the box ends up."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import polars as pl

from components.shared.ledger import Rule
from components.shared.rules import Choice, resolve_rules

BOX = ("x", "y", "width", "height")
TOLERANCE = 1e-6  # pixels; float noise at the frame's edge
WORTH_A_ROW = 0.01  # pixels; less is rounding of relative coordinates
CENTS = 100  # two boxes are equal when they agree to a hundredth of a pixel
LEAST_LENGTH = 1.0  # pixels; what a side of no length grows to when min_box_size is less
AXES = (("x", "width"), ("y", "height"))


@dataclass(frozen=True)
class RuleBook:
    """What is done about each rule.

    Attributes:
        min_box_size: the least length of a box's shorter side inside the frame, pixels.
        choices: rule or ``CONFLICTING_DUPLICATE`` -> choice, for every one.
    """

    min_box_size: float = 2.0
    choices: Mapping[str, Choice] = field(default_factory=lambda: resolve_rules({}))

    def says(self, rule: str, choice: Choice) -> bool:
        """Whether this is what is done about the rule."""
        return self.choices[str(rule)] is choice


def found(column: str) -> str:
    """Name of the column that holds ``column`` as the source gave it."""
    return f"found_{column}"


def finite(columns: Iterable[str] = BOX) -> pl.Expr:
    """Whether a box's four coordinates are all finite numbers."""
    return pl.all_horizontal(pl.col(column).is_finite().fill_null(value=False) for column in columns)


def judge_boxes(annotations: pl.DataFrame, book: RuleBook) -> pl.DataFrame:
    """Name the first rule each box breaks beyond repair, and mend the others.

    Args:
        annotations: one box a row: ``x, y, width, height`` (to be judged) and the same as ``found_*`` (as the
            source gave them), ``class`` (null when unknown), ``image_width`` and ``image_height``; pixels.
        book: what is done about each rule.

    Returns:
        The same rows with the boxes as they shall be, and more columns: ``rule``, null when the box is accepted, and
        for accepted boxes what was noticed: ``turned`` (it had no area and was mended), ``outside`` (kept),
        ``small`` (kept or grown) and ``clipped`` (more than a hundredth of a pixel was outside: cut or kept).
    """
    turned = _turn_round(annotations, book)
    inside = (
        (pl.col("x") >= 0)
        & (pl.col("y") >= 0)
        & (pl.col("x") + pl.col("width") <= pl.col("image_width"))
        & (pl.col("y") + pl.col("height") <= pl.col("image_height"))
    )
    clipped = turned.with_columns(_clipped(), inside=inside).with_columns(moved=~pl.col("inside") & _moved())
    size = pl.min_horizontal("in_width", "in_height")
    outside = size <= TOLERANCE
    small = ~outside & (size < book.min_box_size - TOLERANCE)
    judged = clipped.with_columns(outside=outside, small=small).with_columns(rule=_broken_rule(book))
    accepted = pl.col("rule").is_null()
    grown = pl.col("small") & pl.lit(book.says(Rule.TOO_SMALL, Choice.FIX))
    noticed = judged.with_columns(
        turned=accepted & pl.col("turned"),
        outside=accepted & pl.col("outside"),
        small=accepted & pl.col("small"),
        clipped=accepted & pl.col("moved") & ~pl.col("outside") & ~grown,
    )
    return noticed.with_columns(_final_box(book)).drop("inside", "moved", *(f"in_{side}" for side in BOX))


def _turn_round(annotations: pl.DataFrame, book: RuleBook) -> pl.DataFrame:
    """Mark boxes without area as ``turned``, and where that is to be mended give them one."""
    empty = finite() & (pl.min_horizontal("width", "height") <= 0)
    marked = annotations.with_columns(turned=empty)
    if not book.says(Rule.ZERO_AREA, Choice.FIX) or not marked.get_column("turned").any():
        return marked
    least = max(book.min_box_size, LEAST_LENGTH)
    new: dict[str, pl.Expr] = {}
    for side, length in AXES:
        start = pl.when(pl.col(length) < 0).then(pl.col(side) + pl.col(length)).otherwise(pl.col(side))
        grown = _grown(start, pl.col(length).abs(), pl.col(f"image_{length}"), least)
        lacking = pl.col(length) == 0
        new[side] = pl.when(lacking).then(grown[0]).otherwise(start)
        new[length] = pl.when(lacking).then(grown[1]).otherwise(pl.col(length).abs())
    return marked.with_columns(
        pl.when("turned").then(box).otherwise(pl.col(side)).alias(side) for side, box in new.items()
    )


def _grown(start: pl.Expr, length: pl.Expr, frame: pl.Expr, least: float) -> tuple[pl.Expr, pl.Expr]:
    """Start and length of a side grown around its centre to ``least``, inside the frame if the centre is in it."""
    centre = start + length / 2
    wanted = pl.min_horizontal(pl.lit(least), frame)
    begin = centre - wanted / 2
    begin = pl.when((centre >= 0) & (centre <= frame)).then(begin.clip(0, frame - wanted)).otherwise(begin)
    lacking = length < least
    return pl.when(lacking).then(begin).otherwise(start), pl.when(lacking).then(wanted).otherwise(length)


def _clipped() -> list[pl.Expr]:
    """The part of each box inside its frame, as ``in_*``."""
    parts = []
    for side, length in AXES:
        frame = pl.col(f"image_{length}")
        start, end = pl.col(side).clip(0, frame), (pl.col(side) + pl.col(length)).clip(0, frame)
        parts += [start.alias(f"in_{side}"), (end - start).alias(f"in_{length}")]
    return parts


def _broken_rule(book: RuleBook) -> pl.Expr:
    breaks = {
        Rule.UNKNOWN_CATEGORY: pl.col("class").is_null(),
        Rule.NON_FINITE: ~(finite(map(found, BOX)) & finite()),
        Rule.ZERO_AREA: pl.col("turned"),
        Rule.OUTSIDE: pl.col("outside"),
        Rule.TOO_SMALL: pl.col("small"),
        Rule.CLIPPED: pl.col("moved") & ~pl.col("outside"),
    }
    return pl.coalesce(
        pl.when(broken).then(pl.lit(rule.value)).otherwise(None)
        for rule, broken in breaks.items()
        if book.says(rule, Choice.REJECT)
    )


def _final_box(book: RuleBook) -> list[pl.Expr]:
    keep = pl.col("inside") | pl.col("outside") | pl.lit(book.says(Rule.CLIPPED, Choice.KEEP)) & pl.col("moved")
    grow = pl.col("small") & pl.lit(book.says(Rule.TOO_SMALL, Choice.FIX))
    boxes = []
    for side, length in AXES:
        start, wide = pl.col(f"in_{side}"), pl.col(f"in_{length}")
        grown = _grown(start, wide, pl.col(f"image_{length}"), book.min_box_size)
        for name, cut, larger in ((side, start, grown[0]), (length, wide, grown[1])):
            boxes.append(pl.when(grow).then(larger).when(keep).then(name).otherwise(cut).alias(name))
    return boxes


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
