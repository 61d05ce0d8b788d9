"""COCO: JSON files with the lists ``images``, ``annotations`` and ``categories`` (https://cocodataset.org/#format-data).

A source may hold several such files anywhere: ``annotations/instances_train2017.json``, one ``_annotations.coco.json``
a split folder (Roboflow), or one beside its images. Each file's split is what its name or its folder says. Categories
are united by name, in the order of their ids. An image's name is its ``file_name``.

A box is ``[left, top, width, height]`` in pixels and is taken as it is. ``iscrowd`` becomes ``crowd``; an annotation
with a ``score`` (or ``confidence``) is a prediction; everything else an annotation holds, such as ``segmentation``,
stays in ``attributes``, except an ``area`` that is just width times height.
"""

import json
from pathlib import Path

from components.shared.dataset import Dataset
from components.shared.errors import InputError
from components.shared.files import write_atomically
from components.shared.formats.base import Format, ReadImage
from components.shared.formats.coco_reader import read, recognise
from components.shared.formats.tree import scan
from components.shared.formats.writing import Annotation, WrittenImage, images_of, write_image


def detect(root: Path) -> bool:
    """Whether a JSON file below ``root`` looks like COCO."""
    try:
        return recognise(scan(root))
    except InputError:
        return False


def write(dataset: Dataset, directory: Path, read_image: ReadImage) -> None:
    """Write ``images/`` and one ``annotations/instances_<split>.json`` a split (``default`` where there is none).

    Raises:
        UnsafeInputError: an image's name would leave ``directory``.
    """
    by_split: dict[str | None, list[WrittenImage]] = {}
    for image in images_of(dataset):
        by_split.setdefault(image.split, []).append(image)
        write_image(image, directory / "images" / image.name, read_image)
    for split, images in (by_split or {None: []}).items():
        with write_atomically(directory / "annotations" / f"instances_{split or 'default'}.json") as temporary:
            temporary.write_text(json.dumps(_document(images, dataset.classes)) + "\n", encoding="utf-8")


def _document(images: list[WrittenImage], classes: tuple[str, ...]) -> dict[str, object]:
    number = {name: position for position, name in enumerate(classes, start=1)}
    return {
        "images": [
            {"id": image.image_id, "file_name": image.name}
            | ({"width": image.width, "height": image.height} if image.width and image.height else {})
            for image in images
        ],
        "annotations": [_record(image, item, number) for image in images for item in image.annotations],
        "categories": [{"id": position, "name": name} for name, position in number.items()],
    }


def _record(image: WrittenImage, item: Annotation, number: dict[str, int]) -> dict[str, object]:
    known = number.get(item.category or "")
    record: dict[str, object] = {
        "segmentation": [],
        "area": item.box[2] * item.box[3],
        **item.attributes,
        "id": item.annotation_id,
        "image_id": image.image_id,
        "category_id": known if known is not None else item.attributes.get("category_id", 0),
        "bbox": list(item.box),
        "iscrowd": int(item.crowd),
    }
    flags = {"difficult": item.difficult, "truncated": item.truncated}
    record |= {name: 1 for name, holds in flags.items() if holds}
    if item.score is not None:
        record["score"] = item.score
    return record


FORMAT = Format(
    name="coco",
    describe="JSON files with images, annotations and categories",
    detect=detect,
    read=read,
    write=write,
)
