"""All datasets of a store at a glance: each committed version, what points to it and how large it is."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from components.shared import dataset_store
from components.shared.dataset import MANIFEST, Manifest
from components.shared.errors import NotFoundError, StoreError
from components.shared.store import Store, StoredObject

_THREADS = 8
_PARTS = 5  # datasets/<name>/versions/<version>/dataset.json


@dataclass(frozen=True)
class CatalogueEntry:
    """One committed version.

    Attributes:
        name: the dataset's.
        version: 64 hex digits.
        written: when it was committed, seconds since 1970 by the store's clock.
        newest: whether no version of the dataset was committed later.
        aliases: what points to it, sorted.
        manifest: ``None`` when it cannot be read.
        problem: why not, or empty.
    """

    name: str
    version: str
    written: float
    newest: bool
    aliases: tuple[str, ...]
    manifest: Manifest | None
    problem: str = ""

    @property
    def bytes(self) -> int:
        """Bytes of the shards it stands on; other versions may stand on the same ones."""
        return sum(shard.size for shard in self.manifest.shards) if self.manifest else 0


def catalogue(store: Store, name: str | None = None) -> tuple[CatalogueEntry, ...]:
    """The versions of all datasets, or of one: by name, the newest first.

    Raises:
        StoreError: the store failed.
    """
    prefix = f"datasets/{dataset_store.check_name(name)}/" if name else "datasets/"
    committed = [entry for entry in store.list(prefix) if _is_manifest(entry.key)]
    names = sorted({entry.key.split("/")[1] for entry in committed})
    with ThreadPoolExecutor(_THREADS) as pool:
        aliases = dict(zip(names, pool.map(lambda each: dataset_store.aliases(store, each), names), strict=True))
        found = list(pool.map(lambda entry: _entry(store, entry, committed, aliases), committed))
    return tuple(sorted((each for each in found if each), key=lambda each: (each.name, -each.written, each.version)))


def _is_manifest(key: str) -> bool:
    parts = key.split("/")
    return len(parts) == _PARTS and parts[2] == "versions" and parts[-1] == MANIFEST


def _entry(
    store: Store, entry: StoredObject, committed: list[StoredObject], aliases: dict[str, dict[str, str]]
) -> CatalogueEntry | None:
    name, version = entry.key.split("/")[1], entry.key.split("/")[3]
    manifest, problem = None, ""
    try:
        manifest = dataset_store.read_manifest(store, name, version)
    except NotFoundError:  # removed since the listing
        return None
    except StoreError as error:
        problem = str(error)
    home = f"datasets/{name}/"
    return CatalogueEntry(
        name=name,
        version=version,
        written=entry.modified,
        newest=entry.modified == max(each.modified for each in committed if each.key.startswith(home)),
        aliases=tuple(sorted(alias for alias, target in aliases[name].items() if target == version)),
        manifest=manifest,
        problem=problem,
    )
