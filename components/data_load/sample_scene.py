"""One scene of the built-in sample: tools laid on a background, and which pixel shows which of them."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from components.data_load import sample_clutter
from components.data_load.sample_backgrounds import BACKGROUNDS, light, sensor_noise
from components.data_load.sample_paint import SEEN, FloatImage, Pose, Sprite, cast_shadow, lay, mark, paint
from components.data_load.sample_shapes import ellipse, part
from components.data_load.tools import DRAWINGS

Owner = npt.NDArray[np.uint8]
Box = tuple[float, float, float, float]  # left, top, width, height in pixels, half-open

SMALLEST, LARGEST = 0.24, 0.55  # a tool's length as a share of the image's edge
MOST_COVERED = 0.2  # share of a tool's box that another tool's box may cover
MOST_CUT = 0.18  # share of a tool's width or height that the frame may cut off

_CUT_SHARE = 0.1
_SIDES = ("left", "right", "top", "bottom")
_TRIES = 25  # places tried before a smaller size is
_SHRINK = (1.0, 0.8, 0.65, 0.5)
_FULL_TURN = 360.0
_TURN = 40.0  # degrees a tool is turned at most, either way
_TURNS = {"wheelbarrow": 15.0}
_BULK = {"wheelbarrow": 1.05, "drill": 0.9}  # evens out how large tools of one length look


@dataclass(frozen=True)
class Scene:
    """What was painted.

    Attributes:
        pixels: uint8 ``(edge, edge, 3)``, RGB.
        tools: names of the tools in it, in the order they were laid down.
        owner: uint8 ``(edge, edge)``: 0 where the background shows, ``i + 1`` where ``tools[i]`` does; a pixel
            belongs to a tool when at least half of it is covered by the tool; shadows belong to nobody.
    """

    pixels: npt.NDArray[np.uint8]
    tools: tuple[str, ...]
    owner: Owner

    def boxes(self) -> list[Box]:
        """The box around the visible pixels of each tool, in the order of ``tools``."""
        return [visible_box(self.owner, number + 1) for number in range(len(self.tools))]


@dataclass
class _Bench:
    """A scene while it is being laid."""

    pixels: FloatImage
    shadow: tuple[int, int]
    owner: Owner
    tools: list[str] = field(default_factory=list)
    taken: list[Box] = field(default_factory=list)


def compose(rng: np.random.Generator, tools: Sequence[str], edge: int, *, cut_left: bool = False) -> Scene:
    """Paint a scene of ``edge`` x ``edge`` pixels with these tools; one that finds no room is left out.

    Args:
        rng: where every choice comes from.
        tools: names from ``tools.TOOLS``, at most 255.
        edge: width and height in pixels.
        cut_left: the first tool hangs over the left edge of the frame.
    """
    pixels = BACKGROUNDS[int(rng.integers(len(BACKGROUNDS)))](rng, edge)
    fall = rng.uniform(0, 2 * np.pi)
    reach = 0.016 * edge
    shadow = (round(reach * np.cos(fall)), round(reach * np.sin(fall)))
    bench = _Bench(pixels, shadow, np.zeros((edge, edge), dtype=np.uint8))
    _lay_shadows(rng, bench, edge)
    _lay_clutter(rng, bench, edge)
    for index, tool in enumerate(tools):
        _lay_tool(rng, bench, tool, edge, cut_left=cut_left and index == 0)
    finished = bench.pixels * light(rng, edge) + sensor_noise(rng, edge)
    return Scene(np.clip(np.rint(finished), 0, 255).astype(np.uint8), tuple(bench.tools), bench.owner)


def visible_box(owner: Owner, number: int) -> Box:
    """The box around all pixels of ``owner`` that equal ``number``, of which there must be some."""
    rows = np.flatnonzero((owner == number).any(axis=1))
    columns = np.flatnonzero((owner == number).any(axis=0))
    left, top = float(columns[0]), float(rows[0])
    return left, top, float(columns[-1] + 1) - left, float(rows[-1] + 1) - top


def _lay_shadows(rng: np.random.Generator, bench: _Bench, edge: int) -> None:
    for _ in range(int(rng.integers(0, 3))):
        blot = part(ellipse(0, 0, rng.uniform(0.3, 0.5), rng.uniform(0.1, 0.3)), ((0, 0, 0),), rim=0)
        sprite = paint([blot], Pose(edge * rng.uniform(0.3, 0.9), rng.uniform(0, _FULL_TURN)))
        left, top = (int(place) for place in rng.uniform(-0.2, 0.8, 2) * edge)
        cast_shadow(bench.pixels, sprite, left, top, depth=rng.uniform(0.08, 0.25), blur=edge / 40)


def _lay_clutter(rng: np.random.Generator, bench: _Bench, edge: int) -> None:
    for _ in range(int(rng.integers(2, 13))):
        drawing, share = sample_clutter.pick(rng)
        sprite = paint(drawing(rng), Pose(edge * share, rng.uniform(0, _FULL_TURN)))
        left, top = (int(place) for place in rng.uniform(-0.05, 0.97, 2) * edge)
        if drawing is not sample_clutter.paint_spot:
            cast_shadow(
                bench.pixels,
                sprite,
                left + bench.shadow[0] // 3,
                top + bench.shadow[1] // 3,
                depth=0.4,
                blur=max(0.5, edge / 320),
            )
        lay(bench.pixels, sprite, left, top)


def _lay_tool(rng: np.random.Generator, bench: _Bench, tool: str, edge: int, *, cut_left: bool) -> None:
    found = _try_sizes(rng, bench, tool, edge, cut_left=cut_left)
    if found is None:
        return
    sprite, left, top = found
    cast_shadow(
        bench.pixels,
        sprite,
        left + bench.shadow[0],
        top + bench.shadow[1],
        depth=rng.uniform(0.3, 0.55),
        blur=max(0.7, edge * rng.uniform(0.006, 0.014)),
    )
    lay(bench.pixels, sprite, left, top)
    bench.tools.append(tool)
    mark(bench.owner, sprite, left, top, len(bench.tools))
    bench.taken.append(_solid_box(sprite, left, top))


def _try_sizes(
    rng: np.random.Generator, bench: _Bench, tool: str, edge: int, *, cut_left: bool
) -> tuple[Sprite, int, int] | None:
    parts = DRAWINGS[tool](rng)
    share = rng.uniform(SMALLEST, LARGEST)
    turn = _TURNS.get(tool, _TURN)
    angle, flip = float(np.clip(rng.normal(0, turn / 2), -turn, turn)), bool(rng.integers(2))
    for shrink in _SHRINK:
        size = edge * max(share * shrink, SMALLEST) * _BULK.get(tool, 1.0)
        sprite = paint(parts, Pose(size, angle, flip))
        for _ in range(_TRIES):
            left, top = _somewhere(rng, sprite, edge, cut_left=cut_left)
            if _has_room(_solid_box(sprite, left, top), bench.taken):
                return sprite, left, top
    return None


def _somewhere(rng: np.random.Generator, sprite: Sprite, edge: int, *, cut_left: bool) -> tuple[int, int]:
    inner_left, inner_top, width, height = _solid_box(sprite, 0, 0)
    left, top = rng.uniform(0, edge - width), rng.uniform(0, edge - height)
    side = _SIDES[int(rng.integers(4))] if rng.random() < _CUT_SHARE else None
    if cut_left:
        side = "left"
    hidden = rng.uniform(0.4, 1.0) * MOST_CUT
    if side in {"left", "right"}:
        left = -hidden * width if side == "left" else edge - (1 - hidden) * width
    elif side is not None:
        top = -hidden * height if side == "top" else edge - (1 - hidden) * height
    return round(left - inner_left), round(top - inner_top)


def _solid_box(sprite: Sprite, left: int, top: int) -> Box:
    x, y, width, height = visible_box((sprite.alpha >= SEEN).astype(np.uint8), 1)
    return x + left, y + top, width, height


def _has_room(box: Box, taken: Sequence[Box]) -> bool:
    left, top, width, height = box
    for other_left, other_top, other_width, other_height in taken:
        shared_x = min(left + width, other_left + other_width) - max(left, other_left)
        shared_y = min(top + height, other_top + other_height) - max(top, other_top)
        smaller = min(width * height, other_width * other_height)
        if min(shared_x, shared_y) > 0 and shared_x * shared_y > MOST_COVERED * smaller:
            return False
    return True
