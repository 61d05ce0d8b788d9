"""The object store behind one interface: ``file:///dir`` and ``s3://bucket/prefix``.

Keys are posix paths below the store's root. Nothing is ever half-written: a key holds its old bytes or its new ones.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True)
class StoredObject:
    """One object of a listing: its key, size in bytes and a tag that changes with its content."""

    key: str
    size: int
    tag: str


class Store(Protocol):
    """What a backend can do. A method raises ``StoreError`` with a sentence, never a client's own error."""

    uri: str

    def read(self, key: str) -> bytes:
        """The object's bytes; raises ``NotFoundError``."""

    def read_tagged(self, key: str) -> tuple[bytes, str]:
        """The object's bytes and the tag ``swap`` expects; raises ``NotFoundError``."""

    def read_range(self, key: str, offset: int, length: int) -> bytes:
        """``length`` bytes from ``offset``; raises ``CorruptionError`` when there are fewer."""

    def write(self, key: str, data: bytes) -> None:
        """Put the object, replacing what was there."""

    def create(self, key: str, data: bytes) -> bool:
        """Put the object only if the key is free (one conditional put); False when it was taken."""

    def swap(self, key: str, data: bytes, expected: str | None) -> bool:
        """Put the object only if its tag is still ``expected`` (``None``: only if absent); False when it is not."""

    def upload(self, path: Path, key: str) -> None:
        """Put a local file, whatever its size, in constant memory."""

    def download(self, key: str, path: Path) -> None:
        """Get an object into a local file (atomically), in constant memory; raises ``NotFoundError``."""

    def exists(self, key: str) -> bool:
        """Whether the key holds an object."""

    def list(self, prefix: str) -> Iterator[StoredObject]:
        """Objects whose key starts with ``prefix``, sorted by key."""

    def delete(self, key: str) -> None:
        """Remove the object; fine when it is not there."""


def open_store(uri: str) -> Store:
    """The store at ``uri``; raises ``ConfigError`` when the scheme or the credentials are wrong."""
    raise NotImplementedError
