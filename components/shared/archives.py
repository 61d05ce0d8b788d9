"""Archives from outside, unpacked without trusting a byte: .zip, .tar, .tar.gz and .tgz."""

import gzip
import io
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO

from components.shared.errors import InputError, SourceError, UnsafeInputError, in_one_line

SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz")
_CHUNK = 1 << 20
_LARGEST_HEADER = 16 << 20
_LARGEST_DIRECTORY = 256 << 20
_DIRECTORY_ENTRY = b"PK\x01\x02"  # what each member's entry in the directory of a zip begins with
_RESERVE = 64 << 20
_UTF8_FLAG = 0x800
_ENCRYPTED_FLAG = 0x1
_BROKEN = (zipfile.BadZipFile, tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError)


@dataclass(frozen=True)
class Limits:
    """How much an archive may hold.

    Attributes:
        members: files and folders.
        total_bytes: unpacked bytes of all files together.
        ratio: unpacked bytes for each packed one, looked at in files and totals above ``ratio_from`` bytes.
        ratio_from: see ``ratio``; small files may well pack better.
    """

    members: int = 2_000_000
    total_bytes: int = 500 << 30
    ratio: int = 200
    ratio_from: int = 10_000_000


@dataclass(frozen=True)
class _Member:
    name: str  # as the archive gives it, for messages
    path: PurePosixPath
    size: int
    open: Callable[[], IO[bytes]] | None  # None for a folder


def is_archive(path: Path) -> bool:
    """Whether the file's name ends like an archive this module reads."""
    return path.name.lower().endswith(SUFFIXES)


def extract(archive: Path, destination: Path, limits: Limits = Limits()) -> Path:
    """Unpack an archive into ``destination``, a folder that is empty or not there yet, and return that folder.

    Files macOS adds (``__MACOSX``, ``.DS_Store``) are left out; times, owners and modes are not taken over.
    When anything is wrong nothing stays behind.

    Raises:
        SourceError: the archive is missing, of an unknown kind, damaged, encrypted or larger than the free space,
            or ``destination`` holds something already.
        UnsafeInputError: a member would leave ``destination``, is a link or a device, comes twice, or the archive
            breaks ``limits``; the message names the member.
    """
    if not archive.is_file():
        raise SourceError(f"The archive {str(archive)!r} does not exist or is no file: check the path.")
    if not is_archive(archive):
        raise SourceError(f"{archive.name!r} is no archive this reads: give one of {', '.join(SUFFIXES)}.")
    with _all_or_nothing(destination):
        opened = _open_zip if archive.name.lower().endswith(".zip") else _open_tar
        try:
            with opened(archive, limits) as members:
                _write_members(members, archive, destination, limits)
        except InputError:
            raise
        except _BROKEN as error:
            detail = in_one_line(error)
            raise SourceError(
                f"The archive {archive.name!r} is damaged or cut short ({detail}): get it again."
            ) from error
        except (OSError, RuntimeError, NotImplementedError, ValueError) as error:
            raise SourceError(f"The archive {archive.name!r} cannot be unpacked: {error}.") from error
    return destination


@contextmanager
def _all_or_nothing(destination: Path) -> Iterator[None]:
    existed = destination.is_dir()
    if destination.is_symlink() or (destination.exists() and not existed) or (existed and any(destination.iterdir())):
        raise SourceError(f"{str(destination)!r} is not an empty folder: give a new one to unpack into.")
    destination.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except BaseException:
        shutil.rmtree(destination)
        if existed:
            destination.mkdir()
        raise


def _write_members(members: Iterator[_Member], archive: Path, destination: Path, limits: Limits) -> None:
    seen: set[PurePosixPath] = set()
    total, count, free = 0, 0, shutil.disk_usage(destination).free - _RESERVE
    for member in members:
        count, total = count + 1, total + member.size
        if count > limits.members:
            raise UnsafeInputError(f"The archive {archive.name!r} has more than {limits.members} members: split it.")
        if total > limits.total_bytes:
            raise UnsafeInputError(
                f"The archive {archive.name!r} unpacks to more than {limits.total_bytes} bytes at {member.name!r}."
            )
        if total > free:
            raise SourceError(f"Unpacking {archive.name!r} needs {total} bytes but {free} are free: make room.")
        if member.open is None:
            (destination / member.path).mkdir(parents=True, exist_ok=True)
            continue
        if member.path in seen:
            raise UnsafeInputError(f"The archive {archive.name!r} holds {member.name!r} twice: pack it again.")
        seen.add(member.path)
        _write_file(member, member.open, destination / member.path)


