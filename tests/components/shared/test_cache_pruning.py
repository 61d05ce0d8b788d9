"""The image cache shrinks to its limit, by what was used longest ago, and nothing else is touched."""

import os
import time
from pathlib import Path

import pytest

from components.shared import cache_pruning
from components.shared.cache_pruning import prune


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """Ten images of 100 bytes; the lower the number, the longer ago it was used."""
    for place in range(10):
        digest = f"{place:02x}" + "0" * 62
        path = tmp_path / "cache" / digest[:2] / f"{digest}.jpg"
        path.parent.mkdir(parents=True)
        path.write_bytes(bytes(100))
        then = time.time() - 10_000 + place
        os.utime(path, (then, then))
    return tmp_path / "cache"


@pytest.fixture(autouse=True)
def rested(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache_pruning, "RESTING", -5.0)  # ctime, which nobody can set back, counts as a use


def left(cache: Path) -> list[int]:
    return sorted(int(path.name[:2], 16) for path in cache.glob("*/*.jpg"))


def test_what_was_used_longest_ago_goes_first(cache: Path) -> None:
    found = prune(cache, 350)
    assert (found.files, found.bytes, found.removed_files, found.removed_bytes) == (10, 1000, 7, 700)
    assert len(left(cache)) == 3


def test_a_dry_run_and_a_cache_below_its_limit_lose_nothing(cache: Path) -> None:
    assert prune(cache, 350, dry_run=True).removed_files == 7
    assert prune(cache, 1000).removed_files == 0
    assert len(left(cache)) == 10


def test_linked_and_foreign_files_stay(cache: Path, tmp_path: Path) -> None:
    kept = next(cache.glob("03/*.jpg"))
    (tmp_path / "training.jpg").hardlink_to(kept)
    foreign = cache / "ab" / "thesis.txt"
    foreign.parent.mkdir()
    foreign.write_text("years of work")
    prune(cache, 0)
    assert left(cache) == [3]
    assert foreign.exists()


def test_what_was_just_used_stays(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache_pruning, "RESTING", 3600.0)
    assert prune(cache, 0).removed_files == 0


def test_no_cache_is_an_empty_cache(tmp_path: Path) -> None:
    assert prune(tmp_path / "none", 0).files == 0
