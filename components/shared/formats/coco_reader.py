"""Reads COCO JSON files and finds the images they name."""

import json
import logging
import math
import mmap
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from components.shared.documents import parse_json
from components.shared.errors import FormatError
from components.shared.formats.base import Parsed
from components.shared.formats.names import clean, folder_of, join, normal, split_of_file, split_of_folder, why_unsafe
from components.shared.formats.rows import Box, Extras, Rows, declared, shorten
from components.shared.formats.tree import Tree, scan
from components.shared.ledger import Action, Entry, Rule

logger = logging.getLogger(__name__)

_LISTS = ("images", "annotations", "categories")
_OWN_COLUMNS = frozenset({
    "id", "image_id", "category_id", "bbox", "iscrowd", "score", "confidence", "difficult", "truncated",
})  # fmt: skip
_OTHER_TASKS = re.compile(r"^(person_keypoints|captions|stuff|panoptic|image_info)_")
_HEAD = 4096
_SAMPLE = 1000
_MANY_FOLDERS = 64
_LONGEST_ID = 18
_LARGEST_ID = 1e18

Ids = dict[object, int]


@dataclass(frozen=True)
class Document:
    """One COCO JSON file: its path below the source, the split its name says, and its three lists."""

    path: str
    split: str | None
    images: list[object]
    annotations: list[object]
    categories: list[object]


def recognise(tree: Tree) -> bool:
    """Whether a JSON file below the folder looks like COCO."""
    return any(_sniff(Path(tree.files[path])) for path in tree.with_suffix(".json"))


def read(root: Path) -> Parsed:
    """Read every COCO JSON below ``root`` as one data set.

    Raises:
        SourceError: the folder is missing or empty.
        FormatError: there is no COCO JSON, or one cannot be parsed.
    """
    tree = scan(root)
    rows = Rows()
    rows.ledger.extend(tree.ledger)
    ranks: dict[str, tuple[float, str]] = {}
    found = False
    for path in _candidates(tree):
        document = _load(tree, path)
        if document is not None:
            found = True
            _add(tree, document, rows, ranks)
    if not found:
        raise FormatError(
            f"{str(root)!r} holds no COCO JSON (an object with the lists {', '.join(_LISTS)}): "
            f"it has {tree.contents()}."
        )
    return rows.parsed(tuple(sorted(ranks, key=lambda name: ranks[name])))


def _candidates(tree: Tree) -> list[str]:
    paths = [path for path in tree.with_suffix(".json") if _sniff(Path(tree.files[path]))]
    kept = [path for path in paths if not _other_task(path, paths)]
    if len(kept) < len(paths):
        logger.info("Left out %s: its boxes stand in the instances file beside it.", sorted(set(paths) - set(kept)))
    return kept


def _other_task(path: str, paths: list[str]) -> bool:
    """COCO ships keypoints and captions of the same images: the boxes would count twice."""
    folder, _, name = path.rpartition("/")
    return bool(_OTHER_TASKS.match(name)) and join(folder, _OTHER_TASKS.sub("instances_", name)) in paths


def _sniff(path: Path) -> bool:
    try:
        if not path.stat().st_size:
            return False
        with path.open("rb") as handle:
            head = handle.read(_HEAD).removeprefix(b"\xef\xbb\xbf").lstrip()
            if not head.startswith(b"{"):
                return False
            with mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ) as content:
                return content.find(b'"images"') >= 0 and content.find(b'"annotations"') >= 0
    except (OSError, ValueError):
        return False


def _load(tree: Tree, path: str) -> Document | None:
    content = parse_json(tree.read(path), path)
    if not isinstance(content, dict):
        return None
    images, annotations, categories = (content.get(key) for key in _LISTS)
    if isinstance(images, list) and isinstance(annotations, list) and isinstance(categories, list):
        return Document(path, split_of_file(path), images, annotations, categories)
    logger.info("%r is no COCO file: its images, annotations and categories are not all lists.", path)
    return None


def _add(tree: Tree, document: Document, rows: Rows, ranks: dict[str, tuple[float, str]]) -> None:
    categories = _categories(document, rows, ranks)
    unsafe: set[object] = set()
    ids = _add_images(tree, document, rows, unsafe)
    for position, record in enumerate(document.annotations):
        problem = _add_annotation(record, ids, categories, rows)
        if problem:
            _reject_annotation(document, position, problem, rows, unsafe)