def _write_file(member: _Member, source: Callable[[], IO[bytes]], target: Path) -> None:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise UnsafeInputError(f"The member {member.name!r} lies below a member that is a file: pack again.") from error
    written = 0
    with source() as stream, target.open("xb") as handle:
        while chunk := stream.read(_CHUNK):
            written += len(chunk)
            if written > member.size:
                break
            handle.write(chunk)
    if written != member.size:
        raise SourceError(f"The member {member.name!r} has other bytes than its header says: get the archive again.")


def _safe_path(name: str, archive: Path) -> PurePosixPath | None:
    """The path to write a member to; ``None`` for one to leave out."""
    where = f"The member {name!r} of {archive.name!r}"
    if "\0" in name:
        raise UnsafeInputError(f"{where} has a NUL in its name: pack the archive again.")
    slashed = name.replace("\\", "/")
    path = PurePosixPath(slashed)
    if path.is_absolute() or PureWindowsPath(slashed).drive or PureWindowsPath(slashed).root:
        raise UnsafeInputError(f"{where} has an absolute path: pack the archive with relative ones.")
    if ".." in path.parts:
        raise UnsafeInputError(f"{where} climbs out of the archive with '..': do not trust this archive.")
    if not path.parts or path.parts[0] == "__MACOSX" or path.name == ".DS_Store":
        return None
    return path


@contextmanager
def _open_zip(archive: Path, limits: Limits) -> Iterator[Iterator[_Member]]:
    with _ZipStream(archive, limits) as stream, zipfile.ZipFile(stream) as opened:
        infos = opened.infolist()
        total = sum(info.file_size for info in infos)
        if len(infos) > limits.members:
            raise UnsafeInputError(f"The archive {archive.name!r} has more than {limits.members} members: split it.")
        if total > limits.ratio_from and total > limits.ratio * archive.stat().st_size:
            raise UnsafeInputError(f"The archive {archive.name!r} unpacks to {total} bytes, {_bomb(limits)}.")
        members = [member for info in infos if (member := _zip_member(opened, info, archive, limits))]
        yield iter(members)


class _ZipStream(io.BufferedReader):
    """A file for zipfile, which reads a zip's directory at once and makes ten times as much memory of it."""

    def __init__(self, archive: Path, limits: Limits) -> None:
        super().__init__(io.FileIO(archive))
        self._archive, self._limits = archive, limits

    def read(self, size: int | None = -1) -> bytes:
        """Up to ``size`` bytes; raises ``UnsafeInputError`` where they are a directory that breaks the limits."""
        if size is not None and size > _CHUNK:  # no other part of a zip is read in such pieces
            self._check_directory(size)
        return super().read(size)

    def _check_directory(self, size: int) -> None:
        where = f"The archive {self._archive.name!r}"
        if size > _LARGEST_DIRECTORY:
            raise UnsafeInputError(f"{where} has a directory of {size} bytes, the limit is {_LARGEST_DIRECTORY}.")
        start, left, count, tail = self.tell(), size, 0, b""
        while left > 0 and (block := super().read(min(left, _CHUNK))):
            count += (tail + block).count(_DIRECTORY_ENTRY)
            left, tail = left - len(block), block[1 - len(_DIRECTORY_ENTRY) :]
        self.seek(start)
        if count > self._limits.members:
            raise UnsafeInputError(f"{where} has more than {self._limits.members} members: split it.")


