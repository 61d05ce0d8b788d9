"""``models promote`` and ``models rollback``: move the champion, with a note of why."""

import argparse

from components.shared.alias_history import Why, move_noted, read_moves, version_before
from components.shared.errors import ConfigError
from components.shared.model_catalogue import current_quality
from components.shared.registry import (
    CHAMPION,
    SHORT,
    ModelRecord,
    find_champion,
    find_model,
    find_record,
    model_key,
)
from components.shared.store import Store
from pipelines.dataset_commands.output import Answer, line
from pipelines.models.look import find, gate_text


def promote_model(options: argparse.Namespace, store: Store) -> Answer:
    """Make a version the champion, if its gate passed or a person says why it may be all the same.

    Raises:
        ConfigError: its gate did not pass or is not known, and nobody took that upon him.
        ConflictError: somebody else moved the champion meanwhile.
    """
    former = _champion_of(store, options.model)
    record = find(store, options.model)
    quality = current_quality(store, record)
    passed = quality is not None and quality.passed
    reason = options.reason.strip()
    if options.force and not reason:
        raise ConfigError("--force needs a --reason: it is kept with the move.")
    if not passed and not options.force:
        said = gate_text(quality.gate if quality else None)
        raise ConfigError(
            f"The quality gate of {record} says: {said} It is promoted all the same with --force --reason TEXT."
        )
    return _move(store, record, former, why=Why.PROMOTE, reason=reason, forced=not passed)


def roll_back(options: argparse.Namespace, store: Store) -> Answer:
    """Make the champion before the current one the champion again.

    Raises:
        ConfigError: there was none, or it is not in the store any more.
        ConflictError: somebody else moved the champion meanwhile.
    """
    current = find_model(store, options.name, CHAMPION)
    before = version_before(read_moves(store, model_key(current.name), CHAMPION))
    if before is None:
        raise ConfigError(
            f"No champion of {current.name!r} before {current.version[:SHORT]!r} is known:"
            f" name the version with 'promote {current.name}@VERSION'."
        )
    record = find_record(store, current.name, before)
    if record is None:
        raise ConfigError(
            f"The champion of {current.name!r} before was {before[:SHORT]!r}, which is not in {store.uri!r} any more:"
            f" name another version with 'promote {current.name}@VERSION'."
        )
    return _move(store, record, current.version, why=Why.ROLLBACK, reason=options.reason.strip(), forced=False)


def _champion_of(store: Store, text: str) -> str | None:
    """The champion as it is now, of the model that a reference is about."""
    return find_champion(store, text.partition("@")[0])


def _move(store: Store, record: ModelRecord, former: str | None, *, why: Why, reason: str, forced: bool) -> Answer:
    prefix = model_key(record.name)
    move_noted(store, prefix, CHAMPION, record.version, why=why, reason=reason, forced=forced, expected=former)
    before = f" (before: {former[:SHORT]})" if former and former != record.version else ""
    unchanged = " already" if former == record.version else ""
    data = {
        "store": store.uri,
        "name": record.name,
        "champion": record.version,
        "former": former,
        "moved": former != record.version,
        "forced": forced,
        "reason": reason,
    }
    return Answer(data, lambda console: line(console, "champion", f"{record} is the champion{unchanged}{before}"))
