"""What the sample's tools lie on or hang from: wood, concrete, sheet metal, cloth, pegboard; with light and noise."""

from collections.abc import Callable

import cv2
import numpy as np
import numpy.typing as npt

from components.data_load.sample_paint import FloatImage
from components.data_load.sample_shapes import Colour, hsv, lit

Background = Callable[[np.random.Generator, int], FloatImage]

_SHIFT = 4


def wood(rng: np.random.Generator, edge: int) -> FloatImage:
    """Planks with grain, each a little different, dark joints between them."""
    base = hsv(rng.uniform(22, 34), rng.uniform(0.28, 0.55), rng.uniform(0.5, 0.75))
    planks = int(rng.integers(3, 7))
    rows = np.arange(edge)
    plank = rows * planks // edge
    tone = rng.uniform(0.84, 1.14, planks)[plank][:, None]
    rings = np.sin(rng.uniform(0.5, 0.9) * 55 * rows[:, None] / edge + 2.4 * _cloud(rng, edge, 5, 3) + 2.0 * tone)
    streaks = _cloud(rng, edge, max(edge // 3, 8), 4)
    grain = tone * (1 + 0.055 * rings + 0.05 * streaks)
    joint = np.abs(rows - np.round(rows * planks / edge) * edge / planks)[:, None] * 320 / edge
    grain = grain * np.clip(0.35 + 0.45 * joint, 0, 1)
    image = _coloured(base, grain)
    return np.ascontiguousarray(image.transpose(1, 0, 2)) if rng.integers(2) else image


def concrete(rng: np.random.Generator, edge: int) -> FloatImage:
    """A grey floor with stains, pores and a crack or two."""
    base = hsv(rng.uniform(30, 60), rng.uniform(0.02, 0.08), rng.uniform(0.52, 0.74))
    grain = 1 + 0.07 * _cloud(rng, edge, 4) + 0.05 * _cloud(rng, edge, 14) + 0.035 * _cloud(rng, edge, edge // 4)
    image = _coloured(base, grain)
    for x, y in rng.uniform(0, edge, (60, 2)):
        _dot(image, x, y, rng.uniform(0.3, 1.1) * edge / 320, lit(base, rng.uniform(0.5, 0.8)))
    for _ in range(int(rng.integers(0, 3))):
        steps = rng.normal(0, 0.035, (14, 2)) + rng.normal(0, 0.05, 2)
        path = (rng.uniform(0, 1, 2) + np.cumsum(steps, axis=0)) * edge
        cv2.polylines(
            image,
            [_fixed(path)],
            isClosed=False,
            color=lit(base, 0.55),
            thickness=max(1, edge // 320),
            lineType=cv2.LINE_8,
            shift=_SHIFT,
        )
    return image


def metal(rng: np.random.Generator, edge: int) -> FloatImage:
    """A brushed sheet with a fold and rivets."""
    base = hsv(rng.uniform(200, 225), rng.uniform(0.04, 0.14), rng.uniform(0.52, 0.74))
    brushed = _cloud(rng, edge, edge // 2, 3)
    sheen = np.cos(np.linspace(0, np.pi * rng.uniform(1.5, 3), edge) + rng.uniform(0, 6))[None, :]
    image = _coloured(base, 1 + 0.045 * brushed + 0.09 * sheen + 0.03 * _cloud(rng, edge, 4))
    seam = rng.uniform(0.15, 0.85) * edge
    width = max(edge / 160, 1.5)
    image[int(seam) : int(seam + width)] *= 0.5
    image[int(seam + width) : int(seam + 2 * width)] *= 1.18
    for x in np.arange(rng.uniform(0.02, 0.08), 1, 0.14) * edge:
        _dot(image, x, seam - 0.04 * edge, 0.013 * edge, lit(base, 0.5))
        _dot(image, x - 0.002 * edge, seam - 0.042 * edge, 0.010 * edge, lit(base, 1.2))
    return image


def cloth(rng: np.random.Generator, edge: int) -> FloatImage:
    """A dust sheet or apron: woven threads, soft folds."""
    base = hsv(rng.uniform(0, 360), rng.uniform(0.05, 0.3), rng.uniform(0.42, 0.8))
    threads = np.sin(np.arange(edge) * 2 * np.pi * rng.integers(60, 90) / edge)
    weave = threads[:, None] * threads[None, :] * 0.05 + 0.025 * (threads[:, None] - threads[None, :])
    folds = np.sin(3.5 * _cloud(rng, edge, 4) + np.linspace(0, rng.uniform(2, 8), edge)[:, None])
    return _coloured(base, 1 + weave + 0.09 * folds + 0.03 * _cloud(rng, edge, edge // 3))


def pegboard(rng: np.random.Generator, edge: int) -> FloatImage:
    """A perforated tool wall, hardboard brown or painted."""
    base = hsv(30, 0.42, 0.66) if rng.integers(2) else hsv(rng.uniform(0, 360), 0.07, 0.8)
    image = _coloured(base, 1 + 0.03 * _cloud(rng, edge, 5) + 0.025 * _cloud(rng, edge, edge // 3))
    pitch = rng.uniform(0.062, 0.1) * edge
    hole = 0.13 * pitch
    shift = rng.uniform(0, pitch, 2)
    for y in np.arange(shift[0], edge + hole, pitch):
        for x in np.arange(shift[1], edge + hole, pitch):
            _dot(image, x + 0.25 * hole, y + 0.3 * hole, hole, lit(base, 1.35))
            _dot(image, x, y, hole, lit(base, 0.28))
    return image


def light(rng: np.random.Generator, edge: int) -> FloatImage:
    """How bright each pixel is lit, ``(edge, edge, 1)`` around 1: a slope across the scene and darker corners."""
    direction = rng.uniform(0, 2 * np.pi)
    line = np.linspace(-1, 1, edge, dtype=np.float32)
    slope = np.cos(direction) * line[None, :] + np.sin(direction) * line[:, None]
    corners = line[None, :] ** 2 + line[:, None] ** 2
    gain = rng.uniform(0.86, 1.1) + rng.uniform(0.03, 0.16) * slope - rng.uniform(0.0, 0.08) * corners
    lit_up: FloatImage = gain[..., None].astype(np.float32)
    return lit_up


def sensor_noise(rng: np.random.Generator, edge: int) -> FloatImage:
    """What a camera adds, ``(edge, edge, 1)`` in units of the pixel value."""
    noise = rng.standard_normal((edge, edge, 1), dtype=np.float32)
    return noise * np.float32(rng.uniform(1.0, 4.5))


def _cloud(rng: np.random.Generator, edge: int, rows: int, columns: int | None = None) -> FloatImage:
    coarse = rng.standard_normal((rows + 1, (columns or rows) + 1), dtype=np.float32)
    smooth: FloatImage = cv2.resize(coarse, (edge, edge), interpolation=cv2.INTER_CUBIC)
    return smooth


def _coloured(base: Colour, grain: FloatImage | npt.NDArray[np.float64]) -> FloatImage:
    image: FloatImage = (grain[..., None] * np.array(base)).astype(np.float32)
    return image


def _fixed(path: npt.NDArray[np.float64]) -> npt.NDArray[np.int32]:
    return np.round(path * (1 << _SHIFT)).astype(np.int32)


def _dot(image: FloatImage, x: float, y: float, radius: float, colour: Colour) -> None:
    scale = 1 << _SHIFT
    centre = (round(x * scale), round(y * scale))
    cv2.circle(image, centre, round(radius * scale), colour, -1, cv2.LINE_8, _SHIFT)


BACKGROUNDS: tuple[Background, ...] = (wood, concrete, metal, cloth, pegboard)
