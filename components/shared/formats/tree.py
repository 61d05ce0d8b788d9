"""A source folder looked at once: every file by its normalised path, so that readers never ask the disk again."""

import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from components.shared.errors import InputError, SourceError
from components.shared.formats.names import IMAGE_FOLDERS, clean, normal, split_of_folder, why_unsafe
from components.shared.images import SUFFIXES
from components.shared.ledger import Action, Entry, Rule

MAX_DEPTH = 16
_IGNORED = frozenset({"__MACOSX", "Thumbs.db", "desktop.ini"})
_SEEN: ContextVar[dict[Path, "Tree"] | None] = ContextVar("_SEEN", default=None)
_MEANINGFUL = frozenset({*IMAGE_FOLDERS, "labels", "annotations", "imagesets"})


@dataclass(frozen=True)
class Tree:
    """The files below a source folder.

    Attributes:
        root: the folder, below any folders that only wrap it.
        files: posix path below ``root`` in NFC -> absolute path on disk, sorted by the former.
        ledger: files that were left out because their names or links are unsafe.
    """

    root: Path
    files: dict[str, str]
    ledger: tuple[Entry, ...] = field(default=())

    @cached_property
    def images(self) -> list[str]:
        """Paths of the files whose suffix is an image's."""
        return self.with_suffix(*SUFFIXES)

    @cached_property
    def folders(self) -> dict[str, str]:
        """Every folder that holds files, at any depth: lower-case path -> path."""
        found: dict[str, str] = {}
        for folder in {path.rpartition("/")[0] for path in self.files}:
            rest = folder
            while rest and rest.lower() not in found:
                found[rest.lower()] = rest
                rest = rest.rpartition("/")[0]
        return found

    @cached_property
    def by_name(self) -> dict[str, list[str]]:
        """File name -> the paths that end in it."""
        found: dict[str, list[str]] = {}
        for path in self.files:
            found.setdefault(path.rpartition("/")[2], []).append(path)
        return found

    def with_suffix(self, *suffixes: str) -> list[str]:
        """Paths of the files with one of these suffixes (lower case, with the dot)."""
        if len(suffixes) == 1:
            return list(self._by_suffix.get(suffixes[0], ()))
        return sorted(path for suffix in set(suffixes) for path in self._by_suffix.get(suffix, ()))

    @cached_property
    def _by_suffix(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for path in self.files:
            found.setdefault(os.path.splitext(path)[1].lower(), []).append(path)  # noqa: PTH122 - hot
        return found

    def read(self, path: str) -> bytes:
        """The bytes of one of ``files``.

        Raises:
            SourceError: it cannot be read.
        """
        try:
            return Path(self.files[path]).read_bytes()
        except OSError as error:
            raise SourceError(f"{path!r} in {str(self.root)!r} cannot be read: {error.strerror}.") from error

    def contents(self) -> str:
        """What lies here in a few words: ``14 .txt files, no images``."""
        kinds = Counter(os.path.splitext(path)[1].lower() or "suffixless" for path in self.files)  # noqa: PTH122
        images = sum(kinds.pop(suffix, 0) for suffix in SUFFIXES)
        parts = [f"{count} {kind} file{'s' if count > 1 else ''}" for kind, count in kinds.most_common(3)]
        parts.append(f"{images or 'no'} image{'' if images == 1 else 's'}")
        return ", ".join(parts)


@contextmanager
def one_look() -> Iterator[None]:
    """Within the block a folder is listed once, however many readers ask what it holds."""
    if _SEEN.get() is not None:
        yield
        return
    token = _SEEN.set({})
    try:
        yield
    finally:
        _SEEN.reset(token)


def scan(root: Path) -> Tree:
    """Look at every file below ``root``; hidden files and what operating systems leave behind do not count.

    A folder that holds nothing but one other folder is entered, as a zip with a top folder makes it, unless the
    inner one's name means something (``images``, ``train``). Links that leave the folder, and links to folders,
    are left out and recorded.

    Raises:
        SourceError: the folder is missing, is a file, holds no file or cannot be listed.
    """
    seen = _SEEN.get()
    if seen is None:
        return _scan(root)
    if root not in seen:
        seen[root] = _scan(root)
    return seen[root]


def detector(looks: Callable[[Tree], bool]) -> Callable[[Path], bool]:
    """Says of a folder whether it looks like a format, as ``looks`` says of its tree; one without files never does."""

    def detect(root: Path) -> bool:
        try:
            return looks(scan(root))
        except InputError:
            return False

    return detect


def _scan(root: Path) -> Tree:
    if not root.exists():
        raise SourceError(f"The source {str(root)!r} does not exist: check the path.")
    if not root.is_dir():
        raise SourceError(f"The source {str(root)!r} is a file: give a folder or an archive.")
    try:
        root = _unwrap(root.resolve())
        found, ledger = _walk(root)
    except OSError as error:
        raise SourceError(f"The source {str(root)!r} cannot be listed: {error.strerror}.") from error
    if not found:
        raise SourceError(f"The source {str(root)!r} is empty: give a folder with images and annotations.")
    return Tree(root, dict(sorted(found.items())), tuple(ledger))


def _visible(folder: str) -> Iterator[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if not entry.name.startswith(".") and entry.name not in _IGNORED:
                yield entry


def _unwrap(root: Path) -> Path:
    for _ in range(MAX_DEPTH):
        entries = list(_visible(str(root)))
        if len(entries) != 1 or not entries[0].is_dir(follow_symlinks=False):
            break
        name = entries[0].name
        if name.lower() in _MEANINGFUL or split_of_folder(name):
            break
        root /= name
    return root


def _walk(root: Path) -> tuple[dict[str, str], list[Entry]]:
    found: dict[str, str] = {}
    ledger: list[Entry] = []
    stack = [(str(root), "", 0)]
    while stack:
        folder, prefix, depth = stack.pop()
        for entry in _visible(folder):
            path = prefix + (entry.name if entry.name.isascii() else normal(entry.name))
            problem = _problem(entry, path, root, found, depth)
            if problem:
                detail = f"{problem}, so it was left out"
                ledger.append(Entry(clean(path), Rule.UNSAFE_NAME, Action.REJECTED, detail=detail))
            elif entry.is_dir(follow_symlinks=False):
                stack.append((entry.path, f"{path}/", depth + 1))
            else:
                found[path] = entry.path
    return found, ledger


def _problem(entry: os.DirEntry[str], path: str, root: Path, found: dict[str, str], depth: int) -> str | None:
    if entry.is_symlink():
        target = os.path.realpath(entry.path)  # Path.resolve raises on a link to itself
        if not os.path.isfile(target) or not Path(target).is_relative_to(root):  # noqa: PTH113 - a path as text
            return "it is a link that leaves the source or points to a folder"
    elif depth >= MAX_DEPTH:
        return f"it lies more than {MAX_DEPTH} folders deep"
    elif not entry.is_dir(follow_symlinks=False) and not entry.is_file(follow_symlinks=False):
        return "it is no ordinary file"
    if path in found:
        return "another file has the same name in a different Unicode form"
    # Plain printable ASCII cannot be unsafe as a directory entry, and nearly every name is that.
    return None if path.isascii() and path.isprintable() else why_unsafe(entry.name)
