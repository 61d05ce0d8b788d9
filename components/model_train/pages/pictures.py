"""Pictures of a training: its first batches as the model saw them, and what it finds before and after."""

import base64
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from components.model_train.pages.compared import BeforeAfter, before_and_after
from components.shared.errors import InputError
from components.shared.files import write_atomically
from components.shared.images import decode

__all__ = ["BeforeAfter", "FirstBatches", "Pictures", "SeenImage", "before_and_after"]

BATCHES = 3
IMAGES = 4  # of a batch
EDGE = 320  # longest, in pixels
_MOST_BOXES = 300  # of an image; more cannot be told apart
_MOST_BYTES = 4_000_000  # of a file that is read back
_QUALITY = 80

logger = logging.getLogger(__name__)

Pixels = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class SeenImage:
    """An image as the model saw it, augmented and made small.

    Attributes:
        batch: which batch of the training it is from, counting from 1.
        pixels: RGB ``(height, width, 3)``, no edge above ``EDGE``.
        boxes: float64 ``(M, 4)`` left, top, width, height in its pixels.
        names: one class name a box.
        box_count: boxes there were; ``boxes`` has at most 300 of them.
    """

    batch: int
    pixels: Pixels
    boxes: Floats
    names: tuple[str, ...]
    box_count: int


@dataclass(frozen=True)
class Pictures:
    """What a report shows of a training; each part may be empty."""

    batches: tuple[SeenImage, ...] = ()
    compared: Sequence[BeforeAfter] = ()


class _SavedImage(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    jpeg: str
    boxes: list[Annotated[list[float], Field(min_length=4, max_length=4)]] = Field(max_length=_MOST_BOXES)
    names: list[str] = Field(max_length=_MOST_BOXES)
    box_count: int = Field(ge=0)


class _SavedBatch(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    images: list[_SavedImage] = Field(max_length=IMAGES)


class FirstBatches:
    """Keeps the first three batches in a folder, four small images each; later ones are ignored.

    A folder that already holds some, from an earlier attempt, is filled up. A picture that cannot be kept is left
    out with a line in the log: no training ends for it.

    Args:
        folder: receives one file a batch; it is made when the first one comes.
        classes: class names; a label is an index into them.
    """

    def __init__(self, folder: Path, classes: Sequence[str]) -> None:
        self._folder = folder
        self._classes = tuple(classes)
        self._kept = sum(1 for number in range(1, BATCHES + 1) if _file(folder, number).exists())

    @property
    def full(self) -> bool:
        """Whether ``add`` ignores what comes: a trainer need not prepare it."""
        return self._kept >= BATCHES

    def add(self, images: Pixels, boxes: Sequence[Floats], labels: Sequence[Indices]) -> None:
        """Keep the first images of a batch.

        Args:
            images: RGB ``(N, height, width, 3)``.
            boxes: one an image: ``(M, 4)`` left, top, width, height in pixels.
            labels: one an image: ``(M,)`` class ids.
        """
        if self.full:
            return
        self._kept += 1
        try:
            shown = zip(images[:IMAGES], boxes, labels, strict=False)
            batch = _SavedBatch(images=[self._saved(*one) for one in shown])
            path = _file(self._folder, self._kept)
            with write_atomically(path, durable=False) as temporary:
                temporary.write_text(batch.model_dump_json(), encoding="utf-8")
        except (OSError, ValueError, TypeError, LookupError) as error:
            logger.warning("The report will not show batch %d: %s", self._kept, error)

    @staticmethod
    def load(folder: Path) -> tuple[SeenImage, ...]:
        """What was kept in ``folder``; batches that are missing or broken are left out."""
        found: list[SeenImage] = []
        for number in range(1, BATCHES + 1):
            path = _file(folder, number)
            try:
                with path.open("rb") as file:
                    text = file.read(_MOST_BYTES + 1)
                found += [_seen(number, image) for image in _SavedBatch.model_validate_json(text).images]
            except FileNotFoundError:
                continue
            except (OSError, ValidationError, ValueError, InputError) as error:
                logger.warning("The report does not show batch %d: %s", number, error)
        return tuple(found)

    def _saved(self, image: Pixels, boxes: Floats, labels: Indices) -> _SavedImage:
        small = Image.fromarray(np.ascontiguousarray(image))
        small.thumbnail((EDGE, EDGE), Image.Resampling.BILINEAR, reducing_gap=1.0)
        factors = small.width / image.shape[1], small.height / image.shape[0]
        table = np.asarray(boxes, dtype=np.float64).reshape(-1, 4) * (*factors, *factors)
        kept = np.flatnonzero(np.isfinite(table).all(axis=1))[:_MOST_BOXES]
        buffer = BytesIO()
        small.save(buffer, "JPEG", quality=_QUALITY)
        return _SavedImage(
            jpeg=base64.b64encode(buffer.getvalue()).decode(),
            boxes=table[kept].round(2).tolist(),
            names=[self._name(int(label)) for label in np.asarray(labels).reshape(-1)[kept]],
            box_count=len(table),
        )

    def _name(self, label: int) -> str:
        return self._classes[label] if 0 <= label < len(self._classes) else f"class {label}"


def _file(folder: Path, number: int) -> Path:
    return folder / f"batch-{number}.json"


def _seen(number: int, image: _SavedImage) -> SeenImage:
    if len(image.boxes) != len(image.names):
        raise InputError(f"A picture of batch {number} has {len(image.boxes)} boxes but {len(image.names)} names.")
    pixels = decode(base64.b64decode(image.jpeg, validate=True))
    if max(pixels.shape[:2]) > EDGE:
        raise InputError(f"A picture of batch {number} is {pixels.shape[1]} x {pixels.shape[0]} pixels large.")
    boxes = np.array(image.boxes, dtype=np.float64).reshape(-1, 4)
    return SeenImage(number, pixels, boxes, tuple(image.names), image.box_count)
