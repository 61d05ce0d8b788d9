"""Drawings of the five tools of the built-in sample, as shaded parts in a unit frame."""

from collections.abc import Callable

import numpy as np

from components.data_load.sample_shapes import (
    Colour,
    Part,
    bar,
    box,
    ellipse,
    hsv,
    lit,
    painted,
    panel,
    part,
    points,
    polished,
    soften,
    tube,
    turned,
)

Drawing = Callable[[np.random.Generator], list[Part]]

_RUBBER: Colour = (44, 44, 48)
_GROOVE: tuple[Colour, ...] = ((18, 18, 20),)


def drill(rng: np.random.Generator) -> list[Part]:
    """A cordless drill that points to the right: bit, chuck, body, pistol grip, trigger and battery."""
    case = painted(rng, 186, 14, 0.95, 0.72)
    body = soften(points((-0.33, -0.37), (0.2, -0.36), (0.22, -0.13), (-0.05, -0.1), (-0.33, -0.13)), 2)
    grip = soften(points((-0.2, -0.2), (0.06, -0.2), (0.04, 0.0), (0.02, 0.3), (-0.2, 0.3), (-0.2, 0.05)), 2)
    rubber = soften(points((-0.2, -0.1), (-0.11, -0.1), (-0.09, 0.22), (-0.19, 0.24)), 2)
    return [
        part(bar((0.38, -0.245), (0.55, -0.245), 0.034, 0.026), polished(0.75), across=False),
        *(_slash(0.42 + 0.035 * turn, -0.245, 0.012) for turn in range(3)),
        part(
            points((0.25, -0.335), (0.36, -0.305), (0.4, -0.28), (0.4, -0.21), (0.36, -0.185), (0.25, -0.155)),
            tube((52, 52, 58)),
            across=False,
        ),
        *(part(bar((0.28, y), (0.36, y), 0.008), _GROOVE, opacity=0.8, rim=0) for y in (-0.29, -0.245, -0.2)),
        part(
            soften(points((0.03, -0.12), (0.1, -0.12), (0.085, -0.04), (0.09, 0.02), (0.02, 0.02)), 2),
            tube((170, 40, 34)),
        ),
        part(grip, tube(case)),
        part(rubber, tube(_RUBBER), rim=0.2),
        part(body, tube(case), across=False),
        part(box(0.17, -0.35, 0.26, -0.14, corner=0.02), tube((70, 70, 76)), across=False),
        part(
            soften(points((-0.36, -0.34), (-0.26, -0.37), (-0.26, -0.12), (-0.36, -0.16)), 2),
            tube(_RUBBER),
            across=False,
        ),
        *(
            part(bar((-0.2 + step, -0.31), (-0.23 + step, -0.19), 0.018), _GROOVE, opacity=0.75, rim=0)
            for step in (0.0, 0.05, 0.1)
        ),
        part(box(-0.04, -0.29, 0.13, -0.2, corner=0.015), (lit(case, 1.8), lit(case, 1.55)), rim=0.15),
        part(box(-0.25, 0.25, 0.14, 0.34, corner=0.03), tube(case), across=False),
        part(box(-0.27, 0.32, 0.17, 0.46, corner=0.035), tube((58, 58, 62)), across=False),
        part(box(-0.2, 0.37, 0.08, 0.41, corner=0.01), (lit(case, 1.1), lit(case, 0.9)), rim=0.2),
    ]


