"""What a person wants to know about prepared data: how often each class occurs, and what to worry about."""

import polars as pl

from components.data_prep.outcome import Prepared, PrepareOptions
from components.data_prep.split import SPLITS
from components.shared.dataset import Dataset

FEW = 100  # objects of a class in train below which its results mean little
IMBALANCE = 10  # times rarer than the largest class that is worth a word
NAMED = 8  # classes a flag names


def class_table(prepared: Prepared) -> pl.DataFrame:
    """One row a class, in the order of the class ids: ``class``, and ``<split>_boxes`` and ``<split>_images``."""
    table = pl.DataFrame({"class": list(prepared.train.classes)}, schema={"class": pl.String})
    for split, part in prepared.splits.items():
        counts = (
            part.ground_truth()
            .group_by(pl.col("category").alias("class"))
            .agg(pl.len().alias(f"{split}_boxes"), pl.col("image_id").n_unique().alias(f"{split}_images"))
        )
        table = table.join(counts, on="class", how="left", maintain_order="left")
    return table.with_columns(pl.exclude("class").fill_null(0))


def box_sizes(part: Dataset) -> pl.DataFrame:
    """One row a ground truth box: ``edge``, root of its area in pixels, and ``relative``, the same over the image's."""
    frames = part.images.select("image_id", pixels=pl.col("width").cast(pl.Float64) * pl.col("height"))
    boxes = part.ground_truth().select("image_id", area=pl.col("width") * pl.col("height"))
    return boxes.join(frames, on="image_id").select(
        edge=pl.col("area").sqrt(), relative=(pl.col("area") / pl.col("pixels")).sqrt()
    )


def boxes_per_image(part: Dataset) -> pl.Series:
    """Ground truth boxes of each image, 0 for negatives."""
    counts = part.ground_truth().group_by("image_id").agg(boxes=pl.len())
    return part.images.join(counts, on="image_id", how="left").get_column("boxes").fill_null(0)


def flags(prepared: Prepared, options: PrepareOptions) -> list[str]:
    """Sentences about what may spoil the training or its measurement; none when all is well."""
    table = class_table(prepared).with_columns(total=pl.sum_horizontal(pl.col(f"{split}_boxes") for split in SPLITS))
    present = table.filter(pl.col("total") > 0)
    largest = present.get_column("train_boxes").max()
    rare = pl.col("train_boxes") * IMBALANCE < largest
    found = [
        _flag(table.filter(pl.col("total") == 0), "No box at all (the class keeps its id)"),
        _flag(present.filter(pl.col("train_boxes") == 0), "No box in train, so the model cannot learn it"),
        _flag(present.filter(pl.col("train_boxes").is_between(1, FEW - 1)), f"Fewer than {FEW} boxes in train"),
        _flag(present.filter(rare), f"More than {IMBALANCE} times rarer in train than the largest class"),
        *(
            _flag(present.filter(pl.col(f"{split}_boxes") == 0), f"Absent from {split}, so nothing measures it there")
            for split in ("val", "test")
        ),
    ]
    aliases = ", ".join(repr(alias) for alias in prepared.audit.plan.unused_aliases)
    if aliases:
        found.append(f"class_aliases names what the dataset does not have: {aliases}.")
    if prepared.counts["rejected_share"] > options.max_rejected_share / 2:
        found.append("More than half of what max_rejected_share allows was rejected.")
    return [flag for flag in found if flag]


def _flag(classes: pl.DataFrame, problem: str) -> str:
    names = classes.get_column("class").to_list()
    if not names:
        return ""
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return f"{problem}: {', '.join(names[:NAMED])}{more}."
