"""Images whose annotations were made for another size than the file has, and what that means for their boxes.

Annotation tools record the size of the picture they showed. It differs from the file's when a resized copy was
annotated (every box has to be scaled), when the tool ignored the EXIF orientation (every box has to be turned), or
when the number is simply wrong (the boxes are right as they are). Only the first two are mended, and only where the
boxes themselves do not speak against it.
"""

from enum import StrEnum

import polars as pl

from components.data_prep.rules import BOX, finite

SAME_ASPECT = 0.01  # relative difference of two aspect ratios that still counts as one
SLACK = 1.0  # pixels a box may reach beyond a frame and still count as drawn in it


class Mending(StrEnum):
    """What a wrong declared size did to an image's boxes."""

    SCALED = "scaled"
    TURNED = "turned"
    KEPT = "kept"


def differs() -> pl.Expr:
    """Whether an image's declared size is known and not its real one."""
    known = ((pl.col(f"declared_{side}") != pl.col(side)).fill_null(value=False) for side in ("width", "height"))
    return pl.any_horizontal(known)


def find_mismatches(images: pl.DataFrame, annotations: pl.DataFrame, *, mend: bool = True) -> pl.DataFrame:
    """Decide how to mend each image whose declared size is not its real one.

    Args:
        images: usable images, columns of ``IMAGES``.
        annotations: annotations as found, absolute pixels.
        mend: whether anything may be mended; else each is kept.

    Returns:
        One row an image: ``image_id``, ``mending`` (a ``Mending``), ``scale_x``, ``scale_y``, ``orientation``,
        ``declared_width``, ``declared_height`` and ``boxes``, how many boxes it has.
    """
    wrong = images.filter(differs()).select(
        "image_id", "width", "height", "declared_width", "declared_height", pl.col("orientation").fill_null(1)
    )
    if wrong.is_empty():
        return _decide(wrong.with_columns(right=0.0, bottom=0.0, boxes=0))
    sound = finite() & (pl.min_horizontal("width", "height") > 0)
    extents = (
        annotations.join(wrong.select("image_id"), on="image_id", how="semi")
        .group_by("image_id")
        .agg(
            right=(pl.col("x") + pl.col("width")).filter(sound).max(),
            bottom=(pl.col("y") + pl.col("height")).filter(sound).max(),
            boxes=pl.len(),
        )
    )
    joined = wrong.join(extents, on="image_id", how="left", maintain_order="left")
    decided = _decide(joined.with_columns(pl.col("right", "bottom", "boxes").fill_null(0)))
    return decided if mend else decided.with_columns(mending=pl.lit(Mending.KEPT.value))


def _decide(wrong: pl.DataFrame) -> pl.DataFrame:
    declared = pl.col("declared_width").cast(pl.Float64), pl.col("declared_height").cast(pl.Float64)
    real = pl.col("width").cast(pl.Float64), pl.col("height").cast(pl.Float64)
    swaps = (pl.col("orientation") >= 5) & (declared[0] == real[1]) & (declared[1] == real[0])  # noqa: PLR2004
    fits_declared = (pl.col("right") <= declared[0] + SLACK) & (pl.col("bottom") <= declared[1] + SLACK)
    fits_real = (pl.col("right") <= real[0] + SLACK) & (pl.col("bottom") <= real[1] + SLACK)
    aspect = (declared[0] * real[1] / (declared[1] * real[0]) - 1).abs()
    facts = wrong.with_columns(
        swaps=swaps,
        fits_declared=fits_declared,
        # An image whose boxes fit both ways proves nothing; others of the same source may.
        proves_raw=swaps & fits_declared & ~fits_real,
        proves_upright=swaps & fits_real & ~fits_declared,
        similar=(aspect <= SAME_ASPECT).fill_null(value=False) & (declared[0] > 0) & (declared[1] > 0),
    )
    turned = (
        pl.col("swaps") & pl.col("fits_declared") & pl.col("proves_raw").any() & ~pl.col("proves_upright").any()
    ) | pl.col("proves_raw")
    mending = (
        pl.when(pl.col("boxes") == 0)
        .then(pl.lit(Mending.KEPT.value))
        .when(turned)
        .then(pl.lit(Mending.TURNED.value))
        .when(~pl.col("swaps") & pl.col("similar") & pl.col("fits_declared"))
        .then(pl.lit(Mending.SCALED.value))
        .otherwise(pl.lit(Mending.KEPT.value))
    )
    return facts.select(
        "image_id",
        mending.alias("mending"),
        scale_x=real[0] / declared[0],
        scale_y=real[1] / declared[1],
        orientation="orientation",
        declared_width="declared_width",
        declared_height="declared_height",
        boxes="boxes",
    )


def mend_boxes(annotations: pl.DataFrame, mismatches: pl.DataFrame) -> pl.DataFrame:
    """Scale and turn the boxes of the images ``find_mismatches`` found.

    Returns:
        The annotations with ``x, y, width, height`` in the real frame and ``mending``, null where nothing changed.
    """
    changed = mismatches.filter(pl.col("mending") != Mending.KEPT.value)
    if changed.is_empty():
        return annotations.with_columns(mending=pl.lit(None, dtype=pl.String))
    columns = changed.select("image_id", "mending", "scale_x", "scale_y", "orientation")
    joined = annotations.join(columns, on="image_id", how="left", maintain_order="left")
    scaled = (pl.col(side) * pl.col(f"scale_{axis}") for side, axis in zip(BOX, "xyxy", strict=True))
    return joined.with_columns(
        pl.when(pl.col("mending") == Mending.SCALED.value)
        .then(scale)
        .when(pl.col("mending") == Mending.TURNED.value)
        .then(turn)
        .otherwise(pl.col(side))
        .alias(side)
        for side, scale, turn in zip(BOX, scaled, _upright(), strict=True)
    ).drop("scale_x", "scale_y", "orientation")


def _upright() -> tuple[pl.Expr, pl.Expr, pl.Expr, pl.Expr]:
    """A box of the encoded frame in the upright frame, for EXIF orientations 5 to 8 (CIPA DC-008, tag 0x0112)."""
    from_right = pl.col("image_width") - pl.col("y") - pl.col("height")
    from_bottom = pl.col("image_height") - pl.col("x") - pl.col("width")
    left = pl.when(pl.col("orientation").is_in([6, 7])).then(from_right).otherwise(pl.col("y"))
    top = pl.when(pl.col("orientation").is_in([7, 8])).then(from_bottom).otherwise(pl.col("x"))
    return left, top, pl.col("height"), pl.col("width")
