"""The files of an image as its layers make them: later ones win, whiteouts hide what lies below.

Rules: https://github.com/opencontainers/image-spec/blob/main/layer.md
"""

import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import Enum
from pathlib import PurePosixPath

from components.shared.errors import UnsafeInputError

MAX_MEMBERS = 500_000  # of all layers together
_DEEPEST = 200
_WHITEOUT = ".wh."
_OPAQUE = ".wh..wh..opq"

Parts = tuple[str, ...]


class Kind(Enum):
    """What lies at a path."""

    FILE = "file"
    FOLDER = "folder"
    OTHER = "link or device"
    DOUBTFUL = "path that tools read in different ways"


@dataclass(slots=True)
class Node:
    """What lies at one path: which layer it is from, its bytes, and what lies below it."""

    kind: Kind
    layer: int = -1
    size: int = 0
    children: dict[str, "Node"] = field(default_factory=dict)


class Tree:
    """The files of an image; layers are added from the lowest up.

    A path that a layer names twice, or that lies below a link or a file, is ``DOUBTFUL``, for tools differ on it.
    """

    def __init__(self) -> None:
        self.root = Node(Kind.FOLDER)
        self._layers = 0
        self._members = 0

    def add_layer(self, members: Iterable[tarfile.TarInfo]) -> None:
        """Put a layer on top; what it hides of the layers below goes first, wherever that stands in it.

        Raises:
            UnsafeInputError: a member would leave the image, or there are too many.
        """
        added: list[tuple[Parts, Kind, int]] = []
        for info in members:
            self._members += 1
            if self._members > MAX_MEMBERS:
                raise UnsafeInputError(f"The image has more than {MAX_MEMBERS} files: do not trust this image.")
            parts = safe_parts(info.name)
            if not parts:
                continue
            if parts[-1].startswith(_WHITEOUT):
                self._hide(parts)
            else:
                added.append((parts, _kind(info), info.size))
        for parts, kind, size in added:
            self._put(parts, kind, size)
        self._layers += 1

    def _hide(self, parts: Parts) -> None:
        folder = find(self.root, parts[:-1])
        name = parts[-1]
        if folder is None:
            return
        if name == _OPAQUE:
            folder.children.clear()
        else:
            folder.children.pop(name.removeprefix(_WHITEOUT), None)

    def _put(self, parts: Parts, kind: Kind, size: int) -> None:
        folder = self.root
        for part in parts[:-1]:
            inner = folder.children.get(part)
            if inner is None:
                inner = folder.children[part] = Node(Kind.FOLDER, self._layers)
            elif inner.kind in {Kind.FILE, Kind.OTHER}:
                inner.kind = Kind.DOUBTFUL
            folder = inner
        name, before = parts[-1], folder.children.get(parts[-1])
        if kind is Kind.FOLDER and before is not None and before.kind in {Kind.FOLDER, Kind.DOUBTFUL}:
            return
        again = before is not None and before.layer == self._layers and before.kind is not Kind.FOLDER
        folder.children[name] = Node(Kind.DOUBTFUL if again else kind, self._layers, size)


def find(root: Node, parts: Parts) -> Node | None:
    """What lies at a path; ``None`` when nothing does."""
    node: Node | None = root
    for part in parts:
        node = node.children.get(part) if node else None
    return node


def walk(root: Node) -> Iterator[tuple[Parts, Node]]:
    """Every path below ``root`` with what lies there."""
    left: list[tuple[Parts, Node]] = [((), root)]
    while left:
        at, node = left.pop()
        for name, child in node.children.items():
            yield (*at, name), child
            left.append(((*at, name), child))


def safe_parts(name: str) -> Parts:
    """The path of a layer's member below the image's root.

    Raises:
        UnsafeInputError: it leaves the root, or is too deep.
    """
    parts = tuple(part for part in PurePosixPath(name).parts if part != "/")
    if ".." in parts or "\0" in name or len(parts) > _DEEPEST:
        raise UnsafeInputError(f"The image holds {name[:200]!r}, which leads out of it: do not trust this image.")
    return parts


def _kind(info: tarfile.TarInfo) -> Kind:
    if info.isdir():
        return Kind.FOLDER
    return Kind.FILE if info.isreg() and not info.issparse() else Kind.OTHER
