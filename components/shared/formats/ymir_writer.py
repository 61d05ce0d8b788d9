"""Writes a dataset in the layout that YMIR imports."""

import decimal
import json
import logging
import math
import re
from collections.abc import Sequence
from pathlib import Path
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from components.shared.dataset import Dataset
from components.shared.files import write_atomically
from components.shared.formats.base import ReadImage
from components.shared.formats.names import without_suffix
from components.shared.formats.writing import Annotation, WrittenImage, check_xml, iterate_images, write_image
from components.shared.formats.ymir_reader import LABELS, META

logger = logging.getLogger(__name__)

_EXACT = decimal.Context(prec=400)
_ELEMENT = re.compile(r"[^\W\d][\w.-]*")
_TEXTS = ("pose", "occluded", "cm")
_NOTHING = "-1.0"  # how YMIR says that a quality or a confidence is not known


def write(dataset: Dataset, directory: Path, read_image: ReadImage) -> None:
    """Write ``images/``, ``gt/``, ``pred/`` with ``meta.yaml`` where there are predictions, and ``labels.yaml``.

    Images of a split go into a folder of its name, which has this layout again: YMIR imports each as a data set.
    YMIR takes flat folders only, so ``a/b.jpg`` becomes ``a__b.jpg``.

    Raises:
        FormatError: a class or image name holds a character that XML cannot.
        UnsafeInputError: an image's name would leave ``directory``.
    """
    taken: dict[str | None, set[str]] = {}
    predicted: set[str | None] = set()
    for image in iterate_images(dataset):
        base = directory / image.split if image.split else directory
        stem = _flat_stem(image, taken.setdefault(image.split, set()))
        name = stem + Path(image.file_name).suffix
        write_image(image, base / "images" / name, read_image)
        for kind, folder in (("ground_truth", "gt"), ("prediction", "pred")):
            kept = [item for item in image.annotations if (item.kind == "prediction") == (kind == "prediction")]
            if kept or kind == "ground_truth":
                _write(base / folder / f"{stem}.xml", document(image, name if image.exists else image.name, kept))
                predicted |= {image.split} if kind == "prediction" else set()
    for split in predicted:
        _write((directory / split if split else directory) / "pred" / META, _yaml(_meta(dataset.classes)))
    _write(directory / LABELS, _yaml({"labels": [_label(i, name) for i, name in enumerate(dataset.classes)]}))


def _write(path: Path, content: bytes) -> None:
    with write_atomically(path) as temporary:
        temporary.write_bytes(content)


def _yaml(content: object) -> bytes:
    """JSON is YAML in which no text can be mistaken for a number."""
    return (json.dumps(content, indent=1) + "\n").encode()


def _label(number: int, name: str) -> dict[str, object]:
    return {"id": number, "name": name, "aliases": []}


def _meta(classes: tuple[str, ...]) -> dict[str, object]:
    return {"eval_class_names": list(classes), "model": {"class_names": list(classes)}}


def _flat_stem(image: WrittenImage, taken: set[str]) -> str:
    wanted = without_suffix(image.file_name).replace("/", "__")
    stem, number = wanted, 1
    while stem.casefold() in taken:
        number += 1
        stem = f"{wanted}-{number}"
    taken.add(stem.casefold())
    return stem


def document(image: WrittenImage, name: str, kept: Sequence[Annotation]) -> bytes:
    """An image's XML, which calls it ``name`` and has the annotations ``kept``; raises ``FormatError`` as ``write``."""
    root = Element("annotation")
    _add(root, "folder", "images")
    _add(root, "filename", name)
    size = SubElement(root, "size")
    for side, value in (("width", image.width), ("height", image.height), ("depth", 3)):
        _add(size, side, str(value))
    _add(root, "segmented", "0")
    tags = dict(image.tags)
    quality = tags.pop("image_quality", None)
    if quality is not None:
        _add(root, "image_quality", quality)
    if tags:
        _add_texts(SubElement(root, "cks"), tags)
    for item in kept:
        _add_object(root, item)
    indent(root)
    return bytes(tostring(root, encoding="utf-8", xml_declaration=True))


def _add_object(root: Element, item: Annotation) -> None:
    element = SubElement(root, "object")
    if item.category is not None:
        _add(element, "name", item.category)
    _add(element, "truncated", str(int(item.truncated)))
    _add(element, "difficult", str(int(item.difficult)))
    for name in _TEXTS:
        if name in item.attributes:
            _add(element, name, str(item.attributes[name]))
    bounds = SubElement(element, "bndbox")
    x, y, width, height = item.box
    edges = {"xmin": _text(x), "ymin": _text(y), "xmax": _last(x, width), "ymax": _last(y, height)}
    for name, text in edges.items():
        _add(bounds, name, text)
    if "rotate_angle" in item.attributes:
        _add(bounds, "rotate_angle", str(item.attributes["rotate_angle"]))
    score = item.score if item.kind == "prediction" else item.attributes.get("confidence")
    _add(element, "confidence", _NOTHING if score is None else str(score))
    # This element is always there: it tells a reader that the corners are YMIR's.
    _add(element, "box_quality", str(item.attributes.get("box_quality", _NOTHING)))
    tags = item.attributes.get("tags")
    if isinstance(tags, dict) and tags:
        _add_texts(SubElement(element, "tags"), {key: str(text) for key, text in tags.items()})


def _add_texts(parent: Element, texts: dict[str, str]) -> None:
    for name, text in texts.items():
        if _ELEMENT.fullmatch(name):
            _add(parent, name, text)
        else:
            logger.warning("The tag %r was not written: an XML element cannot have this name.", name)


def _add(parent: Element, name: str, text: str) -> None:
    SubElement(parent, name).text = check_xml(text)


def _text(value: float) -> str:
    return str(int(value)) if math.isfinite(value) and value == int(value) else repr(float(value))


def _last(start: float, length: float) -> str:
    """The last pixel inside: ``start + length - 1``, with all its digits."""
    if not (math.isfinite(start) and math.isfinite(length)):
        return repr(start + length)
    total = _EXACT.subtract(_EXACT.add(decimal.Decimal(repr(start)), decimal.Decimal(repr(length))), 1)
    return format(total.normalize(_EXACT), "f") if total else "0"