def hammer(rng: np.random.Generator) -> list[Part]:
    """A claw hammer, head up, claw to the left: wooden handle, steel head."""
    wood = painted(rng, 31, 7, 0.66, 0.78)
    dip = lit(_RUBBER, rng.uniform(0.7, 1.15))
    grey = rng.uniform(0.5, 0.68)
    handle = turned((-0.36, 0.034), (-0.1, 0.034), (0.12, 0.04), (0.3, 0.052), (0.45, 0.054), (0.5, 0.042))
    claw = soften(
        points(
            (-0.04, -0.47),
            (-0.2, -0.475),
            (-0.3, -0.4),
            (-0.36, -0.25),
            (-0.33, -0.235),
            (-0.25, -0.335),
            (-0.16, -0.36),
            (-0.04, -0.31),
        ),
        2,
    )
    return [
        part(handle, tube(wood)),
        *(
            part(bar((x, -0.2), (x * 1.3, 0.34), 0.006), (lit(wood, 0.55),), opacity=0.5, rim=0)
            for x in (-0.016, 0.006, 0.022)
        ),
        part(turned((0.34, 0.052), (0.45, 0.055), (0.505, 0.042)), tube(dip), rim=0.3),
        part(claw, tuple(lit(shade, 0.62) for shade in polished(grey)), across=False).moved(0.035, 0.03),
        part(claw, polished(grey), across=False),
        part(points((0.06, -0.445), (0.19, -0.43), (0.19, -0.33), (0.06, -0.315)), polished(grey), across=False),
        part(box(0.18, -0.475, 0.28, -0.285, corner=0.022), polished(grey * 1.08), across=False),
        part(box(0.255, -0.47, 0.285, -0.29, corner=0.012), polished(grey * 1.25), across=False, rim=0.4),
        part(
            soften(
                points((-0.085, -0.5), (0.085, -0.5), (0.095, -0.4), (0.07, -0.27), (-0.07, -0.27), (-0.095, -0.4)), 1
            ),
            polished(grey * 0.94),
            across=False,
        ),
        part(ellipse(0.0, -0.385, 0.03, 0.045), (lit(wood, 0.8), lit(wood, 0.55)), rim=0.3),
    ]


def paintbrush(rng: np.random.Generator) -> list[Part]:
    """A flat paintbrush, bristles down: varnished handle, metal ferrule, a wet tip."""
    varnish = painted(rng, 48, 7, 0.9, 0.93)
    hair = painted(rng, 32, 6, 0.42, 0.5)
    wet = hsv(rng.uniform(0, 360), rng.uniform(0.6, 0.95), rng.uniform(0.55, 0.95))
    metal = hsv(rng.choice((45.0, 210.0)), rng.uniform(0.08, 0.28), rng.uniform(0.72, 0.88))
    handle = soften(
        turned((-0.5, 0.03), (-0.48, 0.052), (-0.36, 0.046), (-0.2, 0.036), (-0.1, 0.05), (-0.04, 0.11), (0.02, 0.12)),
        2,
    )
    edge = [(x, 0.47 + 0.03 * (index % 2) - 0.12 * abs(x)) for index, x in enumerate(np.linspace(0.165, -0.165, 15))]
    soaked = [(x, 0.34 + 0.035 * np.sin(9 * index)) for index, x in enumerate(np.linspace(-0.163, 0.163, 9))]
    metals = tuple(lit(metal, factor) for factor in (0.5, 0.95, 1.7, 1.0, 0.75, 1.1, 0.5))
    return [
        part(points((-0.135, 0.1), (0.135, 0.1), (0.155, 0.25), *edge, (-0.155, 0.25)), tube(hair)),
        *(
            part(bar((x * 0.85, 0.14), (x, 0.42), 0.006), (lit(hair, tone),), opacity=0.7, rim=0)
            for x, tone in zip(np.linspace(-0.14, 0.14, 9), (0.5, 1.4, 0.6, 0.5, 1.5, 0.6, 0.5, 1.3, 0.5), strict=True)
        ),
        part(points(*soaked, *edge), tube(wet), rim=0.3),
        *(
            part(bar((x, 0.39), (x * 1.03, 0.45), 0.007), (lit(wet, 0.6),), opacity=0.5, rim=0)
            for x in (-0.09, -0.03, 0.04, 0.1)
        ),
        part(handle, tube(varnish)),
        part(ellipse(0.0, -0.445, 0.016, 0.02), _GROOVE, rim=0.2),
        part(box(-0.14, -0.02, 0.14, 0.16, corner=0.012), metals),
        *(part(box(-0.14, y, 0.14, y + 0.016), (lit(metal, 0.45),), opacity=0.6, rim=0) for y in (0.015, 0.11)),
        *(part(ellipse(x, 0.07, 0.012, 0.012), (lit(metal, 1.4), lit(metal, 0.5))) for x in (-0.08, 0.08)),
    ]


