"""What a file is by its first bytes, and archives unpacked with the archives inside them."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

from components.shared.archives import Limits, extract, is_archive
from components.shared.errors import SourceError, UnsafeInputError

DEPTH = 2  # an archive in an archive in an archive
_RATIO = Limits().ratio
_LEAST = 256 << 20  # bytes an archive with archives may unpack to however small it is
_TAR_MAGIC = 257
_IGNORED = frozenset({"__MACOSX", "Thumbs.db", "desktop.ini"})
_TEXTS = (".json", ".jsonl", ".manifest", ".xml", ".csv", ".txt")
_SUFFIXES = (".tar.gz", ".tgz", ".tar", ".zip")


def suffix_of(path: Path) -> str | None:
    """The suffix an archive's first bytes deserve: ``.zip``, ``.tar.gz`` or ``.tar``; ``None`` for another file."""
    with path.open("rb") as handle:
        head = handle.read(512)
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return ".zip"
    if head.startswith(b"\x1f\x8b"):
        return ".tar.gz"
    return ".tar" if head[_TAR_MAGIC : _TAR_MAGIC + 5] == b"ustar" else None


def settle(path: Path, address: str, media_type: str, shown: str) -> Path:
    """Give a file that was downloaded from ``address`` the name its content deserves, and return its new path.

    Raises:
        SourceError: it is empty, a web page, or neither an archive nor an annotation file.
    """
    if not path.stat().st_size:
        raise SourceError(f"{shown!r} is empty: there is nothing to load.")
    name = re.sub(r"[^\w.-]+", "_", unquote(urlsplit(address).path.rpartition("/")[2])).lstrip(".")[-100:] or "source"
    suffix = suffix_of(path)
    if suffix is None:
        with path.open("rb") as handle:
            head = handle.read(1024).removeprefix(b"\xef\xbb\xbf").lstrip()
        if media_type in {"text/html", "application/xhtml+xml"} or re.match(rb"(?i)<(!doctype\s+html|html)", head):
            raise SourceError(f"{shown!r} is a web page, no archive: give the address of the file itself.")
        suffix = ".json" if head[:1] in {b"{", b"["} else Path(name).suffix.lower()
        if suffix not in _TEXTS:
            kind = f"{media_type} " if media_type else ""
            raise SourceError(
                f"{shown!r} ({kind}beginning with {head[:12]!r}) is neither an archive nor an annotation file:"
                " give a .zip, .tar or .tar.gz, or a .json or .manifest."
            )
    fitting = (suffix, ".tgz") if suffix == ".tar.gz" else _TEXTS if suffix in _TEXTS else (suffix,)
    target = path.with_name(name if name.lower().endswith(fitting) else f"{name}{suffix}")
    return path.rename(target)


def unpack(archive: Path, destination: Path) -> Path:
    """Unpack an archive into ``destination`` (a new folder), and the archives that are its only content into it, too.

    All levels together may not unpack to more than ``Limits.ratio`` times the outermost archive.

    Raises:
        SourceError, UnsafeInputError: see ``components.shared.archives.extract``; also when the nesting goes on.
    """
    extract(archive, destination)
    return _open_inner(destination, _Budget(max(_LEAST, _RATIO * archive.stat().st_size)), depth=1)


def unpack_beside(folder: Path, destination: Path) -> Path:
    """Unpack a folder that holds nothing but archives into ``destination``, or return it as it is."""
    found = _only_archives(folder)
    if not found:
        return folder
    destination.mkdir(parents=True)
    budget = _Budget(max(_LEAST, _RATIO * sum(path.stat().st_size for path in found)))
    for path in found:
        _open_inner(_place(path, destination, budget), budget, depth=1)
    return destination


class _Budget:
    """Bytes that all levels together may still unpack to."""

    def __init__(self, left: int) -> None:
        self._left = left

    def limits(self) -> Limits:
        """What the next archive may hold."""
        return Limits(total_bytes=max(0, self._left))

    def spend(self, folder: Path) -> None:
        """Count what an archive has unpacked to."""
        self._left -= sum(path.lstat().st_size for path in folder.rglob("*"))


def _open_inner(folder: Path, budget: _Budget, depth: int) -> Path:
    found = _only_archives(folder)
    if found and depth > DEPTH:
        raise UnsafeInputError(f"{found[0].name!r} nests archives more than {DEPTH} deep: unpack it by hand.")
    for path in found:
        inner = _place(path, path.parent, budget)
        path.unlink()
        _open_inner(inner, budget, depth + 1)
    return folder


def _place(archive: Path, folder: Path, budget: _Budget) -> Path:
    """Unpack an archive as a folder of its own: called as its one top folder if that name is free, else as itself."""
    scratch = folder / f".unpacking-{archive.name}"
    extract(archive, scratch, budget.limits())
    budget.spend(scratch)
    inside = list(_visible(scratch))
    single = inside[0] if len(inside) == 1 and inside[0].is_dir() else None
    if single is not None and not (folder / single.name).exists():
        target = single.rename(folder / single.name)
        shutil.rmtree(scratch)
        return target
    target = folder / _stem(archive.name)
    if target.exists():
        target = folder / f"{archive.name}.unpacked"
    return scratch.rename(target)


def _only_archives(folder: Path) -> list[Path]:
    """The archives of a folder, below folders that only wrap it, when it holds nothing else but notes for people."""
    inside = list(_visible(folder))
    while len(inside) == 1 and inside[0].is_dir() and not inside[0].is_symlink():
        inside = list(_visible(inside[0]))
    archives = [path for path in inside if is_archive(path) and path.is_file() and not path.is_symlink()]
    others = [path for path in inside if path not in archives]
    return archives if archives and all(_is_note(path) for path in others) else []


def _is_note(path: Path) -> bool:
    return path.is_file() and path.name.lower().startswith(("readme", "licen", "source", "sha256", "md5", "checksum"))


def _visible(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.iterdir()) if not path.name.startswith(".") and path.name not in _IGNORED)


def _stem(name: str) -> str:
    suffix = next(suffix for suffix in _SUFFIXES if name.lower().endswith(suffix))
    return name[: -len(suffix)] or name
