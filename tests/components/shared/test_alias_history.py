"""Every move of an alias that happened is in its history, once, and nothing that did not happen is."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.shared.alias_history import Move, Why, move_noted, read_moves, version_before
from components.shared.aliases import find_alias, move_alias
from components.shared.errors import ConflictError, CorruptionError
from components.shared.store import Store, open_store

PREFIX, ALIAS = "models/cats", "champion"
A, B, C = ("a" * 64, "b" * 64, "c" * 64)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(str(tmp_path / "store"))


def versions(store: Store) -> list[str]:
    return [move.version for move in read_moves(store, PREFIX, ALIAS)]


def test_moves_are_kept_in_order_with_what_was_before_and_why(store_uri: str) -> None:
    store = open_store(store_uri)
    move_noted(store, PREFIX, ALIAS, A, why=Why.PUBLISH)
    move_noted(store, PREFIX, ALIAS, B, why=Why.PROMOTE, reason="better at night", forced=True)
    first, second = read_moves(store, PREFIX, ALIAS)
    assert (first.version, first.former, first.why, first.forced) == (A, None, Why.PUBLISH, False)
    assert (second.version, second.former, second.why, second.reason) == (B, A, Why.PROMOTE, "better at night")
    assert second.forced
    assert second.moved >= first.moved > 0


def test_a_move_to_where_it_points_already_is_none(store: Store) -> None:
    for _ in range(3):
        move_noted(store, PREFIX, ALIAS, A, why=Why.PUBLISH)
    assert versions(store) == [A]


def test_a_move_that_was_not_expected_leaves_no_trace(store: Store) -> None:
    move_noted(store, PREFIX, ALIAS, A, why=Why.PUBLISH)
    with pytest.raises(ConflictError):
        move_noted(store, PREFIX, ALIAS, C, why=Why.PROMOTE, expected=B)
    assert versions(store) == [A]


def test_the_note_of_a_mover_that_was_killed_before_it_moved_counts_for_nothing(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    move_noted(store, PREFIX, ALIAS, A, why=Why.PUBLISH)
    with monkeypatch.context() as patch:
        patch.setattr(type(store), "swap", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            move_noted(store, PREFIX, ALIAS, B, why=Why.PROMOTE)
    assert versions(store) == [A]
    move_noted(store, PREFIX, ALIAS, C, why=Why.PROMOTE)
    assert versions(store) == [A, C]


def test_racing_movers_leave_one_history_without_holes(store: Store) -> None:
    targets = [f"{number:064x}" for number in range(8)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda target: move_noted(store, PREFIX, ALIAS, target, why=Why.PUBLISH), targets))
    moves = read_moves(store, PREFIX, ALIAS)
    current = find_alias(store, PREFIX, ALIAS)
    assert sorted(move.version for move in moves) == targets
    assert [move.sequence for move in moves] == list(range(8))
    assert [move.former for move in moves] == [None, *(move.version for move in moves[:-1])]
    assert current
    assert current.version == moves[-1].version


def test_a_history_begins_after_the_last_move_without_a_note(store: Store) -> None:
    move_noted(store, PREFIX, ALIAS, A, why=Why.PUBLISH)
    move_alias(store, PREFIX, ALIAS, B)
    assert read_moves(store, PREFIX, ALIAS) == ()
    move_noted(store, PREFIX, ALIAS, C, why=Why.PUBLISH)
    assert versions(store) == [C]
    assert version_before(read_moves(store, PREFIX, ALIAS)) == B


def test_a_note_that_is_none_is_named(store: Store) -> None:
    store.write(f"{PREFIX}/history/{ALIAS}/00000000-x.json", b"{}")
    with pytest.raises(CorruptionError, match=r"00000000-x.json' in .* is no note of a move"):
        read_moves(store, PREFIX, ALIAS)


@given(st.lists(st.sampled_from("abcdR"), max_size=12))
def test_rollbacks_take_back_the_moves_one_by_one(actions: list[str]) -> None:
    trail: list[str] = []
    moves: list[Move] = []
    for action in actions:
        former = trail[-1] if trail else None
        if action == "R":
            before = version_before(tuple(moves))
            assert before == (trail[-2] if len(trail) > 1 else None)
            if before is None:
                continue
            trail.pop()
            moves.append(Move(sequence=len(moves), version=before, former=former, why=Why.ROLLBACK))
        elif action * 64 != former:
            trail.append(action * 64)
            moves.append(Move(sequence=len(moves), version=action * 64, former=former, why=Why.PUBLISH))
    assert version_before(tuple(moves)) == (trail[-2] if len(trail) > 1 else None)
