"""Reads Label Studio's JSON and JSON-MIN exports and finds the images they name."""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from components.shared.documents import parse_json
from components.shared.errors import FormatError
from components.shared.formats.attributes import to_text
from components.shared.formats.base import DEFAULT_OPTIONS, Parsed, ReadOptions
from components.shared.formats.image_finder import ImageFinder, shown
from components.shared.formats.labelstudio_images import configuration, path_in, references, remote
from components.shared.formats.labelstudio_regions import Region, outline, regions_of
from components.shared.formats.labelstudio_tasks import Choice, Record, choose, choose_prediction, tasks_of
from components.shared.formats.names import clean, why_unsafe
from components.shared.formats.rows import Extras, Rows, declared, shorten
from components.shared.formats.tree import Tree, scan
from components.shared.json_stream import texts_in
from components.shared.ledger import Action, Entry, Rule

_HEAD = 4096
_SAMPLE = 200  # exports are few; other tools write a file for each of 100,000 images
_TASKS = (b'"annotations"', b'"predictions"', b'"completions"')
_SIGNS = (b'"rectanglelabels"', b'"polygonlabels"', b'"brushlabels"', b'"ellipselabels"', b'"annotation_id"')
_SPLITS = frozenset({"train", "val", "test"})
_LONGEST_TAG = 200
_NUMBERED = re.compile(r"_([0-9]{1,6})$")
_FLAGS = ("crowd", "difficult", "truncated")

References = dict[tuple[str, int], str]
Size = tuple[int | None, int | None]
NO_SIZE: Size = (None, None)


def recognise(tree: Tree) -> bool:
    """Whether a JSON file below the folder looks like an export of Label Studio."""
    return any(_sniff(Path(tree.files[path])) for path in tree.with_suffix(".json")[:_SAMPLE])


def read(root: Path, options: ReadOptions = DEFAULT_OPTIONS, /) -> Parsed:
    """Read every export below ``root`` as one data set.

    Raises:
        SourceError: the folder is missing or empty.
        FormatError: there is no export, or one cannot be parsed.
    """
    del options
    tree = scan(root)
    documents = {
        path: list(tasks_of(parse_json(tree.read(path), path)))
        for path in tree.with_suffix(".json")
        if _sniff(Path(tree.files[path]))
    }
    if not documents:
        raise FormatError(
            f"{str(root)!r} holds no Label Studio export (a JSON list of tasks): it has {tree.contents()}."
        )
    reader = _Reader(tree, documents)
    for path, tasks in documents.items():
        for position, task in enumerate(tasks):
            reader.add(path, position, task)
    return reader.parsed()


def _sniff(path: Path) -> bool:
    try:
        with path.open("rb") as handle:
            head = handle.read(_HEAD).removeprefix(b"\xef\xbb\xbf").lstrip()
        if head.startswith(b"["):
            found = texts_in(path, (*_TASKS, b'"data"', *_SIGNS))
            return (b'"data"' in found and not found.isdisjoint(_TASKS)) or not found.isdisjoint(_SIGNS)
        if not head.startswith(b"{"):
            return False
        found = texts_in(path, (b'"data"', b'"result"', b'"images"'))
    except OSError:
        return False
    return found == {b'"data"', b'"result"'}


class _Reader:
    """Collects the rows of a source, task by task."""

    def __init__(self, tree: Tree, documents: Mapping[str, list[Record]]) -> None:
        self.tree = tree
        self.rows = Rows(relative=True)
        self.rows.ledger.extend(tree.ledger)
        self._settings = configuration(tree)
        wanted = (self._references(task).values() for tasks in documents.values() for task in tasks)
        self._finder = ImageFinder(tree, map(path_in, chain.from_iterable(wanted)))
        self._owner: dict[int, str] = {}

    def add(self, path: str, position: int, task: Record) -> None:
        """Add one task: its images, the annotation that counts and the newest prediction."""
        place = f"{path}: task {shorten(str(task.get('id', position + 1)))}"
        found = self._references(task)
        if not found:
            self.rows.reject(path, Rule.MALFORMED, f"{place}: its data name no image", before=task)
            return
        choice, prediction = choose(task), choose_prediction(task)
        regions, predicted = _regions(choice), _regions(prediction)
        tags = _tags(task["data"], found, regions)
        if choice.chosen is None:
            tags["labelled"] = "no"
        images = _Images(self.rows, path, place, {})
        for key, reference in found.items():
            size = next((_size(region) for region in (*regions, *predicted) if _key(region, found) == key), NO_SIZE)
            image_id = self._add_image(reference, task, images, size, tags)
            if image_id is not None:
                images.ids[key] = image_id
        for region in regions:
            images.add(region, found, None)
        for region in predicted:
            images.add(region, found, prediction.chosen)
        for left_out in (choice, prediction):
            self._record_others(left_out, place, next(iter(found.values())))

    def parsed(self) -> Parsed:
        """All rows as tables; classes in the order of the labelling configuration, others after them by name."""
        used = self.rows.categories()
        return self.rows.parsed((*self._settings.classes, *sorted(used.difference(self._settings.classes))))

    def _references(self, task: Record) -> References:
        data = task.get("data")
        return references(data, self._settings) if isinstance(data, Mapping) else {}

    def _add_image(
        self, reference: str, task: Record, images: "_Images", size: Size, tags: dict[str, str]
    ) -> int | None:
        if reference.startswith("data:"):  # the image itself, in base64: its upload has a name
            reference = str(task.get("file_upload") or f"task-{task.get('id')}")
        said = path_in(reference).removeprefix("data/upload/")
        found = self._finder.find(path_in(reference))
        problem = None if found else why_unsafe(said)
        if problem:
            self.rows.reject(said, Rule.UNSAFE_NAME, f"{images.place}: image {shorten(reference)!r}: {problem}")
            return None
        data = task["data"]
        split = data.get("split") if isinstance(data, Mapping) else None
        image_id = self.rows.add_image(
            found or said,
            short=shown(found) if found else said,
            path=self.tree.files[found] if found else None,
            size=size,
            split=split if isinstance(split, str) and split in _SPLITS else None,
            source_id=clean(shorten(str(task.get("id", "")))) or None,
            uri=None if found else remote(reference),
            tags=tags,
        )
        first = self._owner.setdefault(image_id, images.place)
        if first != images.place:
            detail = f"{images.place} is about the same image as {first}; its boxes were added to it"
            self.rows.record(Entry(clean(found or said), Rule.DUPLICATE_IMAGE_ID, Action.FIXED, detail=clean(detail)))
        return image_id

    def _record_others(self, choice: Choice, place: str, reference: str) -> None:
        for other in choice.others:
            results = other.get("result")
            count = len(results) if isinstance(results, list) else 0
            chosen = choice.chosen.get("id") if choice.chosen else None
            detail = f"{place}: {count} results of annotation {other.get('id')} gave way to annotation {chosen}"
            entry = Entry(
                clean(shorten(reference)), Rule.DUPLICATE_ANNOTATION, Action.LEFT_OUT, str(other.get("id")),
                detail=clean(detail),
            )  # fmt: skip
            self.rows.record(entry)


