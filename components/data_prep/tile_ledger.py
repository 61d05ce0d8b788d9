"""What the cutting into tiles left out, as ledger rows and as sentences."""

import polars as pl

from components.data_prep import rows
from components.data_prep.tiles import TilePlan
from components.shared.ledger import Action, Rule


def parent_rows(large: pl.DataFrame, plan: TilePlan) -> pl.DataFrame:
    """One row for each image some of whose tiles are left out, or show parts of objects without a box."""
    gone = ~pl.col("kept")
    bare = gone & (pl.col("slivers") == 0)
    counts = plan.tiles.group_by("image_id").agg(
        tiles=pl.len(),
        bare=bare.sum(),
        parts=(gone & ~bare).sum(),
        slivers=pl.col("slivers").filter("kept").sum(),
    )
    told = large.select("image_id", "name").join(counts, on="image_id", how="left", maintain_order="left")
    told = told.filter(pl.sum_horizontal("bare", "parts", "slivers") > 0)
    left_out = pl.col("bare") + pl.col("parts") > 0
    return rows.image_rows(
        told,
        Rule.TILE,
        pl.when(left_out).then(pl.lit(Action.LEFT_OUT.value)).otherwise(pl.lit(Action.KEPT.value)),
        before=pl.struct("tiles"),
        after=pl.struct(tiles=pl.col("tiles") - pl.col("bare") - pl.col("parts")),
        detail=pl.format(
            "left out: {} tiles without objects, {} that show only parts below tile_min_visible; "
            "{} such parts are in the other tiles without a box",
            "bare",
            "parts",
            "slivers",
        ),
    )


def lost_rows(large: pl.DataFrame, annotations: pl.DataFrame, plan: TilePlan) -> pl.DataFrame:
    """One row for each box that is in no tile at all."""
    lost = plan.lost.join(annotations, on="annotation_id", how="left", maintain_order="left").join(
        large.select("image_id", "name"), on="image_id", how="left", maintain_order="left"
    )
    sides = ("category", "height", "width", "x", "y")
    most = (pl.col("visible") * 100).round(1)
    return lost.select(
        pl.col("name").alias("image"),
        pl.coalesce("source_id", pl.format("#{}", "annotation_id")).alias("annotation"),
        pl.lit(Rule.TILE.value).alias("rule"),
        pl.lit(Action.LEFT_OUT.value).alias("action"),
        pl.struct(sides).struct.json_encode().alias("before"),
        pl.lit(None, dtype=pl.String).alias("after"),
        pl.format("it is in no tile; the one with most of it has {}%", most).alias("detail"),
    )


def tile_flags(split: str, plan: TilePlan) -> list[str]:
    """Sentences about what is not in the tiles of a split, or is there without a box."""
    gone = plan.tiles.filter(~pl.col("kept"))
    bare = gone.filter(pl.col("slivers") == 0).height
    kept = plan.tiles.filter("kept")
    slivers, shown = int(kept.get_column("slivers").sum()), kept.filter(pl.col("slivers") > 0).height
    found = []
    if bare:
        found.append(f"{bare:,} of {plan.tiles.height:,} tiles of {split} show no object and are left out.")
    if gone.height > bare:
        found.append(f"{gone.height - bare:,} tiles of {split} show only parts of objects and are left out.")
    if slivers:
        found.append(
            f"{shown:,} tiles of {split} show {slivers:,} parts of objects below tile_min_visible, unlabelled."
        )
    if plan.lost.height:
        found.append(f"{plan.lost.height:,} boxes of {split} are in no tile: choose larger tiles or more tile_overlap.")
    return found
