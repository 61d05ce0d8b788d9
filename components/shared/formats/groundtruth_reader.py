"""Reads the bounding boxes of SageMaker Ground Truth manifests and finds the images they name."""

import json
import logging
import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from components.shared.errors import ConfigError, FormatError, InputError
from components.shared.formats import groundtruth_lines as gt
from components.shared.formats.attributes import to_text
from components.shared.formats.base import DEFAULT_OPTIONS, Parsed, ReadOptions
from components.shared.formats.groundtruth_images import Reference, locate, name_of, reference
from components.shared.formats.groundtruth_lines import Label, Record
from components.shared.formats.names import clean
from components.shared.formats.rows import Box, Extras, Rows, declared, shorten
from components.shared.formats.tree import Tree, scan
from components.shared.ledger import Action, Entry, Rule

logger = logging.getLogger(__name__)

TAGS = "tags"
_SIDES = ("left", "top", "width", "height")
_BOX = frozenset({*_SIDES, "class_id"})
_BAD = "bad"
_BROKEN, _SHARE = 10_000, 0.2  # broken lines, and their share, from which on a manifest is none


def read(root: Path, options: ReadOptions = DEFAULT_OPTIONS) -> Parsed:
    """Read every manifest with bounding boxes below ``root`` as one data set.

    Raises:
        SourceError: the folder is missing or empty.
        FormatError: there is no such manifest, or two lines give one class id different names.
        ConfigError: no line has the label attribute that was asked for.
    """
    tree = scan(root)
    paths = gt.manifests(tree)
    if not paths:
        raise FormatError(f"{str(root)!r} holds no manifest with bounding boxes: it has {tree.contents()}.")
    survey = _Survey(options)
    for path in paths:
        for number, line in gt.lines(tree, path):
            survey.look(path, number, line)
    survey.check()
    reader = _Reader(tree, survey)
    for path in paths:
        for number, line in gt.lines(tree, path):
            reader.add(path, number, line)
    return reader.parsed()


@dataclass
class _Survey:
    """What the manifests say as a whole: label attributes, classes and the images they name.

    Attributes:
        there: every bounding-box attribute.
        used: those that are read for at least one line.
        classes: (manifest, attribute) -> class id -> (name, line that said so first).
        references: images, by ``Reference.long``.
    """

    options: ReadOptions
    there: set[str] = field(default_factory=set)
    used: set[str] = field(default_factory=set)
    classes: dict[tuple[str, str], dict[int, tuple[str, int]]] = field(default_factory=dict)
    references: dict[str, Reference] = field(default_factory=dict)
    _conflicts: dict[str, str] = field(default_factory=dict)
    _lines: int = 0
    _broken: int = 0

    def look(self, path: str, number: int, line: bytes) -> None:
        """Learn from one line; a broken one teaches nothing.

        Raises:
            FormatError: so many lines are broken that this can be no manifest.
        """
        self._lines += 1
        try:
            record = gt.parse(line, path)
        except InputError:
            self._count_broken(path, number)
            return
        found = gt.labels(record)
        self.there.update(label.attribute for label in found)
        chosen = gt.choose(found, self.options.label_attribute)
        if chosen:
            self.used.add(chosen.attribute)
        for label in found:
            self._unite(path, number, label)
        item = self.reference(record, path)
        if isinstance(item, Reference):
            self.references.setdefault(item.long, item)
        else:
            self._count_broken(path, number)

    def _count_broken(self, path: str, number: int) -> None:
        self._broken += 1
        if self._broken > _BROKEN and self._broken > _SHARE * self._lines:
            what = f"{self._broken} of {self._lines} lines are no JSON objects with a source-ref"
            raise FormatError(f"{path}:{number}: {what}: check that this is a manifest.")

    def reference(self, record: Record, path: str) -> Reference | str | None:
        """What the line's ``source-ref`` means; text says why it cannot be used, ``None`` that there is none."""
        text = record.get("source-ref")
        return reference(text, path, self.options.image_base) if isinstance(text, str) and text else None

    def check(self) -> None:
        """Raise what makes the manifests unreadable as a whole."""
        wanted, there = self.options.label_attribute, ", ".join(map(repr, sorted(self.there)))
        if wanted and wanted not in self.there:
            raise ConfigError(f"No line has the label attribute {wanted!r} with bounding boxes; there is {there}.")
        for attribute, problem in self._conflicts.items():
            if attribute in self.used:
                raise FormatError(problem)
        left = sorted(self.there - self.used)
        if left:
            logger.warning("Read the labels %s; left %s: see label_attribute.", sorted(self.used), left)

    def ordered_classes(self) -> tuple[str, ...]:
        """Class names in the order of their ids."""
        ranks: dict[str, int] = {}
        for (_, attribute), names in self.classes.items():
            for number, (name, _) in names.items() if attribute in self.used else ():
                ranks[name] = min(number, ranks.get(name, number))
        return tuple(sorted(ranks, key=lambda name: (ranks[name], name)))

    def _unite(self, path: str, number: int, label: Label) -> None:
        names = self.classes.setdefault((path, label.attribute), {})
        for class_id, name in _class_map(label):
            known, line = names.setdefault(class_id, (name, number))
            if known != name and label.attribute not in self._conflicts:
                self._conflicts[label.attribute] = (
                    f"Class {class_id} of {label.attribute!r} is {known!r} in {path}:{line} but {name!r} in "
                    f"{path}:{number}: correct one of the class maps."
                )


