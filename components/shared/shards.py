"""Shards: images packed into large tar files of the object store, each image one range of bytes away."""

import hashlib
import tarfile
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from mmap import mmap
from types import MappingProxyType, TracebackType
from typing import Any, Self, cast

import polars as pl

from components.shared.dataset import ShardReference
from components.shared.errors import CorruptionError, NotFoundError
from components.shared.store import Store

TARGET_BYTES = 64 << 20
WINDOW_BYTES = 24 << 20  # images that are asked for together; of a table in shard order they share one request
REQUEST_BYTES = 30 << 20  # one request's limit: a window with the headers and gaps between its images
READ_AHEAD = 3  # windows in flight
GAP_BYTES = 512 << 10  # unwanted bytes between two images worth reading to save a request

_COLUMNS = ("image_id", "name", "sha256", "shard", "offset", "bytes")
_BLOCK = tarfile.BLOCKSIZE
_RECORD = tarfile.RECORDSIZE
_MAGIC = (
    (b"\xff\xd8\xff", "jpg"),
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"GIF8", "gif"),
    (b"BM", "bmp"),
    (b"II*\x00", "tif"),
    (b"MM\x00*", "tif"),
)


def shard_key(sha256: str) -> str:
    """Where the shard with this digest lies in the store."""
    return f"shards/{sha256}.tar"


@dataclass(frozen=True, slots=True)
class Location:
    """Where an encoded image lies: the shard's sha256, and the image's first byte and size in bytes there."""

    shard: str
    offset: int
    length: int


class ShardWriter:
    """Packs images into shards and puts each into the store as soon as it is full, while the next one fills.

    The same images in the same order give the same shards, byte for byte, so a repeated run uploads nothing.
    Used as a context manager: leaving it well puts the last shard, leaving it with an error does not. In memory are
    at most two shards, one that fills and one on its way.

    Attributes:
        locations: by image digest, where it lies; an image appears when its shard is in the store.
        shards: the shards in the store, in order.
        uploaded: those of them that were not there before.
    """

    def __init__(self, store: Store, *, target_bytes: int = TARGET_BYTES) -> None:
        """Write shards of about ``target_bytes`` to ``store``."""
        self._store = store
        self._target = target_bytes
        self._uploader = ThreadPoolExecutor(1, thread_name_prefix="shard-upload")
        self._upload: Future[None] | None = None
        self._locations: dict[str, Location] = {}
        self._shards: list[ShardReference] = []
        self._uploaded: list[ShardReference] = []
        self._present: dict[str, int] | None = None
        self._added: set[str] = set()
        self._spare: mmap | None = None
        self._open = _OpenShard(self._target)
        self.locations: Mapping[str, Location] = MappingProxyType(self._locations)

    @property
    def shards(self) -> tuple[ShardReference, ...]:
        """The shards in the store, in order; all of them after ``finish``."""
        return tuple(self._shards)

    @property
    def uploaded(self) -> tuple[ShardReference, ...]:
        """Those of the shards that were not in the store before, in order."""
        return tuple(self._uploaded)

    def add(self, data: bytes, digest: str) -> None:
        """Pack an encoded image; ``digest`` is the sha256 of ``data``, and a digest seen before is left out.

        Raises:
            StoreError: an earlier shard could not be uploaded.
        """
        if digest in self._added:
            return
        if self._open.members and self._open.size_with(data) > self._target:
            self._close_shard()
        self._added.add(digest)
        self._open.add(data, digest)

    def finish(self) -> tuple[ShardReference, ...]:
        """Put what is left and wait until all shards are in the store; gives the shards back.

        Raises:
            StoreError: a shard could not be uploaded.
        """
        if self._open.members:
            self._close_shard()
        if self._upload is not None:
            self._upload.result()
        self._uploader.shutdown()
        self._open, self._spare = _OpenShard(0), None  # their buffers are as large as a shard
        return self.shards

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self.finish()
        finally:
            self._uploader.shutdown()

    def _close_shard(self) -> None:
        if self._upload is not None:
            self._upload.result()
        # Whose buffer is free is settled before the next upload begins, which frees another.
        full, self._open, self._spare = self._open, _OpenShard(self._target, self._spare), None
        self._upload = self._uploader.submit(self._put, full)

    def _put(self, shard: "_OpenShard") -> None:
        data = shard.finish()
        reference = ShardReference(sha256=hashlib.sha256(data).hexdigest(), size=len(data))
        key = shard_key(reference.sha256)
        if self._present is None:
            self._present = {entry.key: entry.size for entry in self._store.list("shards/")}
        # A shard that lies there unused is made young again, or the garbage collector might take it from us.
        # Stores write any buffer; a copy as ``bytes`` would cost as much as a third of the hashing.
        there = self._present.get(key)
        if there not in {None, reference.size}:
            self._store.write(key, bytes(data))  # somebody cut it short
            self._uploaded.append(reference)
        elif not (there and self._store.touch(key)) and self._store.create(key, cast("bytes", data)):
            self._uploaded.append(reference)
        for digest, (offset, length) in shard.members.items():
            self._locations[digest] = Location(reference.sha256, offset, length)
        self._shards.append(reference)
        data.release()
        self._spare = shard.buffer


