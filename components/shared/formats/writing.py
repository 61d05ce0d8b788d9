"""What the writers of all formats share: image files, boxes by image and attributes."""

import json
import logging
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from components.shared.dataset import Dataset
from components.shared.errors import UnsafeInputError
from components.shared.formats.base import ReadImage
from components.shared.formats.names import why_unsafe
from components.shared.images import SUFFIXES

logger = logging.getLogger(__name__)

_SUFFIX_OF = {
    "jpeg": ".jpg",
    "mpo": ".jpg",
    "png": ".png",
    "bmp": ".bmp",
    "webp": ".webp",
    "tiff": ".tif",
    "gif": ".gif",
}


@dataclass(frozen=True)
class Annotation:
    """One annotation of a dataset, as its writers need it; ``attributes`` is the object, empty when there is none."""

    annotation_id: int
    category: str | None
    box: tuple[float, float, float, float]
    crowd: bool
    difficult: bool
    truncated: bool
    score: float | None
    attributes: dict[str, object]


@dataclass(frozen=True)
class WrittenImage:
    """One image of a dataset and its annotations; sizes in pixels, 0 when unknown; ``exists``: it has bytes."""

    image_id: int
    name: str
    width: int
    height: int
    split: str | None
    format: str | None
    exists: bool
    annotations: tuple[Annotation, ...]

    @property
    def file_name(self) -> str:
        """The name with a suffix that says it is an image."""
        if Path(self.name).suffix.lower() in SUFFIXES:
            return self.name
        return self.name + _SUFFIX_OF.get(self.format or "", ".jpg")


def images_of(dataset: Dataset) -> list[WrittenImage]:
    """The dataset's images in their order, each with its annotations.

    Raises:
        UnsafeInputError: an image's name would leave the folder it is written to.
    """
    by_image: dict[int, list[Annotation]] = {}
    for row in dataset.annotations.iter_rows(named=True):
        by_image.setdefault(row["image_id"], []).append(_annotation(row))
    size = [
        pl.when(pl.col(side) > 0).then(pl.col(side)).otherwise(pl.col(f"declared_{side}")).fill_null(0).alias(side)
        for side in ("width", "height")
    ]
    columns = ["image_id", "name", "split", "format", "sha256"]
    images = []
    for row in dataset.images.select(*columns, *size).iter_rows(named=True):
        problem = why_unsafe(row["name"])
        if problem:
            raise UnsafeInputError(f"The image name {row['name']!r} cannot be written: {problem}; rename the image.")
        exists = row.pop("sha256") is not None
        images.append(WrittenImage(**row, exists=exists, annotations=tuple(by_image.get(row["image_id"], ()))))
    return images


def _annotation(row: dict[str, object]) -> Annotation:
    given = row["attributes"]
    attributes = json.loads(given) if isinstance(given, str) else {}
    return Annotation(
        annotation_id=int(str(row["annotation_id"])),
        category=None if row["category"] is None else str(row["category"]),
        box=tuple(row[side] for side in ("x", "y", "width", "height")),  # type: ignore[arg-type]
        crowd=bool(row["crowd"]),
        difficult=bool(row["difficult"]),
        truncated=bool(row["truncated"]),
        score=row["score"],  # type: ignore[arg-type]
        attributes=attributes if isinstance(attributes, dict) else {},
    )


def write_image(image: WrittenImage, path: Path, read_image: ReadImage) -> None:
    """Write an image's bytes to ``path``; an image that has none is left out, with a warning."""
    if not image.exists:
        logger.warning("%r has no file in the dataset: only its annotations are written.", image.name)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(read_image(image.image_id))
