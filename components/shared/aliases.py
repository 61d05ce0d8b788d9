"""Names that move between versions (``latest``, ``champion``), by compare-and-set, so that no move is lost."""

import json
import re

from components.shared.errors import ConflictError, CorruptionError, NotFoundError
from components.shared.store import Store

TRIES = 20
ALIAS = re.compile(r"[a-z][a-z0-9_-]{0,31}")


def alias_key(prefix: str, alias: str) -> str:
    """Where an alias lies below ``prefix`` (``datasets/<name>`` or ``models/<name>``)."""
    if not ALIAS.fullmatch(alias):
        raise ConflictError(f"{alias!r} cannot be an alias: use lower-case letters, digits, - and _.")
    return f"{prefix}/aliases/{alias}.json"


def read_alias(store: Store, prefix: str, alias: str) -> str | None:
    """The version an alias points to, or ``None`` when there is no such alias.

    Raises:
        CorruptionError: the alias file is not one of ours.
    """
    return _read(store, alias_key(prefix, alias))[0]


def move_alias(store: Store, prefix: str, alias: str, version: str) -> str | None:
    """Point an alias to a version; each move counts up its sequence.

    Returns:
        The version it pointed to before, or ``None``.

    Raises:
        ConflictError: others kept moving it.
    """
    key = alias_key(prefix, alias)
    for _ in range(TRIES):
        former, sequence, tag = _read(store, key)
        if former == version:
            return former
        content = json.dumps({"version": version, "sequence": sequence + 1}).encode()
        if store.swap(key, content, tag):
            return former
    raise ConflictError(f"The alias {key!r} was moved by others {TRIES} times in a row: try again.")


def _read(store: Store, key: str) -> tuple[str | None, int, str | None]:
    try:
        content, tag = store.read_tagged(key)
    except NotFoundError:
        return None, 0, None
    try:
        facts = json.loads(content)
        return str(facts["version"]), int(facts["sequence"]), tag
    except (ValueError, KeyError, TypeError) as error:
        raise CorruptionError(f"{key!r} in {store.uri} is not an alias: restore it or delete it.") from error
