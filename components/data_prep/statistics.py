"""What a person wants to know about prepared data: how often each class occurs, and what to worry about."""

import polars as pl

from components.data_prep.outcome import Prepared, PrepareOptions
from components.data_prep.split import SPLITS
from components.shared.analysis.flag import Flag
from components.shared.report.page import Level

FEW = 100  # objects of a class in train below which its results mean little
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


def flags(prepared: Prepared, options: PrepareOptions) -> list[Flag]:
    """What may spoil the training or its measurement because of how the data was split; none when all is well."""
    table = class_table(prepared).with_columns(total=pl.sum_horizontal(pl.col(f"{split}_boxes") for split in SPLITS))
    present = table.filter(pl.col("total") > 0)
    few = present.filter(pl.col("train_boxes").is_between(1, FEW - 1))
    found = [
        _flag(present.filter(pl.col("train_boxes") == 0), "not in train", "the model cannot learn them", Level.BAD),
        _flag(few, f"with fewer than {FEW} boxes in train", "results for them mean little"),
        *(
            _flag(present.filter(pl.col(f"{split}_boxes") == 0), f"absent from {split}", "nothing measures them there")
            for split in ("val", "test")
        ),
    ]
    aliases = ", ".join(repr(alias) for alias in prepared.audit.plan.unused_aliases)
    if aliases:
        found.append(Flag("unused aliases", f"class_aliases names what the dataset does not have: {aliases}."))
    if prepared.counts["rejected_share"] > options.max_rejected_share / 2:
        found.append(Flag("many rejections", "More than half of what max_rejected_share allows was rejected."))
    found += [Flag(sentence, "") for sentence in prepared.audit.flags]
    return [flag for flag in found if flag is not None]


def _flag(classes: pl.DataFrame, problem: str, meaning: str, level: Level = Level.WARN) -> Flag | None:
    names = classes.get_column("class").to_list()
    if not names:
        return None
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return Flag(f"classes {problem}", f"{', '.join(names[:NAMED])}{more}: {meaning}.", level)
