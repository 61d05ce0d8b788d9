"""Further formats that can be read: three by readers of our own, the rest by datumaro, the optional extra ``formats``.

datumaro's parsers see only what ours let through: copies of the annotation files in a folder made for the purpose, each
XML and JSON parsed within our bounds before (size, depth, no entities), and an empty file for each image, so that no
link, unsafe name or image byte reaches them. A file of an image counts only when it lies below the source.
"""

import importlib
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from components.shared.dataset import Dataset
from components.shared.documents import parse_json, parse_xml
from components.shared.errors import ConfigError, FormatError, UnsafeInputError, in_one_line
from components.shared.formats import cvat, labelme, openimages
from components.shared.formats.attributes import to_text
from components.shared.formats.base import DEFAULT_OPTIONS, Format, Parsed, Reader, ReadImage, ReadOptions
from components.shared.formats.image_finder import shown
from components.shared.formats.names import clean, normal, split_of_folder, why_unsafe
from components.shared.formats.rows import Box, Extras, Rows, declared, shorten
from components.shared.formats.tree import Tree, detector, scan
from components.shared.images import SUFFIXES
from components.shared.json_stream import texts_in
from components.shared.ledger import Rule

_SAMPLE = 200
_JSON_LIMIT = 512 << 20
_TEXT_LIMIT = 16 << 20
_FILES = (".xml", ".json", ".txt", *SUFFIXES)
_BOXES = frozenset({"bbox", "polygon", "rotated_bbox", "ellipse"})
_CROWD = ("is_crowd", "iscrowd")


def _is_kitti(tree: Tree) -> bool:
    return any("/label_2/" in f"/{path}" for path in tree.with_suffix(".txt"))


def _is_datumaro(tree: Tree) -> bool:
    return any(
        f"/{path}".rpartition("/")[0].endswith("/annotations") and _holds(tree, path, b'"items"', b'"categories"')
        for path in tree.with_suffix(".json")[:_SAMPLE]
    )


def _holds(tree: Tree, path: str, *signs: bytes) -> bool:
    try:
        return len(texts_in(Path(tree.files[path]), signs)) == len(signs)
    except OSError:
        return False


def _refuse_to_write(name: str) -> Callable[[Dataset, Path, ReadImage], None]:
    def write(dataset: Dataset, directory: Path, read_image: ReadImage) -> None:
        del dataset, directory, read_image
        raise ConfigError(f"The format {name!r} can be read but not written: choose coco, yolo or voc.")

    return write


def _reader(importer: str, *, all_classes: bool) -> Reader:
    def read(root: Path, options: ReadOptions = DEFAULT_OPTIONS, /) -> Parsed:
        del options
        tree = scan(root)
        rows = Rows()
        rows.ledger.extend(tree.ledger)
        with tempfile.TemporaryDirectory(prefix="datumaro-") as folder:
            mirror = Path(folder).resolve() / "source"
            _mirror(tree, mirror)
            found = _import(importer, mirror, root)
            labels = [str(label.name) for label in found.categories().get(_label_kind(), ())]
            for item in found:
                _add_item(tree, rows, item, labels, mirror)
        used = rows.categories()
        known = [name for name in map(clean, labels) if all_classes or name in used]
        return rows.parsed(tuple(dict.fromkeys(known)))

    return read


def _mirror(tree: Tree, folder: Path) -> None:
    """The files a parser may see: annotations that were looked through, and an empty file for each image."""
    for path, file in tree.files.items():
        suffix = Path(path).suffix.lower()
        if suffix not in _FILES:
            continue
        if suffix == ".xml":
            parse_xml(tree.read(path), path)
        elif suffix == ".json":
            parse_json(tree.read(path), path, limit=_JSON_LIMIT)
        elif suffix == ".txt" and Path(file).stat().st_size > _TEXT_LIMIT:
            raise UnsafeInputError(f"{path!r} is larger than {_TEXT_LIMIT} bytes: no such annotation file is.")
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        if suffix in SUFFIXES:
            target.touch()
        else:
            shutil.copyfile(file, target)


