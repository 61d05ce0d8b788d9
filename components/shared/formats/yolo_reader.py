"""Reads YOLO label files and pairs them with their images."""

import json
import math
from collections.abc import Iterable
from pathlib import Path

from components.shared.errors import InputError, SourceError
from components.shared.formats.base import DEFAULT_OPTIONS, Parsed, ReadOptions
from components.shared.formats.names import (
    IMAGE_FOLDERS,
    clean,
    folder_of,
    join,
    split_of_folder,
    why_unsafe,
    without_suffix,
)
from components.shared.formats.rows import Box, Extras, Rows, number
from components.shared.formats.tree import Tree, scan
from components.shared.formats.yolo_layout import CLASS_FILES, LISTS, MAX_CLASSES, configuration, place
from components.shared.images import SUFFIXES
from components.shared.ledger import Rule

_LABEL_FOLDERS = ("labels", "label", "annotations", "txt")
_NO_LABELS = frozenset({*CLASS_FILES, *LISTS, "notes.txt", "requirements.txt", "license.txt", "source.txt"})
_FIRST_READ = 1 << 16
_LARGEST = 16 << 20
_SAMPLE = 200
_BOX, _SCORED = 5, 6  # columns: class, centre x, centre y, width, height[, score]


def recognise(tree: Tree) -> bool:
    """Whether the folder has images with YOLO labels, or a YOLO configuration."""
    if not tree.images:
        return False
    try:
        config = configuration(tree)
    except InputError:
        return True  # a broken data.yaml is YOLO's: reading says what is wrong with it
    if config.path:
        return True
    stems = {without_suffix(path).rpartition("/")[2] for path in tree.images}
    labels = [path for path in _label_files(tree).values() if without_suffix(path).rpartition("/")[2] in stems]
    step = max(1, len(labels) // _SAMPLE)
    return any(_looks_like_label(tree, path) for path in labels[::step])


def read(root: Path, _options: ReadOptions = DEFAULT_OPTIONS) -> Parsed:
    """Read every image and label below ``root``; boxes come out as shares of the image.

    Raises:
        SourceError: the folder is missing or empty.
        FormatError: ``data.yaml`` is broken or sends the reader out of the source.
    """
    tree = scan(root)
    config = configuration(tree)
    rows = Rows(relative=True)
    rows.ledger.extend(tree.ledger)
    pairs = _Pairs(tree)
    labels: dict[int, str] = {}
    listed: dict[str, tuple[int, str | None]] = {}
    for item in place(tree, config, rows.record):
        problem = why_unsafe(item.path) or why_unsafe(item.short)
        if problem:
            rows.reject(item.path, Rule.UNSAFE_NAME, f"{config.path}: image name {item.path!r}: {problem}")
            continue
        path = tree.files[item.path] if item.exists else None
        image_id = rows.add_image(item.path, short=item.short, path=path, split=item.split)
        listed[item.path] = (image_id, item.split)
    pairs.claim(dict.fromkeys([*tree.images, *listed]))
    for image, (image_id, split) in listed.items():
        label = pairs.label_of(image) or pairs.lonely_label_of(image, split)
        if label is not None:
            labels[image_id] = label
    for label in pairs.orphans():
        if _belongs(tree, label):
            labels[_add_orphan(rows, label)] = label
    reader = _Labels(rows, config.names)
    for image_id, label in labels.items():
        reader.add(image_id, label, tree.files[label])
    return reader.parsed()


def _label_files(tree: Tree) -> dict[str, str]:
    """Path without suffix -> label file."""
    found = {}
    for path in tree.with_suffix(".txt"):
        name = path.rpartition("/")[2].lower()
        if name in _NO_LABELS:
            # ``labels.txt`` may as well be the label of ``labels.jpg``.
            has_image = any(f"{name[:-4]}{suffix}" in tree.by_name for suffix in SUFFIXES)
            if not has_image or not (_looks_like_label(tree, path) or not tree.read(path).strip()):
                continue
        found[path[:-4]] = path
    return found


def _looks_like_label(tree: Tree, path: str) -> bool:
    first = tree.read(path)[:_FIRST_READ].removeprefix(b"\xef\xbb\xbf").split(b"\n", 1)[0]
    return _values(first.split()) is not None


def _belongs(tree: Tree, label: str) -> bool:
    folders = label.lower().split("/")[:-1]
    return any(folder in _LABEL_FOLDERS for folder in folders) or _looks_like_label(tree, label)


def _add_orphan(rows: Rows, label: str) -> int:
    parts = without_suffix(label).split("/")
    start = next((i + 1 for i, part in enumerate(parts[:-1]) if part.lower() in _LABEL_FOLDERS), 0)
    split = next((said for part in reversed(parts[:-1]) if (said := split_of_folder(part))), None)
    if len(parts) - start > 1 and split_of_folder(parts[start]):
        start += 1
    return rows.add_image("/".join(parts), short="/".join(parts[start:]), split=split, source_id=label)


class _Pairs:
    """Which label file belongs to which image."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._labels = _label_files(tree)
        self._near: dict[str, list[str]] = {}
        self._of: dict[str, str] = {}
        self._free: dict[str, list[str]] = {}
        self._lonely: dict[str, int] = {}

    def claim(self, images: Iterable[str]) -> None:
        """Pair every image that has its label where YOLO expects it, and note what is left on both sides."""
        for image in images:
            label = self._expected(image)
            if label is not None:
                self._of[image] = label
            else:
                stem = without_suffix(image).rpartition("/")[2]
                self._lonely[stem] = self._lonely.get(stem, 0) + 1
        claimed = set(self._of.values())
        for stem, label in self._labels.items():
            if label not in claimed:
                self._free.setdefault(stem.rpartition("/")[2], []).append(label)

    def label_of(self, image: str) -> str | None:
        """The image's label file; ``None`` when it has none."""
        return self._of.get(image)

    def lonely_label_of(self, image: str, split: str | None) -> str | None:
        """A label file elsewhere that can only be this image's: the one free file, and image, of that name."""
        stem = without_suffix(image).rpartition("/")[2]
        labels = self._free.get(stem, [])
        if len(labels) != 1 or self._lonely.get(stem) != 1:
            return None
        said = next((s for part in reversed(labels[0].split("/")[:-1]) if (s := split_of_folder(part))), None)
        if said and split and said != split:
            return None
        del self._free[stem]
        return labels[0]

    def orphans(self) -> list[str]:
        """Label files no image has."""
        return sorted(label for labels in self._free.values() for label in labels)

    def _expected(self, image: str) -> str | None:
        folder, _, name = image.rpartition("/")
        near = self._near.get(folder)
        if near is None:
            near = self._near[folder] = self._folders_near(folder)
        stem = name.rpartition(".")[0]
        for candidate in (stem, name):
            for labels in near:
                found = self._labels.get(f"{labels}{candidate}")
                if found is not None:
                    return found
        return None

    def _folders_near(self, folder: str) -> list[str]:
        """Folders to look in, each with its slash: the last ``images`` in the path made ``labels``, then others."""
        parts = folder.split("/")
        wanted = [
            "/".join([*parts[:i], labels, *parts[i + 1 :]])
            for i in reversed(range(len(parts)))
            if parts[i].lower() in IMAGE_FOLDERS
            for labels in _LABEL_FOLDERS
        ]
        wanted += [folder, join(folder, "labels"), join(folder_of(folder), "labels"), join("labels", folder)]
        known = self._tree.folders
        found = [known.get(path.strip("/").lower()) if path else "" for path in wanted]
        return [f"{path}/" if path else "" for path in dict.fromkeys(found) if path is not None]


class _Labels:
    """Turns label files into rows; the hot loop of the reader."""

    def __init__(self, rows: Rows, names: tuple[str, ...] | None) -> None:
        """``names`` by index; classes without names are called by their index."""
        self._rows = rows
        self._names = tuple(clean(name) for name in names or map(str, range(MAX_CLASSES)))
        self._named = bool(names)
        self._highest = -1

    def add(self, image_id: int, label: str, path: str) -> None:
        """Add the boxes of one label file."""
        rows, names = self._rows, self._names
        data = _read(label, path)
        if data is None:
            rows.reject(label, Rule.MALFORMED, f"the label file has more than {_LARGEST} bytes")
            return
        odd = b"_" in data  # Python would read 1_0 as ten
        for line_number, line in enumerate(data.splitlines(), start=1):
            parts = line.split()
            if len(parts) == _BOX and not odd:
                try:
                    index = int(parts[0])
                    width, height = float(parts[3]), float(parts[4])
                    left, top = float(parts[1]) - width / 2, float(parts[2]) - height / 2
                except ValueError:
                    pass
                else:
                    if 0 <= index < len(names):
                        self._highest = max(self._highest, index)
                        extras = Extras(source_id=f"{label}:{line_number}")
                        rows.add_box(image_id, names[index], (left, top, width, height), extras)
                        continue
            if parts:
                self._add_odd(image_id, label, line_number, line)

    def _add_odd(self, image_id: int, label: str, line_number: int, line: bytes) -> None:
        values = _values(line.split())
        if values is None:
            detail = f"line {line_number} of {label} is not 'class x y width height' or a polygon"
            text = line.decode("utf-8", "replace")
            self._rows.reject(label, Rule.MALFORMED, detail, annotation=f"{label}:{line_number}", before=text)
            return
        index, columns = int(values[0]), len(values)
        box, outline = _box_of(values)
        attributes: dict[str, object] = {} if outline is None else {"segmentation_relative": outline}
        known = 0 <= index < len(self._names)
        if known:
            self._highest = max(self._highest, index)
        else:
            attributes["class"] = index
        extras = Extras(
            score=values[5] if columns == _SCORED else None,
            source_id=f"{label}:{line_number}",
            attributes=json.dumps(attributes, sort_keys=True, separators=(",", ":")) if attributes else None,
        )
        self._rows.add_box(image_id, self._names[index] if known else None, box, extras)

    def parsed(self) -> Parsed:
        """All rows as tables."""
        names = self._names if self._named else self._names[: self._highest + 1]
        return self._rows.parsed(tuple(dict.fromkeys(names)))


def _read(label: str, path: str) -> bytes | None:
    """A label file's bytes without a BOM; ``None`` when there are too many."""
    try:
        with open(path, "rb", buffering=0) as handle:  # noqa: PTH123 - hot: a Path costs as much as the read
            data = handle.read(_FIRST_READ)
            if len(data) == _FIRST_READ:
                data += handle.read(_LARGEST)
    except OSError as error:
        raise SourceError(f"The label file {label!r} cannot be read: {error.strerror}.") from error
    return data.removeprefix(b"\xef\xbb\xbf") if len(data) <= _LARGEST else None


def _values(parts: list[bytes]) -> list[float] | None:
    """The numbers of a label line; ``None`` when it is no label line."""
    columns = len(parts)
    if columns < _BOX or (columns > _SCORED and columns % 2 == 0):
        return None
    values = [number(part.decode("utf-8", "replace")) for part in parts]
    numbers = [value for value in values if value is not None]
    if len(numbers) < columns or not math.isfinite(numbers[0]) or numbers[0] != int(numbers[0]):
        return None
    return numbers


def _box_of(values: list[float]) -> tuple[Box, list[float] | None]:
    """Left, top, width and height, and the outline when the line holds a polygon."""
    if len(values) <= _SCORED:
        x, y, width, height = values[1:5]
        return (x - width / 2, y - height / 2, width, height), None
    outline = values[1:]
    if not all(map(math.isfinite, outline)):
        return (math.nan, math.nan, math.nan, math.nan), None
    left, top = min(outline[0::2]), min(outline[1::2])
    return (left, top, max(outline[0::2]) - left, max(outline[1::2]) - top), outline
