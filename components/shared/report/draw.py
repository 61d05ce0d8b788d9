"""Boxes drawn on images so that a person sees at a glance what is right and what is wrong."""

import base64
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from components.shared.images import encode_jpeg
from components.shared.report.blocks import Picture
from components.shared.report.chips import draw_chips
from components.shared.report.outline import DARK, FINE, HALO, PENS, Corners, Style, describe, outline

__all__ = ["DrawnBox", "Style", "crop_around", "describe", "draw_boxes", "picture"]

Pixels = npt.NDArray[np.uint8]

_SMALLEST_EDGE = 240
_SMALLEST_BOX = 5.0  # pixels a box is widened to, so that it can be seen at all


@dataclass(frozen=True)
class DrawnBox:
    """A box in absolute pixels of the image (left, top, width, height), its label and what it stands for."""

    x: float
    y: float
    width: float
    height: float
    label: str = ""
    style: Style = Style.TRUTH


def draw_boxes(pixels: Pixels, boxes: Sequence[DrawnBox], *, max_edge: int = 480) -> Pixels:
    """A copy of RGB ``pixels`` (height, width, 3) with boxes drawn, scaled so that no edge exceeds ``max_edge``.

    Images smaller than 240 pixels are enlarged to that. Of a box that leaves the image the visible part is drawn;
    boxes that are outside of it, empty or not finite are skipped. Labels lie within the frame.
    """
    image, scale = _scaled(pixels, max_edge)
    drawn = [(box, corners) for box in boxes if (corners := _visible(box, scale, image.size)) is not None]
    large = (image.width * FINE, image.height * FINE)
    layer = Image.new("RGBA", large, (*DARK, 0))
    draw = ImageDraw.Draw(layer)
    for box, corners in drawn:
        outline(draw, corners, PENS[box.style])
    smooth = layer.reduce(FINE)
    image.paste(smooth, (0, 0), smooth)
    draw_chips(image, [(box.label, PENS[box.style].colour, corners) for box, corners in drawn])
    return np.asarray(image).copy()


def crop_around(pixels: Pixels, box: DrawnBox, *, margin: float = 1.0) -> tuple[Pixels, int, int]:
    """A copy of the part of the image around a box, and the x and y where it starts.

    ``margin`` is how much is shown on each side, in widths and heights of the box (at least 16 pixels). The whole
    image and 0, 0 when the box is not finite or outside of the image.
    """
    height, width = pixels.shape[:2]
    if not _is_finite(box):
        return pixels.copy(), 0, 0
    across, down = max(16.0, margin * box.width), max(16.0, margin * box.height)
    left, top = max(0, math.floor(box.x - across)), max(0, math.floor(box.y - down))
    right = min(width, math.ceil(box.x + box.width + across))
    bottom = min(height, math.ceil(box.y + box.height + down))
    if left >= right or top >= bottom:
        return pixels.copy(), 0, 0
    return pixels[top:bottom, left:right].copy(), left, top


def picture(pixels: Pixels, *, caption: str, tags: tuple[str, ...] = (), quality: int = 80) -> Picture:
    """RGB pixels (height, width, 3) as a picture for a gallery: a JPEG in a data URI."""
    data = base64.b64encode(encode_jpeg(pixels, quality=quality)).decode()
    return Picture(f"data:image/jpeg;base64,{data}", caption, pixels.shape[1], pixels.shape[0], tags)


def _scaled(pixels: Pixels, max_edge: int) -> tuple[Image.Image, tuple[float, float]]:
    """The image at the size it is shown, and the factors from its pixels to those."""
    image = Image.fromarray(np.ascontiguousarray(pixels))
    longest = max(image.size)
    wanted = min(max_edge, max(longest, _SMALLEST_EDGE))
    if wanted == longest:
        return image.copy(), (1.0, 1.0)
    size = (max(1, round(image.width * wanted / longest)), max(1, round(image.height * wanted / longest)))
    resized = image.resize(size, Image.Resampling.LANCZOS, reducing_gap=2.0)
    return resized, (size[0] / image.width, size[1] / image.height)


def _is_finite(box: DrawnBox) -> bool:
    return all(map(math.isfinite, (box.x, box.y, box.width, box.height)))


def _visible(box: DrawnBox, scale: tuple[float, float], size: tuple[int, int]) -> Corners | None:
    """Corners of a box as shown, pulled into the frame so that its whole line can be seen."""
    if not _is_finite(box) or box.width <= 0 or box.height <= 0:
        return None
    sides = []
    for start, length, factor, limit in zip((box.x, box.y), (box.width, box.height), scale, size, strict=True):
        low, high = max(0.0, start * factor), min(float(limit), (start + length) * factor)
        if low >= limit or high <= 0:
            return None
        room = max(0.0, _SMALLEST_BOX - (high - low)) / 2
        inset = min(HALO / 2, limit / 2)
        sides.append((max(inset, low - room), max(inset, min(limit - inset, high + room))))
    (left, right), (top, bottom) = sides
    return min(left, right), min(top, bottom), right, bottom
