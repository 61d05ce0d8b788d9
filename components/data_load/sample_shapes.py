"""Outlines, colours and shaded parts: the alphabet the sample's drawings are written in.

A drawing lives in a unit frame: x to the right, y down, the origin in its middle, its long side about 1.
"""

import colorsys
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

Points = npt.NDArray[np.float64]  # (N, 2): x, y in the unit frame
Colour = tuple[float, float, float]  # red, green, blue, each 0..255
Point = tuple[float, float]

WILD_SHARE = 0.08  # of things painted in a colour no shop would sell
_ROUND_CORNERS = 3  # rounds of corner cutting that make a corner look round


@dataclass(frozen=True)
class Part:
    """One shaded piece of a drawing.

    Attributes:
        contours: closed outlines; where two overlap there is a hole.
        shades: colours at equal steps from ``start`` to ``end``, blended between them.
        start: where the shading begins, unit frame.
        end: where it ends.
        opacity: 1 covers what lies below.
        rim: how much darker its outline is drawn, 0 (none) to 1 (black).
    """

    contours: tuple[Points, ...]
    shades: tuple[Colour, ...]
    start: Point
    end: Point
    opacity: float = 1.0
    rim: float = 0.5

    def moved(self, x: float, y: float) -> "Part":
        """The same part shifted by ``x``, ``y`` in the unit frame."""
        return replace(
            self,
            contours=tuple(contour + np.array((x, y)) for contour in self.contours),
            start=(self.start[0] + x, self.start[1] + y),
            end=(self.end[0] + x, self.end[1] + y),
        )


def points(*pairs: Point) -> Points:
    """An outline from its corners."""
    return np.array(pairs, dtype=np.float64)


def soften(outline: Points, rounds: int = _ROUND_CORNERS) -> Points:
    """Round an outline's corners by cutting each of them ``rounds`` times (Chaikin, 1974)."""
    for _ in range(rounds):
        following = np.roll(outline, -1, axis=0)
        cut = np.stack((0.75 * outline + 0.25 * following, 0.25 * outline + 0.75 * following), axis=1)
        outline = cut.reshape(-1, 2)
    return outline


def box(left: float, top: float, right: float, bottom: float, *, corner: float = 0.0) -> Points:
    """A rectangle whose corners are rounded with about the radius ``corner``."""
    if corner <= 0:
        return points((left, top), (right, top), (right, bottom), (left, bottom))
    angles = np.linspace(0.0, np.pi / 2, 6)
    arc = corner * np.stack((np.cos(angles), np.sin(angles)), axis=1)
    quarters = (
        arc * (1, 1) + (right - corner, bottom - corner),
        arc[::-1] * (-1, 1) + (left + corner, bottom - corner),
        arc * (-1, -1) + (left + corner, top + corner),
        arc[::-1] * (1, -1) + (right - corner, top + corner),
    )
    return np.concatenate(quarters)


def ellipse(x: float, y: float, radius_x: float, radius_y: float, *, corners: int = 40) -> Points:
    """An ellipse; with few ``corners`` a regular polygon."""
    angles = np.linspace(0.0, 2 * np.pi, corners, endpoint=False)
    return np.stack((x + radius_x * np.cos(angles), y + radius_y * np.sin(angles)), axis=1)


def bar(first: Point, last: Point, width: float, end_width: float | None = None) -> Points:
    """A straight bar between two points, tapering to ``end_width``."""
    start, end = np.array(first), np.array(last)
    along = (end - start) / np.hypot(*(end - start))
    across = np.array((-along[1], along[0])) / 2
    tip = width if end_width is None else end_width
    return np.array((start + across * width, end + across * tip, end - across * tip, start - across * width))


def turned(*profile: Point) -> Points:
    """A shape turned on a lathe around the y axis, from ``(y, half width)`` pairs."""
    right = np.array([(width, y) for y, width in profile])
    return np.concatenate((right, right[::-1] * (-1, 1)))


def hsv(hue: float, saturation: float, value: float) -> Colour:
    """A colour from its hue in degrees, saturation and value in 0..1."""
    red, green, blue = colorsys.hsv_to_rgb(hue % 360 / 360, min(max(saturation, 0), 1), min(max(value, 0), 1))
    return red * 255, green * 255, blue * 255


def painted(rng: np.random.Generator, hue: float, spread: float, saturation: float, value: float) -> Colour:
    """A paint near ``hue`` (degrees, give or take ``spread``), or now and then any paint at all."""
    if rng.random() < WILD_SHARE:
        hue, spread = rng.uniform(0, 360), 0.0
    return hsv(
        hue + rng.uniform(-spread, spread),
        saturation * rng.uniform(0.82, 1.1),
        value * rng.uniform(0.85, 1.1),
    )


def lit(colour: Colour, factor: float) -> Colour:
    """A colour made darker (below 1) or mixed with white (above 1; 2 is white)."""
    if factor <= 1:
        return colour[0] * factor, colour[1] * factor, colour[2] * factor
    share = factor - 1
    red, green, blue = (channel + (255 - channel) * share for channel in colour)
    return red, green, blue


def tube(colour: Colour) -> tuple[Colour, ...]:
    """Shades across a round glossy thing: lit from the left, a highlight, a dark right side."""
    return tuple(lit(colour, factor) for factor in (0.62, 1.0, 1.38, 1.08, 0.92, 0.72, 0.48))


def panel(colour: Colour) -> tuple[Colour, ...]:
    """Shades of a nearly flat thing: lighter where the light comes from."""
    return tuple(lit(colour, factor) for factor in (1.2, 1.02, 0.88, 0.7))


def polished(grey: float) -> tuple[Colour, ...]:
    """Shades across polished steel of that brightness, 0..1."""
    steel: Colour = (grey * 248, grey * 252, grey * 262)
    return tuple(lit(steel, factor) for factor in (0.5, 0.92, 1.6, 1.0, 0.62, 0.9, 0.45))


def part(
    outline: Points | Sequence[Points],
    shades: tuple[Colour, ...],
    *,
    across: bool = True,
    opacity: float = 1.0,
    rim: float = 0.5,
) -> Part:
    """A part shaded over its own extent: from left to right when ``across``, else from top to bottom."""
    contours = (outline,) if isinstance(outline, np.ndarray) else tuple(outline)
    low = np.min([contour.min(axis=0) for contour in contours], axis=0)
    high = np.max([contour.max(axis=0) for contour in contours], axis=0)
    start = (float(low[0]), float(low[1]))
    end = (float(high[0]), start[1]) if across else (start[0], float(high[1]))
    return Part(contours, shades, start, end, opacity, rim)