@dataclass(frozen=True)
class _Images:
    """The images of one task, ready to take its regions."""

    rows: Rows
    path: str
    place: str
    ids: dict[tuple[str, int], int]

    def add(self, region: Region, found: References, predicted: Record | None) -> None:
        """Add a region's box to its image, or record why it has none; ``predicted``: the prediction it is from."""
        if region.shape is None:
            return
        key = _key(region, found)
        if key is not None and key not in self.ids:
            return  # the image's name is unsafe, which is recorded
        problem: object = f"its to_name {region.shape.get('to_name')!r} is no image of the task"
        drawn = outline(region.shape)
        if key is not None and not isinstance(drawn, str):
            category = clean(region.labels[0]) if region.labels else None
            self.rows.add_box(self.ids[key], category, drawn.box, _extras(region, drawn.attributes, predicted))
            return
        number = clean(shorten(str(region.shape.get("id"))))
        detail = f"{self.place}: region {number}: {drawn if isinstance(drawn, str) else problem}"
        self.rows.reject(self.path, Rule.MALFORMED, detail, annotation=number, before=region.shape.get("value"))


def _regions(choice: Choice) -> list[Region]:
    results = choice.chosen.get("result") if choice.chosen else None
    return regions_of(item for item in results if isinstance(item, dict)) if isinstance(results, list) else []


def _key(region: Region, found: References) -> tuple[str, int] | None:
    """Which of a task's images a region lies in."""
    if region.shape is None:
        return None
    name, index = str(region.shape.get("to_name", "")), region.shape.get("item_index")
    numbered = _NUMBERED.search(name)  # a repeater calls its images page_0, page_1, ...
    place = index if isinstance(index, int) else int(numbered.group(1)) if numbered else 0
    wanted = ((name, index if isinstance(index, int) else 0), ("", place))
    return next((key for key in wanted if key in found), next(iter(found)) if len(found) == 1 else None)


def _size(region: Region) -> Size:
    shape = region.shape or {}
    return declared(shape.get("original_width")), declared(shape.get("original_height"))


def _extras(region: Region, attributes: dict[str, object], predicted: Record | None) -> Extras:
    shape = region.shape or {}
    given = shape.get("meta")
    meta = dict(given) if isinstance(given, Mapping) else {}
    flags = {name: meta.pop(name, None) is True for name in _FLAGS}
    own = meta.pop("attributes", None)
    kept = {**region.answers, **attributes, **(own if isinstance(own, dict) else {})}
    kept |= {name: value for name, value in (("labels", region.labels[1:]), ("meta", meta)) if value}
    scores = [shape.get("score")] + ([predicted.get("score")] if predicted else [])
    number = next((score for score in scores if isinstance(score, (int, float)) and not isinstance(score, bool)), None)
    return Extras(
        **flags,
        score=None if number is None else _float(number),
        source_id=clean(shorten(str(shape.get("id", "")))) or None,
        attributes=to_text(kept),
        kind="prediction" if predicted else "ground_truth",
    )


def _float(value: float) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf


def _tags(data: object, found: References, regions: list[Region]) -> dict[str, str]:
    """What is known of a task's image: its own tags, other short data, and answers about the image as a whole."""
    values = dict(data) if isinstance(data, Mapping) else {}
    own = values.pop("tags", None)
    if values.get("split") in _SPLITS:
        del values["split"]
    used = set(found.values())
    known = {key: value for key, value in values.items() if not (isinstance(value, str) and value in used)}
    for region in regions:
        known |= region.answers if region.shape is None else {}
    known |= own if isinstance(own, dict) else {"tags": own}
    tags = {str(key): _text(value) for key, value in known.items()}
    return {clean(key): clean(text) for key, text in tags.items() if text and len(text) <= _LONGEST_TAG}


def _text(value: object) -> str | None:
    if isinstance(value, list) and all(isinstance(item, (str, int, float)) for item in value):
        return ", ".join(map(str, value))
    if isinstance(value, (str, int, float)):
        return value if isinstance(value, str) else json.dumps(value)
    return None
