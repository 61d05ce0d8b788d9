"""CVAT for images and for video: one XML file a task (https://docs.cvat.ai/docs/manual/advanced/xml_format/).

Boxes are corners with two decimals and are taken as edges. A rotated box and an ellipse become their upright hulls and
keep ``rotation`` (degrees, clockwise, around the centre); a polygon becomes its hull and keeps ``segmentation``; other
shapes are no boxes and go to the ledger. A ``<tag>`` of an image is a tag of ours. A box of a track belongs to the
image ``frame_000123`` of its frame, unless it is outside. Classes are in the order of the task's labels.

This is a reader of our own because datumaro rounds coordinates and makes every file a subset; the numbers here are
those of the file.
"""

import math
from collections.abc import Iterator
from pathlib import Path
from xml.etree.ElementTree import Element

from components.shared.documents import parse_xml
from components.shared.errors import FormatError, InputError
from components.shared.formats.attributes import to_text
from components.shared.formats.base import DEFAULT_OPTIONS, Parsed, ReadOptions
from components.shared.formats.image_finder import ImageFinder, shown
from components.shared.formats.names import clean, folder_of, join, normal, split_of_folder, why_unsafe
from components.shared.formats.rows import Box, Extras, Rows, declared, number, shorten
from components.shared.formats.tree import Tree, scan
from components.shared.ledger import Rule

_HEAD = 4096
_SAMPLE = 200  # a task is one file; other tools write one for each of 100,000 images
_SHAPES = ("box", "polygon", "ellipse", "polyline", "points", "mask", "cuboid", "skeleton")


def detect(root: Path) -> bool:
    """Whether ``root`` holds an annotation file of CVAT."""
    try:
        tree = scan(root)
    except InputError:
        return False
    return any(_sniff(Path(tree.files[path])) for path in tree.with_suffix(".xml")[:_SAMPLE])


def read(root: Path, options: ReadOptions = DEFAULT_OPTIONS, /) -> Parsed:
    """Read every CVAT file below ``root`` as one data set.

    Raises:
        SourceError: the folder is missing or empty.
        FormatError: there is no CVAT file, or one cannot be parsed.
    """
    del options
    tree = scan(root)
    paths = [path for path in tree.with_suffix(".xml") if _sniff(Path(tree.files[path]))]
    if not paths:
        raise FormatError(f"{str(root)!r} holds no CVAT XML (<annotations> with <image>): it has {tree.contents()}.")
    documents = {path: parse_xml(tree.read(path), path) for path in paths}
    names = (_name(image) for document in documents.values() for image in document.iterfind("image"))
    reader = _Reader(tree, ImageFinder(tree, names))
    for path, document in documents.items():
        reader.add(path, document)
    return reader.parsed()


def _sniff(path: Path) -> bool:
    try:
        with path.open("rb") as handle:
            head = handle.read(_HEAD)
    except OSError:
        return False
    return b"<annotations" in head and (b"<meta" in head or b"<image" in head or b"<track" in head)


def _name(image: Element) -> str:
    return normal(image.get("name", "").replace("\\", "/"))


