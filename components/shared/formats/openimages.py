"""Open Images: CSV files with one box a line (https://storage.googleapis.com/openimages/web/download_v7.html).

Read is every CSV whose header has ``ImageID``, ``LabelName`` and the four edges, which are shares of the image.
``LabelName`` is translated by a ``class-descriptions`` file where there is one; classes are in its order, else
alphabetical. The file's name or its folder says the split. ``IsGroupOf`` becomes ``crowd``, ``IsTruncated``
``truncated``; the other flags stay in ``attributes`` where they are 1. ``Confidence`` is 1 for every box of the ground
truth; any other value is kept as an attribute. Images without a line, in the folders of the others, have no objects.

This is a reader of our own because datumaro takes only files under Open Images' own names and no decimal commas.
"""

import csv
import io
import logging
from collections.abc import Iterator
from pathlib import Path

from components.shared.errors import FormatError, InputError
from components.shared.formats.attributes import to_text
from components.shared.formats.base import DEFAULT_OPTIONS, Parsed, ReadOptions
from components.shared.formats.image_finder import ImageFinder, shown
from components.shared.formats.names import (
    clean,
    folder_of,
    join,
    normal,
    split_of_file,
    split_of_folder,
    why_unsafe,
    without_suffix,
)
from components.shared.formats.rows import Extras, Rows, number, shorten
from components.shared.formats.tree import Tree, scan
from components.shared.images import SUFFIXES
from components.shared.ledger import Rule

logger = logging.getLogger(__name__)

_EDGES = ("XMin", "XMax", "YMin", "YMax")
_NEEDED = frozenset({"ImageID", "LabelName", *_EDGES})
_KEPT = ("IsOccluded", "IsDepiction", "IsInside")
_HEAD = 4096
_SAMPLE = 200
_DESCRIPTIONS = "class-descriptions"


def detect(root: Path) -> bool:
    """Whether ``root`` holds boxes as Open Images writes them."""
    try:
        tree = scan(root)
    except InputError:
        return False
    return any(_dialect(Path(tree.files[path])) for path in tree.with_suffix(".csv")[:_SAMPLE])


def read(root: Path, options: ReadOptions = DEFAULT_OPTIONS, /) -> Parsed:
    """Read every file of boxes below ``root`` as one data set.

    Raises:
        SourceError: the folder is missing or empty.
        FormatError: there is none, or one is no UTF-8 or no CSV.
    """
    del options
    tree = scan(root)
    paths = {path: mark for path in tree.with_suffix(".csv") if (mark := _dialect(Path(tree.files[path])))}
    if not paths:
        raise FormatError(f"{str(root)!r} holds no Open Images CSV ({', '.join(_NEEDED)}): it has {tree.contents()}.")
    reader = _Reader(tree)
    for path, mark in paths.items():
        for line, record in _records(tree, path, mark):
            reader.add(path, line, record)
    reader.add_unlabelled()
    return reader.parsed()


def _dialect(path: Path) -> str:
    """What separates the columns of a file of boxes; ``""`` for any other file."""
    try:
        with path.open("rb") as handle:
            header = handle.read(_HEAD).decode("utf-8-sig", "replace").splitlines()[:1]
    except OSError:
        return ""
    columns = {mark: {name.strip(' "') for name in header[0].split(mark)} for mark in ",;\t"} if header else {}
    return next((mark for mark, names in columns.items() if names >= _NEEDED), "")


def _records(tree: Tree, path: str, mark: str) -> Iterator[tuple[int, dict[str, str]]]:
    try:
        with Path(tree.files[path]).open(encoding="utf-8-sig", newline="") as handle:
            rows = csv.DictReader(handle, delimiter=mark, skipinitialspace=True)
            for record in rows:
                yield rows.line_num, {str(key): value for key, value in record.items() if isinstance(value, str)}
    except (UnicodeDecodeError, csv.Error) as error:
        raise FormatError(f"{path!r} cannot be read as CSV: {error}.") from error


