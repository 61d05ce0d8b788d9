"""Turn a drawing into pixels: smooth edges, shading, an alpha mask, and a soft shadow where it is laid down."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from components.data_load.sample_shapes import Colour, Part, Points

FloatImage = npt.NDArray[np.float32]
SEEN = 0.5  # a pixel belongs to a drawing when at least this share of it is covered

_FINE_BELOW = 512  # drawings smaller than this are painted at twice their size and reduced
_SHIFT = 4  # OpenCV's fixed-point corners: sixteenths of a pixel
_RIM_WIDTH = 0.007
_MARGIN = 3
_RIM_OPACITY = 0.8
_SHADES = 256
_TINY = 1e-9


@dataclass(frozen=True)
class Sprite:
    """A painted drawing, cropped to a few pixels around it.

    Attributes:
        colour: float32 ``(height, width, 3)``, RGB 0..255, already multiplied by ``alpha``.
        alpha: float32 ``(height, width)``, 0 (nothing) to 1 (covers what is below).
    """

    colour: FloatImage
    alpha: FloatImage


@dataclass(frozen=True)
class Pose:
    """How a drawing lies in the image.

    Attributes:
        size: pixels that one unit of the drawing's frame takes.
        angle: degrees it is turned, clockwise.
        flip: mirrored left to right before it is turned.
    """

    size: float
    angle: float = 0.0
    flip: bool = False

    def matrix(self) -> npt.NDArray[np.float64]:
        """``(2, 2)``: unit frame to pixels."""
        cosine, sine = np.cos(np.radians(self.angle)), np.sin(np.radians(self.angle))
        mirror = -1.0 if self.flip else 1.0
        return self.size * np.array(((cosine * mirror, -sine), (sine * mirror, cosine)))


def paint(parts: Sequence[Part], pose: Pose) -> Sprite:
    """Paint a drawing's parts, first to last, on a transparent ground."""
    fine = 2 if pose.size < _FINE_BELOW else 1
    matrix = pose.matrix() * fine
    corners = np.concatenate([contour for part in parts for contour in part.contours]) @ matrix.T
    origin = np.floor(corners.min(axis=0)) - _MARGIN * fine
    width, height = (np.ceil((corners.max(axis=0) - origin) / fine).astype(int) + _MARGIN) * fine
    canvas = np.zeros((height, width, 4), dtype=np.float32)
    for part in parts:
        _paint_part(canvas, part, matrix, origin)
    if fine > 1:
        canvas = cv2.resize(canvas, (width // fine, height // fine), interpolation=cv2.INTER_AREA)
    return Sprite(canvas[..., :3], canvas[..., 3])


def lay(pixels: FloatImage, sprite: Sprite, left: int, top: int) -> None:
    """Blend a sprite into ``pixels`` (RGB ``(height, width, 3)``, changed in place); it may hang over the edge."""
    into, out_of = _overlap(pixels.shape, sprite.alpha.shape, left, top)
    pixels[into] = pixels[into] * (1 - sprite.alpha[out_of][..., None]) + sprite.colour[out_of]


def cast_shadow(pixels: FloatImage, sprite: Sprite, left: int, top: int, *, depth: float, blur: float) -> None:
    """Darken ``pixels`` where a sprite's shadow falls: ``depth`` 0..1, ``blur`` in pixels, position of the shadow."""
    pad = int(3 * blur) + 1
    shadow = cv2.GaussianBlur(cv2.copyMakeBorder(sprite.alpha, pad, pad, pad, pad, cv2.BORDER_CONSTANT), (0, 0), blur)
    into, out_of = _overlap(pixels.shape, shadow.shape, left - pad, top - pad)
    pixels[into] *= 1 - depth * shadow[out_of][..., None]


def mark(owner: npt.NDArray[np.uint8], sprite: Sprite, left: int, top: int, number: int) -> None:
    """Write ``number`` into ``owner`` wherever the sprite is what one sees."""
    into, out_of = _overlap(owner.shape, sprite.alpha.shape, left, top)
    owner[into][sprite.alpha[out_of] >= SEEN] = number


def _paint_part(canvas: FloatImage, part: Part, matrix: npt.NDArray[np.float64], origin: Points) -> None:
    outlines = [contour @ matrix.T - origin for contour in part.contours]
    stacked = np.concatenate(outlines)
    left, top = np.maximum(np.floor(stacked.min(axis=0)).astype(int) - 2, 0)
    right, bottom = np.ceil(stacked.max(axis=0)).astype(int) + 3
    region = canvas[top:bottom, left:right]
    fixed = [np.round((outline - (left, top)) * (1 << _SHIFT)).astype(np.int32) for outline in outlines]
    colours = _shading(part, matrix, (left + origin[0], top + origin[1]), region.shape[:2])
    mask = np.zeros(region.shape[:2], dtype=np.uint8)
    cv2.fillPoly(mask, fixed, 255, cv2.LINE_AA, _SHIFT)
    _blend(region, colours, mask, part.opacity)
    if part.rim > 0:
        mask[:] = 0
        thickness = max(1, round(_RIM_WIDTH * float(np.hypot(*matrix[0]))))
        cv2.polylines(mask, fixed, isClosed=True, color=255, thickness=thickness, lineType=cv2.LINE_AA, shift=_SHIFT)
        darker = np.array((1 - part.rim,) * 3 + (1,), dtype=np.float32)
        _blend(region, colours * darker, mask, _RIM_OPACITY)


def _shading(
    part: Part, matrix: npt.NDArray[np.float64], corner: tuple[float, float], shape: tuple[int, ...]
) -> FloatImage:
    """Colour and full alpha of each pixel, ``(height, width, 4)``, or ``(4,)`` when all have the same."""
    if len(part.shades) == 1:
        return np.array((*part.shades[0], 1), dtype=np.float32)
    start, axis = np.array(part.start), np.subtract(part.end, part.start)
    length = max(float(axis @ axis), _TINY)
    step = np.linalg.solve(matrix.T, axis) / length
    offset = float(step @ np.array(corner) - start @ axis / length)
    along = ((np.arange(shape[1]) * step[0] + offset) * _SHADES).astype(np.float32)
    down = (np.arange(shape[0]) * step[1] * _SHADES).astype(np.float32)
    index = np.clip(down[:, None] + along[None, :], 0, _SHADES - 1).astype(np.uint8)
    colours: FloatImage = np.take(_ramp(part.shades), index, axis=0)
    return colours


def _ramp(shades: tuple[Colour, ...]) -> FloatImage:
    stops = np.array([(*shade, 1.0) for shade in shades])
    places = np.linspace(0.0, len(stops) - 1, _SHADES)
    below = np.minimum(places.astype(int), len(stops) - 2)
    share = (places - below)[:, None]
    ramp: FloatImage = (stops[below] * (1 - share) + stops[below + 1] * share).astype(np.float32)
    return ramp


def _blend(region: FloatImage, colours: FloatImage, mask: npt.NDArray[np.uint8], opacity: float) -> None:
    change = colours - region
    change *= (mask * np.float32(opacity / 255))[..., None]
    region += change


def _overlap(
    canvas: tuple[int, ...], patch: tuple[int, ...], left: int, top: int
) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    first_x, first_y = max(left, 0), max(top, 0)
    last_x, last_y = max(min(left + patch[1], canvas[1]), first_x), max(min(top + patch[0], canvas[0]), first_y)
    into = slice(first_y, last_y), slice(first_x, last_x)
    return into, (slice(first_y - top, last_y - top), slice(first_x - left, last_x - left))
