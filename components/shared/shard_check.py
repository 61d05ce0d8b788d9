"""Read one shard from end to end, and hash it and each image in it on the way."""

import hashlib
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from components.shared.errors import CorruptionError, NotFoundError
from components.shared.shards import shard_key
from components.shared.store import Store

WINDOW = 16 << 20  # bytes that one request reads


@dataclass(frozen=True)
class Flaw:
    """Something of a shard that is not as it should be: the ``shard`` itself, or an ``image`` of a dataset in it."""

    kind: str
    where: str
    detail: str
    dataset: str = ""


@dataclass
class _Member:
    """An image that is being hashed; ``start`` and ``end`` are bytes of the shard."""

    start: int
    end: int
    sha256: str
    name: str
    dataset: str
    hasher: Any = field(default_factory=hashlib.sha256)

    def take(self, piece: memoryview, position: int) -> None:
        """Hash what of the piece at ``position`` belongs to the image."""
        self.hasher.update(piece[max(0, self.start - position) : max(0, self.end - position)])

    def flaw(self, shard: str, *, cut: bool) -> Flaw | None:
        found = self.hasher.hexdigest()
        if not cut and found == self.sha256:
            return None
        what = "is cut off" if cut else f"has sha256 {found!r} instead of {self.sha256!r}"
        return Flaw("image", self.name, f"{what}, at byte {self.start} of {shard_key(shard)!r}", self.dataset)


def check_shard(
    store: Store,
    digest: str,
    size: int,
    stored: int | None,
    members: pl.DataFrame | None,
    read: Callable[[int], None],
) -> list[Flaw]:
    """What is wrong with a shard and its images; empty when all is well.

    Args:
        store: holds the shard.
        digest: its sha256.
        size: bytes it should have.
        stored: bytes it has in the store; ``None`` when it is not there.
        members: its images, sorted by ``offset``; columns ``offset``, ``bytes``, ``sha256``, ``name``, ``dataset``.
        read: hears how many bytes were read.

    Raises:
        StoreError: the store failed.
    """
    key = shard_key(digest)
    waiting = deque(_members(members))
    if stored is None:
        return [Flaw("shard", key, f"is missing, and {len(waiting)} images with it")]
    flaws = [] if stored == size else [Flaw("shard", key, f"has {stored} bytes instead of {size}")]
    hasher = hashlib.sha256()
    active: list[_Member] = []
    position = 0
    try:
        while position < stored:
            piece = memoryview(store.read_range(key, position, min(WINDOW, stored - position)))
            hasher.update(piece)
            while waiting and waiting[0].start < position + len(piece):
                active.append(waiting.popleft())
            for member in active:
                member.take(piece, position)
            position += len(piece)
            done = [member.flaw(digest, cut=False) for member in active if member.end <= position]
            flaws += [flaw for flaw in done if flaw]
            active = [member for member in active if member.end > position]
            read(len(piece))
    except (NotFoundError, CorruptionError) as error:
        flaws.append(Flaw("shard", key, f"cannot be read to its end: {error}"))
    cut = [member.flaw(digest, cut=True) for member in (*active, *waiting)]
    flaws += [flaw for flaw in cut if flaw]
    found = hasher.hexdigest()
    if found != digest and not any(flaw.kind == "shard" for flaw in flaws):
        flaws.insert(0, Flaw("shard", key, f"has sha256 {found!r}"))
    return flaws


def _members(table: pl.DataFrame | None) -> list[_Member]:
    if table is None:
        return []
    rows = table.select("offset", "bytes", "sha256", "name", "dataset").iter_rows()
    return [_Member(offset, offset + size, sha256, name, dataset) for offset, size, sha256, name, dataset in rows]
