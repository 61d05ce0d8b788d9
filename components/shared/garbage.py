"""Find and remove what nobody needs: what no dataset version reaches, half-written files, void leases, old checkpoints.

A shard is reached when the manifest of any version of any dataset lists it. Everything else below ``shards/`` was left
by a load that was killed, or lost its last version. Two things keep a collection from what is being written:

- Age. Nothing is removed that the store itself calls younger than ``older_than``, nor anything stored since the oldest
  load began that holds a lease (``lease.loading``), so a load may take longer than that. A load that finds a shard in
  place of writing it makes it young again (``Store.touch``).
- Leases. A commit looks whether its shards are there and writes its manifest under a lease, and while one is held
  nothing is removed (``lease.committing``, ``lease.collecting``). So a collection that did remove a shard too early,
  because it was told to by ``older_than`` 0, costs that load a clear error and never leaves a version without pixels.

A training's checkpoints go, all at once, when none of them was written or gone on from for ``checkpoints_older_than``.
Of models no key is read or removed.
"""

import re
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from enum import StrEnum

from pydantic import ValidationError

from components.shared import lease
from components.shared.dataset import MANIFEST, TABLES, Manifest
from components.shared.dataset_store import table_file
from components.shared.errors import CorruptionError, NotFoundError
from components.shared.lease import Lease, Work
from components.shared.progress import Notify, silent
from components.shared.shards import shard_key
from components.shared.store import Store, StoredObject

DAY = 86_400.0
CLOCKS_APART = 3600.0  # seconds by which the clocks of a load and of the store may differ
_THREADS = 8
_SHARD = re.compile(r"shards/[0-9a-f]{64}\.tar")
_TABLE = re.compile(r"datasets/[^/]+/versions/[0-9a-f]{64}/[a-z]+\.[0-9a-f]{16}\.parquet")
_TRAINING = re.compile(r"(checkpoints/[0-9a-f]{64}/)\d{6,}-[0-9a-f]+/.+")
_COMMITTED = "/checkpoint.json"  # an object so named makes a checkpoint of the others in its folder
_OURS = ("shards/", "datasets/", "leases/")


class Kind(StrEnum):
    """What a piece of garbage is."""

    SHARD = "shard"
    TABLE = "table"
    UNFINISHED = "unfinished write"
    LEASE = "void lease"
    CHECKPOINT = "checkpoint file"


@dataclass(frozen=True)
class Garbage:
    """One thing to remove, why it is garbage, and how old it is in seconds."""

    kind: Kind
    entry: StoredObject
    age: float


@dataclass(frozen=True)
class Collection:
    """What a collection found.

    Attributes:
        garbage: what was removed, or would be.
        young: things no version reaches that are too young to be removed.
        kept_shards: shards that versions reach.
        manifests: versions that were read.
        loads: loads that are going on.
        removed: whether the garbage was removed.
    """

    garbage: tuple[Garbage, ...]
    young: tuple[Garbage, ...]
    kept_shards: int
    manifests: int
    loads: int
    removed: bool

    @property
    def bytes(self) -> int:
        """Bytes of the garbage."""
        return sum(piece.entry.size for piece in self.garbage)


def collect(
    store: Store,
    *,
    older_than: float = DAY,
    checkpoints_older_than: float = 14 * DAY,
    dry_run: bool = False,
    notify: Notify = silent,
) -> Collection:
    """Remove what nobody needs; with ``dry_run`` only find it.

    Args:
        store: where to look.
        older_than: what no version reaches goes when it is older than so many seconds.
        checkpoints_older_than: checkpoints go when nothing happened to their training for so many seconds.
        dry_run: remove nothing.
        notify: hears how far it is.

    Raises:
        ConflictError: datasets are being committed all the time; nothing was removed.
        CorruptionError: a manifest cannot be read, so what it reaches is not known; nothing was removed.
        StoreError: the store failed; what was removed until then was garbage.
    """
    if dry_run:
        return _find(store, time.time(), older_than, checkpoints_older_than)
    with lease.collecting(store) as held:
        notify(0.0, "looking for what nobody needs")
        found = _find(store, held.now, older_than, checkpoints_older_than)
        return replace(found, garbage=_remove(store, found.garbage, held, notify), removed=True)


def _find(store: Store, now: float, older_than: float, checkpoints_older_than: float) -> Collection:
    loads = [holder for holder in lease.holders(store, now) if holder.work is Work.LOAD]
    cutoff = min([now - older_than, *(holder.since - CLOCKS_APART for holder in loads)])
    shards = [entry for entry in store.list("shards/") if _SHARD.fullmatch(entry.key)]
    entries = list(store.list("datasets/"))
    manifests = _read_manifests(store, entries)
    reached = _reached(manifests)
    loose = [*_loose(shards, entries, reached, now), *_unfinished(store, now, older_than), *_leases(store, now)]
    forgotten = _checkpoints(store, now, now - checkpoints_older_than)
    return Collection(
        garbage=(*(piece for piece in loose if _is_old(piece, cutoff)), *forgotten),
        young=tuple(piece for piece in loose if not _is_old(piece, cutoff)),
        kept_shards=sum(entry.key in reached for entry in shards),
        manifests=len(manifests),
        loads=len(loads),
        removed=False,
    )


