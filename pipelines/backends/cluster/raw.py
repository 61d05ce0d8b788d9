"""Local data on its way to the store's ``raw/``: looked at once, named by its content, and sent only where it lacks."""

import hashlib
import logging
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Protocol, Self, TypeVar, cast

from components.shared.errors import SourceError, StoreError
from components.shared.files import digest_of_digests, sha256_file
from components.shared.formats.tree import scan
from components.shared.sources import ARCHIVES, name_of
from components.shared.store import check_key
from components.shared.store_s3 import PART, S3Store

PARALLEL = 8
_T = TypeVar("_T")

logger = logging.getLogger(__name__)


class Meter(Protocol):
    """Is told how it goes."""

    def begin(self, what: str, files: int, total: int) -> None:
        """Something begins with so many files and bytes."""

    def advance(self, size: int) -> None:
        """A file of this size is done."""


class Silent:
    """Nobody is told."""

    def begin(self, what: str, files: int, total: int) -> None:
        """See ``Meter``."""

    def advance(self, size: int) -> None:
        """See ``Meter``."""


@dataclass(frozen=True)
class RawData:
    """A file or a folder of this machine and what it comes to.

    Attributes:
        source: as a person named it.
        digest: sha256 of a file's bytes, or of a folder's sorted listing of paths and sha256.
        files: path below ``raw/<digest>/`` -> the file on disk; hidden files and systems' litter are not among them.
        digests: likewise -> sha256.
        sizes: likewise -> bytes.
        is_file: whether it is one file.
        left_out: files with unsafe names or links, and why.
    """

    source: str
    digest: str
    files: dict[str, Path] = field(repr=False)
    digests: dict[str, str] = field(repr=False)
    sizes: dict[str, int] = field(repr=False)
    is_file: bool
    left_out: tuple[str, ...] = ()

    @property
    def total(self) -> int:
        """Bytes of all files."""
        return sum(self.sizes.values())

    def address(self, store: str) -> str:
        """Where it lies in this store: an object, or a prefix with a slash at its end."""
        (name,) = self.files if self.is_file else ("",)
        return f"{store.rstrip('/')}/raw/{self.digest}/{name}"


@dataclass(frozen=True)
class Sent:
    """How many files and bytes were sent, and how many files were there already."""

    files: int
    bytes: int
    present: int


class RawStore(S3Store):
    """A store to which data goes as it is, files without bytes too: an empty label file says that nothing is there."""

    @classmethod
    def of(cls, uri: str) -> Self:
        """The store at ``s3://bucket/prefix``, with the environment's endpoint and credentials."""
        return cast("Self", cls.from_environment(uri))

    @classmethod
    def reached(cls, uri: str) -> Self:
        """The same, asked once: what is wrong with it is told before anything is read for it."""
        store = cls.of(uri)
        store.sizes("raw/-/")
        return store

    def sizes(self, prefix: str) -> dict[str, int]:
        """Bytes of each object below ``prefix``, by its key; empty ones too."""
        return {entry.key: entry.size for entry in self._entries(prefix)}

    def write_empty(self, key: str) -> None:
        """Put an object without bytes."""
        name = self._name(key)
        with self._explained("write", key):
            self._client.put_object(self._bucket, name, BytesIO(b""), 0)


def look_at(path: Path, meter: Meter | None = None) -> RawData:
    """Read a file or a folder and find its digest.

    Raises:
        SourceError: it is missing, empty or cannot be read, or a name in it cannot be a key of a store.
    """
    told = meter or Silent()
    if path.is_file():
        name = _stored_name(path)
        return _looked(str(path), {name: path}, told, is_file=True)
    tree = scan(path)
    files = {name: Path(place) for name, place in tree.files.items()}
    left_out = tuple(f"{entry.image}: {entry.detail}" for entry in tree.ledger)
    return _looked(str(path), files, told, is_file=False, left_out=left_out)


def send(raw: RawData, store: RawStore, meter: Meter | None = None) -> Sent:
    """Bring to ``raw/<digest>/`` what is not there yet; what was sent before a stop is not sent again.

    Raises:
        SourceError: a file changed while it was sent.
        StoreError: the store failed.
    """
    told = meter or Silent()
    prefix = f"raw/{raw.digest}/"
    present = store.sizes(prefix)
    missing = [name for name, size in raw.sizes.items() if present.get(prefix + name) != size]
    todo = sum(raw.sizes[name] for name in missing)
    if missing:
        told.begin(f"sending {raw.source}", len(missing), todo)

    def one(name: str) -> int:
        _send_file(raw, name, store, prefix + name)
        return raw.sizes[name]

    for size in _in_parallel(one, missing):
        told.advance(size)
    return Sent(len(missing), todo, len(raw.sizes) - len(missing))


def _looked(
    source: str, files: dict[str, Path], told: Meter, *, is_file: bool, left_out: tuple[str, ...] = ()
) -> RawData:
    with _explained(source):
        sizes = {name: place.stat().st_size for name, place in files.items()}
        told.begin(f"reading {source}", len(files), sum(sizes.values()))
        digests: dict[str, str] = {}

        def one(name: str) -> tuple[str, str]:
            check_key(name)
            return name, sha256_file(files[name])

        for name, digest in _in_parallel(one, files):
            digests[name] = digest
            told.advance(sizes[name])
    digest = next(iter(digests.values())) if is_file else digest_of_digests(digests)
    return RawData(source, digest, files, digests, sizes, is_file, left_out)


def _send_file(raw: RawData, name: str, store: RawStore, key: str) -> None:
    """Send one file, and only what was looked at: its name in the store is its promise."""
    path, wanted = raw.files[name], raw.digests[name]
    if raw.sizes[name] > PART:
        store.upload(path, key)
        same = sha256_file(path) == wanted
        if not same:
            store.delete(key)
    else:
        data = path.read_bytes()
        same = hashlib.sha256(data).hexdigest() == wanted
        if same and data:
            store.write(key, data)
        elif same:
            store.write_empty(key)
    if not same:
        raise SourceError(f"{str(path)!r} changed while it was sent: run again when nobody writes to it.")


def _in_parallel(work: Callable[[str], _T], names: Iterable[str]) -> Iterator[_T]:
    """Results in the order of ``names``; the first error ends it, and nothing new begins after it."""
    with ThreadPoolExecutor(PARALLEL) as pool:
        futures: list[Future[_T]] = [pool.submit(work, name) for name in names]
        try:
            for future in futures:
                yield future.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


@contextmanager
def _explained(source: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        name = error.filename or source
        raise SourceError(f"{str(name)!r} of {source!r} cannot be read: {error.strerror or error}.") from error
    except (StoreError, UnicodeEncodeError) as error:
        raise SourceError(f"A name in {source!r} cannot be a key of the store: {error}") from error


def _stored_name(path: Path) -> str:
    """A file's name in the store: plain, and with the ending that says what it is."""
    lower = path.name.lower()
    suffix = next((end for end in sorted(ARCHIVES, key=len, reverse=True) if lower.endswith(end)), path.suffix.lower())
    stem = path.name[: len(path.name) - len(suffix)]
    return f"{name_of(f'./{stem}.zip')}{suffix}"
