"""Names that move between versions (``latest``, ``champion``), by compare-and-set, so that no move is lost.

An alias lies at ``<prefix>/aliases/<alias>.json``, its prefix being ``datasets/<name>`` or ``models/<name>``. The
sequence makes each content new: stores compare contents, and an alias that moved away and back must not look unmoved.
"""

import random
import re
import time
from collections.abc import Callable

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from components.shared.errors import ConfigError, ConflictError, CorruptionError, NotFoundError
from components.shared.store import Store

ANY = "*"  # the alias may point anywhere, or nowhere yet
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
_SWAPS = 30


class Alias(BaseModel):
    """What an alias file holds: the version it points to, and how often it has moved."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: str = Field(pattern=r"^[0-9a-f]{64}$")
    sequence: int = Field(ge=0)


def find_alias(store: Store, prefix: str, alias: str) -> Alias | None:
    """Where an alias points, or ``None`` when it does not exist.

    Raises:
        CorruptionError: the alias file is not one of ours.
    """
    return _read(store, _key(prefix, alias))[0]


def move_alias(
    store: Store,
    prefix: str,
    alias: str,
    version: str,
    *,
    expected: str | None = ANY,
    intend: Callable[[Alias | None, Alias], None] = lambda _current, _moved: None,
) -> Alias:
    """Point an alias at a version, by compare-and-set.

    Args:
        store: the object store.
        prefix: what the alias belongs to.
        alias: ``latest``, ``champion``, ...
        version: 64 hex digits; the caller has seen that it exists.
        expected: the version it must point to now; ``None``: it must not exist yet; ``ANY``: it does not matter.
        intend: hears of each move right before it is tried: where the alias points and where it will.

    Raises:
        ConflictError: it points elsewhere than expected; never when it points to ``version`` already.
    """
    key = _key(prefix, alias)
    for attempt in range(_SWAPS):
        current, tag = _read(store, key)
        if current is not None and current.version == version:
            return current
        if expected not in {ANY, current.version if current else None}:
            raise ConflictError(
                f"The alias {key!r} points to {current.version if current else None!r}, not to"
                f" {expected!r}: somebody moved it, look at the new version and decide again."
            )
        moved = Alias(version=version, sequence=current.sequence + 1 if current else 0)
        intend(current, moved)
        if store.swap(key, moved.model_dump_json().encode(), tag):
            return moved
        time.sleep(random.uniform(0, min(1.0, 0.02 * 2**attempt)))  # noqa: S311 - spreads writers, no secret
    raise ConflictError(f"The alias {key!r} moved {_SWAPS} times while we tried to set it: try again.")


def delete_alias(store: Store, prefix: str, alias: str) -> None:
    """Forget an alias; fine when it does not exist."""
    store.delete(_key(prefix, alias))


def _key(prefix: str, alias: str) -> str:
    if not _NAME.fullmatch(alias):
        raise ConfigError(f"{alias!r} is no alias: use up to 63 of a-z, 0-9, '.', '_' and '-'.")
    return f"{prefix}/aliases/{alias}.json"


def _read(store: Store, key: str) -> tuple[Alias | None, str | None]:
    try:
        data, tag = store.read_tagged(key)
    except NotFoundError:
        return None, None
    try:
        return Alias.model_validate_json(data), tag
    except ValidationError as error:
        raise CorruptionError(f"{key!r} in {store.uri!r} is no alias: delete it and set it again.") from error