def _is_old(piece: Garbage, cutoff: float) -> bool:
    return piece.kind is Kind.LEASE or piece.entry.modified <= cutoff


def _read_manifests(store: Store, entries: Iterable[StoredObject]) -> dict[str, Manifest]:
    """Manifests by the key of their version's folder."""
    keys = [entry.key for entry in entries if entry.key.endswith(f"/{MANIFEST}")]
    with ThreadPoolExecutor(_THREADS) as pool:
        found = pool.map(lambda key: _read_manifest(store, key), keys)
        return {key.rpartition("/")[0]: manifest for key, manifest in zip(keys, found, strict=True) if manifest}


def _read_manifest(store: Store, key: str) -> Manifest | None:
    try:
        return Manifest.model_validate_json(store.read(key))
    except NotFoundError:  # its version was removed since the listing
        return None
    except ValidationError as error:
        raise CorruptionError(
            f"{key!r} in {store.uri!r} is no manifest this release can read, so what it needs is not known and nothing"
            " is removed: upgrade, or delete that version."
        ) from error


def _reached(manifests: dict[str, Manifest]) -> set[str]:
    shards = {shard_key(shard.sha256) for manifest in manifests.values() for shard in manifest.shards}
    tables = {f"{home}/{table_file(table, manifest)}" for home, manifest in manifests.items() for table in TABLES}
    return shards | tables


def _loose(
    shards: Iterable[StoredObject], entries: Iterable[StoredObject], reached: set[str], now: float
) -> Iterator[Garbage]:
    for entry in shards:
        if entry.key not in reached:
            yield Garbage(Kind.SHARD, entry, now - entry.modified)
    for entry in entries:
        if _TABLE.fullmatch(entry.key) and entry.key not in reached:
            yield Garbage(Kind.TABLE, entry, now - entry.modified)


def _unfinished(store: Store, now: float, older_than: float) -> Iterator[Garbage]:
    """What killed writers left; that of models and checkpoints only when it is a day old, whatever was asked for."""
    for entry in store.leftovers():
        if entry.key.startswith(_OURS) or now - entry.modified > max(DAY, older_than):
            yield Garbage(Kind.UNFINISHED, entry, now - entry.modified)


def _leases(store: Store, now: float) -> Iterator[Garbage]:
    for entry in store.list(lease.PREFIX):
        if entry.modified < now - lease.EXPIRY:
            yield Garbage(Kind.LEASE, entry, now - entry.modified)


def _checkpoints(store: Store, now: float, cutoff: float) -> list[Garbage]:
    """The checkpoints of trainings to which nothing happened since ``cutoff``."""
    trainings: dict[str, list[StoredObject]] = {}
    for entry in store.list("checkpoints/"):
        if match := _TRAINING.fullmatch(entry.key):
            trainings.setdefault(match[1], []).append(entry)
    old = [each for each in trainings.values() if max(entry.modified for entry in each) <= cutoff]
    return [Garbage(Kind.CHECKPOINT, entry, now - entry.modified) for entries in old for entry in entries]


def _remove(store: Store, garbage: tuple[Garbage, ...], held: Lease, notify: Notify) -> tuple[Garbage, ...]:
    latest = _latest(garbage)

    def remove(piece: Garbage) -> bool:
        held.check()
        area = _area(piece)
        if area and _touched(store, area, latest[area]):
            return False
        if piece.kind is Kind.UNFINISHED:
            store.discard(piece.entry)
        else:
            store.delete(piece.entry.key)
        return True

    # A checkpoint loses its manifest before its files, so that it is never one without them.
    ordered = sorted(garbage, key=lambda piece: not piece.entry.key.endswith(_COMMITTED))
    first = sum(piece.entry.key.endswith(_COMMITTED) for piece in ordered)
    removed: list[Garbage] = []
    with ThreadPoolExecutor(_THREADS) as pool:
        for part in (ordered[:first], ordered[first:]):
            for piece, gone in zip(part, pool.map(remove, part), strict=True):
                removed += [piece] if gone else []
                notify(len(removed) / len(garbage), f"removed {len(removed)} of {len(garbage)}")
    return tuple(removed)


def _area(piece: Garbage) -> str:
    """The prefix in which nothing may have happened since it was listed; empty where that does not matter."""
    if piece.kind is Kind.SHARD:
        return piece.entry.key
    match = _TRAINING.fullmatch(piece.entry.key)
    return match[1] if match and piece.kind is Kind.CHECKPOINT else ""


def _latest(garbage: Iterable[Garbage]) -> dict[str, float]:
    """When something happened last in each of the areas, as listed."""
    found: dict[str, float] = {}
    for piece in garbage:
        found[_area(piece)] = max(found.get(_area(piece), 0.0), piece.entry.modified)
    return found


def _touched(store: Store, prefix: str, since: float) -> bool:
    """Whether something there was written or touched after it was listed: a load or a training took it for its own."""
    return any(found.modified > since for found in store.list(prefix))
