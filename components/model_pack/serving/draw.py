"""The image with its boxes drawn, legible at any size, as JPEG or PNG."""

import colorsys
import functools
from io import BytesIO

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from components.model_pack.serving.limits import RefusedError
from components.model_pack.serving.predictor import Pixels, Prediction

JPEG, PNG = "image/jpeg", "image/png"
LEAST_EDGE = 480  # pixels the longest edge of what is drawn has at least, so that labels can be read,
MOST_EDGE = 4096  # and at most

_FIRST_HUE, _GOLDEN_ANGLE = 142.0, 137.508
_DARK = (12, 14, 16)
_SCORE = 5  # letters of a score and the space before it
_LEAST_BOX = 4.0  # pixels a box is widened to, so that it can be seen at all

Corners = tuple[float, float, float, float]


def draw(pixels: Pixels, prediction: Prediction) -> Image.Image:
    """RGB pixels ``(height, width, 3)`` with the boxes of a prediction and their names and scores.

    Small images are enlarged by a whole number, very large ones scaled down; lines and letters follow the size.
    """
    image, scale = _scaled(pixels)
    pen = ImageDraw.Draw(image)
    line = max(2, round(max(image.size) / 500))
    font = _font(max(12, round(max(image.size) / 55)))
    found = prediction.found
    marks = list(zip(found.boxes.tolist(), found.labels.tolist(), found.scores.tolist(), strict=True))[::-1]
    corners = [_visible((np.array(box) * scale).tolist(), image.size) for box, _, _ in marks]
    for place, (_, label, _) in zip(corners, marks, strict=True):
        pen.rectangle(place, outline=_DARK, width=line + 2)
        left, top, right, bottom = place
        inner = (left + 1, top + 1, max(left + 1, right - 1), max(top + 1, bottom - 1))
        pen.rectangle(inner, outline=colour_of(label), width=line)
    for place, (_, label, score) in zip(corners, marks, strict=True):
        _label(pen, place, f"{prediction.classes[label]} {score:.2f}", colour_of(label), font)
    return image


def colour_of(label: int) -> tuple[int, int, int]:
    """The colour of a class, as on the page; neighbouring labels are far apart."""
    hue = (_FIRST_HUE + label * _GOLDEN_ANGLE) % 360 / 360
    red, green, blue = (round(255 * part) for part in colorsys.hls_to_rgb(hue, 0.62, 0.85))
    return red, green, blue


def encode(image: Image.Image, kind: str) -> bytes:
    """The image as ``image/jpeg`` or ``image/png``."""
    buffer = BytesIO()
    if kind == PNG:
        image.save(buffer, "PNG", compress_level=3)
    else:
        image.save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def choose_kind(accept: str) -> str:
    """JPEG or PNG, whichever an ``Accept`` header likes better; JPEG where it likes both.

    Raises:
        RefusedError: 406, it takes neither.
    """
    likes = {JPEG: 0.0, PNG: 0.0}
    ranks = dict.fromkeys(likes, -1)
    for entry in (accept or "*/*").lower().split(","):
        kind, _, parameters = entry.partition(";")
        for name in likes:
            rank = ("*/*", "image/*", name).index(kind.strip()) if kind.strip() in {"*/*", "image/*", name} else -1
            if rank > ranks[name]:
                ranks[name], likes[name] = rank, _quality(parameters)
    best = max(likes, key=lambda name: (likes[name], name == JPEG))
    if likes[best] <= 0:
        raise RefusedError(406, "accept", f"The answer is {JPEG} or {PNG}, but Accept is {accept[:80]!r}.")
    return best


def _quality(parameters: str) -> float:
    for parameter in parameters.split(";"):
        name, _, value = parameter.strip().partition("=")
        if name.strip() == "q":
            try:
                return float(value)
            except ValueError:
                return 0.0
    return 1.0


def _scaled(pixels: Pixels) -> tuple[Image.Image, list[float]]:
    """The image at the size it is drawn on, and what corners are multiplied with."""
    image = Image.fromarray(np.ascontiguousarray(pixels))
    width, height = image.size
    longest = max(width, height)
    if longest < LEAST_EDGE:
        factor = -(-LEAST_EDGE // longest)
        return image.resize((width * factor, height * factor), Image.Resampling.BICUBIC), [factor] * 4
    if longest <= MOST_EDGE:
        return image.copy(), [1.0] * 4
    size = (max(1, round(width * MOST_EDGE / longest)), max(1, round(height * MOST_EDGE / longest)))
    scale = [size[0] / width, size[1] / height] * 2
    return image.resize(size, Image.Resampling.LANCZOS, reducing_gap=2.0), scale


def _visible(corners: list[float], size: tuple[int, int]) -> Corners:
    """Corners pulled into the frame, so that the whole line can be seen."""
    sides = []
    for low, high, limit in zip(corners[:2], corners[2:], size, strict=True):
        room = max(0.0, _LEAST_BOX - (high - low)) / 2
        sides.append((min(max(0.0, low - room), limit - 1.0), min(limit - 1.0, high + room)))
    (left, right), (top, bottom) = sides
    return left, top, max(left, right), max(top, bottom)


def _label(
    pen: ImageDraw.ImageDraw,
    place: Corners,
    text: str,
    colour: tuple[int, int, int],
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
) -> None:
    """A chip above the box, or within it where there is no room above."""
    width, height = pen.im.size
    text = _fitting(" ".join(text.split()), font, width)
    letters = font.getbbox("Ag")[3]
    chip_width, chip_height = font.getlength(text) + letters / 2, letters * 1.3
    left = max(0.0, min(place[0], width - 1 - chip_width))
    top = place[1] - chip_height if place[1] >= chip_height else min(place[1], height - 1 - chip_height)
    pen.rectangle((left, max(0.0, top), left + chip_width, max(0.0, top) + chip_height), fill=colour)
    pen.text((left + letters / 4, max(0.0, top) + chip_height / 2), text, font=font, fill=_DARK, anchor="lm")


def _fitting(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: float) -> str:
    """The text, its middle left out where it is wider than the image: the score at its end stays."""
    keep = len(text)
    shown = text
    while font.getlength(shown) > width * 0.9 and keep > _SCORE:
        keep -= 1
        shown = f"{text[: keep - _SCORE]}…{text[-_SCORE:]}"
    return shown


@functools.cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
