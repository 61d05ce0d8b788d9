import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path

import pytest

from components.shared import aliases
from components.shared.aliases import Alias, find_alias, move_alias
from components.shared.errors import ConfigError, ConflictError, CorruptionError
from components.shared.store import Store, open_store

PREFIX = "models/cats"
KEY = f"{PREFIX}/aliases/champion.json"
ONE, TWO, THREE = (digit * 64 for digit in "123")


@pytest.fixture
def store(store_uri: str) -> Store:
    return open_store(store_uri)


@pytest.fixture
def local(tmp_path: Path) -> Store:
    return open_store((tmp_path / "store").as_uri())


def test_an_alias_that_was_never_set_points_nowhere(store: Store) -> None:
    assert find_alias(store, PREFIX, "champion") is None


def test_an_alias_points_to_what_it_was_moved_to_last(store: Store) -> None:
    assert move_alias(store, PREFIX, "champion", ONE) == Alias(version=ONE, sequence=0)
    assert move_alias(store, PREFIX, "champion", TWO) == Alias(version=TWO, sequence=1)
    assert find_alias(store, PREFIX, "champion") == Alias(version=TWO, sequence=1)
    assert find_alias(store, PREFIX, "latest") is None
    assert find_alias(store, "models/dogs", "champion") is None


def test_moving_an_alias_to_where_it_is_writes_nothing(local: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    move_alias(local, PREFIX, "champion", ONE)
    monkeypatch.setattr(type(local), "swap", lambda *_: pytest.fail("it wrote"))
    assert move_alias(local, PREFIX, "champion", ONE, expected=THREE).sequence == 0


def test_an_alias_moves_only_from_where_it_is_expected(local: Store) -> None:
    with pytest.raises(ConflictError, match="points to None, not to"):
        move_alias(local, PREFIX, "champion", ONE, expected=TWO)
    move_alias(local, PREFIX, "champion", ONE, expected=None)
    for wrong in (None, THREE):
        with pytest.raises(ConflictError, match="somebody moved it"):
            move_alias(local, PREFIX, "champion", TWO, expected=wrong)
    assert move_alias(local, PREFIX, "champion", TWO, expected=ONE).version == TWO


def test_an_alias_that_moved_away_and_back_has_other_bytes(local: Store) -> None:
    move_alias(local, PREFIX, "champion", ONE)
    former, tag = local.read_tagged(KEY)
    move_alias(local, PREFIX, "champion", TWO)
    move_alias(local, PREFIX, "champion", ONE)
    assert local.read(KEY) != former
    assert not local.swap(KEY, b"stale", tag)


def test_every_move_of_racing_writers_is_counted(store: Store) -> None:
    versions = count(1)

    def move(turns: int) -> None:
        for _ in range(turns):
            move_alias(store, PREFIX, "champion", f"{next(versions):064x}")

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(move, [5] * 4))
    found = find_alias(store, PREFIX, "champion")
    assert found
    assert found.sequence == 19


def test_of_racing_first_writers_who_expect_nothing_one_wins(local: Store) -> None:
    def claim(digit: str) -> str | None:
        try:
            return move_alias(local, PREFIX, "champion", digit * 64, expected=None).version
        except ConflictError:
            return None

    with ThreadPoolExecutor(4) as pool:
        winners = [won for won in pool.map(claim, "abcd") if won]
    found = find_alias(local, PREFIX, "champion")
    assert found
    assert winners == [found.version]


def test_a_store_whose_alias_never_holds_still_is_given_up_with_a_sentence(
    local: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    monkeypatch.setattr(type(local), "swap", lambda *_: False)
    monkeypatch.setattr(aliases.time, "sleep", waits.append)
    with pytest.raises(ConflictError, match=f"moved {aliases._SWAPS} times while we tried to set it: try again"):
        move_alias(local, PREFIX, "champion", ONE)
    assert len(waits) == aliases._SWAPS
    assert max(waits) <= 1.0


@pytest.mark.parametrize("name", ["", "Champion", "../x", "a/b", ".hidden", "a" * 64, "a\n", "größe"])
@pytest.mark.parametrize("act", [find_alias, lambda *where: move_alias(*where, ONE)], ids=["find", "move"])
def test_a_name_that_is_no_alias_is_refused(local: Store, name: str, act: Callable[..., object]) -> None:
    with pytest.raises(ConfigError) as caught:
        act(local, PREFIX, name)
    assert str(caught.value).startswith(f"{name!r} is no alias")


@pytest.mark.parametrize(
    "content",
    [
        b"null",
        b"{}",
        b"\xff\xfe",
        json.dumps({"version": "latest", "sequence": 0}).encode(),
        json.dumps({"version": ONE, "sequence": -1}).encode(),
        json.dumps({"version": f"{ONE}\n", "sequence": 0}).encode(),
        json.dumps({"version": ONE, "sequence": 0, "extra": 1}).encode(),
    ],
)
def test_a_file_that_is_no_alias_is_corruption_and_never_overwritten(local: Store, content: bytes) -> None:
    local.write(KEY, content)
    with pytest.raises(CorruptionError, match="delete it and set it again"):
        find_alias(local, PREFIX, "champion")
    with pytest.raises(CorruptionError):
        move_alias(local, PREFIX, "champion", ONE)
    assert local.read(KEY) == content


def test_a_version_that_is_no_digest_is_refused(local: Store) -> None:
    with pytest.raises(ValueError, match="version"):
        move_alias(local, PREFIX, "champion", "v1")
    assert not local.exists(KEY)
