"""COCO: JSON files with the lists ``images``, ``annotations`` and ``categories`` (https://cocodataset.org/#format-data).

A source may hold several such files anywhere: ``annotations/instances_train2017.json``, one ``_annotations.coco.json``
a split folder (Roboflow), or one beside its images. Each file's split is what its name or its folder says. Categories
are united by name, in the order of their ids. An image's name is its ``file_name``; where two files fit it, the one
in a folder that is named after the JSON's split is meant.

A box is ``[left, top, width, height]`` in pixels and is taken as it is. ``iscrowd`` becomes ``crowd``; an annotation
with a ``score`` (or ``confidence``) is a prediction; everything else an annotation holds, such as ``segmentation``,
stays in ``attributes``, except an ``area`` that is just width times height.
"""

import json
from dataclasses import replace
from pathlib import Path

import polars as pl

from components.shared.dataset import Dataset
from components.shared.files import write_atomically
from components.shared.formats.base import Format, ReadImage
from components.shared.formats.coco_reader import read, recognise
from components.shared.formats.coco_records import OWN_COLUMNS
from components.shared.formats.tree import detector
from components.shared.formats.writing import Annotation, WrittenImage, iterate_images, write_image

detect = detector(recognise)


def write(dataset: Dataset, directory: Path, read_image: ReadImage) -> None:
    """Write ``images/`` and one ``annotations/instances_<split>.json`` a split (``default`` where there is none).

    Raises:
        UnsafeInputError: an image's name would leave ``directory``.
    """
    for image in iterate_images(replace(dataset, annotations=dataset.annotations.clear())):
        write_image(image, directory / "images" / image.name, read_image)
    splits = dataset.images.get_column("split").unique(maintain_order=True).to_list()
    for split in splits or [None]:
        part = dataset.subset(dataset.images.filter(pl.col("split").eq_missing(split)).get_column("image_id"))
        with write_atomically(directory / "annotations" / f"instances_{split or 'default'}.json") as temporary:
            _write_document(temporary, part)


def _write_document(path: Path, dataset: Dataset) -> None:
    """One record a line, each written as it is made, so that memory does not grow with their number."""
    number = {name: position for position, name in enumerate(dataset.classes, start=1)}
    bare = replace(dataset, annotations=dataset.annotations.clear())
    images = (_image_record(image) for image in iterate_images(bare))
    annotations = (_record(image, item, number) for image in iterate_images(dataset) for item in image.annotations)
    categories = ({"id": position, "name": name} for name, position in number.items())
    with path.open("w", encoding="utf-8") as handle:
        for opening, records in (('{"images"', images), ('"annotations"', annotations), ('"categories"', categories)):
            handle.write(f"{opening}: [")
            for position, record in enumerate(records):
                handle.write((",\n" if position else "\n") + json.dumps(record))
            handle.write("\n]" + ("}\n" if records is categories else ",\n"))


def _image_record(image: WrittenImage) -> dict[str, object]:
    size = {"width": image.width, "height": image.height} if image.width and image.height else {}
    return {"id": image.image_id, "file_name": image.name, **size}


def _record(image: WrittenImage, item: Annotation, number: dict[str, int]) -> dict[str, object]:
    known = number.get(item.category or "")
    record: dict[str, object] = {
        "segmentation": [],
        "area": item.box[2] * item.box[3],
        **{key: value for key, value in item.attributes.items() if key not in OWN_COLUMNS},
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