def _categories(document: Document, rows: Rows, ranks: dict[str, tuple[float, str]]) -> dict[object, str]:
    names: dict[object, str] = {}
    for record in document.categories:
        number = record.get("id") if isinstance(record, dict) else None
        name = record.get("name") if isinstance(record, dict) else None
        if not _is_id(number) or not isinstance(name, (str, int, float)) or clean(str(name)) != str(name):
            rows.reject(document.path, Rule.MALFORMED, "a category needs an id and a name", before=record)
        elif number in names:
            rows.reject(document.path, Rule.MALFORMED, f"a second category has the id {number!r}", before=record)
        else:
            names[number] = str(name)
            # Ids are numbers by the format; text ids come after them, in the order of their text.
            rank = (float(number), "") if isinstance(number, (int, float)) else (math.inf, str(number))
            key = (rank[0], f"{rank[1]}\0{name}")
            ranks[str(name)] = min(key, ranks.get(str(name), key))
    return names


def _is_id(value: object) -> bool:
    if isinstance(value, (int, float)):
        return not isinstance(value, bool) and abs(value) < _LARGEST_ID  # NaN is not less than anything
    return isinstance(value, str)


def _find_id(known: Mapping[object, object], value: object) -> object | None:
    """The key that an id means: some tools write a number here and its text there."""
    if not _is_id(value):
        return None
    if value in known:
        return value
    if isinstance(value, str):
        other: object = int(value) if value.isdecimal() and len(value) <= _LONGEST_ID else None
    elif isinstance(value, (int, float)):
        other = str(int(value)) if value == int(value) else None
    else:
        other = None
    return other if other in known else None


def _add_images(tree: Tree, document: Document, rows: Rows, unsafe: set[object]) -> Ids:
    finder = _Finder(tree, document)
    ids: Ids = {}
    owned: set[int] = set()
    for record in document.images:
        number = record.get("id") if isinstance(record, dict) else None
        name = record.get("file_name") if isinstance(record, dict) else None
        if not isinstance(record, dict) or not _is_id(number) or not isinstance(name, str):
            rows.reject(document.path, Rule.MALFORMED, "an image needs an id and a file_name", before=record)
            continue
        problem = why_unsafe(name)
        if number in ids or number in unsafe:
            detail = f"{document.path} has two images with the id {number!r}; the first one keeps it"
            rows.reject(name, Rule.DUPLICATE_IMAGE_ID, detail, before=record)
        elif problem:
            unsafe.add(number)
            detail = f"{document.path}: file_name {shorten(name)!r}: {problem}"
            rows.reject(name, Rule.UNSAFE_NAME, detail, before=record)
        else:
            ids[number] = _add_image(finder, record, name, rows, owned)
    return ids


def _add_image(finder: "_Finder", record: dict[str, object], name: str, rows: Rows, owned: set[int]) -> int:
    short, found = finder.find(name)
    long = found or join(folder_of(finder.document.path), short)
    image_id = rows.add_image(
        long,
        short=short,
        path=finder.tree.files[found] if found else None,
        size=(declared(record.get("width")), declared(record.get("height"))),
        split=finder.document.split,
        source_id=clean(str(record["id"])),
    )
    if image_id in owned:
        detail = f"{finder.document.path} lists this file twice; the annotations of {record['id']!r} went to the first"
        rows.ledger.append(Entry(clean(short), Rule.DUPLICATE_IMAGE_ID, Action.FIXED, detail=clean(detail)))
    owned.add(image_id)
    return image_id


