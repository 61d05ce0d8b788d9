"""Where the pieces of an image file lie: the files of an OCI layout's folder, or the members of a tar."""

import io
import posixpath
import tarfile
from pathlib import Path, PurePosixPath
from typing import IO, Protocol

from components.shared.errors import ArchiveError, UnsafeInputError, in_one_line

_MEMBERS = 10_000
_LARGEST_READ = 16 << 20
_HOPS = 4


class Blobs(Protocol):
    """Named pieces of an image file."""

    where: str

    def has(self, name: str) -> bool:
        """Whether there is such a piece."""

    def open(self, name: str) -> tuple[IO[bytes], int]:
        """A piece and its size; raises ``ArchiveError`` when it is missing."""


class FolderBlobs:
    """The files of a folder; links that lead out of it are not followed."""

    def __init__(self, root: Path) -> None:
        self.where = str(root)
        self._root = root.resolve()

    def has(self, name: str) -> bool:
        """Whether there is such a file."""
        return self._path(name).is_file()

    def open(self, name: str) -> tuple[IO[bytes], int]:
        """A file and its size."""
        path = self._path(name)
        if not path.is_file():
            raise ArchiveError(f"{name!r} is missing from the image {self.where!r}: copy the image again.")
        return path.open("rb"), path.stat().st_size

    def _path(self, name: str) -> Path:
        path = (self._root / check_name(name)).resolve()
        if not path.is_relative_to(self._root):
            raise UnsafeInputError(f"{name!r} leads out of the image {self.where!r}: do not trust this image.")
        return path


class TarBlobs:
    """The members of an uncompressed tar, as ``docker save`` and ``skopeo copy`` write it."""

    def __init__(self, path: Path) -> None:
        self.where = str(path)
        self._file = _Guarded(path)
        self._members: dict[str, tarfile.TarInfo] = {}
        try:
            self._tar = tarfile.open(fileobj=self._file, mode="r:")  # noqa: SIM115 - as long as this lives
            while info := self._tar.next():
                self._tar.members.clear()  # type: ignore[attr-defined] # otherwise tarfile keeps every header too
                self._add(info)
        except tarfile.TarError as error:
            detail = in_one_line(error)
            raise ArchiveError(f"{self.where!r} is no tar of an image ({detail}): gunzip or copy it again.") from error

    def has(self, name: str) -> bool:
        """Whether there is such a member."""
        return posixpath.normpath(name) in self._members

    def open(self, name: str) -> tuple[IO[bytes], int]:
        """A member and its size; a link to another member is followed."""
        at = posixpath.normpath(check_name(name))
        for _ in range(_HOPS):
            info = self._members.get(at)
            if info is None:
                break
            if info.isreg() and not info.issparse():
                stream = self._tar.extractfile(info)
                if stream is not None:
                    return stream, info.size
            if not (info.issym() or info.islnk()):
                break
            beside = posixpath.dirname(at) if info.issym() else ""
            at = posixpath.normpath(posixpath.join(beside, info.linkname))
        raise ArchiveError(f"{name!r} is missing from the image {self.where!r}: copy the image again.")

    def _add(self, info: tarfile.TarInfo) -> None:
        name = posixpath.normpath(info.name)
        if info.isdir():
            return
        if name in self._members:
            raise UnsafeInputError(f"The image {self.where!r} holds {info.name!r} twice: do not trust this image.")
        self._members[name] = info
        if len(self._members) > _MEMBERS:
            raise UnsafeInputError(f"The image {self.where!r} has more than {_MEMBERS} members: it is none of ours.")


def open_blobs(path: Path) -> Blobs:
    """The pieces of an image at ``path``, a folder or a tar.

    Raises:
        ArchiveError: there is nothing, or no tar.
    """
    if path.is_dir():
        return FolderBlobs(path)
    if not path.is_file():
        raise ArchiveError(f"There is no image at {str(path)!r}: check the path.")
    return TarBlobs(path)


def check_name(name: str) -> str:
    """Give a piece's name back when it is a clean relative path.

    Raises:
        UnsafeInputError: it is not.
    """
    path = PurePosixPath(name)
    if not name or "\0" in name or "\\" in name or path.is_absolute() or ".." in path.parts:
        raise UnsafeInputError(f"An image's file is called {name!r}: do not trust this image.")
    return name


class _Guarded(io.FileIO):
    """A file for tarfile, which would read a header of any size at once."""

    def read(self, size: int | None = -1) -> bytes:
        """Up to ``size`` bytes."""
        if size is not None and size > _LARGEST_READ:
            raise UnsafeInputError(f"The image {self.name!r} has a header of {size} bytes: do not trust this image.")
        return super().read(-1 if size is None else size)
