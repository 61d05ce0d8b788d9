"""Labels of boxes: chips that lie within the frame and hide as little as possible."""

import functools
from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

from components.shared.report.outline import DARK, Colour, Corners
from components.shared.report.svg import clean

_LETTERS = 12
_FEWEST = 3  # letters that still say something


def draw_chips(image: Image.Image, chips: Sequence[tuple[str, Colour, Corners]]) -> None:
    """Write each label on its colour, next to the corners of its box (pixels of ``image``)."""
    draw = ImageDraw.Draw(image)
    font = _font(_LETTERS)
    taken: list[Corners] = []
    for label, colour, corners in chips:
        text = _fitting(clean(" ".join(label.split())), font, image.width - 8)
        if not text:
            continue
        width, height = font.getlength(text) + 8, _LETTERS + 5.0
        chip = _free_place(corners, (width, height), image.size, taken)
        taken.append(chip)
        draw.rectangle(chip, fill=colour, outline=DARK)
        draw.text((chip[0] + 4, chip[1] + height / 2 + 0.5), text, font=font, fill=DARK, anchor="lm")


@functools.cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size)
    if not isinstance(font, ImageFont.FreeTypeFont):
        raise TypeError("Pillow was built without FreeType, so it cannot write labels; install its binary wheel.")
    return font


def _fitting(text: str, font: ImageFont.FreeTypeFont, width: float) -> str:
    """``text`` cut to ``width`` pixels; nothing when not even three letters fit."""
    text = text[:200]
    if font.getlength(text) <= width:
        return text
    while len(text) >= _FEWEST and font.getlength(f"{text}…") > width:
        text = text[:-1]
    return f"{text}…" if len(text) >= _FEWEST else ""


def _free_place(box: Corners, chip: tuple[float, float], size: tuple[int, int], taken: Sequence[Corners]) -> Corners:
    """Where a chip of ``chip`` pixels goes: above, below or in the box, where it covers other chips least."""
    left, top, right, bottom = box
    width, height = chip
    tops = (top - height - 1, bottom + 2, top + 3, bottom - height - 3)
    lefts = (left - 1, right - width + 1)
    places = []
    for y in tops:
        for x in lefts:
            at = (max(0.0, min(size[0] - 1 - width, x)), max(0.0, min(size[1] - 1 - height, y)))
            places.append((abs(at[1] - y) > height / 2, (*at, at[0] + width, at[1] + height)))
    scored = [
        (sum(_overlap(place, other) for other in taken), moved, order) for order, (moved, place) in enumerate(places)
    ]
    return places[min(scored)[2]][1]


def _overlap(one: Corners, other: Corners) -> float:
    across = min(one[2], other[2]) - max(one[0], other[0])
    down = min(one[3], other[3]) - max(one[1], other[1])
    return across * down if across > 0 and down > 0 else 0.0
