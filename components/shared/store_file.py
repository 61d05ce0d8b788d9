"""The object store in a folder: for laptops, tests and shared volumes, with no service to run."""

import errno
import fcntl
import hashlib
import os
import shutil
import uuid
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from components.shared.errors import CorruptionError, NotFoundError, StoreError
from components.shared.files import write_atomically
from components.shared.store import LOCKS, TEMPORARY, StoredObject, check_key, check_size

_STRIPES = 16
_RACES = 50  # a writer loses in a row against those who remove empty folders
_NO_LINKS = frozenset({errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK})
_NOWHERE = (FileNotFoundError, IsADirectoryError, NotADirectoryError)


class FileStore:
    """A store whose objects are the files of a folder; see ``Store`` for what its methods promise.

    A new object is written under a temporary name in its own folder, synced, and takes its name in one step.
    Whoever replaces, swaps or deletes an object holds a lock file of the folder for that step alone. Folders that a
    deletion leaves empty go too; a writer whose folder goes before its temporary file is there makes it again.

    Attributes:
        root: the folder, absolute; it is created with the first object.
        uri: the same as ``file:///...``.
    """

    def __init__(self, root: Path) -> None:
        self.root = Path(os.path.abspath(root.expanduser()))  # noqa: PTH100 - resolve() would follow links
        self.uri = self.root.as_uri()

    def __repr__(self) -> str:
        return f"FileStore({self.uri!r})"

    def read(self, key: str) -> bytes:
        """The object's bytes."""
        with self._explained("read", key):
            return self._path(key).read_bytes()

    def read_tagged(self, key: str) -> tuple[bytes, str]:
        """The object's bytes and their sha256."""
        data = self.read(key)
        return data, _tag(data)

    def read_range(self, key: str, offset: int, length: int) -> bytes:
        """``length`` bytes from ``offset``."""
        pieces, position, end = [], offset, offset + length
        with self._explained("read", key), self._path(key).open("rb") as handle:
            while position < end and (piece := os.pread(handle.fileno(), end - position, position)):
                pieces.append(piece)
                position += len(piece)
        if position < end:
            raise CorruptionError(
                f"{key!r} in {self.uri!r} ends at byte {position}, {end} are needed: it was cut, load the data again."
            )
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def write(self, key: str, data: bytes) -> None:
        """Put the object."""
        with self._staged(key) as (temporary, path):
            check_size(key, len(data))
            _write_synced(temporary, data)
            with self._locked(key):
                temporary.replace(path)

    def create(self, key: str, data: bytes) -> bool:
        """Put the object only if the key is free: a hard link never replaces a name."""
        with self._staged(key) as (temporary, path):
            check_size(key, len(data))
            _write_synced(temporary, data)
            try:
                path.hardlink_to(temporary)
            except FileExistsError:
                return False
            except OSError as error:
                if error.errno not in _NO_LINKS:
                    raise
                with self._locked(key):
                    if path.exists():
                        return False
                    temporary.replace(path)
        return True

    def swap(self, key: str, data: bytes, expected: str | None) -> bool:
        """Put the object only if its bytes are still those with the tag ``expected``."""
        if expected is None:
            return self.create(key, data)
        with self._staged(key) as (temporary, path):
            check_size(key, len(data))
            _write_synced(temporary, data)
            with self._locked(key):
                try:
                    current = _tag(path.read_bytes())
                except _NOWHERE:
                    return False
                if current != expected:
                    return False
                temporary.replace(path)
        return True

    def upload(self, path: Path, key: str) -> None:
        """Put a copy of a local file."""
        with self._staged(key) as (temporary, destination):
            shutil.copyfile(path, temporary)
            check_size(key, temporary.stat().st_size)
            with temporary.open("rb+") as handle:
                os.fsync(handle.fileno())
            with self._locked(key):
                temporary.replace(destination)

    def download(self, key: str, path: Path) -> None:
        """Copy the object to ``path``."""
        source = self._path(key)
        with self._explained("read", key), write_atomically(path) as temporary:
            shutil.copyfile(source, temporary)

    def exists(self, key: str) -> bool:
        """Whether the key holds an object."""
        with self._explained("look up", key):
            return self._path(key).is_file()

    def list(self, prefix: str) -> Iterator[StoredObject]:
        """Objects whose key starts with ``prefix``, sorted; the tag comes from the file's inode, time and size."""
        folder = prefix.rpartition("/")[0]
        if folder:
            check_key(folder)
        with self._explained("list", prefix):
            yield from _walk(self.root / folder, f"{folder}/" if folder else "", prefix)

    def delete(self, key: str) -> None:
        """Remove the object, and the folders that are empty without it."""
        with self._explained("delete", key):
            path = self._path(key)
            if path.is_file():
                with self._locked(key):
                    path.unlink(missing_ok=True)
                self._tidy(path.parent)

    def touch(self, key: str) -> bool:
        """Set the file's time to now."""
        path = self._path(key)
        try:
            with self._explained("read", key):
                os.utime(path)
        except NotFoundError:
            return False
        return True

    def leftovers(self) -> Iterator[StoredObject]:
        """Files under a temporary name, those that are being written too."""
        for folder, _, names in os.walk(self.root):
            for path in (Path(folder, name) for name in names if name.startswith(TEMPORARY)):
                try:
                    yield _described(path, path.relative_to(self.root).as_posix())
                except FileNotFoundError:  # finished since the folder was read
                    continue

    def discard(self, leftover: StoredObject) -> None:
        """Remove a temporary file."""
        path = self.root / leftover.key
        if not path.name.startswith(TEMPORARY):
            raise StoreError(f"{leftover.key!r} in {self.uri!r} is no leftover of a write: it stays.")
        with self._explained("delete", leftover.key):
            path.unlink(missing_ok=True)
            self._tidy(path.parent)

    def _path(self, key: str) -> Path:
        return self.root / check_key(key)

    @contextmanager
    def _staged(self, key: str) -> Iterator[tuple[Path, Path]]:
        path = self._path(key)
        temporary = path.with_name(f"{TEMPORARY}{uuid.uuid4().hex}")
        with self._explained("write", key):
            _make_file(temporary)
            try:
                yield temporary, path
                with suppress(FileNotFoundError):  # the object was deleted since, and its folder with it
                    _sync_folder(path.parent)
            finally:
                temporary.unlink(missing_ok=True)

    def _tidy(self, folder: Path) -> None:
        """Remove the folder and those above it, up to the root, as long as they are empty."""
        with suppress(OSError):
            while folder != self.root:
                folder.rmdir()
                folder = folder.parent

    @contextmanager
    def _locked(self, key: str) -> Iterator[None]:
        folder = self.root / LOCKS
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / f"{zlib.crc32(key.encode()) % _STRIPES:02d}").open("ab") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)  # closing the file lets go of it, and so does a kill
            yield

    @contextmanager
    def _explained(self, verb: str, key: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if verb == "read" and isinstance(error, _NOWHERE):
                raise NotFoundError(f"{key!r} is not in the store {self.uri!r}.") from error
            reason = error.strerror or str(error)
            raise StoreError(
                f"Cannot {verb} {key!r} in {self.uri!r} ({reason}): check the folder's permissions and free space."
            ) from error


def _walk(folder: Path, base: str, prefix: str) -> Iterator[StoredObject]:
    try:
        with os.scandir(folder) as entries:
            # A folder sorts as its objects do, by its name and the slash, so that keys come out in their own order.
            names = sorted(entry.name + ("/" if entry.is_dir() else "") for entry in entries)
    except _NOWHERE:
        return
    for name in names:
        key = base + name
        if name.startswith(TEMPORARY) or key == f"{LOCKS}/" or not (key.startswith(prefix) or prefix.startswith(key)):
            continue
        if name.endswith("/"):
            yield from _walk(folder / name, key, prefix)
        elif key.startswith(prefix):
            try:
                yield _described(folder / name, key)
            except FileNotFoundError:  # deleted since the folder was read
                continue


def _described(path: Path, key: str) -> StoredObject:
    status = path.stat()
    tag = f"{status.st_ino:x}-{status.st_mtime_ns:x}-{status.st_size:x}"
    return StoredObject(key, status.st_size, tag, status.st_mtime)


def _tag(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _make_file(path: Path) -> None:
    """An empty file and its folders; as long as it is there, nobody removes them."""
    for left in reversed(range(_RACES)):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch(exist_ok=False)
        except (FileNotFoundError, FileExistsError):  # somebody removed a folder in between
            if not left:
                raise
        else:
            return


def _write_synced(path: Path, data: bytes) -> None:
    with path.open("wb") as handle:
        handle.write(data)
        handle.flush()
        os.fsync(handle.fileno())


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
