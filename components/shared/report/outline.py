"""Outlines of boxes: smooth lines over a dark halo, in patterns that differ without their colours."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from PIL import ImageDraw

Corners = tuple[float, float, float, float]  # left, top, right, bottom
Colour = tuple[int, int, int]

DARK: Colour = (12, 14, 16)
FINE = 2  # lines are drawn this much larger and averaged, which smooths them
LINE, HALO = 2.0, 4.0  # widths in pixels


class Style(StrEnum):
    """What a box stands for; each has its own colour and line."""

    TRUTH = "truth"
    PREDICTION = "prediction"
    MISSED = "missed"
    FALSE = "false"
    REPAIRED = "repaired"


@dataclass(frozen=True)
class Pen:
    """How a style is drawn, and how a legend says it."""

    colour: Colour
    dashes: tuple[float, ...]  # pixels of line and gap in turn; none for a solid line
    said: str
    double: bool = False


PENS = {
    Style.TRUTH: Pen((61, 220, 118), (), "solid green: annotated"),
    Style.PREDICTION: Pen((84, 182, 255), (9, 5), "dashed blue: predicted"),
    Style.MISSED: Pen((255, 184, 46), (2.5, 3.5), "dotted amber: annotated but missed"),
    Style.FALSE: Pen((255, 104, 96), (11, 4, 3, 4), "dash-dotted red: predicted where nothing is"),
    Style.REPAIRED: Pen((222, 150, 255), (), "double violet: repaired", double=True),
}


def describe(styles: Iterable[Style]) -> str:
    """A legend in words for the caption of a gallery: ``solid green: annotated · dashed blue: predicted``."""
    return " · ".join(PENS[style].said for style in dict.fromkeys(styles))


def outline(draw: ImageDraw.ImageDraw, corners: Corners, pen: Pen) -> None:
    """A box's line over a dark halo that also shows through the gaps of dashes."""
    halo, line = (*DARK, 170), (*pen.colour, 255)
    _lines(draw, corners, (), HALO, halo)
    _lines(draw, corners, pen.dashes, LINE, line)
    if pen.double:
        left, top, right, bottom = corners
        step = 2 * LINE
        if right - left > 3 * step and bottom - top > 3 * step:
            inner = (left + step, top + step, right - step, bottom - step)
            _lines(draw, inner, (), HALO, halo)
            _lines(draw, inner, (), LINE, line)


def _lines(
    draw: ImageDraw.ImageDraw, corners: Corners, dashes: tuple[float, ...], width: float, ink: tuple[int, int, int, int]
) -> None:
    left, top, right, bottom = corners
    half = width / 2
    for start, end, side in _dashed(2 * (right - left + bottom - top), dashes, corners):
        if side in {0, 2}:
            y = top if side == 0 else bottom
            _bar(draw, (min(start, end) - half, y - half, max(start, end) + half, y + half), ink)
        else:
            x = right if side == 1 else left
            _bar(draw, (x - half, min(start, end) - half, x + half, max(start, end) + half), ink)


def _bar(draw: ImageDraw.ImageDraw, corners: Corners, ink: tuple[int, int, int, int]) -> None:
    left, top, right, bottom = (round(value * FINE) for value in corners)
    draw.rectangle((left, top, max(left, right - 1), max(top, bottom - 1)), fill=ink)


def _dashed(around: float, dashes: tuple[float, ...], corners: Corners) -> Iterator[tuple[float, float, int]]:
    """Inked stretches: from, to (pixels along the side) and the side, clockwise from the top."""
    left, top, right, bottom = corners
    sides = ((left, right), (top, bottom), (right, left), (bottom, top))
    if not dashes:
        yield from ((start, end, side) for side, (start, end) in enumerate(sides))
        return
    rounds = max(1, round(around / sum(dashes)))
    fitted = [dash * around / (rounds * sum(dashes)) for dash in dashes]
    for side, (start, end) in enumerate(sides):
        length, at, turn = abs(end - start), 0.0, 0
        direction = 1 if end >= start else -1
        while at < length and fitted[turn % len(fitted)] > 0:
            stop = min(length, at + fitted[turn % len(fitted)])
            if turn % 2 == 0:
                yield start + direction * at, start + direction * stop, side
            at, turn = stop, turn + 1
