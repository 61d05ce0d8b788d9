"""Annotation files as an executor reads them: corners of whole pixels, both inside the box."""

import json
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from components.shared.formats.writing import Annotation, WrittenImage
from components.shared.formats.ymir_writer import document

SUFFIXES = {"ark": ".txt", "voc": ".xml", "coco": ".json"}
COCO_NAME = "coco-annotations.json"  # all images are in this one
_UNKNOWN = -1.0  # what YMIR writes for a quality or a confidence that nobody gave

Corners = tuple[int, int, int, int]


@dataclass(frozen=True)
class StagedImage:
    """One image as the executor finds it.

    Attributes:
        name: its file in ``/in/assets``.
        image: its size in pixels, and its boxes as left, top, width, height, whole pixels inside of it.
    """

    name: str
    image: WrittenImage


def corners_of(box: Sequence[float], width: int, height: int) -> Corners | None:
    """The first and the last pixel inside a half-open box: left, top, right, bottom; ``None``: it is outside.

    Args:
        box: left, top, width, height in pixels.
        width: of the image, pixels.
        height: likewise.
    """
    x, y, across, down = box
    left, right = _ends(x, across, width)
    top, bottom = _ends(y, down, height)
    if right < left or bottom < top:
        return None
    return left, top, right, bottom


def _ends(start: float, length: float, size: int) -> tuple[int, int]:
    low, high = max(0.0, start), min(float(size), start + length)
    if not (math.isfinite(start + length) and high > low):
        return 0, -1
    first = min(round(low), size - 1)
    return first, max(first, min(round(high), size) - 1)


def staged(name: str, image: WrittenImage, size: tuple[int, int]) -> StagedImage:
    """An image with its ground truth scaled to the file's ``size`` (width, height), without crowds.

    Args:
        name: of the file.
        image: as the dataset has it.
        size: of the file, pixels.
    """
    across, down = size[0] / image.width, size[1] / image.height
    kept = []
    for item in image.annotations:
        if item.crowd or item.kind != "ground_truth":
            continue
        x, y, width, height = item.box
        corners = corners_of((x * across, y * down, width * across, height * down), *size)
        if corners is not None:
            left, top, right, bottom = (float(each) for each in corners)
            kept.append(replace(item, box=(left, top, right - left + 1, bottom - top + 1)))
    return StagedImage(name, replace(image, width=size[0], height=size[1], annotations=tuple(kept)))


def ark(image: StagedImage, classes: Sequence[str]) -> bytes:
    """``class_id, xmin, ymin, xmax, ymax, quality, angle``, a box a line; the angle is in units of pi."""
    numbers = {name: number for number, name in enumerate(classes)}
    lines = []
    for item in image.image.annotations:
        x, y, width, height = (int(side) for side in item.box)
        quality, angle = _float(item, "box_quality", _UNKNOWN), _float(item, "rotate_angle", 0.0)
        place = f"{x}, {y}, {x + width - 1}, {y + height - 1}"
        lines.append(f"{numbers[item.category or '']}, {place}, {quality}, {angle}\n")
    return "".join(lines).encode()


def voc(image: StagedImage) -> bytes:
    """The image's XML in YMIR's dialect.

    Raises:
        FormatError: a class name holds a character that XML cannot.
    """
    return document(image.image, image.name, image.image.annotations)


def coco(images: Iterable[StagedImage], classes: Sequence[str]) -> bytes:
    """One document for all images; category ids are class ids, so they begin with 0."""
    numbers = {name: number for number, name in enumerate(classes)}
    records: list[dict[str, object]] = []
    boxes: list[dict[str, object]] = []
    for number, each in enumerate(images, start=1):
        size = {"width": each.image.width, "height": each.image.height}
        records.append({"id": number, "file_name": each.name, **size})
        boxes += [
            {"id": len(boxes) + position, "image_id": number, **_coco_box(item, numbers)}
            for position, item in enumerate(each.image.annotations, start=1)
        ]
    categories = [{"id": number, "name": name, "supercategory": "object"} for name, number in numbers.items()]
    content = {"images": records, "categories": categories, "annotations": boxes}
    return (json.dumps(content) + "\n").encode()


def annotation_files(
    images: Sequence[StagedImage], classes: Sequence[str], annotation_format: str
) -> Iterator[tuple[str, bytes]]:
    """Name below ``/in/annotations`` and content of each file; the format is ``ark``, ``voc`` or ``coco``."""
    if annotation_format == "coco":
        yield COCO_NAME, coco(images, classes)
        return
    for image in images:
        yield (
            annotation_name(image.name, annotation_format),
            ark(image, classes) if annotation_format == "ark" else voc(image),
        )


def annotation_name(image_name: str, annotation_format: str) -> str:
    """The file with an image's boxes, below ``/in/annotations``."""
    if annotation_format == "coco":
        return COCO_NAME
    return image_name.rpartition(".")[0] + SUFFIXES[annotation_format]


def _coco_box(item: Annotation, numbers: dict[str, int]) -> dict[str, object]:
    box = [int(side) for side in item.box]
    category = {"category_id": numbers[item.category or ""], "iscrowd": 0, "bbox": box}
    return {**category, "area": box[2] * box[3], "segmentation": [], "confidence": _UNKNOWN}


def _float(item: Annotation, name: str, otherwise: float) -> float:
    try:
        return float(str(item.attributes.get(name, otherwise)))
    except ValueError:
        return otherwise
