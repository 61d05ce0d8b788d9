"""The members of one layer, read in order from a stream that is bounded and hashed."""

import gzip
import hashlib
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

from components.shared.errors import ArchiveError, UnsafeInputError, in_one_line
from components.shared.oci.blobs import Blobs
from components.shared.oci.image import Layer

CHUNK = 1 << 20
RATIO = 200  # unpacked bytes for each packed one
RATIO_FROM = 64 << 20  # below it a layer may well pack better
_LARGEST_READ = 16 << 20
_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
_BROKEN = (tarfile.TarError, zlib.error, gzip.BadGzipFile, EOFError)


class LayerStream:
    """A layer's uncompressed bytes, for tarfile: they are read once, in order."""

    def __init__(self, raw: IO[bytes], packed: int, name: str) -> None:
        magic = raw.read(4)
        raw.seek(0)
        if magic == _ZSTD:
            raise ArchiveError(
                f"The layer {name!r} is packed with zstd: copy the image with"
                " 'skopeo copy --dest-compress-format gzip' first."
            )
        zipped = magic.startswith(_GZIP)
        self._stream: IO[bytes] | gzip.GzipFile = gzip.GzipFile(fileobj=raw) if zipped else raw
        self._limit = max(RATIO * packed, RATIO_FROM) if zipped else None
        self._name = name
        self._position = 0
        self._digest = hashlib.sha256()

    def read(self, size: int) -> bytes:
        """Up to ``size`` bytes."""
        if size > _LARGEST_READ:
            raise UnsafeInputError(f"The layer {self._name!r} has a header of {size} bytes: do not trust this image.")
        data = self._stream.read(size)
        self._position += len(data)
        self._digest.update(data)
        if self._limit is not None and self._position > self._limit:
            raise UnsafeInputError(f"The layer {self._name!r} unpacks to more than {self._limit} bytes: it is a bomb.")
        return data

    def seek(self, offset: int) -> int:
        """Go on to a place, hashing what lies between."""
        if offset < self._position:
            raise tarfile.ReadError("a member lies before the one that was read")
        while self._position < offset and self.read(min(CHUNK, offset - self._position)):
            pass
        return self._position

    def tell(self) -> int:
        """Where the stream stands, in uncompressed bytes."""
        return self._position

    def finish(self) -> str:
        """Read the rest; gives ``sha256:...`` of everything."""
        while self.read(CHUNK):
            pass
        return f"sha256:{self._digest.hexdigest()}"


@contextmanager
def open_layer(blobs: Blobs, layer: Layer) -> Iterator[tuple[LayerStream, Iterator[tarfile.TarInfo], tarfile.TarFile]]:
    """A layer's stream, its members in order, and the tar that gives a member's bytes while it is the current one.

    Raises:
        ArchiveError: the layer is missing or damaged.
        UnsafeInputError: it breaks the bounds.
    """
    raw, size = blobs.open(layer.blob)
    with raw:
        stream = LayerStream(raw, size, layer.blob)
        try:
            with tarfile.open(fileobj=stream, mode="r:") as tar:  # type: ignore[call-overload]
                yield stream, _members(tar), tar
        except _BROKEN as error:
            detail = in_one_line(error)
            raise ArchiveError(f"The layer {layer.blob!r} is damaged ({detail}): copy the image again.") from error


def check_blob(blobs: Blobs, layer: Layer) -> None:
    """Compare a layer's blob, as it lies there, with its digest.

    Raises:
        ArchiveError: they differ, or it is missing.
    """
    if not layer.digest:
        return
    raw, _ = blobs.open(layer.blob)
    with raw:
        found = hashlib.sha256()
        while chunk := raw.read(CHUNK):
            found.update(chunk)
    if f"sha256:{found.hexdigest()}" != layer.digest:
        raise ArchiveError(f"The layer {layer.blob!r} in {blobs.where!r} has other bytes: copy the image again.")


def _members(tar: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    while info := tar.next():
        tar.members.clear()  # type: ignore[attr-defined] # otherwise tarfile keeps every header in memory
        yield info
