"""A data source in an S3 bucket: an object or all objects below a prefix, brought to disk in parallel."""

import shutil
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Self, cast

import urllib3
from minio.error import S3Error

from components.data_load.speed import Speed, readable
from components.shared.errors import NotFoundError, SourceError, StoreError, UnsafeInputError
from components.shared.formats.names import clean, normal, why_unsafe
from components.shared.ledger import Action, Entry, Rule
from components.shared.progress import Notify, silent
from components.shared.source_addresses import bucket_of
from components.shared.store import StoredObject
from components.shared.store_s3 import S3Store

PARALLEL = 16
PIECE = 64 << 20  # bytes of one request for a part of a large object
_CHUNK = 1 << 20
_RESERVE = 64 << 20
_LONGEST_NAME = 255


class SourceBucket(S3Store):
    """A bucket that data is read from; endpoint and credentials come from the environment, as for the store."""

    @classmethod
    def of(cls, uri: str) -> Self:
        """The bucket of an ``s3://`` address.

        Raises:
            SourceError: it names no bucket.
            ConfigError: the environment's endpoint or keys are wrong.
        """
        return cast("Self", cls.from_environment(f"s3://{bucket_of(uri)}"))

    def size_of(self, key: str) -> int | None:
        """Bytes of an object, ``None`` when there is none; raises ``StoreError``."""
        try:
            with self._explained("look up", key):
                return int(self._client.stat_object(self._bucket, self._name(key)).size or 0)
        except NotFoundError:
            return None

    def below(self, prefix: str) -> Sequence[StoredObject]:
        """Objects whose keys begin with ``prefix``, sorted; empty ones too, which ``list`` takes for unfinished."""
        with self._explained("list", prefix):
            found = [
                StoredObject(entry.object_name, int(entry.size or 0), "", 0.0)
                for entry in self._client.list_objects(self._bucket, prefix=prefix, recursive=True)
                if not entry.object_name.endswith("/")
            ]
        return sorted(found, key=lambda entry: entry.key)

    def read_bounded(self, key: str, max_bytes: int) -> bytes:
        """An object of at most ``max_bytes``; raises ``UnsafeInputError`` when it is larger, else as ``read``."""

        def consume(response: urllib3.BaseHTTPResponse) -> bytes:
            data: bytes = response.read(max_bytes + 1)
            if len(data) > max_bytes:
                raise UnsafeInputError(
                    f"{key!r} in {self.uri!r} has more than the {max_bytes} bytes allowed for such a file."
                )
            return data

        return self._fetch(key, consume)

    def _name(self, key: str) -> str:
        """Any key: what somebody else's bucket holds need not be a key of a store."""
        return key

    def save_range(self, key: str, path: Path, offset: int, length: int, done: "_Done") -> None:
        """Write a part of an object to its place in a file that has its full length already."""

        def consume(response: urllib3.BaseHTTPResponse) -> None:
            with path.open("r+b") as handle, done.counting() as count:
                handle.seek(offset)
                written = 0
                for piece in response.stream(_CHUNK):
                    written += len(piece)
                    if written > length:
                        break
                    handle.write(piece)
                    count(len(piece))
                if written != length:
                    raise SourceError(
                        f"{key!r} in {self.uri!r} changed while it was read: load again when it is complete."
                    )

        if length:
            self._fetch(key, consume, offset, length)


class _Done:
    """Bytes that have come in, counted by several threads."""

    def __init__(self) -> None:
        self.bytes = 0
        self._lock = threading.Lock()

    @contextmanager
    def counting(self) -> Iterator[Callable[[int], None]]:
        """Count what a try brings in, and take it back when the try fails."""
        counted = 0

        def count(size: int) -> None:
            nonlocal counted
            counted += size
            with self._lock:
                self.bytes += size

        try:
            yield count
        except BaseException:
            count(-counted)
            raise


@dataclass(frozen=True)
class Fetched:
    """What came from a bucket.

    Attributes:
        folder: holds the objects by their keys below the prefix, or the one object.
        single: the one object's file; ``None`` for a prefix.
        base: ``s3://bucket/prefix`` the files stand below, without a slash at the end.
        ledger: objects that were left out because of their keys.
    """

    folder: Path
    single: Path | None
    base: str
    ledger: tuple[Entry, ...] = ()


@dataclass(frozen=True)
class _Piece:
    key: str
    path: Path
    offset: int
    length: int