class _Reader:
    """Collects the rows of an Open Images source, line by line."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._descriptions = _descriptions(tree)
        self._finder = ImageFinder(tree, ())
        self._by_stem: dict[str, list[str]] = {}
        for image in tree.images:
            self._by_stem.setdefault(without_suffix(image).rpartition("/")[2], []).append(image)
        self._known: dict[tuple[str, str], int | None] = {}
        self.rows = Rows(relative=True)
        self.rows.ledger.extend(tree.ledger)

    def add(self, path: str, line: int, record: dict[str, str]) -> None:
        """Add one line."""
        place = f"{path}:{line}"
        edges = [number(record.get(name, "").strip()) for name in _EDGES]
        left, right, top, bottom = edges
        name = record.get("ImageID", "").strip()
        if not name or left is None or right is None or top is None or bottom is None:
            problem = "its edges are not four numbers" if name else "it names no image"
            self.rows.reject(path, Rule.MALFORMED, f"{place}: {problem}", annotation=place, before=record)
            return
        image_id = self._image(path, place, name)
        if image_id is None:
            return
        said = record.get("LabelName", "").strip()
        category = clean(self._descriptions.get(said, said)) or None
        kept: dict[str, object] = {flag: 1 for flag in _KEPT if record.get(flag, "").strip() == "1"}
        confidence = number(record.get("Confidence", "").strip())
        if confidence not in {None, 1.0}:
            kept["Confidence"] = confidence
        crowd, truncated = (record.get(flag, "").strip() == "1" for flag in ("IsGroupOf", "IsTruncated"))
        extras = Extras(crowd=crowd, truncated=truncated, source_id=place, attributes=to_text(kept))
        self.rows.add_box(image_id, category, (left, top, right - left, bottom - top), extras)

    def add_unlabelled(self) -> None:
        """Add the images that no line names, in the folders of those that one does."""
        used = {folder_of(image) for image in self.rows.image_ids if image in self._tree.files}
        lonely = [path for path in self._tree.images if path not in self.rows.image_ids and folder_of(path) in used]
        for image in lonely:
            self._add(image, image, _split(image))
        if lonely:
            logger.warning("%d images stand in no line and count as images without objects.", len(lonely))

    def parsed(self) -> Parsed:
        """All rows as tables; classes in the order of the descriptions, or by name."""
        used = self.rows.categories()
        described = [name for name in dict.fromkeys(map(clean, self._descriptions.values())) if name in used]
        return self.rows.parsed((*described, *sorted(used.difference(described))))

    def _image(self, path: str, place: str, name: str) -> int | None:
        key = (folder_of(path), name)
        if key not in self._known:
            self._known[key] = self._new_image(path, place, name)
        return self._known[key]

    def _new_image(self, path: str, place: str, name: str) -> int | None:
        problem = why_unsafe(name)
        if problem:
            self.rows.reject(name, Rule.UNSAFE_NAME, f"{place}: ImageID {shorten(name)!r}: {problem}")
            return None
        name, split = normal(name.replace("\\", "/")), split_of_file(path)
        found = self._finder.find(name, folder_of(path))
        if found is None:
            stem = without_suffix(name) if Path(name).suffix.lower() in SUFFIXES else name
            same = self._by_stem.get(stem.rpartition("/")[2], [])
            same = [image for image in same if _split(image) in {None, split}] if len(same) > 1 else same
            found = same[0] if len(same) == 1 else None
        suffixed = name if Path(name).suffix.lower() in SUFFIXES else f"{name}.jpg"
        return self._add(found or join(folder_of(path), suffixed), found, split, suffixed)

    def _add(self, long: str, found: str | None, split: str | None, short: str = "") -> int:
        file = self._tree.files[found] if found else None
        return self.rows.add_image(long, short=shown(found) if found else short, path=file, split=split)


def _split(image: str) -> str | None:
    return next((split for folder in reversed(image.split("/")[:-1]) if (split := split_of_folder(folder))), None)


def _descriptions(tree: Tree) -> dict[str, str]:
    """Class code -> name, from ``class-descriptions-boxable.csv``, with a header line or without one."""
    found: dict[str, str] = {}
    for path in tree.with_suffix(".csv"):
        if not path.rpartition("/")[2].startswith(_DESCRIPTIONS):
            continue
        text = tree.read(path).decode("utf-8-sig", "replace")
        for row in csv.reader(io.StringIO(text)):
            if len(row) >= 2 and row[0] != "LabelName":  # noqa: PLR2004 - code and name
                found.setdefault(row[0].strip(), row[1].strip())
    return found