def screwdriver(rng: np.random.Generator) -> list[Part]:
    """A flat-blade screwdriver, tip down: ribbed handle, steel shaft."""
    grip = painted(rng, 2, 9, 0.92, 0.85)
    cap = lit(grip, 0.45) if rng.integers(2) else (40.0, 40.0, 44.0)
    grey = rng.uniform(0.68, 0.85)
    handle = turned(
        (-0.5, 0.05),
        (-0.48, 0.078),
        (-0.42, 0.092),
        (-0.28, 0.088),
        (-0.18, 0.092),
        (-0.1, 0.082),
        (-0.07, 0.055),
        (-0.045, 0.062),
        (-0.02, 0.05),
    )
    blade = turned((-0.03, 0.025), (0.36, 0.025), (0.4, 0.042), (0.46, 0.04), (0.5, 0.032))
    return [
        part(blade, polished(grey)),
        part(
            turned((0.38, 0.03), (0.41, 0.04), (0.46, 0.038), (0.495, 0.03)),
            (lit((205, 210, 220), 1.3), (150, 154, 162)),
            rim=0.3,
        ),
        part(handle, tube(grip)),
        part(turned((-0.5, 0.05), (-0.48, 0.079), (-0.445, 0.088), (-0.435, 0.088)), tube(cap), rim=0.3),
        *(
            part(bar((x, -0.4), (x, -0.12), 0.014), (lit(grip, 0.4),), opacity=0.75, rim=0)
            for x in (-0.062, -0.022, 0.02, 0.06)
        ),
        part(bar((-0.042, -0.4), (-0.042, -0.12), 0.012), (lit(grip, 1.75),), opacity=0.75, rim=0),
        part(turned((-0.035, 0.04), (-0.005, 0.036)), polished(grey * 0.8)),
    ]


def wheelbarrow(rng: np.random.Generator) -> list[Part]:
    """A wheelbarrow from the side, wheel to the right: tray, frame, leg and a spoked wheel."""
    tray = painted(rng, 128, 14, 0.75, 0.62)
    frame: Colour = hsv(30, 0.62, 0.66) if rng.integers(2) else (112.0, 116.0, 124.0)
    hull = points((-0.3, -0.25), (0.42, -0.3), (0.2, 0.06), (-0.13, 0.08))
    beam = tube(frame)
    return [
        part(bar((-0.13, 0.04), (-0.2, 0.34), 0.036), beam),
        part(box(-0.28, 0.325, -0.12, 0.36, corner=0.012), tube(lit(frame, 0.8)), across=False),
        part(bar((-0.18, 0.28), (0.06, 0.1), 0.022), beam),
        *_wheel(0.31, 0.2, 0.165),
        part(hull, panel(tray), across=False),
        part(
            points((-0.3, -0.25), (-0.2, -0.257), (-0.05, 0.075), (-0.13, 0.08)),
            (lit(tray, 1.35), lit(tray, 0.95)),
            across=False,
            opacity=0.6,
            rim=0,
        ),
        *(
            part(bar((x, -0.22), (0.55 * x + 0.04, 0.04), 0.01), (lit(tray, 0.45),), opacity=0.6, rim=0)
            for x in (0.0, 0.2)
        ),
        part(bar((-0.32, -0.245), (0.44, -0.3), 0.04), tube(lit(tray, 1.1)), across=False),
        part(
            points((-0.5, -0.1), (-0.49, -0.135), (-0.1, 0.06), (0.33, 0.18), (0.32, 0.22), (-0.12, 0.1)),
            beam,
            across=False,
        ),
        part(bar((-0.53, -0.135), (-0.38, -0.06), 0.05), tube(_RUBBER), across=False),
        part(ellipse(0.31, 0.2, 0.024, 0.024), polished(0.7)),
    ]


def _slash(x: float, y: float, reach: float) -> Part:
    return part(bar((x - reach, y - reach), (x + reach, y + reach), 0.008), _GROOVE, opacity=0.6, rim=0)


def _wheel(x: float, y: float, radius: float) -> list[Part]:
    rim = 0.66 * radius
    spokes = [
        part(bar((x, y), (x + rim * np.cos(angle), y + rim * np.sin(angle)), 0.014), polished(0.6), rim=0.3)
        for angle in np.arange(8) * np.pi / 4
    ]
    return [
        *spokes,
        part((ellipse(x, y, rim, rim), ellipse(x, y, 0.8 * rim, 0.8 * rim)), polished(0.62), rim=0.3),
        part((ellipse(x, y, radius, radius), ellipse(x, y, rim, rim)), panel((46, 46, 50)), across=False, rim=0.7),
    ]


DRAWINGS: dict[str, Drawing] = {
    "drill": drill,
    "hammer": hammer,
    "paintbrush": paintbrush,
    "screwdriver": screwdriver,
    "wheelbarrow": wheelbarrow,
}
TOOLS: tuple[str, ...] = tuple(DRAWINGS)
