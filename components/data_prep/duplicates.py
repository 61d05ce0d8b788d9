"""Annotations and images that are in the data more than once."""

import polars as pl

from components.data_prep.rules import identity
from components.shared.ledger import Rule


def mark_duplicate_annotations(annotations: pl.DataFrame, *, reject: bool = True) -> pl.DataFrame:
    """Find each accepted annotation that repeats an earlier one of its image; ``first`` says which.

    Two are the same when class, kind, crowd flag and box (to 0.01 pixels) are; the first in the table stays.

    Returns:
        The annotations with ``rule`` set where they are to be rejected, else ``repeated`` true.
    """
    key = annotations.select("image_id", "rule", "label", *identity("class")).with_row_index("place")
    accepted = key.filter(pl.col("rule").is_null()).drop("rule")
    columns = [column for column in accepted.columns if column not in {"place", "label"}]
    repeated = accepted.filter(pl.struct(columns).is_duplicated())
    later = repeated.with_columns(first=pl.col("label").first().over(columns, order_by="place")).filter(
        ~pl.struct(columns).is_first_distinct()
    )
    if later.is_empty():
        return annotations.with_columns(first=pl.lit(None, dtype=pl.String), repeated=pl.lit(value=False))
    marks = later.select("place", "first")
    doubled = pl.col("first").is_not_null()
    rule = pl.when(doubled & reject).then(pl.lit(Rule.DUPLICATE_ANNOTATION.value)).otherwise("rule")
    return (
        annotations.with_row_index("place")
        .join(marks, on="place", how="left", maintain_order="left")
        .with_columns(rule=rule, repeated=doubled & (not reject))
        .drop("place")
    )


def find_duplicate_images(images: pl.DataFrame, annotations: pl.DataFrame) -> pl.DataFrame:
    """Images whose content an earlier image of the table has too.

    Args:
        images: usable images, columns of ``IMAGES``.
        annotations: accepted annotations, columns of ``ANNOTATIONS``.

    Returns:
        ``image_id``, ``name``, ``first`` and ``first_id`` (the earlier image), ``same``: true when an earlier image
        with the same content has the same annotations too, so this one adds nothing, and ``conflict``: true when the
        first image with this content has others.
    """
    groups = images.select("image_id", "name", "sha256").filter(pl.col("sha256").is_duplicated()).with_row_index("row")
    labels = (
        annotations.join(groups, on="image_id", how="semi")
        .select("image_id", pl.struct(identity("category")).struct.json_encode().alias("label"))
        .group_by("image_id")
        .agg(pl.col("label").sort().str.join("\n"))
    )
    earlier = pl.struct(first="name", first_id="image_id")
    compared = groups.join(labels, on="image_id", how="left", maintain_order="left").with_columns(
        pl.col("label").fill_null("")
    )
    return (
        compared.with_columns(
            first_content=earlier.first().over("sha256", order_by="row"),
            first_same=earlier.first().over("sha256", "label", order_by="row"),
            new=pl.col("sha256").is_first_distinct(),
            same=~pl.struct("sha256", "label").is_first_distinct(),
            conflict=pl.col("label") != pl.col("label").first().over("sha256", order_by="row"),
        )
        .filter(~pl.col("new"))
        .select(
            *("image_id", "name", "same", "conflict"),
            pl.when("same").then("first_same").otherwise("first_content").struct.unnest(),
        )
    )


def merge_copies(annotations: pl.DataFrame, copies: pl.DataFrame) -> pl.DataFrame:
    """Give the annotations of each copy to the image it is a copy of.

    Args:
        annotations: accepted annotations, columns of ``ANNOTATIONS``.
        copies: ``image_id`` of the copies and ``first_id``, the image that stays.

    Returns:
        The annotations of the images that stay, their own first; what both have is in it twice.
    """
    moved = annotations.join(copies.select("image_id", "first_id"), on="image_id", how="inner", maintain_order="left")
    own = annotations.join(
        copies.select(image_id="first_id").unique(), on="image_id", how="semi", maintain_order="left"
    )
    return pl.concat([own, moved.with_columns(image_id="first_id").select(own.columns)])