def _zip_member(opened: zipfile.ZipFile, info: zipfile.ZipInfo, archive: Path, limits: Limits) -> _Member | None:
    name = _zip_name(info)
    path = _safe_path(name, archive)
    where = f"The member {name!r} of {archive.name!r}"
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind not in {0, stat.S_IFREG, stat.S_IFDIR}:
        raise UnsafeInputError(f"{where} is a link or a device: pack the files themselves.")
    if info.flag_bits & _ENCRYPTED_FLAG:
        raise SourceError(f"{where} is encrypted: pack the archive without a password.")
    if info.file_size > limits.ratio_from and info.file_size > limits.ratio * info.compress_size:
        raise UnsafeInputError(f"{where} unpacks to {info.file_size} bytes, {_bomb(limits)}.")
    if path is None:
        return None
    if name.endswith(("/", "\\")) or kind == stat.S_IFDIR:
        return _Member(name, path, 0, None)
    return _Member(name, path, info.file_size, partial(opened.open, info))


def _zip_name(info: zipfile.ZipInfo) -> str:
    """A member's name; macOS writes UTF-8 without saying so, which then reads as code page 437."""
    name = info.orig_filename
    if not info.flag_bits & _UTF8_FLAG and not name.isascii():
        try:
            return name.encode("cp437").decode("utf-8")
        except UnicodeError:
            return name
    return name


@contextmanager
def _open_tar(archive: Path, limits: Limits) -> Iterator[Iterator[_Member]]:
    packed = archive.stat().st_size
    with archive.open("rb") as raw:
        zipped = not archive.name.lower().endswith(".tar")
        stream = gzip.GzipFile(fileobj=raw) if zipped else raw
        bounded = _Bounded(stream, max(limits.ratio * packed, limits.ratio_from) if zipped else None)
        with tarfile.open(fileobj=bounded, mode="r:") as opened:  # type: ignore[call-overload]
            yield _tar_members(opened, bounded, archive)


def _tar_members(opened: tarfile.TarFile, bounded: "_Bounded", archive: Path) -> Iterator[_Member]:
    while info := opened.next():
        opened.members.clear()  # type: ignore[attr-defined] # otherwise tarfile keeps every header in memory
        path = _safe_path(info.name, archive)
        if info.isdir():
            if path is not None:
                yield _Member(info.name, path, 0, None)
        elif not info.isreg() or info.issparse():
            raise UnsafeInputError(
                f"The member {info.name!r} of {archive.name!r} is a link, a device or a sparse file: pack plain files."
            )
        elif path is not None:
            yield _Member(info.name, path, info.size, partial(_tar_file, opened, info))
    # tarfile takes a broken header for the end; a whole archive ends with a block of zeros.
    if bounded.last != bytes(tarfile.BLOCKSIZE):
        raise SourceError(f"The archive {archive.name!r} is damaged or cut short (no end mark): get it again.")
    # Only the end of a gzip stream tells whether its checksum holds.
    while chunk := bounded.read(_CHUNK):
        if chunk.strip(b"\0"):
            raise SourceError(f"The archive {archive.name!r} goes on after its end mark: pack it as one archive.")


def _tar_file(opened: tarfile.TarFile, info: tarfile.TarInfo) -> IO[bytes]:
    stream = opened.extractfile(info)
    if stream is None:
        raise SourceError(f"The member {info.name!r} cannot be read: get the archive again.")
    return stream


class _Bounded:
    """A stream for tarfile that refuses bombs: too much unpacked, or a header of many megabytes."""

    def __init__(self, stream: IO[bytes] | gzip.GzipFile, limit: int | None) -> None:
        self._stream = stream
        self._limit = limit
        self.last = b""

    def read(self, size: int) -> bytes:
        """Up to ``size`` bytes; raises ``UnsafeInputError`` past the bounds."""
        if size > _LARGEST_HEADER:
            raise UnsafeInputError(f"The archive has a header of {size} bytes: do not trust this archive.")
        self.last = self._stream.read(size)
        self._check()
        return self.last

    def seek(self, offset: int) -> int:
        """Go to a place further on, unpacking what lies between."""
        while self._stream.tell() < offset:
            if not self._stream.read(min(_CHUNK, offset - self._stream.tell())):
                break
            self._check()
        return self._stream.seek(offset)

    def tell(self) -> int:
        """Where the stream stands, in unpacked bytes."""
        return self._stream.tell()

    def _check(self) -> None:
        if self._limit is not None and self._stream.tell() > self._limit:
            raise UnsafeInputError(f"The archive unpacks to more than {self._limit} bytes, which its size cannot mean.")


def _bomb(limits: Limits) -> str:
    return f"more than {limits.ratio} times its size: do not trust this archive"