class _OpenShard:
    """A tar file that is being filled, in memory that a finished one leaves to the next."""

    def __init__(self, target_bytes: int, buffer: mmap | None = None) -> None:
        self.members: dict[str, tuple[int, int]] = {}
        self.buffer = buffer or mmap(-1, target_bytes + _RECORD)
        self._size = 0

    def size_with(self, data: bytes) -> int:
        """Bytes the tar has with one more member."""
        return self._size + _BLOCK + _padded(len(data), _BLOCK) + 2 * _BLOCK

    def add(self, data: bytes, digest: str) -> None:
        if self.size_with(data) + _RECORD > len(self.buffer):  # an image that is larger than a shard is to be
            self.buffer, former = mmap(-1, self.size_with(data) + _RECORD), self.buffer
            self.buffer[: self._size] = former[: self._size]
        self._append(_header(f"{digest}.{_suffix(data)}", len(data)))
        self.members[digest] = (self._size, len(data))
        self._append(data)
        self._append(bytes(_padded(len(data), _BLOCK) - len(data)))

    def finish(self) -> memoryview:
        """The whole tar."""
        self._append(bytes(_padded(self._size + 2 * _BLOCK, _RECORD) - self._size))
        return memoryview(self.buffer)[: self._size]

    def _append(self, data: bytes) -> None:
        self.buffer[self._size : self._size + len(data)] = data
        self._size += len(data)


@dataclass(frozen=True, slots=True)
class _Wanted:
    image_id: int
    name: str
    sha256: str
    shard: str
    offset: int
    length: int


class ImageReader:
    """Reads the images of a dataset's ``images`` table from their shards, each checked against its sha256."""

    def __init__(self, store: Store, *, threads: int = 4) -> None:
        """Read from ``store`` with that many range requests at a time."""
        self._store = store
        self._threads = threads
        self._gap = 0 if store.uri.startswith("file:") else GAP_BYTES

    def read(self, row: Mapping[str, Any]) -> bytes:
        """The encoded image of one row of the ``images`` table (``iter_rows(named=True)``).

        Raises:
            NotFoundError: the image has no bytes in the store.
            CorruptionError: the bytes are not the image's.
        """
        return self._fetch([_present(*(row[column] for column in _COLUMNS))])[0]

    def read_many(self, images: pl.DataFrame) -> Iterator[tuple[int, bytes]]:
        """Pairs of image id and encoded image, in the table's order.

        Neighbours in a shard share a request, so a table in shard order costs the fewest. Memory is bounded by a
        few times ``WINDOW_BYTES``, whatever the table's length.

        Raises:
            NotFoundError: an image has no bytes in the store, or its shard is gone.
            CorruptionError: the bytes are not the image's; the message names image and shard.
        """
        pool = ThreadPoolExecutor(self._threads, thread_name_prefix="image-reader")
        in_flight: deque[tuple[list[_Wanted], list[tuple[list[int], Future[list[bytes]]]]]] = deque()
        try:
            for window in _windows(_present(*row) for row in images.select(_COLUMNS).iter_rows()):
                groups = _coalesced(window, self._gap)
                futures = [(group, pool.submit(self._fetch, [window[i] for i in group])) for group in groups]
                in_flight.append((window, futures))
                if len(in_flight) >= READ_AHEAD:
                    yield from _in_order(*in_flight.popleft())
            while in_flight:
                yield from _in_order(*in_flight.popleft())
        finally:
            pool.shutdown(cancel_futures=True)

    def _fetch(self, group: list[_Wanted]) -> list[bytes]:
        """The images of one stretch of one shard, in the order given."""
        start = min(wanted.offset for wanted in group)
        end = max(wanted.offset + wanted.length for wanted in group)
        shard = group[0].shard
        try:
            stretch = memoryview(self._store.read_range(shard_key(shard), start, end - start))
        except (NotFoundError, CorruptionError) as error:
            raise type(error)(f"The image {group[0].name!r} cannot be read from shard {shard!r}: {error}") from error
        return [_verified(wanted, stretch, start) for wanted in group]


