"""Groups divided among splits by their places in [0, 1), with as few exceptions as a useful split needs."""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import polars as pl

Chosen = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]
Places = npt.NDArray[np.float64]


def divide(groups: pl.DataFrame, shares: Mapping[str, float], sizes: Mapping[str, int]) -> Chosen:
    """Index into ``shares`` for each group: by thresholds on its place, or as many images as asked for.

    Args:
        groups: ``position`` in [0, 1), ascending, and ``images``, how many the group has.
        shares: of each split, in the order of their intervals; the first takes what the others leave.
        sizes: images a split shall have instead of its share; it takes groups from the top of what is left, and
            one that does not fit any more is passed over. Growth moves such a boundary, never one by share.
    """
    position = groups.get_column("position").to_numpy()
    images = groups.get_column("images").to_numpy().astype(np.int64)
    chosen = np.searchsorted(edges_of(shares)[1:-1], position, side="right").astype(np.int64)
    names = list(shares)
    if not any(sizes.get(name) for name in names):
        return chosen
    chosen = np.zeros(position.size, np.int64)
    free = np.ones(position.size, dtype=bool)
    top = 1.0
    for split in range(len(names) - 1, 0, -1):
        if wanted := sizes.get(names[split], 0):
            taken = _take(images, free, wanted)
            top = float(position[taken].min(initial=top))
        else:
            top -= shares[names[split]] / sum(shares.values())
            taken = np.flatnonzero(free & (position >= top))
        chosen[taken] = split
        free[taken] = False
    return chosen


def mend(groups: pl.DataFrame, chosen: Chosen, shares: Mapping[str, float]) -> None:
    """Move a few groups where a split would be empty or without objects, in place.

    Args:
        groups: ``position``, ascending, and ``positive``, whether the group has objects.
        chosen: index into ``shares`` for each group.
        shares: of each split, in the order of their intervals.
    """
    position = groups.get_column("position").to_numpy()
    positive = groups.get_column("positive").to_numpy().astype(bool)
    edges = edges_of(shares)
    for split in range(len(shares)):
        if not np.any(positive & (chosen == split)):
            # Training without objects is worthless, so train may take another split's only group with some.
            _move_one(chosen, positive, position, split, edges, least=1 if split == 0 else 2)
    for split in range(len(shares)):
        if not np.any(chosen == split):
            spare = ~positive | (_members(chosen, positive)[chosen] > 1)
            _move_one(chosen, spare, position, split, edges, least=1, crowded=True)


def edges_of(shares: Mapping[str, float]) -> Places:
    """Where the splits' intervals begin and end: 0, the thresholds between them, 1."""
    return np.concatenate([[0.0], np.cumsum(list(shares.values())) / sum(shares.values())])


def distance_to(split: int, position: Places, edges: Places) -> Places:
    """How far places lie from a split's interval."""
    far: Places = np.maximum(edges[split] - position, position - edges[split + 1])
    return far


def _take(images: npt.NDArray[np.int64], free: Mask, wanted: int) -> npt.NDArray[np.int64]:
    """Free groups from the last one down, as many as have ``wanted`` images or the most below."""
    taken = []
    for place in np.flatnonzero(free)[::-1].tolist():
        size = int(images[place])
        if size <= wanted:
            taken.append(place)
            wanted -= size
        if not wanted:
            break
    return np.array(taken, np.int64)


def _members(chosen: Chosen, which: Mask) -> npt.NDArray[np.int64]:
    return np.bincount(chosen[which], minlength=int(chosen.max(initial=0)) + 1)


def _move_one(
    chosen: Chosen,
    movable: Mask,
    position: Places,
    split: int,
    edges: Sequence[float] | Places,
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
    chosen[candidates[np.argmin(distance_to(split, position[candidates], np.asarray(edges)))]] = split
