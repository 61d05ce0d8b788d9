"""Which split an image belongs to: by its content and a seed, so that no content is in two and growth moves nothing.

A group (see ``groups``) has the place in [0, 1) that a hash of its anchor gives it, and the place decides. Adding
images moves an old image only when a new one joins its group with a smaller digest, when near-duplicates come to be a
chain (a flag then says so), when sizes are asked for instead of shares, or when it is one of the few in ``rescued``.
"""

from dataclasses import dataclass, field

import numpy as np
import polars as pl

from components.data_prep.groups import Grouping, GroupSummary
from components.data_prep.hashed import RESCUED, SPLITS, SplitPlan, divide_by_hash
from components.data_prep.leaks import Leaks, find_leaks
from components.data_prep.stratify import (
    DEVIATION,
    Objects,
    class_deviation,
    count_objects,
    deviation_flag,
)
from components.shared.errors import ConfigError, DataQualityError

__all__ = ["SPLITS", "Assignment", "SplitPlan", "assign_splits"]

_PLACES = {split: place for place, split in enumerate(SPLITS)}


@dataclass(frozen=True)
class Assignment:
    """The split of each image, and in words how it was found.

    Attributes:
        images: ``image_id``, ``split``, ``source_split`` (null when the source gave none) and ``group``.
        method: one sentence for the report.
        moved: images of which the source has the same content in several splits, and that left theirs.
        rescued: columns of ``RESCUED``: images whose place says another split, moved so that each split is of use.
        deviation: columns of ``stratify.DEVIATION``: the share of each class in each split.
        groups: number and largest of the groups of images that belong together.
        leaks: near-duplicates, and the images that have one in another split all the same.
        hashed: whether no group may be in two splits; the source's own splits are only told of.
        flags: sentences about what a person should look at.
    """

    images: pl.DataFrame
    method: str
    moved: pl.DataFrame
    rescued: pl.DataFrame = field(default_factory=RESCUED.to_frame)
    deviation: pl.DataFrame = field(default_factory=DEVIATION.to_frame)
    groups: GroupSummary = field(default_factory=lambda: GroupSummary(0, 0))
    leaks: Leaks = field(default_factory=Leaks)
    hashed: bool = True
    flags: tuple[str, ...] = ()


def assign_splits(images: pl.DataFrame, truth: pl.DataFrame, grouping: Grouping, plan: SplitPlan) -> Assignment:
    """Put each image into train, val or test.

    Args:
        images: usable images, columns of ``IMAGES``; images with one ``sha256`` go to one split.
        truth: ground truth annotations, at least ``image_id`` and ``category``.
        grouping: which images belong together; the source's own splits are kept all the same, and flagged.
        plan: shares, sizes, mode and seed.

    Raises:
        ConfigError: ``source`` is asked for and the source has no such splits, or a size leaves nothing for train.
        DataQualityError: there are fewer than three different images, or groups of them.
    """
    objects = count_objects(images.get_column("image_id"), truth)
    facts = _facts(images, objects, grouping)
    contents = facts.get_column("sha256").n_unique()
    if contents < len(SPLITS):
        raise DataQualityError(
            f"{contents} usable and different images are too few for train, val and test: bring at least 3."
        )
    use_source = plan.mode == "source" or (plan.mode == "auto" and _source_has_splits(facts))
    divided = _keep_source(facts, objects, plan) if use_source else _split_all(facts, objects, plan, grouping)
    assigned = divided.images
    leaks = find_leaks(assigned, grouping.near) if grouping.near else Leaks()
    deviation = class_deviation(
        objects,
        assigned.get_column("group").cast(pl.Int64).to_numpy(),
        assigned.get_column("split").replace_strict(_PLACES, return_dtype=pl.Int64).to_numpy(),
        _wanted(assigned, plan, use_source=use_source),
    )
    warnings = (*divided.flags, *_group_flags(assigned, grouping, use_source=use_source), deviation_flag(deviation))
    return Assignment(
        images=assigned.select("image_id", "split", "source_split", "group"),
        method=divided.method,
        moved=divided.moved,
        rescued=divided.rescued,
        deviation=deviation,
        groups=grouping.summary,
        leaks=leaks,
        hashed=not use_source,
        flags=tuple(flag for flag in (*(() if use_source else grouping.flags), leaks.flag, *warnings) if flag),
    )


@dataclass(frozen=True)
class _Divided:
    """The facts with ``split``, and how they came to it."""

    images: pl.DataFrame
    method: str
    moved: pl.DataFrame
    rescued: pl.DataFrame
    flags: tuple[str, ...] = ()