def _header(name: str, size: int) -> bytes:
    header = tarfile.TarInfo(name)  # mtime, owner and mode are fixed by its defaults
    header.size = size
    return header.tobuf(tarfile.USTAR_FORMAT)


def _verified(wanted: _Wanted, stretch: memoryview, start: int) -> bytes:
    data = bytes(stretch[wanted.offset - start : wanted.offset - start + wanted.length])
    if hashlib.sha256(data).hexdigest() != wanted.sha256:
        raise CorruptionError(
            f"The bytes of image {wanted.name!r} in shard {wanted.shard!r} do not have its sha256 {wanted.sha256!r}:"
            " the shard was changed or damaged, delete it and load the data again."
        )
    return data


def _present(image_id: int, name: str, sha256: str | None, shard: str | None, offset: int, length: int) -> _Wanted:
    if shard is None or sha256 is None:
        raise NotFoundError(
            f"The image {name!r} has no bytes in the store, its file was missing when the data was loaded:"
            " prepare the dataset first, or leave the image out."
        )
    return _Wanted(image_id, name, sha256, shard, offset, length)


def _windows(images: Iterable[_Wanted]) -> Iterator[list[_Wanted]]:
    window: list[_Wanted] = []
    size = 0
    for wanted in images:
        if window and size + wanted.length > WINDOW_BYTES:
            yield window
            window, size = [], 0
        window.append(wanted)
        size += wanted.length
    if window:
        yield window


def _coalesced(window: list[_Wanted], gap: int) -> list[list[int]]:
    """Positions in the window, grouped so that each group is one stretch of one shard worth one request."""
    # Between two members of a tar lie padding and a header: never a reason for another request.
    gap += 2 * _BLOCK
    groups: list[list[int]] = []
    shard, start, end = "", 0, 0
    for position in sorted(range(len(window)), key=lambda i: (window[i].shard, window[i].offset)):
        wanted = window[position]
        stop = wanted.offset + wanted.length
        if groups and wanted.shard == shard and wanted.offset <= end + gap and stop - start <= REQUEST_BYTES:
            groups[-1].append(position)
            end = max(end, stop)
        else:
            groups.append([position])
            shard, start, end = wanted.shard, wanted.offset, stop
    return groups


def _in_order(
    window: list[_Wanted], futures: list[tuple[list[int], Future[list[bytes]]]]
) -> Iterator[tuple[int, bytes]]:
    found = {i: data for group, future in futures for i, data in zip(group, future.result(), strict=True)}
    futures.clear()
    for position, wanted in enumerate(window):
        yield wanted.image_id, found.pop(position)


def _padded(size: int, unit: int) -> int:
    return -(-size // unit) * unit


def _suffix(data: bytes) -> str:
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "webp"
    return next((suffix for magic, suffix in _MAGIC if data.startswith(magic)), "bin")