def _class_map(label: Label) -> Iterator[tuple[int, str]]:
    given = label.metadata.get("class-map")
    for key, name in given.items() if isinstance(given, dict) else ():
        number = gt.class_id(key)
        if number is not None and isinstance(name, str) and name:
            yield number, clean(name)


class _Reader:
    """Collects the rows, line by line."""

    def __init__(self, tree: Tree, survey: _Survey) -> None:
        self.survey = survey
        self.rows = Rows()
        self.rows.ledger.extend(tree.ledger)
        base = survey.options.image_base
        trees = [tree] if not base or "://" in base else [tree, scan(Path(base))]
        self._files = locate(survey.references.values(), trees)
        self._lines: dict[int, str] = {}

    def add(self, path: str, number: int, line: bytes) -> None:
        """Add one line."""
        place = f"{path}:{number}"
        try:
            record = gt.parse(line, place)
        except InputError as error:
            self.rows.reject(place, Rule.MALFORMED, str(error), before=line[:200].decode("utf-8", "backslashreplace"))
            return
        item = self.survey.reference(record, path)
        if not isinstance(item, Reference):
            self._refuse(record, item, place)
            return
        label = gt.choose(gt.labels(record), self.survey.options.label_attribute)
        judged = gt.verdict(record, label) if label else None
        if label and judged and str(judged.get("class-name")).lower() == _BAD:
            detail = f"{place}: {label.attribute!r} was verified as bad{_feedback(judged)}"
            self.rows.reject(name_of(item.key), Rule.VERIFIED_BAD, f"{detail}; it has {len(label.boxes)} boxes")
            return
        image_id = self._add_image(item, record, label, place)
        if label:
            self._add_boxes(image_id, label, path, place)

    def parsed(self) -> Parsed:
        """All rows as tables, classes in the order of their ids."""
        names = {"label attributes": ", ".join(sorted(self.survey.used))}
        left = ", ".join(sorted(self.survey.there - self.survey.used))
        notes = names | ({"label attributes not read": left} if left else {})
        return replace(self.rows.parsed(self.survey.ordered_classes()), notes=notes)

    def _refuse(self, record: Record, problem: str | None, place: str) -> None:
        if problem:
            given = str(record["source-ref"])
            detail = f"{place}: source-ref {shorten(given)!r}: {problem}"
            self.rows.reject(given, Rule.UNSAFE_NAME, detail, before=record)
            return
        what = "it describes text and no image" if "source" in record else "it has no source-ref"
        self.rows.reject(place, Rule.MALFORMED, f"{place}: {what}", before=record)

    def _add_image(self, item: Reference, record: Record, label: Label | None, place: str) -> int:
        found = self._files.get(item.long)
        tree, path = found or (None, None)
        image_id = self.rows.add_image(
            path or item.long,
            short=name_of(path or item.key),
            path=tree.files[path] if tree and path else None,
            size=_size(label),
            split=item.split,
            source_id=place,
            uri=None if found else item.uri,
            tags=_tags(record, label),
        )
        first = self._lines.setdefault(image_id, place)
        if first != place:
            self._note(item, Rule.DUPLICATE_IMAGE_ID, f"{place} is about the image of {first}; its boxes were added")
        for reason in gt.failures(record):
            self._note(item, Rule.MALFORMED, f"{place}: a job failed, {shorten(reason)}", Action.KEPT)
        if label is None:
            self._note(item, Rule.MALFORMED, f"{place}: it has no label with boxes, so the image has none", Action.KEPT)
        return image_id

    def _note(self, item: Reference, rule: Rule, detail: str, action: Action = Action.FIXED) -> None:
        self.rows.record(Entry(clean(name_of(item.key)), rule, action, detail=clean(detail)))

    def _add_boxes(self, image_id: int, label: Label, path: str, place: str) -> None:
        names = self.survey.classes[(path, label.attribute)]
        objects = label.metadata.get("objects")
        beside = objects if isinstance(objects, list) else []
        for position, record in enumerate(label.boxes):
            box = _box(record)
            where = f"{place}:{position}"
            number = gt.class_id(record.get("class_id")) if isinstance(record, dict) else None
            if not isinstance(record, dict) or box is None or number is None:
                detail = f"{where}: an annotation needs class_id, {', '.join(_SIDES)} as numbers"
                self.rows.reject(place, Rule.MALFORMED, detail, annotation=str(position), before=record)
                continue
            kept = {key: value for key, value in record.items() if key not in _BOX}
            extra = beside[position] if position < len(beside) else None
            kept |= extra if isinstance(extra, dict) else {}
            if number not in names:
                kept["class_id"] = number
            extras = Extras(source_id=where, attributes=_text(kept))
            self.rows.add_box(image_id, names[number][0] if number in names else None, box, extras)