def _import(importer: str, mirror: Path, root: Path) -> Any:  # noqa: ANN401 - datumaro has no types
    try:
        datumaro = importlib.import_module("datumaro")
    except ImportError as error:
        raise FormatError(
            f"{str(root)!r} is in a format that needs datumaro, which is not installed: "
            "install this project with its extra 'formats' (uv sync --extra formats)."
        ) from error
    try:
        return datumaro.Dataset.import_from(str(mirror), importer)
    except Exception as error:
        cause = error.__cause__ or error
        text = in_one_line(cause).replace(f"{mirror}/", "")
        if isinstance(cause, (AttributeError, KeyError, TypeError, IndexError)):
            text = f"its files do not have the parts this format has ({type(cause).__name__})."
        raise FormatError(f"datumaro cannot read {str(root)!r} as {importer}: {shorten(text)}") from error


def _label_kind() -> object:
    return importlib.import_module("datumaro").AnnotationType.label


def _add_item(tree: Tree, rows: Rows, item: Any, labels: list[str], mirror: Path) -> None:  # noqa: ANN401
    path = _path_below(getattr(item.media, "path", None), mirror)
    found = path if path in tree.files else None
    name = str(item.id).replace("\\", "/")
    name = name if Path(name).suffix.lower() in SUFFIXES else f"{name}{Path(path or '').suffix or '.jpg'}"
    problem = None if found else why_unsafe(name)
    if problem:
        rows.reject(name, Rule.UNSAFE_NAME, f"item {shorten(name)!r}: {problem}")
        return
    size = item.media.size if getattr(item.media, "has_size", False) else None
    image_id = rows.add_image(
        found or f"{item.subset}/{normal(name)}",
        short=shown(found) if found else normal(name),
        path=tree.files[found] if found else None,
        size=(declared(size[1]), declared(size[0])) if size else (None, None),
        split=split_of_folder(str(item.subset)),
        source_id=clean(shorten(str(item.id))),
    )
    for position, annotation in enumerate(item.annotations):
        _add_annotation(rows, image_id, annotation, labels, f"{name}: annotation {position}")


def _path_below(path: str | None, mirror: Path) -> str | None:
    if not path:
        return None
    plain = Path(os.path.normpath(path))
    return normal(plain.relative_to(mirror).as_posix()) if plain.is_relative_to(mirror) else None


def _add_annotation(rows: Rows, image_id: int, annotation: Any, labels: list[str], place: str) -> None:  # noqa: ANN401
    kind = annotation.type.name
    if kind not in _BOXES:
        rows.reject(place, Rule.MALFORMED, f"{place}: a {kind} is no box", annotation=place)
        return
    kept = {str(key): value for key, value in annotation.attributes.items() if _is_plain(value)}
    flags = {name: bool(kept.pop(name, False)) for name in (*_CROWD, "difficult", "truncated")}
    kept = {key: value for key, value in kept.items() if value is not False}
    score = kept.pop("score", None)
    if kind == "polygon":
        kept["segmentation"] = [[float(value) for value in annotation.points]]
    box: Box = tuple(float(value) for value in annotation.get_bbox())  # type: ignore[assignment]
    label = annotation.label
    category = clean(labels[label]) if isinstance(label, int) and 0 <= label < len(labels) else None
    number = float(score) if isinstance(score, (int, float)) and not isinstance(score, bool) else None
    crowd = any(flags[name] for name in _CROWD)
    extras = Extras(crowd, flags["difficult"], flags["truncated"], number, place, to_text(kept))
    rows.add_box(image_id, category, box, extras)


def _is_plain(value: object) -> bool:
    return isinstance(value, (str, int, float, bool))


def _format(name: str, describe: str, looks: Callable[[Tree], bool], importer: str, *, all_classes: bool) -> Format:
    read = _reader(importer, all_classes=all_classes)
    return Format(name, f"{describe}, through datumaro", detector(looks), read, _refuse_to_write(name))


def _own(name: str, describe: str, detect: Callable[[Path], bool], read: Reader) -> Format:
    return Format(name, describe, detect, read, _refuse_to_write(name))


FORMATS: dict[str, Format] = {
    item.name: item
    for item in (
        _own("cvat", "XML files of CVAT for images or video", cvat.detect, cvat.read),
        _own("openimages", "CSV files with a box a line, as Open Images has them", openimages.detect, openimages.read),
        _own("labelme", "one JSON file an image, as labelme writes it", labelme.detect, labelme.read),
        _format("kitti", "label_2/*.txt beside image_2", _is_kitti, "kitti_detection", all_classes=False),
        _format("datumaro", "annotations/*.json with items", _is_datumaro, "datumaro", all_classes=True),
    )
}
