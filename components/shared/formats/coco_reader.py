"""Reads COCO JSON files, a piece at a time, and finds the images they name."""

import gc
import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from components.shared.errors import FormatError
from components.shared.formats.base import DEFAULT_OPTIONS, Parsed, ReadOptions
from components.shared.formats.coco_files import Finder, instance_files, recognise, result_files
from components.shared.formats.coco_records import Ids, add_annotation, find_id, is_id
from components.shared.formats.names import clean, folder_of, join, split_of_file, why_unsafe
from components.shared.formats.rows import Rows, declared, shorten
from components.shared.formats.tree import Tree, scan
from components.shared.json_stream import JsonFile
from components.shared.ledger import Action, Entry, Rule

__all__ = ["read", "recognise"]

logger = logging.getLogger(__name__)

_LISTS = ("images", "annotations", "categories")


@dataclass(frozen=True)
class _Document:
    """What the annotations of one COCO file need: its images and categories by their ids in it.

    Attributes:
        path: its path below the source.
        ids: image id in the file -> image id in the rows.
        categories: category id in the file -> name.
        unsafe: ids of images that were rejected for their names.
    """

    path: str
    ids: Ids = field(default_factory=dict)
    categories: dict[object, str] = field(default_factory=dict)
    unsafe: set[object] = field(default_factory=set)


def read(root: Path, _options: ReadOptions = DEFAULT_OPTIONS) -> Parsed:
    """Read every COCO JSON below ``root`` as one data set, and results files as predictions for its images.

    Raises:
        SourceError: the folder is missing or empty.
        FormatError: there is no COCO JSON, or one cannot be parsed.
    """
    with _without_collections():
        return _read(scan(root))


@contextmanager
def _without_collections() -> Iterator[None]:
    """Parsed records hold no cycles, and looking for some in millions of them takes a third of the time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _read(tree: Tree) -> Parsed:
    rows = Rows()
    rows.ledger.extend(tree.ledger)
    ranks: dict[str, tuple[float, str]] = {}
    results = result_files(tree)
    documents: list[_Document] = []
    for path in instance_files(tree):
        document = _add_file(tree, path, rows, ranks)
        if document is not None:
            documents.append(document if results else _Document(path))
    if not documents:
        raise FormatError(
            f"{str(tree.root)!r} holds no COCO JSON (an object with the lists {', '.join(_LISTS)}): "
            f"it has {tree.contents()}."
        )
    for path in results:
        _add_results(tree, path, documents, rows)
    return rows.parsed(tuple(sorted(ranks, key=lambda name: ranks[name])))


def _add_file(tree: Tree, path: str, rows: Rows, ranks: dict[str, tuple[float, str]]) -> _Document | None:
    """Add the images and annotations of a file; ``None`` when it is none of COCO's."""
    file = JsonFile(Path(tree.files[path]), path)
    if not file.lists.issuperset(_LISTS):
        file.check()
        logger.info("%r is no COCO file: its images, annotations and categories are not all lists.", path)
        return None
    file.check(but=frozenset(_LISTS))
    document = _Document(path)
    _add_categories(file.records("categories"), document, rows, ranks)
    finder = Finder(tree, path, list(_file_names(file.records("images"))))
    _add_images(finder, file.records("images"), document, rows)
    for position, record in enumerate(file.records("annotations")):
        problem = add_annotation(record, document.ids, document.categories, rows)
        if problem:
            _reject_annotation(document, document.path, f"annotations[{position}]", record, problem, rows)
    return document


def _add_results(tree: Tree, path: str, documents: list[_Document], rows: Rows) -> None:
    """Add a results file: predictions for the images of one of the documents."""
    file = JsonFile(Path(tree.files[path]), path)
    document = _document_of(path, next(file.records(), None), documents)
    logger.info("Read %r as predictions for the images of %r.", path, document.path)
    for position, record in enumerate(file.records()):
        problem = add_annotation(record, document.ids, document.categories, rows, kind="prediction")
        if problem:
            _reject_annotation(document, path, f"[{position}]", record, problem, rows)


