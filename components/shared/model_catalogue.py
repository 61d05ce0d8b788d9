"""What a store holds of models: each published version, when it came, what it is, and which one is the champion."""

from collections.abc import Iterator
from dataclasses import dataclass

from components.shared.aliases import find_alias
from components.shared.errors import CorruptionError, NotFoundError
from components.shared.model_lineage import Quality, newest_quality
from components.shared.registry import CHAMPION, RECORD, ModelRecord, model_key, read_record, version_key
from components.shared.store import Store

_PARTS = 5  # models/<name>/versions/<version>/model.json


@dataclass(frozen=True)
class PublishedVersion:
    """A published version of a model.

    Attributes:
        name: the model.
        version: 64 hex digits.
        published: when its record was stored, seconds since 1970 by the store's clock.
        champion: whether it is the model's champion.
        record: what is known of it; ``None`` when that cannot be read.
        problem: why it cannot.
    """

    name: str
    version: str
    published: float
    champion: bool
    record: ModelRecord | None
    problem: str = ""


def published_versions(store: Store, name: str | None = None) -> tuple[PublishedVersion, ...]:
    """Every version of one model or of all, by model, the newest first."""
    prefix = f"{model_key(name)}/versions/" if name else "models/"
    champions: dict[str, str | None] = {}
    found = []
    for model, version, published in _records(store, prefix):
        if model not in champions:
            champions[model] = _champion(store, model)
        try:
            record, problem = read_record(store, model, version), ""
        except NotFoundError:  # removed since the listing
            continue
        except CorruptionError as error:
            record, problem = None, str(error)
        found.append(PublishedVersion(model, version, published, champions[model] == version, record, problem))
    return tuple(sorted(found, key=lambda entry: (entry.name, -entry.published, entry.version)))


def published_at(store: Store, record: ModelRecord) -> float:
    """When a version's record was stored, seconds since 1970 by the store's clock."""
    home = f"{version_key(record.name, record.version)}/{RECORD}"
    return next((entry.modified for entry in store.list(home) if entry.key == home), 0.0)


def current_quality(store: Store, record: ModelRecord) -> Quality | None:
    """How good a version is by its newest evaluation, or by its record when none is kept; ``None``: not known."""
    kept = newest_quality(store, version_key(record.name, record.version))
    gate = record.lineage.gate
    if kept is not None or gate is None:
        return kept
    return Quality(passed=gate.passed, reasons=gate.reasons, metrics=record.lineage.evaluation)


def _champion(store: Store, name: str) -> str | None:
    try:
        alias = find_alias(store, model_key(name), CHAMPION)
    except CorruptionError:  # the other versions are to be seen all the same
        return None
    return alias.version if alias else None


def _records(store: Store, prefix: str) -> Iterator[tuple[str, str, float]]:
    """Model, version and time of each record below a prefix."""
    for entry in store.list(prefix):
        parts = entry.key.split("/")
        if len(parts) == _PARTS and parts[2] == "versions" and parts[-1] == RECORD:
            yield parts[1], parts[3], entry.modified
