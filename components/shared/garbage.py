"""Find and remove what no dataset version reaches: shards, tables, half-written files and void leases.

A shard is reached when the manifest of any version of any dataset lists it. Everything else below ``shards/`` was left
by a load that was killed, or lost its last version. Two things keep a collection from what is being written:

- Age. Nothing is removed that the store itself calls younger than ``older_than``, nor anything stored since the oldest
  load began that holds a lease (``lease.loading``), so a load may take longer than that. A load that finds a shard in
  place of writing it makes it young again (``Store.touch``).
- Leases. A commit looks whether its shards are there and writes its manifest under a lease, and while one is held
  nothing is removed (``lease.committing``, ``lease.collecting``). So a collection that did remove a shard too early,
  because it was told to by ``older_than`` 0, costs that load a clear error and never leaves a version without pixels.

Of models and checkpoints no key is read or removed.
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
_OURS = ("shards/", "datasets/", "leases/")


class Kind(StrEnum):
    """What a piece of garbage is."""

    SHARD = "shard"
    TABLE = "table"
    UNFINISHED = "unfinished write"
    LEASE = "void lease"


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


def collect(store: Store, *, older_than: float = DAY, dry_run: bool = False, notify: Notify = silent) -> Collection:
    """Remove what no version reaches and is older than ``older_than`` seconds; with ``dry_run`` only find it.

    Raises:
        ConflictError: datasets are being committed all the time; nothing was removed.
        CorruptionError: a manifest cannot be read, so what it reaches is not known; nothing was removed.
        StoreError: the store failed; what was removed until then was garbage.
    """
    if dry_run:
        return _find(store, time.time(), older_than)
    with lease.collecting(store) as held:
        notify(0.0, "looking for what no version reaches")
        found = _find(store, held.now, older_than)
        return replace(found, garbage=_remove(store, found.garbage, held, notify), removed=True)


def _find(store: Store, now: float, older_than: float) -> Collection:
    loads = [holder for holder in lease.holders(store, now) if holder.work is Work.LOAD]
    cutoff = min([now - older_than, *(holder.since - CLOCKS_APART for holder in loads)])
    shards = [entry for entry in store.list("shards/") if _SHARD.fullmatch(entry.key)]
    entries = list(store.list("datasets/"))
    manifests = _read_manifests(store, entries)
    reached = _reached(manifests)
    loose = [*_loose(shards, entries, reached, now), *_unfinished(store, now, older_than), *_leases(store, now)]
    return Collection(
        garbage=tuple(piece for piece in loose if _is_old(piece, cutoff)),
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


def _remove(store: Store, garbage: tuple[Garbage, ...], held: Lease, notify: Notify) -> tuple[Garbage, ...]:
    def remove(piece: Garbage) -> bool:
        held.check()
        if piece.kind is Kind.SHARD and _touched(store, piece.entry):
            return False
        if piece.kind is Kind.UNFINISHED:
            store.discard(piece.entry)
        else:
            store.delete(piece.entry.key)
        return True

    removed = []
    with ThreadPoolExecutor(_THREADS) as pool:
        for done, (piece, gone) in enumerate(zip(garbage, pool.map(remove, garbage), strict=True), 1):
            removed += [piece] if gone else []
            notify(done / len(garbage), f"removed {done} of {len(garbage)}")
    return tuple(removed)


def _touched(store: Store, entry: StoredObject) -> bool:
    """Whether a load took the shard for its own since it was listed."""
    return any(found.modified > entry.modified for found in store.list(entry.key))