def _document_of(path: str, first: object, documents: list[_Document]) -> _Document:
    """The document a results file is about: it has the first result's image; better of the same split and folder."""
    image = first.get("image_id") if isinstance(first, dict) else None
    split = split_of_file(path)

    def strangeness(document: _Document) -> tuple[bool, bool, bool]:
        other_split = split is not None and split_of_file(document.path) not in {None, split}
        return find_id(document.ids, image) is None, other_split, folder_of(document.path) != folder_of(path)

    return min(documents, key=strangeness)


def _file_names(records: Iterator[object]) -> Iterator[str]:
    for record in records:
        name = record.get("file_name") if isinstance(record, dict) else None
        if isinstance(name, str):
            yield name


def _add_categories(
    records: Iterator[object], document: _Document, rows: Rows, ranks: dict[str, tuple[float, str]]
) -> None:
    names = document.categories
    for record in records:
        number = record.get("id") if isinstance(record, dict) else None
        name = record.get("name") if isinstance(record, dict) else None
        if not is_id(number) or not isinstance(name, (str, int, float)):
            rows.reject(document.path, Rule.MALFORMED, "a category needs an id and a name", before=record)
        elif clean(str(name)) != str(name):
            detail = f"the category's name {name!r} is not Unicode text"
            rows.reject(document.path, Rule.UNSAFE_NAME, detail, before=record)
        elif number in names:
            rows.reject(document.path, Rule.MALFORMED, f"a second category has the id {number!r}", before=record)
        else:
            names[number] = str(name)
            # Ids are numbers by the format; text ids come after them, in the order of their text.
            rank = (float(number), "") if isinstance(number, (int, float)) else (math.inf, str(number))
            key = (rank[0], f"{rank[1]}\0{name}")
            ranks[str(name)] = min(key, ranks.get(str(name), key))


def _add_images(finder: Finder, records: Iterator[object], document: _Document, rows: Rows) -> None:
    ids, unsafe = document.ids, document.unsafe
    owned: set[int] = set()
    for record in records:
        number = record.get("id") if isinstance(record, dict) else None
        name = record.get("file_name") if isinstance(record, dict) else None
        if not isinstance(record, dict) or not is_id(number) or not isinstance(name, str):
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


def _add_image(finder: Finder, record: dict[str, object], name: str, rows: Rows, owned: set[int]) -> int:
    short, found = finder.find(name)
    long = found or join(folder_of(finder.document), short)
    image_id = rows.add_image(
        long,
        short=short,
        path=finder.tree.files[found] if found else None,
        size=(declared(record.get("width")), declared(record.get("height"))),
        split=finder.split,
        source_id=clean(str(record["id"])),
    )
    if image_id in owned:
        detail = f"{finder.document} lists this file twice; the annotations of {record['id']!r} went to the first"
        rows.record(Entry(clean(short), Rule.DUPLICATE_IMAGE_ID, Action.FIXED, detail=clean(detail)))
    owned.add(image_id)
    return image_id


def _reject_annotation(document: _Document, path: str, place: str, record: object, problem: str, rows: Rows) -> None:
    number = record.get("id") if isinstance(record, dict) else None
    annotation = place if number is None else clean(shorten(str(number)))
    rule = Rule.MALFORMED
    if problem == "image" and isinstance(record, dict):
        wanted = record.get("image_id")
        is_unsafe = is_id(wanted) and wanted in document.unsafe
        rule = Rule.UNSAFE_NAME if is_unsafe else Rule.MISSING_IMAGE
        where = "the file" if path == document.path else document.path
        problem = f"its image {shorten(wanted)} " + ("has an unsafe name" if is_unsafe else f"is not in {where}")
    rows.reject(path, rule, f"{path}: {problem}", annotation=annotation, before=record)
