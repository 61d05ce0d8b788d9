"""Writes a dataset as tasks that Label Studio imports, with its labelling configuration."""

import json
import logging
from pathlib import Path
from urllib.parse import quote
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from components.shared.dataset import Dataset
from components.shared.files import write_atomically
from components.shared.formats.base import ReadImage
from components.shared.formats.writing import (
    Annotation,
    WrittenImage,
    check_xml,
    iterate_images,
    number_for,
    write_image,
)

logger = logging.getLogger(__name__)

TASKS = "tasks.json"
CONFIGURATION = "label_config.xml"
_SIDES = ("x", "y", "width", "height")


def write(dataset: Dataset, directory: Path, read_image: ReadImage) -> None:
    """Write ``images/``, ``tasks.json`` and ``label_config.xml``.

    An image without a file or a size is left out with a warning: its boxes have no meaning here. What Label Studio has
    no place for, such as ``crowd``, stands in the ``meta`` of a region, and an image's split and tags in the data of
    its task.

    Raises:
        FormatError: a class name holds a character that XML cannot.
        UnsafeInputError: an image's name would leave ``directory``.
    """
    configuration, images = _configuration(dataset.classes), iterate_images(dataset)
    with write_atomically(directory / TASKS) as temporary, temporary.open("w", encoding="utf-8") as handle:
        separator = "[\n"
        for image in images:
            if not (image.exists and image.width and image.height):
                logger.warning("%r was not written: Label Studio needs its file and its size.", image.name)
                continue
            write_image(image, directory / "images" / image.file_name, read_image)
            handle.write(separator + json.dumps(_task(image), ensure_ascii=False))
            separator = ",\n"
        handle.write("[]\n" if separator.startswith("[") else "\n]\n")
    with write_atomically(directory / CONFIGURATION) as temporary:
        temporary.write_bytes(configuration)


def _configuration(classes: tuple[str, ...]) -> bytes:
    root = Element("View")
    SubElement(root, "Image", name="image", value="$image")
    labels = SubElement(root, "RectangleLabels", name="label", toName="image")
    for name in classes:
        SubElement(labels, "Label", value=check_xml(name))
    indent(root)
    return bytes(tostring(root, encoding="utf-8"))


def _task(image: WrittenImage) -> dict[str, object]:
    data: dict[str, object] = {"image": f"/data/local-files/?d={quote(f'images/{image.file_name}')}"}
    if image.split:
        data["split"] = image.split
    if image.tags:
        data["tags"] = image.tags
    task: dict[str, object] = {"id": image.image_id + 1, "data": data}
    truth = [_result(image, item) for item in image.annotations if item.kind != "prediction"]
    predicted = [_result(image, item) for item in image.annotations if item.kind == "prediction"]
    if truth or image.tags.get("labelled") != "no":
        task["annotations"] = [{"result": truth, "was_cancelled": False, "ground_truth": False}]
    if predicted:
        task["predictions"] = [{"result": predicted}]
    return task


def _percent(pixels: float, size: int) -> float:
    return number_for(pixels, pixels / size * 100, lambda value: value / 100 * size)


def _result(image: WrittenImage, item: Annotation) -> dict[str, object]:
    sizes = (image.width, image.height, image.width, image.height)
    percent = [_percent(side, size) for side, size in zip(item.box, sizes, strict=True)]
    value: dict[str, object] = {**dict(zip(_SIDES, percent, strict=True)), "rotation": 0}
    if item.category is not None:
        value["rectanglelabels"] = [item.category]
    record: dict[str, object] = {
        "id": str(item.annotation_id),
        "type": "rectanglelabels" if item.category is not None else "rectangle",
        "from_name": "label",
        "to_name": "image",
        "original_width": image.width,
        "original_height": image.height,
        "image_rotation": 0,
        "value": value,
    }
    flags = {"crowd": item.crowd, "difficult": item.difficult, "truncated": item.truncated}
    meta: dict[str, object] = {name: True for name, holds in flags.items() if holds}
    if item.attributes:
        meta["attributes"] = item.attributes
    if meta:
        record["meta"] = meta
    if item.score is not None:
        record["score"] = item.score
    return record