def _facts(images: pl.DataFrame, objects: Objects, grouping: Grouping) -> pl.DataFrame:
    """Images with their group, and with ``content_order``, the source's split nearest to train of their content."""
    order = pl.col("source_split").replace_strict(_PLACES, default=None, return_dtype=pl.UInt8)
    positive = np.zeros(images.height, dtype=bool)
    positive[objects.image] = True
    return (
        images.select("image_id", "name", "sha256", source_split="split")
        .with_columns(pl.Series("positive", positive), order=order)
        .with_columns(content_order=pl.col("order").min().over("sha256"))
        .join(grouping.images, on="image_id", how="left", maintain_order="left")
    )


def _split_all(facts: pl.DataFrame, objects: Objects, plan: SplitPlan, grouping: Grouping) -> _Divided:
    count = grouping.summary.count
    if count < len(SPLITS):
        raise DataQualityError(
            f"All {facts.height} images are in {count} group{'s' * (count > 1)}, too few for train, val and test "
            "(near-duplicates join groups): choose another group_by, or bring images of other groups."
        )
    images, rescued, flags = divide_by_hash(facts, objects, plan.shares, plan)
    whole = "" if count == facts.height else f"; {count:,} groups of images that belong together stay whole"
    method = f"Images are split by a hash of their content and seed {plan.seed}{whole}."
    return _Divided(images, method, facts.clear().with_columns(split=pl.lit("")), rescued, flags)


def _keep_source(facts: pl.DataFrame, objects: Objects, plan: SplitPlan) -> _Divided:
    _check_source(facts)
    names = dict(enumerate(SPLITS))
    kept = facts.with_columns(split=pl.col("content_order").replace_strict(names, default=None, return_dtype=pl.String))
    counts = {split: kept.filter(pl.col("split") == split).get_column("sha256").n_unique() for split in SPLITS}
    absent = next((split for split in ("val", "test") if not counts[split]), None)
    method, rescued, flags = "The source's own train, val and test are kept.", RESCUED.to_frame(), tuple[str, ...]()
    images = kept
    if absent is not None:
        donor = "val" if absent == "test" and counts["val"] > 1 else "train"
        shares = {donor: plan.shares[donor], absent: plan.shares[absent]}
        in_pool = kept.get_column("split") == donor
        pool = kept.filter(in_pool).drop("split")
        divided, rescued, flags = divide_by_hash(pool, objects.of(in_pool.to_numpy()), shares, plan)
        images = kept.drop("split").join(
            divided.select("image_id", made="split"), on="image_id", how="left", maintain_order="left"
        )
        images = images.with_columns(split=pl.coalesce("made", kept.get_column("split"))).drop("made")
        how = f"its missing {absent} was taken out of {donor} by a hash of the content"
        method = f"The source's own splits are kept; {how}."
    unused = [f"{split}_images" for split, size in plan.sizes.items() if size and split != absent]
    if unused:
        flags += (f"{' and '.join(unused)} had no effect: the source's own splits are kept (split 'random' would).",)
    straddling = pl.col("order").n_unique().over("sha256") > 1
    moved = images.filter(straddling & (pl.col("split") != pl.col("source_split")))
    return _Divided(images, method, moved, rescued, flags)


def _source_has_splits(facts: pl.DataFrame) -> bool:
    present = set(facts.get_column("content_order").drop_nulls())
    return not facts.get_column("order").null_count() and 0 in present and len(present) > 1


def _check_source(facts: pl.DataFrame) -> None:
    without = facts.filter(pl.col("order").is_null())
    if without.height:
        raise ConfigError(
            f"split is 'source', but the source gives none for {without.height} of {facts.height} images, such as "
            f"{without.get_column('name')[0]!r}: use split 'auto' or 'random'."
        )
    if not _source_has_splits(facts):
        present = ", ".join(SPLITS[place] for place in sorted(set(facts.get_column("content_order").drop_nulls())))
        raise ConfigError(
            f"split is 'source', but after cleaning the source has only {present}: it must have train and val, "
            "or use split 'auto' or 'random'."
        )


def _wanted(assigned: pl.DataFrame, plan: SplitPlan, *, use_source: bool) -> dict[str, float]:
    """The share of the images that each split should have; the source's own splits are as they should be."""
    if not use_source and not any(plan.sizes.values()):
        return dict(plan.shares)
    return {split: assigned.filter(pl.col("split") == split).height / assigned.height for split in SPLITS}


def _group_flags(assigned: pl.DataFrame, grouping: Grouping, *, use_source: bool) -> list[str]:
    if use_source:
        torn = assigned.filter(pl.col("split").n_unique().over("group") > 1).get_column("group").n_unique()
        return [f"{torn:,} groups of images that belong together are in several of the source's splits."] * bool(torn)
    smallest = min(assigned.get_column("split").value_counts().get_column("count"))
    largest = grouping.summary.largest
    if largest <= max(1, smallest):
        return []
    of = f"{largest:,} of {assigned.height:,} images"
    return [f"The largest group has {of}, the smallest split {smallest:,}: the wanted shares may not be met."]
