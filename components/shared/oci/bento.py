"""The packed model inside a container image, taken out without running the image."""

import tarfile
from pathlib import Path

from components.shared.archive import MAX_BYTES, MAX_FILES, SOURCE, OpenArchive
from components.shared.detection.manifest import MANIFEST
from components.shared.errors import ArchiveError, UnsafeInputError
from components.shared.inference_files import verified_bento
from components.shared.oci.blobs import Blobs
from components.shared.oci.image import Image, read_image
from components.shared.oci.layer import CHUNK, check_blob, open_layer
from components.shared.oci.tree import Kind, Node, Parts, Tree, find, safe_parts, walk

CONTENT_LABEL = "detection-pipeline.content-digest"
BENTO_YAML = "bento.yaml"


def open_image(blobs: Blobs, work: Path, tag: str = "") -> OpenArchive:
    """Find the packed model in an image, write it below ``work`` and verify every byte of it.

    Args:
        blobs: the image file.
        work: an empty folder; nothing is written anywhere else.
        tag: which image, where there are several.

    Raises:
        ArchiveError: the image is damaged, holds no packed model or several, or one that is not what its manifest or
            the image's label says.
        UnsafeInputError: a layer tries to do harm.
    """
    image = read_image(blobs, tag)
    tree = _read_tree(blobs, image)
    home = _find_bento(tree.root, blobs.where)
    files = _list_files(tree.root, home)
    bento = work / "bento"
    bento.mkdir(parents=True)
    _write_files(blobs, image, home, files, bento)
    opened = verified_bento(bento)
    said = image.labels.get(CONTENT_LABEL, opened.manifest.content_digest)
    if said != opened.manifest.content_digest:
        raise ArchiveError(
            f"The label of the image {blobs.where!r} says its model's content digest is {said[:100]!r}, but inside is"
            f" {opened.manifest.tag!r} with {opened.manifest.content_digest!r}: build the image again."
        )
    return opened


def _read_tree(blobs: Blobs, image: Image) -> Tree:
    tree = Tree()
    for layer in image.layers:
        check_blob(blobs, layer)
        with open_layer(blobs, layer) as (stream, members, _):
            tree.add_layer(members)
            found = stream.finish()
        if found != layer.diff_id:
            raise ArchiveError(f"The layer {layer.blob!r} is not {layer.diff_id!r}: copy the image again.")
    return tree


def _find_bento(root: Node, where: str) -> Parts:
    """The folder with ``bento.yaml`` and ``src/manifest.json``."""
    found = [
        parts
        for parts, node in walk(root)
        if BENTO_YAML in node.children and find(node, (SOURCE, MANIFEST)) is not None
    ]
    if len(found) != 1:
        places = ", ".join(repr("/" + "/".join(parts)) for parts in sorted(found)[:5])
        what = f"holds {len(found)} packed models ({places})" if found else "holds no packed model of this project"
        raise ArchiveError(f"The image {where!r} {what}: give an image that scripts/containerize built.")
    return found[0]


def _list_files(root: Node, home: Parts) -> dict[Parts, int]:
    """The layer of each file below ``home``; its path is relative to that."""
    for depth in range(1, len(home) + 1):
        _check(home[:depth], find(root, home[:depth]), Kind.FOLDER)
    folder = find(root, home) or root
    files: dict[Parts, int] = {}
    total = 0
    for parts, node in walk(folder):
        _check((*home, *parts), node, Kind.FOLDER if node.kind is Kind.FOLDER else Kind.FILE)
        if node.kind is Kind.FILE:
            files[parts] = node.layer
            total += node.size
        if len(files) > MAX_FILES or total > MAX_BYTES:
            raise UnsafeInputError(
                f"The packed model in the image has more than {MAX_FILES} files or {MAX_BYTES} bytes."
            )
    return files


def _check(parts: Parts, node: Node | None, kind: Kind) -> None:
    if node is None or node.kind is not kind:
        what = node.kind.value if node else "hole"
        raise UnsafeInputError(f"{'/' + '/'.join(parts)!r} in the image is a {what}: do not trust this image.")


def _write_files(blobs: Blobs, image: Image, home: Parts, files: dict[Parts, int], bento: Path) -> None:
    for number in sorted(set(files.values())):
        left = {parts for parts, layer in files.items() if layer == number}
        with open_layer(blobs, image.layers[number]) as (_, members, tar):
            for info in members:
                parts = safe_parts(info.name)
                inside = parts[len(home) :]
                if parts[: len(home)] == home and inside in left and info.isreg():
                    _write_file(tar, info, bento.joinpath(*inside))
                    left.remove(inside)
                if not left:
                    break


def _write_file(tar: tarfile.TarFile, info: tarfile.TarInfo, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    stream = tar.extractfile(info)
    with target.open("xb") as handle:
        while stream is not None and (chunk := stream.read(CHUNK)):
            handle.write(chunk)
