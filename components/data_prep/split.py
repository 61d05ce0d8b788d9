"""Which split an image belongs to: by its content and a seed, so that no content is in two and growth moves nothing."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from components.shared.errors import ConfigError, DataQualityError

SPLITS = ("train", "val", "test")
MODES = ("auto", "random", "source")


@dataclass(frozen=True)
class Assignment:
    """The split of each image, and in words how it was found.

    Attributes:
        images: ``image_id``, ``split`` and ``source_split`` (null when the source gave none).
        method: one sentence for the report.
        moved: images of which the source has the same content in several splits, and that left theirs.
    """

    images: pl.DataFrame
    method: str
    moved: pl.DataFrame


def check_shares(shares: Mapping[str, float], mode: str) -> None:
    """Refuse shares that are not positive or do not sum to 1, and modes that do not exist.

    Raises:
        ConfigError: with the parameter and its value.
    """
    for split, share in shares.items():
        if not share > 0:
            raise ConfigError(f"{split}_share is {share!r}; each of the three shares must be above 0.")
    total = sum(shares.values())
    if not abs(total - 1) <= 1e-6:  # noqa: PLR2004 - float noise of three shares
        shown = " + ".join(f"{share!r}" for share in shares.values())
        raise ConfigError(f"train_share + val_share + test_share is {shown} = {total:.6g}; make them sum to 1.")
    if mode not in MODES:
        raise ConfigError(f"split is {mode!r}; use one of {', '.join(MODES)}.")


def assign_splits(
    images: pl.DataFrame, with_objects: pl.Series, *, shares: Mapping[str, float], mode: str, seed: int
) -> Assignment:
    """Put each image into train, val or test.

    Args:
        images: usable images, columns of ``IMAGES``; images with one ``sha256`` go to one split.
        with_objects: ids of the images that have annotations.
        shares: share of each split, summing to 1.
        mode: ``source`` keeps the source's splits (one that it lacks is taken out of another), ``random`` ignores
            them, ``auto`` keeps them where every image has one and train and a second one exist.
        seed: other seed, other split.

    Raises:
        ConfigError: ``source`` is asked for and the source has no such splits.
        DataQualityError: there are fewer than three different images.
    """
    groups = _groups(images, with_objects, seed)
    if groups.height < len(SPLITS):
        raise DataQualityError(
            f"{groups.height} usable and different images are too few for train, val and test: bring at least 3."
        )
    use_source = mode == "source" or (mode == "auto" and _source_has_splits(images, groups))
    if use_source:
        _check_source(images, groups)
        groups, method = _from_source(groups, shares)
    else:
        positions = _divide(groups, shares)
        groups = groups.with_columns(split=pl.Series([SPLITS[position] for position in positions], dtype=pl.String))
        method = f"Images are split by a hash of their content and seed {seed}."
    assigned = (
        images.select("image_id", "name", "sha256", source_split="split")
        .join(groups.select("sha256", "split"), on="sha256", how="left", maintain_order="left")
        .drop("sha256")
    )
    straddling = groups.filter(pl.col("source_splits") > 1) if use_source else groups.clear()
    doubled = images.join(straddling, on="sha256", how="semi").get_column("image_id").implode()
    moved = assigned.filter((pl.col("split") != pl.col("source_split")) & pl.col("image_id").is_in(doubled))
    return Assignment(assigned.drop("name"), method, moved)


def position_of(digest: str, seed: int) -> float:
    """Where content lies in [0, 1): the first 53 bits of the sha256 of ``<seed>:<digest>``, all that a float holds."""
    first = hashlib.sha256(f"{seed}:{digest}".encode()).digest()[:8]
    return (int.from_bytes(first, "big") >> 11) / 2**53


def _groups(images: pl.DataFrame, with_objects: pl.Series, seed: int) -> pl.DataFrame:
    """One row per content, ordered by its position; of several source splits the one nearest to train counts."""
    places = {split: place for place, split in enumerate(SPLITS)}
    order = pl.col("split").replace_strict(places, default=None, return_dtype=pl.UInt8)
    groups = (
        images.with_columns(order=order, positive=pl.col("image_id").is_in(with_objects.implode()))
        .group_by("sha256")
        .agg(pl.col("order").min(), pl.col("positive").any(), source_splits=pl.col("order").n_unique())
    )
    digests = groups.get_column("sha256")
    positions = pl.Series([position_of(digest, seed) for digest in digests], dtype=pl.Float64)
    return groups.with_columns(position=positions).sort("position", "sha256")


def _source_has_splits(images: pl.DataFrame, groups: pl.DataFrame) -> bool:
    present = set(groups.get_column("order").drop_nulls())
    return _without_split(images).is_empty() and 0 in present and len(present) > 1


def _without_split(images: pl.DataFrame) -> pl.DataFrame:
    return images.filter(~pl.col("split").is_in(SPLITS).fill_null(value=False))


def _check_source(images: pl.DataFrame, groups: pl.DataFrame) -> None:
    without = _without_split(images)
    if without.height:
        raise ConfigError(
            f"split is 'source', but the source gives none for {without.height} of {images.height} images, such as "
            f"{without.get_column('name')[0]!r}: use split 'auto' or 'random'."
        )
    if not _source_has_splits(images, groups):
        present = ", ".join(SPLITS[place] for place in sorted(set(groups.get_column("order").drop_nulls())))
        raise ConfigError(
            f"split is 'source', but after cleaning the source has only {present}: it must have train and val, "
            "or use split 'auto' or 'random'."
        )


def _from_source(groups: pl.DataFrame, shares: Mapping[str, float]) -> tuple[pl.DataFrame, str]:
    counts = {split: groups.filter(pl.col("order") == place).height for place, split in enumerate(SPLITS)}
    groups = groups.with_columns(
        split=pl.col("order").replace_strict(dict(enumerate(SPLITS)), default=None, return_dtype=pl.String)
    )
    absent = next((split for split in ("val", "test") if not counts[split]), None)
    if absent is None:
        return groups, "The source's own train, val and test are kept."
    donor = "val" if absent == "test" and counts["val"] > 1 else "train"
    pool = groups.filter(pl.col("split") == donor)
    positions = _divide(pool, {donor: shares[donor], absent: shares[absent]})
    names = (donor, absent)
    divided = pool.with_columns(split=pl.Series([names[position] for position in positions], dtype=pl.String))
    rest = groups.filter(pl.col("split") != donor)
    return (
        pl.concat([rest, divided]),
        f"The source's own splits are kept; its missing {absent} was taken out of {donor} by a hash of the content.",
    )


def _divide(groups: pl.DataFrame, shares: Mapping[str, float]) -> npt.NDArray[np.int64]:
    """Index into ``shares`` for each group: thresholds on its position, then a few moves if a split is of no use."""
    limits = np.cumsum(list(shares.values())) / sum(shares.values())
    position = groups.get_column("position").to_numpy()
    chosen = np.searchsorted(limits[:-1], position, side="right").astype(np.int64)
    positive = groups.get_column("positive").to_numpy().astype(bool)
    edges = np.concatenate([[0.0], limits])
    for split in range(len(shares)):
        if not np.any(positive & (chosen == split)):
            # Training without objects is worthless, so train may take another split's only image with some.
            _move_one(chosen, positive, position, split, edges, least=1 if split == 0 else 2)
    for split in range(len(shares)):
        if not np.any(chosen == split):
            spare = ~positive | (_members(chosen, positive)[chosen] > 1)
            _move_one(chosen, spare, position, split, edges, least=1, crowded=True)
    return chosen


def _members(chosen: npt.NDArray[np.int64], which: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    return np.bincount(chosen[which], minlength=int(chosen.max(initial=0)) + 1)


def _move_one(
    chosen: npt.NDArray[np.int64],
    movable: npt.NDArray[np.bool_],
    position: npt.NDArray[np.float64],
    split: int,
    edges: Sequence[float] | npt.NDArray[np.float64],
    *,
    least: int,
    crowded: bool = False,
) -> None:
    """Move the movable group nearest to ``split``'s interval out of the split that has most of them."""
    sizes = _members(chosen, movable)
    if crowded:
        sizes = np.where(_members(chosen, np.ones_like(movable)) > 1, sizes, 0)
    donor = int(np.argmax(sizes))
    if sizes[donor] < least:
        return
    candidates = np.flatnonzero(movable & (chosen == donor))
    distance = np.maximum(edges[split] - position[candidates], position[candidates] - edges[split + 1])
    chosen[candidates[np.argmin(distance)]] = split
