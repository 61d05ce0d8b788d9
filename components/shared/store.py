"""The object store behind one interface: ``file:///dir`` and ``s3://bucket/prefix``.

Keys are posix paths below the store's root. Nothing is ever half-written: a key holds its old bytes or its new ones.
No object is empty: SeaweedFS leaves an empty one where a writer was killed between a request's head and its body, so
one without bytes counts as absent, and none is written on purpose.
A tag follows from an object's bytes, so a caller that swaps one object often gives each of its states other bytes.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote

from components.shared.errors import ConfigError, StoreError

TEMPORARY = ".tmp-"  # what a file that is being written is called; no key may have such a part
LOCKS = ".locks"
_SCHEME = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]*)://")
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f]")


@dataclass(frozen=True)
class StoredObject:
    """One object of a listing.

    Attributes:
        key: where it lies.
        size: bytes.
        tag: changes with its content.
        modified: when it was written or touched last, seconds since 1970 by the store's own clock.
    """

    key: str
    size: int
    tag: str
    modified: float


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

    def touch(self, key: str) -> bool:
        """Make the object as new (``modified``) without sending its bytes; False when it is not there."""

    def leftovers(self) -> Iterator[StoredObject]:
        """What writers began and never finished; no object, so no listing shows it. ``key`` is for people."""

    def discard(self, leftover: StoredObject) -> None:
        """Remove what ``leftovers`` showed; fine when it is not there."""


def open_store(uri: str) -> Store:
    """The store at ``uri``: ``file:///dir``, a plain path, or ``s3://bucket/prefix``.

    The endpoint, region and credentials of an S3 store come from the environment: ``S3_ENDPOINT_URL`` or
    ``AWS_ENDPOINT_URL_S3`` or ``AWS_ENDPOINT_URL``, ``AWS_REGION`` and the ``AWS_*`` keys; without keys the
    pod's or machine's role is used. Nothing is contacted before the first request.

    Raises:
        ConfigError: the scheme, the bucket, the endpoint or half of a key pair is wrong.
    """
    # ruff: noqa: PLC0415 - the backends stand on this module, and minio is loaded only where it is used
    scheme = _SCHEME.match(uri)
    if scheme is None or scheme[1] == "file":
        from components.shared.store_file import FileStore

        path = uri if scheme is None else unquote(uri.removeprefix("file://"))
        if not path.strip():
            raise ConfigError(f"The store {uri!r} names no folder: write 'file:///absolute/folder'.")
        store = FileStore(Path(path))
        if store.root.exists() and not store.root.is_dir():
            raise ConfigError(f"The store {uri!r} is a file: give a folder, or one that does not exist yet.")
        return store
    if scheme[1] == "s3":
        from components.shared.store_s3 import S3Store

        return S3Store.from_environment(uri)
    raise ConfigError(
        f"The store's scheme {scheme[1]!r} is unknown: write 'file:///folder' or 's3://bucket/prefix'"
        " (the endpoint of a MinIO or SeaweedFS goes into S3_ENDPOINT_URL)."
    )


def check_size(key: str, size: int) -> None:
    """Refuse to write an object without bytes.

    Raises:
        StoreError: ``size`` is 0.
    """
    if not size:
        raise StoreError(f"Nothing was given to write to {key!r}: an object has a byte or more.")


def check_key(key: str) -> str:
    """Give ``key`` back when it is a clean posix path below the root.

    Raises:
        StoreError: it is empty, absolute, has an empty, ``.`` or ``..`` part, a control character or a reserved name.
    """
    parts = key.split("/")
    reserved = parts[0] == LOCKS or any(part.startswith(TEMPORARY) for part in parts)
    if reserved or _UNPRINTABLE.search(key) or not {"", ".", ".."}.isdisjoint(parts):
        raise StoreError(f"The key {key!r} cannot be used: write a relative path such as 'datasets/cats/dataset.json'.")
    return key
