"""What the writers of all formats share: image files, boxes by image and attributes."""

import json
import logging
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from components.shared.dataset import Dataset
from components.shared.errors import FormatError, UnsafeInputError
from components.shared.formats.base import ReadImage
from components.shared.formats.names import why_unsafe
from components.shared.images import SUFFIXES

logger = logging.getLogger(__name__)

_CHUNK = 2000  # images whose annotations are rows at a time, so that memory does not grow with their number
_NUDGES = 4  # neighbouring floats tried in each direction
_SUFFIX_OF = {
    "jpeg": ".jpg",
    "mpo": ".jpg",
    "png": ".png",
    "bmp": ".bmp",
    "webp": ".webp",
    "tiff": ".tif",
    "gif": ".gif",
}
_NOT_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
_SIDES = ("x", "y", "width", "height")


@dataclass(frozen=True, slots=True)
class Annotation:
    """One annotation of a dataset, as its writers need it; ``attributes`` is the object, empty when there is none."""

    annotation_id: int
    category: str | None
    box: tuple[float, float, float, float]
    crowd: bool
    difficult: bool
    truncated: bool
    score: float | None
    kind: str
    attributes: dict[str, object]


@dataclass(frozen=True, slots=True)
class WrittenImage:
    """One image of a dataset and its annotations; sizes in pixels, 0 when unknown; ``exists``: it has bytes."""

    image_id: int
    name: str
    width: int
    height: int
    split: str | None
    format: str | None
    tags: dict[str, str]
    exists: bool
    annotations: tuple[Annotation, ...]

    @property
    def file_name(self) -> str:
        """The name with a suffix that says it is an image; as it is when there is no file, which it stands for."""
        return file_name_of(self.name, self.format) if self.exists else self.name


def file_name_of(name: str, image_format: str | None) -> str:
    """An image's name with a suffix that says it is an image; ``image_format`` is ``jpeg``, ``png``, ..."""
    if Path(name).suffix.lower() in SUFFIXES:
        return name
    return name + _SUFFIX_OF.get(image_format or "", ".jpg")


def iterate_images(dataset: Dataset) -> Iterator[WrittenImage]:
    """The dataset's images in their order, each with its annotations, one by one; all names are checked first.

    Raises:
        UnsafeInputError: an image's name would leave the folder it is written to.
    """
    check_names(dataset)
    return _iterate(dataset)


def check_names(dataset: Dataset) -> None:
    """Refuse a dataset with an image name that would leave the folder it is written to.

    Raises:
        UnsafeInputError: there is one; the message names it.
    """
    for name in dataset.images.get_column("name"):
        problem = why_unsafe(name)
        if problem:
            raise UnsafeInputError(f"The image name {name!r} cannot be written: {problem}; rename the image.")


def check_xml(text: str) -> str:
    """The text, when XML can hold it.

    Raises:
        FormatError: it holds a character that XML cannot.
    """
    if _NOT_XML.search(text):
        raise FormatError(f"{text!r} holds a character that XML cannot: rename it before writing this format.")
    return text


def _iterate(dataset: Dataset) -> Iterator[WrittenImage]:
    size = [
        pl.when(pl.col(side) > 0).then(pl.col(side)).otherwise(pl.col(f"declared_{side}")).fill_null(0).alias(side)
        for side in ("width", "height")
    ]
    columns = ["image_id", "name", "split", "format", "tags", "sha256"]
    images = dataset.images.select(*columns, *size).with_row_index("position")
    places = images.select("image_id", "position")
    annotations = dataset.annotations.join(places, on="image_id", how="inner", maintain_order="left")
    annotations = annotations.sort("position", maintain_order=True)
    position = annotations.get_column("position")
    for start in range(0, images.height, _CHUNK):
        chunk = images.slice(start, _CHUNK)
        first, last = (position.search_sorted(place) for place in (start, start + chunk.height))
        by_image: dict[int, list[Annotation]] = {}
        for row in annotations.slice(first, last - first).iter_rows(named=True):
            by_image.setdefault(row["image_id"], []).append(_annotation(row))
        for row in chunk.drop("position").iter_rows(named=True):
            exists = row.pop("sha256") is not None
            tags = _object(row.pop("tags"))
            found = tuple(by_image.get(row["image_id"], ()))
            yield WrittenImage(
                **row, tags={key: str(tag) for key, tag in tags.items()}, exists=exists, annotations=found
            )


def _annotation(row: dict[str, object]) -> Annotation:
    return Annotation(
        annotation_id=int(str(row["annotation_id"])),
        category=None if row["category"] is None else str(row["category"]),
        box=tuple(row[side] for side in _SIDES),  # type: ignore[arg-type]
        crowd=bool(row["crowd"]),
        difficult=bool(row["difficult"]),
        truncated=bool(row["truncated"]),
        score=row["score"],  # type: ignore[arg-type]
        kind=str(row["kind"]),
        attributes=_object(row["attributes"]),
    )


def _object(given: object) -> dict[str, object]:
    found = json.loads(given) if isinstance(given, str) else {}
    return found if isinstance(found, dict) else {}


def number_for(wanted: float, near: float, read: Callable[[float], float]) -> float:
    """The number to write so that ``read`` makes of it what is wanted, with few digits where few do.

    Division and multiplication by an image's size do not cancel in the last bit, which is enough to tip a coordinate
    over the edge where it is rounded; data that came as shares of six digits come back digit for digit.

    Args:
        wanted: a coordinate, pixels.
        near: the share or percentage of it, as a division gives it.
        read: what a reader computes from the number written.
    """
    if not math.isfinite(near):
        return near
    close = [near]
    below = above = near
    for _ in range(_NUDGES):
        below, above = math.nextafter(below, -math.inf), math.nextafter(above, math.inf)
        close += [below, above]
    exact = next((number for number in (round(near, 6), *close) if read(number) == wanted), None)
    if exact is not None:
        return exact
    # A version counts ten-thousandths of a pixel, rounded in this way.
    counted = round(wanted * 10_000)
    return next((number for number in close if round(read(number) * 10_000) == counted), near)


def write_image(image: WrittenImage, path: Path, read_image: ReadImage) -> None:
    """Write an image's bytes to ``path``; an image that has none is left out, with a warning."""
    if not image.exists:
        logger.warning("%r has no file in the dataset: only its annotations are written.", image.name)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(read_image(image.image_id))
