"""Pascal VOC: one XML file an image with ``<object>`` and ``<bndbox>`` (http://host.robots.ox.ac.uk/pascal/VOC/).

Read are ``VOCdevkit`` trees of one or more years, ``annotations`` beside ``images``, and XML files beside their images
(labelImg). An XML file belongs to the image that shares its stem; its ``<filename>`` decides only where there is none.
``ImageSets/Main`` gives the split, folder names do where it is absent; an image listed for train and test, or only in
``trainval``, has none. Classes are in alphabetical order. ``<confidence>`` above -1 makes a prediction; pose, occlusion
and tags stay in ``attributes``; ``cks`` are the image's tags.

The corners are taken as edges: left = xmin, width = xmax - xmin. The VOC documents call ``xmax`` the last pixel inside
the box, which would make each box a pixel wider (YMIR: xmax - xmin + 1) and start it a pixel earlier. Yet the tools
people convert with do neither: one public set of 100 VOC2012 images with 273 boxes, exported as VOC, as COCO by two
tools and as YOLO, agrees box for box under this rule and none under the others (``xmin=174 xmax=349`` is the COCO box
``[174, .., 175, ..]``), and labelImg writes the edges a person drew. A test holds the readers to it. The writer is the
exact inverse: ``xmax`` is ``x + width``, as a decimal with all its digits. Only a file that holds elements YMIR alone
writes (``cks``, ``box_quality``, ``rotate_angle``, ...) has inclusive corners: its exporter writes ``x + width - 1``.
"""

import decimal
import math
from collections import Counter
from pathlib import Path, PurePosixPath
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from components.shared.dataset import Dataset
from components.shared.files import write_atomically
from components.shared.formats.base import Format, ReadImage
from components.shared.formats.names import without_suffix
from components.shared.formats.tree import detector
from components.shared.formats.voc_reader import LABEL_MAP, read, recognise
from components.shared.formats.writing import (
    Annotation,
    WrittenImage,
    check_xml,
    file_name_of,
    iterate_images,
    write_image,
)

_EXACT = decimal.Context(prec=60)
_UNSPLIT = "default"
_DECLARATION = b'<?xml version="1.0" encoding="utf-8"?>\n'


detect = detector(recognise)


def write(dataset: Dataset, directory: Path, read_image: ReadImage) -> None:
    """Write ``JPEGImages/``, ``Annotations/``, ``ImageSets/Main/<split>.txt`` and ``labelmap.txt``.

    Images without a split are listed in ``default.txt``.

    Raises:
        FormatError: a class or image name holds a character that XML cannot.
        UnsafeInputError: an image's name would leave ``directory``.
    """
    listed: dict[str, list[str]] = {}
    shared = _shared_stems(dataset)
    for image in iterate_images(dataset):
        write_image(image, directory / "JPEGImages" / image.file_name, read_image)
        stem = without_suffix(image.file_name)
        stem = image.file_name if stem in shared else stem
        path = directory / "Annotations" / f"{stem}.xml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(_document(image))
        listed.setdefault(image.split or _UNSPLIT, []).append(stem)
    for split, stems in listed.items():
        _write_lines(directory / "ImageSets" / "Main" / f"{split}.txt", stems)
    _write_lines(directory / LABEL_MAP, ["# label:color_rgb:parts:actions", *(f"{n}:::" for n in dataset.classes)])


def _shared_stems(dataset: Dataset) -> set[str]:
    """Stems of two or more images, ``a`` for ``a.jpg`` and ``a.png``: their XML is called ``a.jpg.xml``."""
    names = dataset.images.select("name", "format").iter_rows()
    counts = Counter(without_suffix(file_name_of(name, kind)) for name, kind in names)
    return {stem for stem, count in counts.items() if count > 1}


def _write_lines(path: Path, lines: list[str]) -> None:
    with write_atomically(path) as temporary:
        temporary.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def _document(image: WrittenImage) -> bytes:
    root = Element("annotation")
    _add(root, "folder", "JPEGImages")
    # Only the whole path tells which image this is when there is no file of its name.
    _add(root, "filename", PurePosixPath(image.file_name).name if image.exists else image.name)
    size = SubElement(root, "size")
    for name, value in (("width", image.width), ("height", image.height), ("depth", 3)):
        _add(size, name, str(value))
    _add(root, "segmented", "0")
    for item in image.annotations:
        _add_object(root, item)
    indent(root)
    return _DECLARATION + tostring(root, encoding="unicode").encode()  # twice as fast as letting it encode


def _add_object(root: Element, item: Annotation) -> None:
    element = SubElement(root, "object")
    if item.category is not None:
        _add(element, "name", item.category)
    _add(element, "pose", str(item.attributes.get("pose", "Unspecified")))
    _add(element, "truncated", str(int(item.truncated)))
    _add(element, "difficult", str(int(item.difficult)))
    if "occluded" in item.attributes:
        _add(element, "occluded", str(item.attributes["occluded"]))
    bounds = SubElement(element, "bndbox")
    x, y, width, height = item.box
    edges = {"xmin": _text(x), "ymin": _text(y), "xmax": _sum(x, width), "ymax": _sum(y, height)}
    for name, text in edges.items():
        _add(bounds, name, text)
    if item.score is not None:
        _add(element, "confidence", repr(float(item.score)))


def _text(value: float) -> str:
    return str(int(value)) if math.isfinite(value) and value == int(value) else repr(float(value))


def _sum(start: float, length: float) -> str:
    if not (math.isfinite(start) and math.isfinite(length)):
        return repr(start + length)
    total = _EXACT.add(decimal.Decimal(repr(float(start))), decimal.Decimal(repr(float(length))))
    return format(total.normalize(_EXACT), "f") if total else "0"


def _add(parent: Element, name: str, text: str) -> None:
    SubElement(parent, name).text = check_xml(text)


FORMAT = Format(
    name="voc",
    describe="one XML file an image, as Pascal VOC and labelImg write it",
    detect=detect,
    read=read,
    write=write,
)
