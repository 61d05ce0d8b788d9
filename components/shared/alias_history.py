"""What an alias pointed to, move by move, so that it can be taken back: one small object a move, never rewritten.

A move is noted at ``<prefix>/history/<alias>/<sequence>-<digest>.json`` before the alias moves. A note whose mover was
killed, or overtaken by another, belongs to no state the alias ever had, and reading leaves it out: each note says where
the alias pointed before, which only one version ever did at that place of the sequence, so the notes chain.
"""

import hashlib
from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from components.shared.aliases import ANY, Alias, find_alias, move_alias
from components.shared.errors import CorruptionError
from components.shared.store import Store

_SHA256 = r"^[0-9a-f]{64}$"


class Why(StrEnum):
    """What moved an alias."""

    PUBLISH = "publish"
    PROMOTE = "promote"
    ROLLBACK = "rollback"


class Move(BaseModel):
    """One move of an alias.

    Attributes:
        sequence: which state of the alias it led to.
        version: where the alias pointed then.
        former: where it pointed before; ``None`` when it was new.
        why: what moved it.
        reason: what a person gave as the reason.
        forced: the version's quality gate had not passed.
        moved: when the note was stored, seconds since 1970 by the store's clock; not part of the note.
    """

    model_config = ConfigDict(frozen=True)

    sequence: int = Field(ge=0)
    version: str = Field(pattern=_SHA256)
    former: str | None = Field(default=None, pattern=_SHA256)
    why: Why
    reason: str = ""
    forced: bool = False
    moved: float = Field(default=0.0, exclude=True)


def move_noted(
    store: Store,
    prefix: str,
    alias: str,
    version: str,
    *,
    why: Why,
    reason: str = "",
    forced: bool = False,
    expected: str | None = ANY,
) -> Alias:
    """``aliases.move_alias`` that leaves a note of the move.

    Raises:
        ConflictError: the alias points elsewhere than expected.
    """

    def note(current: Alias | None, moved: Alias) -> None:
        move = Move(
            sequence=moved.sequence,
            version=version,
            former=current.version if current else None,
            why=why,
            reason=reason,
            forced=forced,
        )
        data = move.model_dump_json().encode()
        digest = hashlib.sha256(data).hexdigest()[:16]
        store.create(f"{_home(prefix, alias)}{moved.sequence:08d}-{digest}.json", data)

    return move_alias(store, prefix, alias, version, expected=expected, intend=note)


def read_moves(store: Store, prefix: str, alias: str) -> tuple[Move, ...]:
    """The moves that led to where the alias points now, the oldest first; empty when it was never moved with a note.

    It begins after the last move without a note, as earlier releases made them.

    Raises:
        CorruptionError: a note is not one of ours.
    """
    notes: dict[tuple[int, str], Move] = {}
    for entry in store.list(_home(prefix, alias)):
        move = _read(store, entry.key, entry.modified)
        same = notes.get((move.sequence, move.version))
        if same is None or move.moved >= same.moved:
            notes[move.sequence, move.version] = move
    current = find_alias(store, prefix, alias)
    chain: list[Move] = []
    at = (current.sequence, current.version) if current else None
    while at is not None and (found := notes.get(at)):
        chain.append(found)
        at = None if found.former is None else (found.sequence - 1, found.former)
    return tuple(reversed(chain))


def version_before(moves: tuple[Move, ...]) -> str | None:
    """Where a rollback leads: the version before the current one, without those that were taken back themselves."""
    trail: list[str] = []
    for move in moves:
        if not trail and move.former is not None:
            trail.append(move.former)
        if move.why is Why.ROLLBACK and move.version in trail:
            while trail[-1] != move.version:
                trail.pop()
        else:
            trail.append(move.version)
    return trail[-2] if len(trail) > 1 else None


def _home(prefix: str, alias: str) -> str:
    return f"{prefix}/history/{alias}/"


def _read(store: Store, key: str, modified: float) -> Move:
    try:
        return Move.model_validate_json(store.read(key)).model_copy(update={"moved": modified})
    except ValidationError as error:
        raise CorruptionError(f"{key!r} in {store.uri!r} is no note of a move: remove it.") from error
