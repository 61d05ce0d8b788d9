"""Images that look almost the same: pairs of perceptual hashes that differ in a few of their 64 bits."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Indices: TypeAlias = npt.NDArray[np.int64]
Hashes: TypeAlias = npt.NDArray[np.uint64]
Distances: TypeAlias = npt.NDArray[np.uint8]
Batch: TypeAlias = tuple[Indices, Indices, Distances]
_Runs: TypeAlias = tuple[Indices, Indices, Indices]

BITS = 64
FEWEST_BITS = 6  # a hash with fewer bits set, or fewer unset, is of a blank picture: it says nothing about likeness
MOST_PAIRS = 2_000_000  # that are held in memory; a million pictures without a fixed camera have far fewer
_SMALL = 256  # members of a bucket that are compared by shifting the sorted table
_CELLS = 1 << 21  # comparisons of one block


@dataclass(frozen=True)
class Likeness:
    """Which of some distinct hashes are alike.

    Attributes:
        levels: ``(distance + 1, hashes)``; row ``d`` names for each hash the component it is in when pairs up to
            distance ``d`` are linked, by the component's smallest index. Fewer rows than were asked for when there
            are more than ``MOST_PAIRS`` pairs within that distance.
        first: index of a pair's lower hash.
        second: index of its higher one.
        distance: bits they differ in.
    """

    levels: npt.NDArray[np.int64]
    first: Indices
    second: Indices
    distance: Distances


def is_telling(hashes: Hashes) -> npt.NDArray[np.bool_]:
    """Whether each hash is of a picture with something on it, so that a near hash means a near picture."""
    count = np.bitwise_count(hashes)
    telling: npt.NDArray[np.bool_] = (count >= FEWEST_BITS) & (count <= BITS - FEWEST_BITS)
    return telling


def link(hashes: Hashes, distance: int) -> Likeness:
    """Find all pairs of ``hashes`` (distinct) at Hamming distance up to ``distance``, and what they connect.

    Where that many pictures are alike that there are more than ``MOST_PAIRS`` pairs, as of a fixed camera, the
    distance is lowered until there are not.
    """
    pairs = _up_to(hashes, distance, MOST_PAIRS)
    while pairs is None:
        distance -= 1
        pairs = _up_to(hashes, distance, MOST_PAIRS)
    first, second, bits = pairs
    levels = np.tile(np.arange(hashes.size), (distance + 1, 1))
    for level in range(1, distance + 1):
        within = bits <= level
        levels[level] = components(hashes.size, first[within], second[within])
    return Likeness(levels, first, second, bits)


def components(size: int, first: Indices, second: Indices) -> Indices:
    """Connected components of a graph of ``size`` nodes: for each node the smallest node it is connected to."""
    root = np.arange(size)
    while first.size:
        first, second = root[first], root[second]
        apart = first != second
        first, second = first[apart], second[apart]
        np.minimum.at(root, np.maximum(first, second), np.minimum(first, second))
        above = root[root]
        while not np.array_equal(above, root):
            root, above = above, above[above]
    return root


def near_pairs(hashes: Hashes, distance: int) -> Iterator[Batch]:
    """All pairs of positions whose hashes differ in at most ``distance`` bits, each once, the lower position first.

    Cut into ``distance + 1`` bands, two such hashes agree in at least one band (pigeonhole), so only hashes that
    share a band are compared; a band that too many share is cut again. The result is that of comparing all.
    """
    if hashes.size > 1:
        yield from _search(hashes, np.arange(hashes.size), np.arange(BITS), [], distance)


def _search(hashes: Hashes, members: Indices, bits: Indices, seen: list[np.uint64], distance: int) -> Iterator[Batch]:
    """Pairs of ``members``, which agree outside ``bits``; a pair that agrees in a ``seen`` band was found before."""
    bits = _varying(hashes[members], bits)
    bands = [_mask(band) for band in np.array_split(bits, distance + 1)]
    if members.size <= _SMALL or not all(bands):
        yield from _compare_all(hashes, members, seen, distance)
        return
    orders = [_runs(hashes, members, band) for band in bands]
    if _effort(hashes, bits, orders, bands) * 2 > members.size**2:
        yield from _compare_all(hashes, members, seen, distance)
        return
    for place, (ordered, start, size) in enumerate(orders):
        before = [*seen, *bands[:place]]
        yield from _compare_small(hashes, ordered, start, size, before, distance)
        rest = _without(bits, bands[place])
        for position in np.flatnonzero(size > _SMALL):
            bucket = ordered[start[position] : start[position] + size[position]]
            yield from _search(hashes, bucket, rest, before, distance)


def _effort(hashes: Hashes, bits: Indices, orders: list[_Runs], bands: list[np.uint64]) -> int:
    """Comparisons that the stretches of all bands take, when large ones are cut once more."""
    total = 0
    for (ordered, start, size), band in zip(orders, bands, strict=True):
        total += int((size[size <= _SMALL] ** 2).sum())
        for position in np.flatnonzero(size > _SMALL):
            bucket = ordered[start[position] : start[position] + size[position]]
            again = np.array_split(_varying(hashes[bucket], _without(bits, band)), len(bands))
            cut = [_runs(hashes, bucket, _mask(part))[2] for part in again if part.size]
            whole = int(size[position]) ** 2
            total += whole if len(cut) < len(bands) else min(whole, sum(int((part**2).sum()) for part in cut))
    return total


def _without(bits: Indices, band: np.uint64) -> Indices:
    rest: Indices = bits[(_single(bits) & band) == 0]
    return rest


def _varying(values: Hashes, bits: Indices) -> Indices:
    """The bits on which the values do not all agree."""
    differing = values ^ values[0]
    varying: Indices = bits[(_single(bits) & np.bitwise_or.reduce(differing)) != 0]
    return varying


def _single(bits: Indices) -> Hashes:
    return np.uint64(1) << bits.astype(np.uint64)


def _mask(bits: Indices) -> np.uint64:
    return np.uint64(np.bitwise_or.reduce(_single(bits), initial=np.uint64(0)))


def _runs(hashes: Hashes, members: Indices, band: np.uint64) -> _Runs:
    """Members in the order of their band, and where each stretch with one value starts and how long it is."""
    values = hashes[members] & band
    order = np.argsort(values, kind="stable")
    values = values[order]
    start = np.flatnonzero(np.concatenate([[True], values[1:] != values[:-1]]))
    return members[order], start, np.diff(np.append(start, members.size))


def _compare_small(
    hashes: Hashes, ordered: Indices, start: Indices, size: Indices, seen: list[np.uint64], distance: int
) -> Iterator[Batch]:
    """Pairs within the small stretches: each member with the next one, with the one after that, and so on."""
    small = (size > 1) & (size <= _SMALL)
    left = np.repeat(start[small], size[small])
    left = left + np.arange(left.size) - np.repeat(np.cumsum(size[small]) - size[small], size[small])
    end = np.repeat((start + size)[small], size[small])
    values = hashes[ordered]
    for shift in range(1, int(size[small].max(initial=1))):
        inside = left + shift < end
        left, end = left[inside], end[inside]
        differing = values[left] ^ values[left + shift]
        bits = np.bitwise_count(differing)
        hits = np.flatnonzero(bits <= distance)
        yield from _fresh(ordered[left[hits]], ordered[left[hits] + shift], differing[hits], bits[hits], seen)


def _compare_all(hashes: Hashes, members: Indices, seen: list[np.uint64], distance: int) -> Iterator[Batch]:
    """Pairs of all members, a block of bounded size at a time."""
    values = hashes[members]
    top = 0
    while top < members.size - 1:
        bottom = min(members.size - 1, top + max(1, _CELLS // (members.size - top)))
        differing = values[top:bottom, None] ^ values[None, top + 1 :]
        bits = np.bitwise_count(differing)
        row, column = np.nonzero(bits <= distance)
        once = column >= row
        row, column = row[once], column[once]
        pairs = members[top + row], members[top + 1 + column]
        yield from _fresh(*pairs, differing[row, column], bits[row, column], seen)
        top = bottom


def _fresh(
    first: Indices, second: Indices, differing: Hashes, bits: Distances, seen: list[np.uint64]
) -> Iterator[Batch]:
    for band in seen:
        fresh = (differing & band) != 0
        first, second, differing, bits = first[fresh], second[fresh], differing[fresh], bits[fresh]
    if first.size:
        yield np.minimum(first, second), np.maximum(first, second), bits


def _up_to(hashes: Hashes, distance: int, limit: int) -> Batch | None:
    """All near pairs; ``None`` when there are more than ``limit``."""
    found: list[Batch] = []
    count = 0
    for batch in near_pairs(hashes, distance):
        found.append(batch)
        count += batch[0].size
        if count > limit:
            return None
    return _joined(found)


def _joined(batches: list[Batch]) -> Batch:
    nothing = np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.uint8)
    first, second, bits = (np.concatenate(parts) for parts in zip(nothing, *batches, strict=True))
    return first, second, bits