class _Finder:
    """Finds the files a document names, in the folder that holds most of them first."""

    def __init__(self, tree: Tree, document: Document) -> None:
        self.tree = tree
        self.document = document
        names = [image["file_name"] for image in document.images if isinstance(image, dict) and "file_name" in image]
        self._names = [name for name in names if isinstance(name, str)]
        self._folders = self._ordered_folders()
        self._basenames = Counter(name.replace("\\", "/").rpartition("/")[2] for name in self._names)

    def find(self, name: str) -> tuple[str, str | None]:
        """(normalised name, path below the source or ``None``) of a ``file_name``."""
        as_given = normal(name)
        slashed = normal(name.replace("\\", "/"))
        for candidate in (as_given, slashed) if as_given != slashed else (as_given,):
            for folder in self._folders:
                path = f"{folder}/{candidate}" if folder else candidate
                if path in self.tree.files:
                    return candidate, path
        basename = slashed.rpartition("/")[2]
        same = self.tree.by_name.get(basename, ())
        if len(same) == 1 and self._basenames[basename] == 1 and self._fits(same[0]):
            return slashed, same[0]
        return slashed, None

    def _fits(self, folder: str) -> bool:
        """Another split's folder holds other images, even under the same names."""
        said = split_of_file(f"{folder}/")
        return said is None or self.document.split is None or said == self.document.split

    def _ordered_folders(self) -> list[str]:
        home = folder_of(self.document.path)
        near = [home, folder_of(home), ""]
        wanted = [join(base, inner) for base in near for inner in ("", "images", "jpegimages", "data")]
        if self.document.split:
            own = [path for path in self.tree.folders.values() if split_of_folder(path.rpartition("/")[2])]
            wanted = [path for path in own if self._fits(path)] + wanted
        if len(self.tree.folders) <= _MANY_FOLDERS:
            wanted += self.tree.folders.values()
        known = [self.tree.folders.get(path.strip("/").lower(), "") for path in wanted]
        folders = [path for path in dict.fromkeys(known) if self._fits(path)]
        step = max(1, len(self._names) // _SAMPLE)
        sample = [normal(name.replace("\\", "/")) for name in self._names[::step]]
        hits = {path: sum(join(path, name) in self.tree.files for name in sample) for path in folders}
        return sorted(folders, key=lambda path: -hits[path])


def _add_annotation(record: object, ids: Ids, categories: dict[object, str], rows: Rows) -> str | None:
    """Add one annotation, or say why it is none."""
    if not isinstance(record, dict):
        return "it is no object"
    image = _find_id(ids, record.get("image_id"))
    if image is None:
        return "image"
    box = _box(record.get("bbox"))
    if box is None:
        return "bbox is not a list of four numbers"
    score = record.get("score", record.get("confidence"))
    if score is not None and (isinstance(score, bool) or not isinstance(score, (int, float))):
        return "its score is no number"
    category = _find_id(categories, record.get("category_id"))
    extras = Extras(
        crowd=record.get("iscrowd") in (1, "1"),
        difficult=record.get("difficult") in (1, "1"),
        truncated=record.get("truncated") in (1, "1"),
        score=None if score is None else _float(score),
        source_id=None if record.get("id") is None else clean(shorten(str(record["id"]))),
        attributes=_attributes(record, box, known=category is not None),
    )
    rows.add_box(ids[image], None if category is None else categories[category], box, extras)
    return None


def _float(value: float) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf


def _box(value: object) -> Box | None:
    if not isinstance(value, list) or len(value) != 4:  # noqa: PLR2004 - left, top, width, height
        return None
    if not all(type(item) in {float, int} for item in value):
        return None
    x, y, width, height = map(_float, value)
    return x, y, width, height


def _attributes(record: dict[str, object], box: Box, *, known: bool) -> str | None:
    kept = {key: value for key, value in record.items() if key not in _OWN_COLUMNS}
    if kept.get("segmentation") in ([], None):
        kept.pop("segmentation", None)
    if kept.get("area") == box[2] * box[3]:
        del kept["area"]
    if not known:
        kept["category_id"] = record.get("category_id")
    if not kept:
        return None
    try:
        return json.dumps(kept, sort_keys=True, separators=(",", ":"), allow_nan=False)
    except ValueError:
        return json.dumps(_finite(kept), sort_keys=True, separators=(",", ":"))


def _finite(value: object) -> object:
    """The value with NaN and infinities, which JSON does not know, written as null."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _reject_annotation(document: Document, position: int, problem: str, rows: Rows, unsafe: set[object]) -> None:
    record = document.annotations[position]
    number = record.get("id") if isinstance(record, dict) else None
    annotation = f"annotations[{position}]" if number is None else clean(shorten(str(number)))
    rule, image = Rule.MALFORMED, document.path
    if problem == "image" and isinstance(record, dict):
        wanted = record.get("image_id")
        is_unsafe = _is_id(wanted) and wanted in unsafe
        rule = Rule.UNSAFE_NAME if is_unsafe else Rule.MISSING_IMAGE
        problem = f"its image {shorten(wanted)} " + ("has an unsafe name" if is_unsafe else "is not in the file")
    rows.reject(image, rule, f"{document.path}: {problem}", annotation=annotation, before=record)
