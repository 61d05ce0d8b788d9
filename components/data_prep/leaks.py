"""Images that are in one split and look like, or are, an image of another."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import polars as pl

from components.data_prep import rows
from components.data_prep.groups import Near
from components.shared.dataset import Dataset
from components.shared.errors import DataQualityError
from components.shared.ledger import Action, Rule

SHOWN_PAIRS = 2000
PAIRS = pl.Schema(
    {
        "image": pl.String(),
        "other": pl.String(),
        "distance": pl.UInt8(),  # bits of 64 in which the perceptual hashes differ
        "split": pl.String(),
        "other_split": pl.String(),
        "image_id": pl.UInt32(),
        "other_id": pl.UInt32(),
    }
)
_SIDE = ["node", "image_id", "name", "sha256", "split"]


@dataclass(frozen=True)
class Leaks:
    """Near-duplicates after the split.

    Attributes:
        pairs: columns of ``PAIRS``, at most ``SHOWN_PAIRS``: those across splits first, then the closest.
        images: columns of ``PAIRS``: every image of val and test that has a near-duplicate in an earlier split, with
            the closest one.
    """

    pairs: pl.DataFrame = field(default_factory=PAIRS.to_frame)
    images: pl.DataFrame = field(default_factory=PAIRS.to_frame)

    @property
    def flag(self) -> str:
        """One sentence about images that have a near-duplicate in another split; empty when none has."""
        if self.images.is_empty():
            return ""
        image, other, split, other_split = self.images.select("image", "other", "split", "other_split").row(0)
        return (
            f"{self.images.height:,} images of val and test have a near-duplicate in an earlier split, such as "
            f"{image} ({split}) and {other} ({other_split}): what is measured on them is too good."
        )

    def ledger_rows(self) -> pl.DataFrame:
        """One row for each such image, which is kept where it is."""
        return rows.image_rows(
            self.images.rename({"image": "name"}),
            Rule.NEAR_DUPLICATE,
            Action.KEPT,
            before=pl.struct("split"),
            after=pl.struct("split"),
            detail=pl.format("differs in {} of 64 hash bits from {} in {}", "distance", "other", "other_split"),
        )


def find_leaks(assigned: pl.DataFrame, near: Near) -> Leaks:
    """Look where near-duplicates came to lie.

    Args:
        assigned: ``image_id``, ``name``, ``sha256`` and ``split`` of each image.
        near: what the search found.
    """
    order = pl.col("split").replace_strict({"train": 0, "val": 1, "test": 2}, return_dtype=pl.UInt8)
    images = near.images.join(assigned.select(_SIDE[1:]), on="image_id").with_columns(order=order)
    images = images.unique("sha256", keep="first", maintain_order=True)
    # One image of each node and split stands for the others, or a still camera's pairs would be quadratic.
    first = images.unique(["node", "split"], keep="first", maintain_order=True)
    pairs = near.pairs.select(pl.all().cast(pl.Int64))
    both = pl.concat([pairs, pairs.select(node="other", other="node", distance="distance")])
    same = first.select("node", other="node", distance=pl.lit(0, dtype=pl.Int64)).unique()
    linked = pl.concat([same, both])
    across = (
        first.join(linked, on="node")
        .join(first, left_on="other", right_on="node", suffix="_other")
        .filter(pl.col("order_other") < pl.col("order"))
        .sort("distance", "order_other", "name_other")
        .unique(["node", "split"], keep="first", maintain_order=True)
        .select("node", "split", "distance", *(f"{column}_other" for column in _SIDE[1:]))
    )
    leaking = images.join(across, on=["node", "split"], maintain_order="left")
    within = (
        images.join(linked, on="node", maintain_order="left")
        .join(first, left_on="other", right_on="node", suffix="_other", maintain_order="left")
        .filter((pl.col("split") == pl.col("split_other")) & (pl.col("image_id_other") < pl.col("image_id")))
    )
    leaks = _pairs(leaking).sort("distance", "image")
    shown = pl.concat([leaks.head(SHOWN_PAIRS), _pairs(within).sort("distance", "image").head(SHOWN_PAIRS)])
    return Leaks(shown.head(SHOWN_PAIRS), leaks)


def check_no_leak(parts: Mapping[str, Dataset], groups: pl.DataFrame | None = None) -> None:
    """Make sure that no content is in two splits, and no group either; a tile counts as the image that it is of.

    Args:
        parts: the dataset of each split.
        groups: ``image_id`` and ``group`` of images that must not be torn apart; none where the source's own
            splits are kept.

    Raises:
        DataQualityError: names an image and the splits.
    """
    held = pl.concat(
        part.images.select("image_id", "name", content=pl.coalesce("parent", "sha256"), place=pl.lit(split))
        for split, part in parts.items()
    )
    keys = ["content"]
    if groups is not None:
        held = held.join(groups.select("image_id", "group"), on="image_id", how="left")
        keys.append("group")
    for key in keys:
        known = held.filter(pl.col(key).is_not_null())
        torn = known.filter(pl.col("place").n_unique().over(key) > 1).sort("name")
        if torn.is_empty():
            continue
        places = torn.filter(pl.col(key) == torn.get_column(key)[0]).get_column("place").unique().sort()
        raise DataQualityError(
            f"The image {torn.get_column('name')[0]!r} and what belongs together with it are in "
            f"{' and '.join(places)}: this split would leak, please report it with the dataset's version."
        )


def _pairs(joined: pl.DataFrame) -> pl.DataFrame:
    return joined.select(
        image="name",
        other="name_other",
        distance="distance",
        split="split",
        other_split="split_other",
        image_id="image_id",
        other_id="image_id_other",
    ).cast(PAIRS)
