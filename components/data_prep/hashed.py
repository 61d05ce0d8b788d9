"""Images divided among splits by a hash of their content, with the few exceptions a useful split needs."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import polars as pl

from components.data_prep.divide import divide, mend
from components.data_prep.stratify import Objects, rescue_classes
from components.shared.errors import ConfigError

SPLITS = ("train", "val", "test")
MODES = ("auto", "random", "source")
RESCUED = pl.Schema({"image_id": pl.UInt32(), "image": pl.String(), "split": pl.String(), "why": pl.String()})
NAMED = 5  # images that a flag names


@dataclass(frozen=True)
class SplitPlan:
    """What is asked of a split.

    Attributes:
        shares: share of each split, summing to 1.
        mode: ``source`` keeps the source's splits (one that it lacks is taken out of another), ``random`` ignores
            them, ``auto`` keeps them where every image has one and train and a second one exist.
        seed: other seed, other split.
        sizes: images that val and test shall have instead of their share; 0: by share.
    """

    shares: Mapping[str, float]
    mode: str = "auto"
    seed: int = 0
    sizes: Mapping[str, int] = field(default_factory=dict)

    def check(self) -> None:
        """Refuse shares that are not positive or do not sum to 1, negative sizes, and modes that do not exist.

        Raises:
            ConfigError: with the parameter and its value.
        """
        for split, share in self.shares.items():
            if not share > 0:
                raise ConfigError(f"{split}_share is {share!r}; each of the three shares must be above 0.")
        total = sum(self.shares.values())
        if not abs(total - 1) <= 1e-6:  # noqa: PLR2004 - float noise of three shares
            shown = " + ".join(f"{share!r}" for share in self.shares.values())
            raise ConfigError(f"train_share + val_share + test_share is {shown} = {total:.6g}; make them sum to 1.")
        for split, size in self.sizes.items():
            if size < 0:
                raise ConfigError(f"{split}_images is {size!r}; give a number of images, or 0 to go by {split}_share.")
        if self.mode not in MODES:
            raise ConfigError(f"split is {self.mode!r}; use one of {', '.join(MODES)}.")


def position_of(digest: str, seed: int) -> float:
    """Where content lies in [0, 1): the first 53 bits of the sha256 of ``<seed>:<digest>``, all that a float holds."""
    first = hashlib.sha256(f"{seed}:{digest}".encode()).digest()[:8]
    return (int.from_bytes(first, "big") >> 11) / 2**53


def divide_by_hash(
    pool: pl.DataFrame, objects: Objects, shares: Mapping[str, float], plan: SplitPlan
) -> tuple[pl.DataFrame, pl.DataFrame, tuple[str, ...]]:
    """Divide images by the places of their groups.

    Args:
        pool: ``image_id``, ``name``, ``group``, ``anchor`` and ``positive`` (whether it has objects) of the images.
        objects: what they hold.
        shares: of each split, in the order of their intervals; the first takes what the others leave.
        plan: seed and sizes.

    Returns:
        The images with ``split``, those that were moved away from their place (columns of ``RESCUED``), and flags.

    Raises:
        ConfigError: the sizes leave nothing for the first split.
    """
    names = list(shares)
    sizes = {split: plan.sizes.get(split, 0) for split in names[1:]}
    _check_sizes(sizes, pool.height)
    groups = _units(pool, plan.seed)
    rows = pool.join(groups.select("group").with_row_index("row"), on="group", how="left", maintain_order="left")
    members = replace(objects, image=rows.get_column("row").cast(pl.Int64).to_numpy()[objects.image])
    chosen = divide(groups, shares, sizes)
    placed = chosen.copy()
    mend(groups, chosen, shares)
    why = dict.fromkeys(np.flatnonzero(placed != chosen).tolist(), "the split would have been empty or without boxes")
    fixed = frozenset(place for place, split in enumerate(names) if sizes.get(split))
    for row, category in rescue_classes(groups, members, chosen, shares, fixed).items():
        why[row] = f"the split would have been without {category}"
    splits = pl.Series([names[place] for place in chosen.tolist()], dtype=pl.String)
    images = pool.join(groups.select("group", split=splits), on="group", how="left", maintain_order="left")
    moved = pl.DataFrame(
        {"group": groups.get_column("group").gather(list(why)), "why": list(why.values())},
        schema={"group": pl.UInt32, "why": pl.String},
    )
    rescued = images.join(moved, on="group").select("image_id", pl.col("name").alias("image"), "split", "why")
    return images, rescued.sort("image_id"), (*_size_flags(images, sizes), _rescue_flag(rescued))


def _units(pool: pl.DataFrame, seed: int) -> pl.DataFrame:
    """One row a group, ordered by its place."""
    groups = pool.group_by("group").agg(pl.col("anchor").first(), pl.col("positive").any(), images=pl.len())
    places = [position_of(anchor, seed) for anchor in groups.get_column("anchor")]
    return groups.with_columns(position=pl.Series(places, dtype=pl.Float64)).sort("position", "anchor", "group")


def _check_sizes(sizes: Mapping[str, int], images: int) -> None:
    if sum(sizes.values()) >= images:
        asked = " + ".join(f"{split}_images" for split, size in sizes.items() if size)
        raise ConfigError(
            f"{asked} is {sum(sizes.values())}, but only {images} images are there to split: leave some for train."
        )


def _size_flags(images: pl.DataFrame, sizes: Mapping[str, int]) -> list[str]:
    counts = {split: images.filter(pl.col("split") == split).height for split in sizes}
    return [
        f"{split} has {counts[split]:,} of the {size:,} images that {split}_images asks for: groups stay whole."
        for split, size in sizes.items()
        if size and counts[split] != size
    ]


def _rescue_flag(rescued: pl.DataFrame) -> str:
    if rescued.is_empty():
        return ""
    named = [f"{name} to {split}" for name, split in rescued.select("image", "split").head(NAMED).iter_rows()]
    more = f" and {rescued.height - NAMED:,} more" if rescued.height > NAMED else ""
    return f"Moved away from its hashed place, because a split would have lacked something: {', '.join(named)}{more}."
