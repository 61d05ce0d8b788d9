"""labelme: one JSON file an image with a list of shapes (https://github.com/wkentaro/labelme).

A rectangle is two corners in any order, a circle its centre and a point of its rim; a polygon becomes its hull and
keeps ``segmentation``; lines, points and masks are no boxes and go to the ledger. A shape's flags and group stay in
``attributes``, the image's flags are its tags. An image without a file of its own, in the folders of the others, has
no objects. Classes are in alphabetical order.
"""

import logging
import math
from pathlib import Path

from components.shared.documents import parse_json
from components.shared.errors import FormatError, InputError
from components.shared.formats.attributes import to_text
from components.shared.formats.base import DEFAULT_OPTIONS, Parsed, ReadOptions
from components.shared.formats.image_finder import ImageFinder, shown
from components.shared.formats.names import clean, folder_of, join, normal, why_unsafe, without_suffix
from components.shared.formats.rows import Box, Extras, Rows, declared, shorten
from components.shared.formats.tree import Tree, scan
from components.shared.ledger import Rule

logger = logging.getLogger(__name__)

_HEAD = 1 << 16
_SAMPLE = 20


def detect(root: Path) -> bool:
    """Whether the first JSON files below ``root`` are labelme's."""
    try:
        tree = scan(root)
    except InputError:
        return False
    return any(_sniff(Path(tree.files[path])) for path in tree.with_suffix(".json")[:_SAMPLE])


def read(root: Path, options: ReadOptions = DEFAULT_OPTIONS, /) -> Parsed:
    """Read every labelme file below ``root`` as one data set; one that cannot be parsed goes to the ledger.

    Raises:
        SourceError: the folder is missing or empty.
        FormatError: there is no labelme file.
    """
    del options
    tree = scan(root)
    paths = [path for path in tree.with_suffix(".json") if _sniff(Path(tree.files[path]))]
    if not paths:
        raise FormatError(f"{str(root)!r} holds no labelme JSON (an object with shapes): it has {tree.contents()}.")
    rows = Rows()
    rows.ledger.extend(tree.ledger)
    finder = ImageFinder(tree, ())
    spoilt: set[str] = set()
    for path in paths:
        try:
            content = parse_json(tree.read(path), path)
        except InputError as error:
            spoilt.add(without_suffix(path))
            rows.reject(path, Rule.MALFORMED, str(error))
            continue
        if isinstance(content, dict) and isinstance(content.get("shapes"), list):
            _add(tree, finder, rows, path, content)
    _add_unlabelled(tree, rows, spoilt)
    return rows.parsed(tuple(sorted(rows.categories())))


def _sniff(path: Path) -> bool:
    try:
        with path.open("rb") as handle:
            head = handle.read(_HEAD)
            handle.seek(max(0, path.stat().st_size - _HEAD))
            tail = handle.read(_HEAD)
    except OSError:
        return False
    # The image itself may stand between the shapes and its path.
    return b'"shapes"' in head + tail and (b'"imagePath"' in head + tail or b'"imageData"' in head + tail)


def _add(tree: Tree, finder: ImageFinder, rows: Rows, path: str, content: dict[str, object]) -> None:
    given = content.get("imagePath")
    said = given.replace("\\", "/") if isinstance(given, str) else ""
    # labelme writes the way from its file to the image, which may go up and down again.
    name = said.rpartition("/")[2] if said.startswith("../") else said
    stem = without_suffix(path)
    beside = [image for image in tree.images if without_suffix(image) == stem] if not name else []
    problem = why_unsafe(name) if name else (None if beside else "it names no image")
    if problem:
        rows.reject(path, Rule.UNSAFE_NAME, f"{path}: imagePath {shorten(said)!r}: {problem}")
        return
    name = normal(name)
    found = beside[0] if beside else finder.find(name, folder_of(path))
    flags = content.get("flags")
    image_id = rows.add_image(
        found or join(folder_of(path), name),
        short=shown(found) if found else name,
        path=tree.files[found] if found else None,
        size=(declared(content.get("imageWidth")), declared(content.get("imageHeight"))),
        source_id=path,
        tags={clean(str(key)): "yes" for key, value in flags.items() if value is True}
        if isinstance(flags, dict)
        else {},
    )
    shapes = content["shapes"]
    for position, shape in enumerate(shapes if isinstance(shapes, list) else (), start=1):
        problem = _add_shape(rows, image_id, shape, f"{path}: shape {position}")
        if problem:
            detail = f"{path}: shape {position}: {problem}"
            rows.reject(found or path, Rule.MALFORMED, detail, annotation=f"shape {position}", before=shape)


def _add_shape(rows: Rows, image_id: int, shape: object, place: str) -> str | None:
    """Add one shape, or say why it is no box."""
    if not isinstance(shape, dict):
        return "it is no object"
    points = _points(shape.get("points"))
    if not points:
        return "its points are not pairs of numbers"
    drawn = _outline(str(shape.get("shape_type") or "polygon"), points)
    if isinstance(drawn, str):
        return drawn
    box, kept = drawn
    flags = shape.get("flags")
    kept |= {str(key): True for key, value in flags.items() if value is True} if isinstance(flags, dict) else {}
    kept |= {key: value for key in ("group_id", "description") if (value := shape.get(key)) is not None and value != ""}
    difficult, truncated, crowd = (kept.pop(name, False) is True for name in ("difficult", "truncated", "crowd"))
    label = shape.get("label")
    category = clean(str(label)) if isinstance(label, (str, int, float)) else None
    extras = Extras(crowd, difficult, truncated, source_id=place, attributes=to_text(kept))
    rows.add_box(image_id, category or None, box, extras)
    return None


def _points(given: object) -> list[tuple[float, float]]:
    points: list[tuple[float, float]] = []
    for point in given if isinstance(given, list) else ():
        numbers = point if isinstance(point, list) and len(point) == 2 else ()  # noqa: PLR2004 - a point of the plane
        if not numbers or not all(type(value) in {int, float} for value in numbers):
            return []
        try:
            points.append((float(numbers[0]), float(numbers[1])))
        except OverflowError:
            return []
    return points


def _outline(kind: str, points: list[tuple[float, float]]) -> tuple[Box, dict[str, object]] | str:
    if kind == "circle" and len(points) == 2:  # noqa: PLR2004 - centre and rim
        (x, y), rim = points
        radius = math.dist((x, y), rim)
        return (x - radius, y - radius, 2 * radius, 2 * radius), {"shape": "circle"}
    if not ((kind == "rectangle" and len(points) in {2, 4}) or (kind == "polygon" and len(points) > 2)):  # noqa: PLR2004
        return f"a {kind} of {len(points)} points is no box"
    xs, ys = [x for x, _ in points], [y for _, y in points]
    box = (min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys))
    return box, {} if kind == "rectangle" else {"segmentation": [[value for point in points for value in point]]}


def _add_unlabelled(tree: Tree, rows: Rows, spoilt: set[str]) -> None:
    used = {folder_of(image) for image in rows.image_ids if image in tree.files}
    lonely = [
        image
        for image in tree.images
        if image not in rows.image_ids and folder_of(image) in used and without_suffix(image) not in spoilt
    ]
    for image in lonely:
        rows.add_image(image, short=shown(image), path=tree.files[image])
    if lonely:
        logger.warning("%d images have no labelme file and count as images without objects.", len(lonely))
