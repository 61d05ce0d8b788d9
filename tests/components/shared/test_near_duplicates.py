"""The banded search finds what comparing all pairs finds, also where bands say nothing."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.shared import near_duplicates
from components.shared.near_duplicates import Hashes, components, is_telling, link, near_pairs

Pair = tuple[int, int, int]


def brute(hashes: Hashes, distance: int) -> set[Pair]:
    bits = np.bitwise_count(hashes[:, None] ^ hashes[None, :])
    first, second = np.nonzero(np.triu(bits <= distance, 1))
    return {(int(i), int(j), int(bits[i, j])) for i, j in zip(first, second, strict=True)}


def found(hashes: Hashes, distance: int) -> list[Pair]:
    return [
        (int(i), int(j), int(bits)) for batch in near_pairs(hashes, distance) for i, j, bits in zip(*batch, strict=True)
    ]


def flip(hashes: Hashes, count: int, random: np.random.Generator) -> Hashes:
    """The hashes with up to ``count`` random bits turned."""
    for _ in range(count):
        hashes = hashes ^ (np.uint64(1) << random.integers(0, 64, hashes.size, dtype=np.uint64))
    return hashes


@given(
    centres=st.integers(1, 12),
    size=st.integers(0, 400),
    flips=st.integers(0, 10),
    distance=st.integers(0, 16),
    shared=st.integers(0, 64),
    small=st.sampled_from([2, 8, 256]),
    seed=st.integers(0, 9),
)
def test_the_pairs_are_those_of_comparing_all(
    centres: int, size: int, flips: int, distance: int, shared: int, small: int, seed: int
) -> None:
    random = np.random.default_rng(seed)
    base = random.integers(0, 2**64, centres, dtype=np.uint64)
    agreeing = np.uint64((1 << shared) - 1)
    base = (base & ~agreeing) | (base[0] & agreeing)
    hashes = flip(base[random.integers(0, centres, size)], flips, random)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(near_duplicates, "_SMALL", small)
        patch.setattr(near_duplicates, "_CELLS", 500)
        pairs = found(hashes, distance)
    assert len(pairs) == len(set(pairs))
    assert set(pairs) == brute(hashes, distance)


@given(
    size=st.integers(1, 40),
    edges=st.lists(st.tuples(st.integers(0, 39), st.integers(0, 39)), max_size=60),
)
def test_a_component_is_named_after_its_smallest_node(size: int, edges: list[tuple[int, int]]) -> None:
    edges = [(a % size, b % size) for a, b in edges]
    names = list(range(size))
    for _ in range(size):
        for a, b in edges:
            names[a] = names[b] = min(names[a], names[b])
    ends = np.array(edges, np.int64).reshape(-1, 2)
    assert components(size, ends[:, 0], ends[:, 1]).tolist() == names


def test_levels_connect_more_the_larger_the_distance() -> None:
    chain = np.array([0b0, 0b1, 0b111, 0b111 << 40], np.uint64) ^ np.uint64(0x0F0F_F0F0_3C3C_5A5A)
    likeness = link(chain, 4)
    assert likeness.levels.tolist() == [[0, 1, 2, 3], [0, 0, 2, 3], [0, 0, 0, 3], [0, 0, 0, 0], [0, 0, 0, 0]]
    assert list(zip(likeness.first, likeness.second, likeness.distance, strict=True)) == [
        (0, 1, 1),
        (0, 2, 3),
        (0, 3, 3),
        (1, 2, 2),
        (1, 3, 4),
    ]


def test_the_distance_is_lowered_where_nearly_all_is_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    hashes = np.unique(flip(np.full(300, 0x0F0F_F0F0_3C3C_5A5A, np.uint64), 2, random))
    monkeypatch.setattr(near_duplicates, "MOST_PAIRS", 1000)
    likeness = link(hashes, 4)
    assert set(zip(likeness.first, likeness.second, likeness.distance, strict=True)) == brute(hashes, 1)
    assert likeness.levels.shape == (2, hashes.size)


def test_blank_pictures_tell_nothing() -> None:
    hashes = np.array([0, 2**64 - 1, 1, 0b11111, 0x0F0F_F0F0_3C3C_5A5A], np.uint64)
    assert is_telling(hashes).tolist() == [False, False, False, False, True]
