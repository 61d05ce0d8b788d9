"""Reads YMIR data sets: which folders belong together, their VOC XML files, class aliases and what the model says."""

import json
import logging
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from xml.etree.ElementTree import Element

import polars as pl

from components.shared.documents import parse_xml, parse_yaml
from components.shared.errors import FormatError, InputError
from components.shared.formats.attributes import to_text
from components.shared.formats.base import DEFAULT_OPTIONS, Parsed, ReadOptions
from components.shared.formats.names import clean, folder_of, join, without_suffix
from components.shared.formats.rows import shorten
from components.shared.formats.tree import Tree, scan
from components.shared.formats.voc_reader import XML_LIMIT, VocReader, tags_of
from components.shared.ledger import Action, Entry, Rule

logger = logging.getLogger(__name__)

LABELS = "labels.yaml"
META = "meta.yaml"
_IMAGES = ("images", "jpegimages")
_TRUTH = ("gt", "annotations")
_PREDICTED = "pred"
_HEAD = 1 << 16
_SAMPLE = 20
_MARKS = (b"<cks>", b"<image_quality>", b"<box_quality>", b"<rotate_angle>")


@dataclass(frozen=True)
class Layout:
    """One data set of a source: its folders of ground truth and predictions, and that of images (``None``: missing)."""

    base: str
    images: str | None
    truth: tuple[str, ...]
    predicted: str | None


def layouts(tree: Tree) -> list[Layout]:
    """Every folder that holds images, ground truth or predictions under the names YMIR gives them."""
    own = (*_IMAGES, _TRUTH[0], _PREDICTED)
    bases = {folder_of(lower) for lower in tree.folders if lower.rpartition("/")[2] in own}
    return [_layout(tree, base) for base in sorted(bases)]


def _layout(tree: Tree, base: str) -> Layout:
    def known(*names: str) -> tuple[str, ...]:
        return tuple(tree.folders[path] for name in names if (path := join(base, name)) in tree.folders)

    images, truth, predicted = known(*_IMAGES), known(*_TRUTH), known(_PREDICTED)
    return Layout(tree.folders.get(base, ""), images[0] if images else None, truth, predicted[0] if predicted else None)


def recognise(tree: Tree) -> bool:
    """Whether folders or XML files show YMIR's hand; ``annotations`` beside ``images`` alone is plain VOC."""
    found = [layout for layout in layouts(tree) if layout.images]
    for layout in found:
        own = [folder for folder in (*layout.truth, layout.predicted) if folder and not _is_shared(folder)]
        if any(_below(path, folder) for path in tree.with_suffix(".xml") for folder in own):
            return True
    shared = [folder for layout in found for folder in layout.truth if _is_shared(folder)]
    files = [path for path in tree.with_suffix(".xml") if any(_below(path, folder) for folder in shared)]
    return any(_has_marks(Path(tree.files[path])) for path in files[:_SAMPLE])


def read(root: Path, _options: ReadOptions = DEFAULT_OPTIONS) -> Parsed:
    """Read every YMIR data set below ``root`` as one.

    Raises:
        SourceError: the folder is missing or empty.
        FormatError: there is no folder of such a name.
    """
    tree = scan(root)
    found = layouts(tree)
    if not found:
        raise FormatError(f"{str(root)!r} holds no folder 'images', 'gt' or 'pred': it has {tree.contents()}.")
    files = list(_annotation_files(tree, found))
    reader = _YmirReader(tree, frozenset(_annotated(files, found)), found)
    for path in files:
        try:
            element = parse_xml(tree.read(path), path, limit=XML_LIMIT)
            if element.tag != "annotation":
                raise FormatError(f"{path!r} is no VOC file: its root is {shorten(element.tag)!r}.")
            reader.add(path, element)
        except InputError as error:
            reader.reject(path, str(error))
    reader.add_unlabelled()
    return reader.parsed()


def _is_shared(folder: str) -> bool:
    """``annotations`` is the name of a folder in other formats too."""
    return folder.rpartition("/")[2].lower() == "annotations"


def _below(path: str, folder: str) -> bool:
    return path.startswith(f"{folder}/")


def _has_marks(path: Path) -> bool:
    try:
        with path.open("rb") as handle:
            head = handle.read(_HEAD)
    except OSError:
        return False
    return any(mark in head for mark in _MARKS)


def _annotation_files(tree: Tree, found: list[Layout]) -> Iterator[str]:
    """XML files in their order, ground truth before predictions."""
    truth = [f"{folder}/" for layout in found for folder in layout.truth]
    predicted = [f"{layout.predicted}/" for layout in found if layout.predicted]
    for folders in (truth, predicted):
        yield from (path for path in tree.with_suffix(".xml") if path.startswith(tuple(folders)))


def _annotated(files: list[str], found: list[Layout]) -> Iterator[str]:
    """The annotation files without their suffix; an image has those of one folder as well as those beside it."""
    folders = [[folder for folder in (*layout.truth, layout.predicted) if folder] for layout in found]
    beside = {folder: together for together in folders for folder in together}
    for path in files:
        folder = next(folder for folder in beside if _below(path, folder))
        yield from (f"{other}{without_suffix(path)[len(folder) :]}" for other in beside[folder])


