"""Small things that lie about on a workbench and are nobody's label: screws, bolts, nuts, washers, paper, paint."""

import numpy as np

from components.data_load.sample_shapes import (
    Colour,
    Part,
    bar,
    box,
    ellipse,
    hsv,
    lit,
    panel,
    part,
    points,
    polished,
    soften,
    tube,
    turned,
)
from components.data_load.tools import Drawing

_LOOSE_SHARE = 0.78  # of the clutter that is metal, the rest is paper and paint
_BRASS: Colour = (196, 160, 84)
_BRASS_SHARE = 0.3


def screw(rng: np.random.Generator) -> list[Part]:
    """A wood screw: countersunk head, tapering thread."""
    shades = tube(_BRASS) if rng.random() < _BRASS_SHARE else polished(rng.uniform(0.5, 0.8))
    return [
        part(turned((-0.36, 0.09), (0.3, 0.075), (0.5, 0.01)), shades),
        *(part(bar((-0.11, y), (0.11, y + 0.05), 0.035), shades, rim=0.4) for y in np.arange(-0.15, 0.4, 0.1)),
        part(turned((-0.5, 0.2), (-0.44, 0.2), (-0.33, 0.09)), shades),
    ]


def bolt(rng: np.random.Generator) -> list[Part]:
    """A hexagon bolt from the side."""
    grey = rng.uniform(0.45, 0.75)
    return [
        part(box(-0.13, -0.3, 0.13, 0.5, corner=0.03), polished(grey)),
        *(
            part(bar((-0.14, y), (0.14, y + 0.03), 0.03), (lit((90, 92, 98), grey + 0.4),), opacity=0.7, rim=0)
            for y in np.arange(0.05, 0.48, 0.08)
        ),
        part(box(-0.27, -0.5, 0.27, -0.26, corner=0.04), polished(grey)),
        part(box(-0.1, -0.5, 0.1, -0.26), (lit((230, 232, 238), 0.9 * grey + 0.2),), opacity=0.5, rim=0.2),
    ]


def nut(rng: np.random.Generator) -> list[Part]:
    """A hexagon nut from above."""
    grey = rng.uniform(0.45, 0.75)
    return [
        part((ellipse(0, 0, 0.5, 0.5, corners=6), ellipse(0, 0, 0.26, 0.26)), polished(grey)),
        part((ellipse(0, 0, 0.33, 0.33), ellipse(0, 0, 0.26, 0.26)), polished(grey * 0.7), across=False),
    ]


def washer(rng: np.random.Generator) -> list[Part]:
    """A plain washer."""
    ring = (ellipse(0, 0, 0.5, 0.5), ellipse(0, 0, 0.24, 0.24))
    return [part(ring, polished(rng.uniform(0.5, 0.8)))]


def paper(rng: np.random.Generator) -> list[Part]:
    """A torn note with writing on it."""
    sheet = hsv(rng.uniform(40, 60), rng.uniform(0.02, 0.25), rng.uniform(0.82, 0.97))
    corners = points((-0.5, -0.36), (0.42, -0.4), (0.5, 0.3), (-0.44, 0.4)) + rng.normal(0, 0.035, (4, 2))
    return [
        part(corners, (lit(sheet, 1.1), lit(sheet, 0.88)), rim=0.25),
        *(
            part(bar((-0.34, y), (rng.uniform(0.1, 0.36), y), 0.02), ((90, 96, 130),), opacity=0.6, rim=0)
            for y in (-0.2, -0.08, 0.04, 0.16)
        ),
    ]


def paint_spot(rng: np.random.Generator) -> list[Part]:
    """A splash of dried paint with a few drops around it."""
    colour = hsv(rng.uniform(0, 360), rng.uniform(0.3, 0.9), rng.uniform(0.4, 0.95))
    angles = np.linspace(0, 2 * np.pi, 12, endpoint=False)
    reach = rng.uniform(0.2, 0.36, 12)
    splash = soften(np.stack((reach * np.cos(angles), reach * np.sin(angles)), axis=1), 2)
    drops = [ellipse(*rng.uniform(-0.5, 0.5, 2), *np.repeat(rng.uniform(0.02, 0.06), 2)) for _ in range(4)]
    return [part(outline, panel(colour), opacity=0.85, rim=0.15) for outline in (splash, *drops)]


def pick(rng: np.random.Generator) -> tuple[Drawing, float]:
    """Some piece of clutter and its size as a share of the image's edge."""
    if rng.random() < _LOOSE_SHARE:
        return (screw, bolt, nut, washer)[int(rng.integers(4))], rng.uniform(0.035, 0.085)
    if rng.integers(2):
        return paper, rng.uniform(0.14, 0.26)
    return paint_spot, rng.uniform(0.06, 0.2)