class _Reader:
    """Collects the rows of a CVAT source, file by file."""

    def __init__(self, tree: Tree, finder: ImageFinder) -> None:
        self._tree = tree
        self._finder = finder
        self._labels: list[str] = []
        self.rows = Rows()
        self.rows.ledger.extend(tree.ledger)

    def add(self, path: str, document: Element) -> None:
        """Add one file."""
        self._labels += [name for label in document.iterfind("meta//labels/label") if (name := label.findtext("name"))]
        for image in document.iterfind("image"):
            self._add_image(path, image)
        for track in document.iterfind("track"):
            self._add_track(path, track)

    def parsed(self) -> Parsed:
        """All rows as tables; classes in the order of the labels, others after them by name."""
        known = tuple(dict.fromkeys(clean(name.strip()) for name in self._labels))
        return self.rows.parsed((*known, *sorted(self.rows.categories().difference(known))))

    def _add_image(self, path: str, image: Element) -> None:
        name = _name(image)
        problem = why_unsafe(image.get("name", ""))
        if problem:
            detail = f"{path}: image {shorten(name)!r}: {problem}"
            self.rows.reject(name, Rule.UNSAFE_NAME, detail, before=dict(image.attrib))
            return
        tags = {clean(tag.get("label", "")): "yes" for tag in image.iterfind("tag") if tag.get("label")}
        image_id = self._image(path, name, image, tags)
        for position, shape in enumerate((item for item in image if item.tag in _SHAPES), start=1):
            self._add_shape(image_id, shape, shape.get("label"), f"{path}: {name}: shape {position}")

    def _add_track(self, path: str, track: Element) -> None:
        for shape in track:
            frame = shape.get("frame", "")
            if shape.tag not in _SHAPES or shape.get("outside") == "1" or not frame.isdecimal():
                continue
            name = f"frame_{int(frame[:9]):06d}"
            same = [image for image in self._tree.images if image.rpartition("/")[2].startswith(f"{name}.")]
            image_id = self._image(path, same[0] if len(same) == 1 else f"{name}.png", shape, {}, sized=False)
            self._add_shape(image_id, shape, track.get("label"), f"{path}: track {track.get('id')}: frame {frame}")

    def _image(self, path: str, name: str, image: Element, tags: dict[str, str], *, sized: bool = True) -> int:
        found = self._finder.find(name, folder_of(path))
        subset = image.get("subset", "")
        return self.rows.add_image(
            found or join(folder_of(path), name),
            short=shown(found) if found else name,
            path=self._tree.files[found] if found else None,
            size=(declared(image.get("width")), declared(image.get("height"))) if sized else (None, None),
            split=split_of_folder(subset) if subset else None,
            source_id=clean(shorten(image.get("id", ""))) or None,
            tags=tags,
        )

    def _add_shape(self, image_id: int, shape: Element, label: str | None, place: str) -> None:
        drawn = _outline(shape)
        if isinstance(drawn, str):
            before = {**shape.attrib, "shape": shape.tag}
            self.rows.reject(place, Rule.MALFORMED, f"{place}: {drawn}", annotation=place, before=before)
            return
        box, attributes = drawn
        kept = {
            **attributes,
            **{item.get("name", ""): (item.text or "").strip() for item in shape.iterfind("attribute")},
        }
        crowd, difficult, truncated = (_flag(kept, name) for name in ("is_crowd", "difficult", "truncated"))
        if shape.get("occluded") == "1":
            kept["occluded"] = "1"
        extras = Extras(crowd, difficult, truncated, source_id=place, attributes=to_text(kept))
        self.rows.add_box(image_id, clean((label or "").strip()) or None, box, extras)


def _flag(kept: dict[str, object], name: str) -> bool:
    """Take an attribute that is a flag of ours out of the others."""
    return str(kept.pop(name, "")).lower() in {"1", "true", "yes"}


def _outline(shape: Element) -> tuple[Box, dict[str, object]] | str:
    """A shape's upright box and what it leaves out, or why it has none."""
    turned = number(shape.get("rotation", "0")) or 0.0
    kept: dict[str, object] = {"rotation": turned} if turned else {}
    if shape.tag == "box":
        corners = _numbers(shape, "xtl", "ytl", "xbr", "ybr")
        if corners is None:
            return "its corners are not four numbers"
        left, top, right, bottom = corners
        box = (left, top, _difference(right, left), _difference(bottom, top))
        return (_turned(box, turned) if turned else box), kept
    if shape.tag == "ellipse":
        centre = _numbers(shape, "cx", "cy", "rx", "ry")
        return "its axes are not four numbers" if centre is None else (_ellipse(centre, turned), kept)
    if shape.tag == "polygon":
        points = list(_points(shape.get("points", "")))
        if len(points) < 3 or None in points:  # noqa: PLR2004 - fewer corners enclose nothing
            return "its points are not three or more pairs of numbers"
        flat = [value for point in points if point for value in point]
        xs, ys = flat[0::2], flat[1::2]
        hull = (min(xs), min(ys), _difference(max(xs), min(xs)), _difference(max(ys), min(ys)))
        return hull, {**kept, "segmentation": [flat]}
    return f"a {shape.tag} is no box"


def _difference(end: float, start: float) -> float:
    """What lies between two numbers of few decimals, without the dust of binary fractions."""
    return round(end - start, 6) if math.isfinite(end - start) else end - start


def _turned(box: Box, degrees: float) -> Box:
    x, y, width, height = box
    angle = math.radians(degrees)
    across = abs(width * math.cos(angle)) + abs(height * math.sin(angle))
    down = abs(width * math.sin(angle)) + abs(height * math.cos(angle))
    return x + width / 2 - across / 2, y + height / 2 - down / 2, across, down


def _ellipse(numbers: tuple[float, ...], degrees: float) -> Box:
    centre_x, centre_y, radius_x, radius_y = numbers
    angle = math.radians(degrees)
    half_width = math.hypot(radius_x * math.cos(angle), radius_y * math.sin(angle))
    half_height = math.hypot(radius_x * math.sin(angle), radius_y * math.cos(angle))
    return centre_x - half_width, centre_y - half_height, 2 * half_width, 2 * half_height


def _points(text: str) -> Iterator[tuple[float, float] | None]:
    for pair in text.split(";"):
        x, comma, y = pair.partition(",")
        left, top = number(x), number(y)
        yield (left, top) if comma and left is not None and top is not None else None


def _numbers(shape: Element, *names: str) -> tuple[float, ...] | None:
    found = [number(shape.get(name, "")) for name in names]
    return None if None in found else tuple(value for value in found if value is not None)
