"""Finds on disk the images that manifests name by an address: ``s3://bucket/x/a.jpg`` may lie at ``images/a.jpg``."""

from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import unquote

from components.shared.formats.names import below_images, folder_of, join, normal, split_of_file, why_unsafe
from components.shared.formats.rows import shorten
from components.shared.formats.tree import Tree

_ADDRESSES = ("s3://", "https://")
_SCHEMES = ("s3", "https", "http")


@dataclass(frozen=True)
class Reference:
    """What a ``source-ref`` says.

    Attributes:
        key: posix path of the image: below the bucket or host, or below the source.
        long: a path no other image has: with the bucket in front.
        uri: address to fetch it from; ``None`` when it has none.
        home: folder of the manifest.
        split: what the manifest's name says.
    """

    key: str
    long: str
    uri: str | None
    home: str
    split: str | None


def reference(text: str, manifest: str, base: str | None) -> Reference | str:
    """What ``source-ref`` means in a manifest, or why it must not be used.

    Args:
        text: the ``source-ref``.
        manifest: path of the manifest below the source.
        base: address that relative names stand below, if any.
    """
    home, split = folder_of(manifest), split_of_file(manifest)
    scheme, mark, rest = text.partition("://")
    if not mark:
        name = normal(text.replace("\\", "/"))
        address = f"{base.rstrip('/')}/{name}" if base and base.startswith(_ADDRESSES) else None
        return why_unsafe(text) or Reference(name, join(home, name), address, home, split)
    if scheme not in _SCHEMES:
        return f"there is no reader for {shorten(scheme)}://"
    host, _, path = rest.partition("/")
    if scheme != "s3":
        path = unquote(path.partition("?")[0].partition("#")[0])
    key = normal(path.lstrip("/"))
    start = f"{base.rstrip('/')}/" if base and scheme == "s3" else None
    below = normal(text.removeprefix(start)) if start and text.startswith(start) else key
    shown = key if why_unsafe(below) else below
    uri = text if text.startswith(_ADDRESSES) else None
    return why_unsafe(key) or why_unsafe(f"{host}/{key}") or Reference(shown, f"{host}/{key}", uri, home, split)


def locate(references: Iterable[Reference], trees: list[Tree]) -> dict[str, tuple[Tree, str]]:
    """``Reference.long`` -> (tree, path) of its file, for those that have one.

    The file that shares the longest end of its path with the address is meant, beside the manifest and in its split's
    folder first. Where several addresses would have one file, or several files fit equally well, none is taken: a
    wrong picture is worse than a missing one.
    """
    claims: dict[tuple[int, str], list[tuple[int, str]]] = {}
    for item in {item.long: item for item in references}.values():
        for position, tree in enumerate(trees):
            found = _best(item, tree)
            if found:
                shared, path = found
                claims.setdefault((position, path), []).append((shared, item.long))
                break
    located: dict[str, tuple[Tree, str]] = {}
    for (position, path), wanted in claims.items():
        most = max(shared for shared, _ in wanted)
        winners = [long for shared, long in wanted if shared == most]
        if len(winners) == 1:
            located[winners[0]] = (trees[position], path)
    return located


def name_of(path: str) -> str:
    """The name an image goes by: its path below the folder for images, where it lies in one."""
    inside = below_images(path)
    return inside[1] if inside else path


def _best(item: Reference, tree: Tree) -> tuple[int, str] | None:
    candidates = tree.by_name.get(item.key.rpartition("/")[2], [])
    if not candidates:
        return None
    scored = sorted(((_score(item, path), path) for path in candidates), reverse=True)
    if len(scored) > 1 and scored[0][0] == scored[1][0]:
        return None
    (shared, *_), path = scored[0]
    return shared, path


def _score(item: Reference, path: str) -> tuple[int, bool, int]:
    ours, theirs = item.key.split("/"), path.split("/")
    shared = next((i for i, (a, b) in enumerate(zip(ours[::-1], theirs[::-1], strict=False)) if a != b), None)
    home = item.home.split("/") if item.home else []
    near = next((i for i, (a, b) in enumerate(zip(home, theirs, strict=False)) if a != b), len(home))
    fits = item.split is not None and split_of_file(f"{folder_of(path)}/") == item.split
    return (min(len(ours), len(theirs)) if shared is None else shared), fits, near