def fetch_objects(uri: str, folder: Path, *, max_bytes: int, notify: Notify = silent) -> Fetched:
    """Bring the object at ``uri``, or all objects below it, into ``folder`` (new).

    Raises:
        SourceError: the bucket, the object or the prefix does not exist, may not be read, or has more than
            ``max_bytes``.
        ConfigError: the environment's endpoint or keys are wrong.
    """
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    source = SourceBucket.of(uri)
    with explained(uri):
        size = source.size_of(key) if key and not key.endswith("/") else None
        folder.mkdir(parents=True)
        if size is not None:
            path = folder / "object"
            _check_room(uri, size, folder, max_bytes)
            _transfer(source, [(StoredObject(key, size, "", 0.0), path)], size, notify)
            return Fetched(folder, path, f"s3://{bucket}/{key.rpartition('/')[0]}".rstrip("/"))
        prefix = f"{key.rstrip('/')}/" if key.strip("/") else ""
        found = source.below(prefix)
        if not found:
            raise SourceError(f"There is nothing at {uri!r}: no object has this key, and none a key that begins so.")
        placed, ledger = _places(found, prefix, folder)
        total = sum(entry.size for entry, _ in placed)
        _check_room(uri, total, folder, max_bytes)
        _transfer(source, placed, total, notify)
    return Fetched(folder, None, f"s3://{bucket}/{prefix}".rstrip("/"), tuple(ledger))


@contextmanager
def explained(uri: str) -> Iterator[None]:
    """Tell what is wrong with a source; ``NotFoundError`` and errors that are ours already pass."""
    try:
        yield
    except NotFoundError:
        raise
    except StoreError as error:
        bucket = uri.removeprefix("s3://").partition("/")[0]
        code = error.__cause__.code if isinstance(error.__cause__, S3Error) else ""
        if code == "NoSuchBucket":
            raise SourceError(
                f"The bucket {bucket!r} of {uri!r} does not exist: check its name, and S3_ENDPOINT_URL when it is not"
                " on AWS."
            ) from error
        if code in {"AccessDenied", "AllAccessDisabled"}:
            raise SourceError(f"{uri!r} may not be read with the credentials of the environment.") from error
        raise SourceError(f"{uri!r} cannot be read: {str(error)[:1].lower()}{str(error)[1:]}") from error


def _check_room(uri: str, size: int, folder: Path, max_bytes: int) -> None:
    if size > max_bytes:
        raise SourceError(
            f"{uri!r} has {readable(size)}, more than {readable(max_bytes)}: raise max_download_gb if that is right."
        )
    free = shutil.disk_usage(folder).free - _RESERVE
    if size > free:
        raise SourceError(f"{uri!r} has {readable(size)} but {readable(max(0, free))} are free: make room.")


def _places(
    found: Sequence[StoredObject], prefix: str, folder: Path
) -> tuple[list[tuple[StoredObject, Path]], list[Entry]]:
    """Where each object goes on disk; keys that are no paths below a folder, or a file and a folder at once, do not."""
    names = {entry.key: normal(entry.key.removeprefix(prefix)) for entry in found}
    folders = {name[:at] for name in names.values() for at, sign in enumerate(name) if sign == "/"}
    taken: set[str] = set()
    placed, ledger = [], []
    for entry in found:
        name = names[entry.key]
        problem = _problem(entry.key.removeprefix(prefix), name, folders, taken)
        taken.add(name)
        if problem:
            detail = f"{problem}, so the object was left out"
            ledger.append(Entry(clean(entry.key), Rule.UNSAFE_NAME, Action.REJECTED, detail=detail))
        else:
            placed.append((entry, folder / name))
    return placed, ledger


def _problem(key: str, name: str, folders: set[str], taken: set[str]) -> str | None:
    parts = key.split("/")
    if not {"", ".", ".."}.isdisjoint(parts):
        return "its key has an empty, '.' or '..' part"
    if any(len(part.encode()) > _LONGEST_NAME for part in parts):
        return f"a part of its key is longer than {_LONGEST_NAME} bytes"
    if name in folders:
        return "other keys go on below it as below a folder"
    if name in taken:
        return "another key is the same in a different Unicode form"
    return why_unsafe(key)


def _transfer(source: SourceBucket, placed: Sequence[tuple[StoredObject, Path]], total: int, notify: Notify) -> None:
    done, speed = _Done(), Speed("download", notify)
    what = f" of {len(placed)} objects" if len(placed) > 1 else ""
    pieces = _pieces(placed)
    with ThreadPoolExecutor(PARALLEL) as pool:

        def start(piece: _Piece) -> Future[None]:
            return pool.submit(source.save_range, piece.key, piece.path, piece.offset, piece.length, done)

        waiting = deque(start(piece) for piece in islice(pieces, 4 * PARALLEL))
        try:
            while waiting:
                waiting.popleft().result()
                waiting.extend(start(piece) for piece in islice(pieces, 1))
                speed.tell(done.bytes, total, what)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _pieces(placed: Sequence[tuple[StoredObject, Path]]) -> Iterator[_Piece]:
    for entry, path in placed:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("xb") as handle:
                handle.truncate(entry.size)
        except OSError as error:
            raise SourceError(f"{entry.key!r} cannot be written to {str(path)!r}: {error.strerror}.") from error
        for offset in range(0, max(1, entry.size), PIECE):
            yield _Piece(entry.key, path, offset, min(PIECE, entry.size - offset))
