"""Writes a dataset as SageMaker Ground Truth augmented manifests."""

import json
import logging
import math
from pathlib import Path, PurePosixPath

from components.shared.dataset import Dataset
from components.shared.files import write_atomically
from components.shared.formats.base import ReadImage
from components.shared.formats.groundtruth_lines import BOXES, METADATA, class_id
from components.shared.formats.groundtruth_reader import TAGS
from components.shared.formats.writing import Annotation, WrittenImage, iterate_images, write_image

logger = logging.getLogger(__name__)

ATTRIBUTE = "bounding-box"
_UNDATED = "1970-01-01T00:00:00.000000"  # the same data gives the same manifest
_UNSPLIT = "output"


def write(dataset: Dataset, directory: Path, read_image: ReadImage) -> None:
    """Write ``images/`` and one ``<split>.manifest`` a split (``output.manifest`` where there is none).

    Raises:
        UnsafeInputError: an image's name would leave ``directory``.
    """
    write_manifests(dataset, directory, read_image)


def write_manifests(
    dataset: Dataset, directory: Path, read_image: ReadImage, *, prefix: str = "", attribute: str = ATTRIBUTE
) -> None:
    """The same with a choice of address and label.

    Args:
        dataset: what to write.
        directory: receives the manifests and ``images/``.
        read_image: gives an image's bytes.
        prefix: what ``source-ref`` starts with, ``s3://bucket/folder``, where ``directory`` will be uploaded to;
            empty: the paths stay relative to the manifest.
        attribute: name of the label attribute.

    Raises:
        UnsafeInputError: an image's name would leave ``directory``.
    """
    lines: dict[str, list[str]] = {} if dataset.images.height else {_UNSPLIT: []}
    left_out = 0
    for image in iterate_images(dataset):
        write_image(image, directory / "images" / image.file_name, read_image)
        kept = tuple(item for item in image.annotations if _fits(item, dataset.classes))
        left_out += len(image.annotations) - len(kept)
        record = _line(image, kept, dataset.classes, prefix, attribute)
        lines.setdefault(image.split or _UNSPLIT, []).append(json.dumps(record, ensure_ascii=False))
    for split, written in lines.items():
        with write_atomically(directory / f"{split}.manifest") as temporary:
            temporary.write_text("".join(f"{line}\n" for line in written), encoding="utf-8")
    if left_out:
        logger.warning("%d predictions, boxes without class or without finite sides were not written.", left_out)


def _fits(item: Annotation, classes: tuple[str, ...]) -> bool:
    known = item.category in classes or class_id(item.attributes.get("class_id")) is not None
    return known and item.kind != "prediction" and all(map(math.isfinite, item.box))


def _line(
    image: WrittenImage, kept: tuple[Annotation, ...], classes: tuple[str, ...], prefix: str, attribute: str
) -> dict[str, object]:
    number = {name: position for position, name in enumerate(classes)}
    name = PurePosixPath("images", image.file_name).as_posix()
    size = [{"width": image.width, "height": image.height, "depth": 3}] if image.width and image.height else []
    human = image.tags.get("human-annotated", "yes")
    tags = {key: text for key, text in image.tags.items() if (key, text) != ("human-annotated", "no")}
    line: dict[str, object] = {
        "source-ref": f"{prefix.rstrip('/')}/{name}" if prefix else name,
        attribute: {"image_size": size, "annotations": [_annotation(item, number) for item in kept]},
        f"{attribute}{METADATA}": {
            "objects": [
                {"confidence": item.attributes["confidence"]} if "confidence" in item.attributes else {}
                for item in kept
            ],
            "class-map": {str(position): name for name, position in number.items()},
            "type": BOXES,
            "human-annotated": "no" if human == "no" else "yes",
            "creation-date": _UNDATED,
            "job-name": "export",
        },
    }
    return line | ({TAGS: tags} if tags else {})


def _annotation(item: Annotation, number: dict[str, int]) -> dict[str, object]:
    known = number.get(item.category or "")
    left, top, width, height = (int(side) if side == int(side) else side for side in item.box)
    return {
        "class_id": class_id(item.attributes["class_id"]) if known is None else known,
        "top": top,
        "left": left,
        "width": width,
        "height": height,
    }
