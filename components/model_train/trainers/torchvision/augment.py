"""Random changes to training images, named and meant as ultralytics names and means them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from components.model_train.trainers.torchvision.data import Example, Examples

FILL = (124, 116, 104)  # what the models subtract: the padding they add themselves is as neutral
_LEAST_EDGE, _LEAST_SHARE, _MOST_RATIO = 2.0, 0.1, 100.0  # of a box that is still worth learning after a change
_HUES = 180


@dataclass(frozen=True)
class Augmentation:
    """How much of each change; 0 is none.

    Attributes:
        hsv_h: largest change of hue, as a share of the circle.
        hsv_s: largest change of saturation, as a share.
        hsv_v: largest change of brightness, as a share.
        degrees: largest rotation to either side.
        translate: largest shift, as a share of the image.
        scale: largest change of size, as a share.
        fliplr: share of the images mirrored left to right.
        flipud: share of the images turned upside down.
        mosaic: share of the images composed of four.
    """

    hsv_h: float = 0.015
    hsv_s: float = 0.7
    hsv_v: float = 0.4
    degrees: float = 0.0
    translate: float = 0.1
    scale: float = 0.3
    fliplr: float = 0.5
    flipud: float = 0.0
    mosaic: float = 0.0

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> "Augmentation":
        """Those of the options that are augmentations."""
        names = [field.name for field in fields(cls)]
        return cls(**{name: float(options[name]) for name in names if name in options})


def augment(
    examples: Sequence[Example] | Examples, index: int, size: int, how: Augmentation, seed: tuple[int, ...]
) -> Example:
    """The example at ``index``, changed at random, as a square of ``size`` pixels.

    Args:
        examples: all there are; a mosaic takes others, too.
        index: which one.
        size: edge in pixels of what comes out.
        how: how much of each change.
        seed: decides every choice.
    """
    random = np.random.default_rng(seed)
    composed = random.random() < how.mosaic
    example = _mosaic(examples, index, size, random) if composed else examples[index]
    factor = 1.0 if composed else size / max(example.pixels.shape[:2])
    example = _warped(example, size, factor, how, random)
    pixels = _coloured(example.pixels, how, random)
    boxes = example.boxes.copy()
    if random.random() < how.fliplr:
        pixels = pixels[:, ::-1]
        boxes[:, [0, 2]] = size - boxes[:, [2, 0]]
    if random.random() < how.flipud:
        pixels = pixels[::-1]
        boxes[:, [1, 3]] = size - boxes[:, [3, 1]]
    return Example(np.ascontiguousarray(pixels), boxes, example.labels)


def _mosaic(examples: Sequence[Example] | Examples, index: int, size: int, random: np.random.Generator) -> Example:
    """Four examples around a random point of a square twice as large as one."""
    canvas = np.full((2 * size, 2 * size, 3), FILL, dtype=np.uint8)
    centre_x, centre_y = (int(random.uniform(size / 2, size * 3 / 2)) for _ in range(2))
    boxes, labels = [], []
    for place, number in enumerate([index, *random.integers(len(examples), size=3).tolist()]):
        part = examples[number]
        height, width = part.pixels.shape[:2]
        left = centre_x - width if place % 2 == 0 else centre_x
        top = centre_y - height if place < 2 else centre_y  # noqa: PLR2004 - two parts above, two below
        x1, y1, x2, y2 = max(left, 0), max(top, 0), min(left + width, 2 * size), min(top + height, 2 * size)
        canvas[y1:y2, x1:x2] = part.pixels[y1 - top : y2 - top, x1 - left : x2 - left]
        boxes.append(part.boxes + [left, top, left, top])
        labels.append(part.labels)
    return Example(canvas, np.concatenate(boxes), np.concatenate(labels))


def _warped(example: Example, size: int, factor: float, how: Augmentation, random: np.random.Generator) -> Example:
    """Scaled, turned and shifted around its middle onto a square; boxes that hardly remain are left out."""
    height, width = example.pixels.shape[:2]
    factor *= random.uniform(1 - how.scale, 1 + how.scale)
    angle = random.uniform(-how.degrees, how.degrees)
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), angle, factor)
    shift = random.uniform(0.5 - how.translate, 0.5 + how.translate, size=2) * size
    matrix[:, 2] += shift - [width / 2, height / 2]
    pixels = cv2.warpAffine(example.pixels, matrix, (size, size), flags=cv2.INTER_LINEAR, borderValue=FILL)
    boxes, kept = _moved(example.boxes, matrix, size, factor)
    return Example(np.asarray(pixels, dtype=np.uint8), boxes[kept], example.labels[kept])


def _moved(
    boxes: npt.NDArray[np.float64], matrix: npt.NDArray[np.float64], size: int, factor: float
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """Boxes around the moved corners, inside the square, and which of them are still worth learning."""
    corners = boxes[:, [0, 1, 2, 1, 2, 3, 0, 3]].reshape(-1, 4, 2) @ matrix[:, :2].T + matrix[:, 2]
    moved = np.clip(np.hstack([corners.min(axis=1), corners.max(axis=1)]), 0, size)
    edges = moved[:, 2:] - moved[:, :2]
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1) * factor * factor
    narrow, wide = edges.min(axis=1, initial=np.inf), edges.max(axis=1, initial=0.0)
    kept = (narrow > _LEAST_EDGE) & (edges.prod(axis=1) > _LEAST_SHARE * areas) & (wide < _MOST_RATIO * narrow)
    return moved, kept


def _coloured(pixels: npt.NDArray[np.uint8], how: Augmentation, random: np.random.Generator) -> npt.NDArray[np.uint8]:
    hue, saturation, value = random.uniform(-1, 1, 3) * [how.hsv_h, how.hsv_s, how.hsv_v] + 1
    if not (how.hsv_h or how.hsv_s or how.hsv_v):
        return pixels
    steps = np.arange(256)
    tables = np.stack(
        [
            (steps * hue) % _HUES,
            np.clip(steps * saturation, 0, 255),
            np.clip(steps * value, 0, 255),
        ],
        axis=-1,
    )
    changed = cv2.LUT(cv2.cvtColor(pixels, cv2.COLOR_RGB2HSV), tables.astype(np.uint8)[None])
    return np.asarray(cv2.cvtColor(changed, cv2.COLOR_HSV2RGB), dtype=np.uint8)
