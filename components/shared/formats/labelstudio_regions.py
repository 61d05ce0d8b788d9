"""The regions of a Label Studio annotation as boxes: rectangles, rotated ones, ellipses and polygons."""

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from components.shared.formats.rows import Box

Record = Mapping[str, object]
Points = list[tuple[float, float]]

_LABELS = ("rectanglelabels", "polygonlabels", "ellipselabels", "brushlabels", "keypointlabels", "labels")
_GEOMETRY = frozenset(
    {"x", "y", "width", "height", "rotation", "points", "closed", "radiusX", "radiusY", "rle", "format"}
)
_SHAPES = frozenset({"rectangle", "polygon", "ellipse", "brush", "keypoint"})


@dataclass
class Region:
    """What the results with one id say about one place in an image.

    Attributes:
        shape: the result with the geometry; ``None`` for an answer about the image as a whole.
        labels: class names given to it.
        answers: what else was asked about it, by the question's name.
    """

    shape: Record | None = None
    labels: list[str] = field(default_factory=list)
    answers: dict[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Outline:
    """A region's box in shares of the image, and what the box leaves out."""

    box: Box
    attributes: dict[str, object]


def regions_of(results: Iterable[Record]) -> list[Region]:
    """Join the results that share an id: a rectangle, its labels and its answers are one region."""
    regions: dict[object, Region] = {}
    for position, item in enumerate(results):
        value = item.get("value")
        if not isinstance(value, Mapping):
            continue
        number = item.get("id")
        region = regions.setdefault(number if isinstance(number, (str, int)) else (position,), Region())
        _join(region, item, value)
    return list(regions.values())


def _join(region: Region, item: Record, value: Record) -> None:
    kind = str(item.get("type", ""))
    if region.shape is None and _has_geometry(kind, value):
        region.shape = item
    names = next((value[name] for name in _LABELS if isinstance(value.get(name), list)), None)
    if isinstance(names, list):
        region.labels += [
            str(name) for name in names if isinstance(name, (str, int, float)) and name not in region.labels
        ]
        return
    answer = {key: content for key, content in value.items() if key not in _GEOMETRY}
    if answer:
        region.answers[str(item.get("from_name") or kind)] = next(iter(answer.values())) if len(answer) == 1 else answer


def _has_geometry(kind: str, value: Record) -> bool:
    drawn = kind in _SHAPES or any(name in value for name in _LABELS)
    return drawn or ("x" in value and "width" in value) or "points" in value


def outline(shape: Record) -> Outline | str:
    """The box of a region in shares of the image, or why it has none."""
    value = shape.get("value")
    if not isinstance(value, Mapping):
        return "it has no value"
    size = _numbers(shape, "original_width", "original_height") or (1.0, 1.0)
    if size[0] <= 0 or size[1] <= 0:
        size = (1.0, 1.0)
    attributes: dict[str, object] = {}
    if shape.get("image_rotation"):
        attributes["image_rotation"] = shape["image_rotation"]
    if "points" in value:
        return _polygon(value["points"], attributes)
    turned = _numbers(value, "rotation") or (0.0,)
    if turned[0]:
        attributes["rotation"] = turned[0]
    for find in (_rectangle, _ellipse):
        corners = find(value, turned[0], size)
        if corners is not None:
            return Outline(corners, attributes)
    return "it is no rectangle, polygon or ellipse" + (": masks are not read" if "rle" in value else "")


def _rectangle(value: Record, rotation: float, size: tuple[float, ...]) -> Box | None:
    numbers = _numbers(value, "x", "y", "width", "height")
    if numbers is None:
        return None
    left, top, width, height = numbers
    if not rotation:
        return left / 100, top / 100, width / 100, height / 100
    # The corner (x, y) is where it stands after the turn, which is clockwise and made in pixels, not in percent.
    angle = math.radians(rotation)
    across = (width * size[0] * math.cos(angle), width * size[0] * math.sin(angle))
    down = (-height * size[1] * math.sin(angle), height * size[1] * math.cos(angle))
    xs = [left * size[0] + dx for dx in (0.0, across[0], down[0], across[0] + down[0])]
    ys = [top * size[1] + dy for dy in (0.0, across[1], down[1], across[1] + down[1])]
    return _hull([(x / size[0] / 100, y / size[1] / 100) for x, y in zip(xs, ys, strict=True)])


def _ellipse(value: Record, rotation: float, size: tuple[float, ...]) -> Box | None:
    numbers = _numbers(value, "x", "y", "radiusX", "radiusY")
    if numbers is None:
        return None
    centre_x, centre_y, radius_x, radius_y = numbers
    angle = math.radians(rotation)
    a, b = radius_x * size[0], radius_y * size[1]
    half_width = math.hypot(a * math.cos(angle), b * math.sin(angle)) / size[0]
    half_height = math.hypot(a * math.sin(angle), b * math.cos(angle)) / size[1]
    return (centre_x - half_width) / 100, (centre_y - half_height) / 100, half_width / 50, half_height / 50


def _polygon(points: object, attributes: dict[str, object]) -> Outline | str:
    corners: Points = []
    for point in points if isinstance(points, list) else ():
        pair = _pair(point)
        if pair is None:
            return f"its point {json.dumps(point, default=str)[:80]} is no pair of numbers"
        corners.append(pair)
    if len(corners) < 3:  # noqa: PLR2004 - fewer corners enclose nothing
        return "its polygon has fewer than three corners"
    return Outline(
        _hull(corners), {**attributes, "segmentation_relative": [value for corner in corners for value in corner]}
    )


def _pair(point: object) -> tuple[float, float] | None:
    if isinstance(point, list) and len(point) == 2:  # noqa: PLR2004 - a point of the plane
        numbers = _numbers({"x": point[0], "y": point[1]}, "x", "y")
        return None if numbers is None else (numbers[0] / 100, numbers[1] / 100)
    return None


def _hull(points: Points) -> Box:
    xs, ys = [x for x, _ in points], [y for _, y in points]
    return min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)


def _numbers(record: Record, *names: str) -> tuple[float, ...] | None:
    found = [record.get(name) for name in names]
    if all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in found):
        try:
            return tuple(float(value) for value in found)  # type: ignore[arg-type]
        except OverflowError:
            return None
    return None