def _feedback(judged: Record) -> str:
    given = judged.get("worker-feedback")
    items = [item.get("comment") for item in given if isinstance(item, dict)] if isinstance(given, list) else []
    said = "; ".join(str(item) for item in items if item)
    return f" ({shorten(said)})" if said else ""


def _size(label: Label | None) -> tuple[int | None, int | None]:
    given = label.value.get("image_size") if label else None
    size = given[0] if isinstance(given, list) and given else None
    return (declared(size.get("width")), declared(size.get("height"))) if isinstance(size, dict) else (None, None)


def _tags(record: Record, label: Label | None) -> dict[str, str]:
    """What a line says about its image as a whole: fields of the user's own, classes of other jobs, who labelled it."""
    tags: dict[str, str] = {}
    for key, value in record.items():
        if key in {"source-ref", "source"} or key.endswith(gt.METADATA) or f"{key}{gt.METADATA}" in record:
            continue
        if key == TAGS and isinstance(value, dict):
            tags |= {clean(name): clean(text) for name, text in value.items() if isinstance(text, str)}
        elif isinstance(value, (str, int, float)):
            tags[clean(key)] = clean(value) if isinstance(value, str) else json.dumps(value)
    for attribute, metadata in gt.typed(record, gt.CLASSIFICATION):
        tags[clean(attribute)] = clean(str(metadata.get("class-name", record.get(attribute))))
    if label and str(label.metadata.get("human-annotated", "yes")).lower() == "no":
        tags["human-annotated"] = "no"
    return tags


def _box(record: object) -> Box | None:
    if not isinstance(record, dict):
        return None
    sides: list[Any] = [record.get(side) for side in _SIDES]
    if not all(type(side) in {int, float} for side in sides):
        return None
    left, top, width, height = map(_float, sides)
    return left, top, width, height


def _text(kept: Record) -> str | None:
    confidence = kept.get("confidence")
    return _confidence(confidence) if len(kept) == 1 and isinstance(confidence, float) else to_text(kept)


@lru_cache(maxsize=1000)
def _confidence(value: float) -> str | None:
    """Most annotations have nothing else, and only some hundred values of it."""
    return to_text({"confidence": value})


def _float(value: float) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf
