"""Annotations and images that are in the data more than once."""

import polars as pl

from components.data_prep.rules import identity
from components.shared.ledger import Rule


def mark_duplicate_annotations(annotations: pl.DataFrame) -> pl.DataFrame:
    """Set ``rule`` on each accepted annotation that repeats an earlier one of its image, and ``first`` to that one.

    Two are the same when class, kind, crowd flag and box (to 0.01 pixels) are; the first in the table stays.
    """
    key = annotations.select("image_id", "rule", "label", *identity("class")).with_row_index("row")
    accepted = key.filter(pl.col("rule").is_null()).drop("rule")
    columns = [column for column in accepted.columns if column not in {"row", "label"}]
    repeated = accepted.filter(pl.struct(columns).is_duplicated())
    later = repeated.with_columns(first=pl.col("label").first().over(columns, order_by="row")).filter(
        ~pl.struct(columns).is_first_distinct()
    )
    if later.is_empty():
        return annotations.with_columns(first=pl.lit(None, dtype=pl.String))
    marks = later.select("row", "first")
    rule = pl.when(pl.col("first").is_null()).then("rule").otherwise(pl.lit(Rule.DUPLICATE_ANNOTATION.value))
    return (
        annotations.with_row_index("row")
        .join(marks, on="row", how="left", maintain_order="left")
        .with_columns(rule=rule)
        .drop("row")
    )


def find_duplicate_images(images: pl.DataFrame, annotations: pl.DataFrame) -> pl.DataFrame:
    """Images whose content an earlier image of the table has too.

    Args:
        images: usable images, columns of ``IMAGES``.
        annotations: accepted annotations, columns of ``ANNOTATIONS``.

    Returns:
        ``image_id``, ``name``, ``first`` (name of the earlier image) and ``same``: true when an earlier image with
        the same content has the same annotations too, so this one adds nothing.
    """
    groups = images.select("image_id", "name", "sha256").filter(pl.col("sha256").is_duplicated()).with_row_index("row")
    labels = (
        annotations.join(groups, on="image_id", how="semi")
        .select("image_id", pl.struct(identity("category")).struct.json_encode().alias("label"))
        .group_by("image_id")
        .agg(pl.col("label").sort().str.join("\n"))
    )
    compared = groups.join(labels, on="image_id", how="left", maintain_order="left").with_columns(
        pl.col("label").fill_null("")
    )
    return (
        compared.with_columns(
            first_content=pl.col("name").first().over("sha256", order_by="row"),
            first_same=pl.col("name").first().over("sha256", "label", order_by="row"),
            new=pl.col("sha256").is_first_distinct(),
            same=~pl.struct("sha256", "label").is_first_distinct(),
        )
        .filter(~pl.col("new"))
        .select(
            "image_id", "name", pl.when("same").then("first_same").otherwise("first_content").alias("first"), "same"
        )
    )
