"""Read every byte that dataset versions stand on and compare it with the digest it should have."""

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import polars as pl

from components.shared import dataset_store
from components.shared.dataset import Dataset, content_version
from components.shared.dataset_reference import Reference
from components.shared.errors import PipelineError, StoreError
from components.shared.progress import Notify, silent
from components.shared.shard_check import check_shard
from components.shared.shards import shard_key
from components.shared.store import Store

_THREADS = 2


@dataclass(frozen=True)
class Problem:
    """One thing that is not as it should be.

    Attributes:
        kind: ``version`` (its manifest or tables), ``shard`` or ``image``.
        dataset: ``name@version`` that is hurt, the first of several.
        where: the key in the store, or the image's name.
        detail: what is wrong.
    """

    kind: str
    dataset: str
    where: str
    detail: str


@dataclass(frozen=True)
class Verification:
    """What was read, and what was wrong with it; ``damaged`` are keys of shards that have to be written again."""

    versions: int
    shards: int
    images: int
    bytes: int
    problems: tuple[Problem, ...]
    damaged: tuple[str, ...]


@dataclass
class _Count:
    """How many bytes were read of how many, told to a listener from several threads."""

    total: int
    notify: Notify
    done: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, size: int) -> None:
        with self.lock:
            self.done += size
            share = min(1.0, self.done / self.total) if self.total else 1.0
            self.notify(share, f"{self.done / 1e6:.0f} of {self.total / 1e6:.0f} MB")


def verify(store: Store, references: Sequence[Reference], notify: Notify = silent) -> Verification:
    """Re-hash the tables, the shards and each image of these versions; a shard that several use is read once.

    Shards are read from end to end in pieces, so memory does not grow with the data.

    Raises:
        StoreError: the store failed; what is missing or damaged is a ``Problem`` instead.
    """
    problems: list[Problem] = []
    whole: dict[Reference, Dataset] = {}
    for reference in references:
        found = _read_version(store, reference)
        if isinstance(found, Problem):
            problems.append(found)
        else:
            whole[reference] = found
            problems += _contradictions(reference, found)
    images = _images(whole)
    shards, damaged, count = _check_shards(store, whole, images, notify)
    return Verification(
        versions=len(references),
        shards=len({shard.sha256 for found in whole.values() for shard in found.shards}),
        images=images.height,
        bytes=count.done,
        problems=(*problems, *shards),
        damaged=damaged,
    )


def _check_shards(
    store: Store, whole: dict[Reference, Dataset], images: pl.DataFrame, notify: Notify
) -> tuple[list[Problem], tuple[str, ...], _Count]:
    sizes = {entry.key: entry.size for entry in store.list("shards/")}
    users = {shard.sha256: (shard.size, str(name)) for name, found in whole.items() for shard in found.shards}
    count = _Count(sum(min(size, sizes.get(shard_key(digest), 0)) for digest, (size, _) in users.items()), notify)
    members = {str(key[0]): group for key, group in images.partition_by("shard", as_dict=True).items()}

    def check(digest: str) -> list[Problem]:
        size, user = users[digest]
        found = check_shard(store, digest, size, sizes.get(shard_key(digest)), members.get(digest), count.add)
        return [Problem(flaw.kind, flaw.dataset or user, flaw.where, flaw.detail) for flaw in found]

    problems: list[Problem] = []
    damaged = []
    with ThreadPoolExecutor(_THREADS) as pool:
        for digest, found in zip(sorted(users), pool.map(check, sorted(users)), strict=True):
            problems += found
            damaged += [shard_key(digest)] if found and shard_key(digest) in sizes else []
    return problems, tuple(damaged), count


def _read_version(store: Store, reference: Reference) -> Dataset | Problem:
    """A version's content; its tables are compared with the manifest on the way."""
    try:
        return dataset_store.read(store, reference.name, reference.version)
    except PipelineError as error:
        if type(error) is StoreError:
            raise
        home = f"datasets/{reference.name}/versions/{reference.version}"
        return Problem("version", str(reference), home, str(error))


def _contradictions(reference: Reference, found: Dataset) -> Iterator[Problem]:
    version = content_version(found.classes, found.images, found.annotations)
    if version != reference.version:
        detail = f"its content has the version {version!r}"
        yield Problem("version", str(reference), reference.version, detail)
    listed = {shard.sha256 for shard in found.shards}
    for shard in sorted(set(found.images.get_column("shard").drop_nulls()) - listed):
        yield Problem("version", str(reference), reference.version, f"uses shard {shard!r} but does not list it")


def _images(whole: dict[Reference, Dataset]) -> pl.DataFrame:
    """Each image of each shard once: ``shard``, ``offset``, ``bytes``, ``sha256``, ``name``, ``dataset``, in order."""
    columns = ["shard", "offset", "bytes", "sha256", "name"]
    frames = [
        found.images.select(columns).drop_nulls("shard").with_columns(dataset=pl.lit(str(reference)))
        for reference, found in whole.items()
    ]
    if not frames:
        return pl.DataFrame(schema=[*columns, "dataset"])
    unique = pl.concat(frames).unique(["shard", "offset", "bytes", "sha256"], keep="first", maintain_order=True)
    return unique.sort("shard", "offset", "bytes")