class _YmirReader(VocReader):
    """A VOC reader that knows ground truth from predictions by their folders, and classes by their aliases."""

    def __init__(self, tree: Tree, annotated: frozenset[str], found: list[Layout]) -> None:
        super().__init__(tree, annotated)
        self._layouts = found
        self._classes: list[str] = []
        self._main: dict[str, str] = {}
        self._renamed: Counter[tuple[str, str]] = Counter()
        self._notes: dict[str, str] = {}
        self._late: dict[int, dict[str, str]] = {}
        for path in tree.by_name.get(LABELS, []):
            self._add_labels(path)
        for path in tree.by_name.get(META, []):
            if any(layout.predicted == folder_of(path) for layout in found):
                self._add_meta(path)

    def add_unlabelled(self) -> None:
        """Add the images that have no annotation file: YMIR takes them for images without objects."""
        folders = tuple(f"{layout.images}/" for layout in self._layouts if layout.images)
        known = self._broken.union(self.rows.image_ids)
        for image in self.tree.images:
            if image.startswith(folders) and image not in known:
                path, split = self.tree.files[image], self._split(image, image)
                self.rows.add_image(image, short=self._short(image), path=path, split=split)
        if not any(layout.truth for layout in self._layouts):
            logger.warning("There is no folder 'gt': no image has a box of the ground truth.")

    def parsed(self) -> Parsed:
        """All rows as tables; classes in the order of ``labels.yaml``, others after them by name."""
        for (alias, main), count in sorted(self._renamed.items()):
            detail = f"{count} boxes have the class {alias!r}, an alias of {main!r}"
            before: dict[str, object] = {"category": alias}
            after: dict[str, object] = {"category": main}
            self.rows.record(Entry(LABELS, Rule.UNKNOWN_CATEGORY, Action.FIXED, None, before, after, detail))
        others = self.rows.categories().difference(self._classes)
        parsed = self.rows.parsed((*self._classes, *sorted(others)))
        tags = parsed.images.get_column("tags").to_list()
        for image_id, late in self._late.items():
            tags[image_id] = to_text({**late, **json.loads(tags[image_id] or "{}")})
        images = parsed.images.with_columns(pl.Series("tags", tags, dtype=pl.String))
        return replace(parsed, images=images, notes=self._notes)

    def _add_image(self, path: str, image: str | None, said: str, root: Element) -> int:
        image_id = super()._add_image(path, image, said, root)
        if self._kind_of(path) == "prediction":
            self._late[image_id] = tags_of(root)
        return image_id

    def _kind_of(self, path: str) -> str | None:
        predicted = any(layout.predicted and _below(path, layout.predicted) for layout in self._layouts)
        return "prediction" if predicted else "ground_truth"

    def _home_of(self, path: str) -> str:
        for layout in self._layouts:
            if any(_below(path, folder) for folder in (*layout.truth, layout.predicted) if folder):
                return layout.images or join(layout.base, _IMAGES[0])
        return super()._home_of(path)

    def _category_of(self, name: str) -> str | None:
        main = self._main.get(name.lower(), name)
        if main != name:
            self._renamed[(name, main)] += 1
        return main or None

    def _add_labels(self, path: str) -> None:
        try:
            content = parse_yaml(self.tree.read(path), path, text=True)
        except InputError as error:
            self.rows.reject(path, Rule.MALFORMED, str(error))
            return
        labels = content.get("labels") if isinstance(content, dict) else None
        for record in labels if isinstance(labels, list) else [None]:
            name = record.get("name") if isinstance(record, dict) else None
            if not isinstance(record, dict) or not isinstance(name, str) or not name.strip():
                self.rows.reject(path, Rule.MALFORMED, f"{path}: a label needs a name", before=record)
                continue
            main = clean(name.strip())
            aliases = record.get("aliases")
            if main not in self._classes:
                self._classes.append(main)
            self._main[main.lower()] = main
            for alias in aliases if isinstance(aliases, list) else []:
                self._main.setdefault(clean(str(alias).strip()).lower(), main)

    def _add_meta(self, path: str) -> None:
        try:
            content = parse_yaml(self.tree.read(path), path, text=True)
        except InputError as error:
            self.rows.reject(path, Rule.MALFORMED, str(error))
            return
        if not isinstance(content, dict):
            self.rows.reject(path, Rule.MALFORMED, f"{path}: it holds no mapping", before=content)
            return
        self._notes.update(_flat(content, path))


def _flat(content: object, place: str) -> Iterator[tuple[str, str]]:
    """``{"model": {"mAP": "0.6"}}`` as ``pred/meta.yaml: model.mAP`` -> ``0.6``."""
    stack = [("", content)]
    while stack:
        name, value = stack.pop()
        if isinstance(value, dict):
            stack.extend((f"{name}.{key}" if name else str(key), item) for key, item in value.items())
        elif isinstance(value, list):
            yield f"{place}: {name}", ", ".join(item if isinstance(item, str) else repr(item) for item in value)
        else:
            yield f"{place}: {name}", str(value)
