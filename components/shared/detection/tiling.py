"""Find small objects in large images: cut them into overlapping tiles, predict each alone, and merge the boxes."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from components.shared.detection.frameworks import Pixels, Rows
from components.shared.detection.inference import Merge
from components.shared.detection.merging import Views, merge_views
from components.shared.errors import ConfigError

LEAST_TILE = 32  # pixels; a smaller tile shows nothing a detector could learn or find
MOST_OVERLAP = 0.9  # beyond it the tiles of an image hold it a hundredfold
MERGES = ("nms", "wbf")

Predict = Callable[[Pixels], Rows]


@dataclass(frozen=True)
class Tiling:
    """How large images are predicted.

    Attributes:
        tile: edge of a tile in pixels of the image; images no larger in both edges are predicted whole.
        overlap: least share of its edge that a tile has in common with the next one.
        merge: how boxes of several tiles become one: ``nms`` keeps the best of them, ``wbf`` averages them.
        whole: also predict on the image scaled down to a tile, for objects that no tile is sure to show whole.

    Raises:
        ConfigError: a value makes no sense.
    """

    tile: int
    overlap: float = 0.2
    merge: Merge = "nms"
    whole: bool = True

    def __post_init__(self) -> None:
        if self.tile < LEAST_TILE:
            raise ConfigError(f"tile is {self.tile!r} pixels: use {LEAST_TILE} or more, or 0 for no tiles.")
        if not 0 <= self.overlap < MOST_OVERLAP:
            raise ConfigError(f"tile_overlap is {self.overlap!r}: it must be 0 or more and below {MOST_OVERLAP}.")
        if self.merge not in MERGES:
            raise ConfigError(f"tile_merge is {self.merge!r}: use {' or '.join(MERGES)}.")

    def cuts(self, width: int, height: int) -> bool:
        """Whether an image of this size is cut."""
        return max(width, height) > self.tile

    def count(self, width: int, height: int) -> int:
        """How many predictions an image of this size takes; 1 when it is not cut."""
        across, down = (len(tile_starts(edge, self.tile, self.overlap)) for edge in (width, height))
        return across * down + (self.whole and self.cuts(width, height))

    def limit(self, width: int, height: int, max_det: int) -> int:
        """Most boxes an image of this size has: ``max_det`` for each tile's worth of its area."""
        return max_det * max(1, math.ceil(width * height / self.tile**2))


def tile_starts(length: int, tile: int, overlap: float) -> list[int]:
    """Where tiles begin along an edge: evenly spread, each whole, neighbours sharing at least ``overlap`` of ``tile``.

    The first begins at 0 and the last ends where the edge does. An edge no longer than a tile has one, which is as
    long as the edge.
    """
    if length <= tile:
        return [0]
    stride = max(1, tile - math.ceil(tile * overlap - 1e-9))
    gaps = -(-(length - tile) // stride)
    return [place * (length - tile) // gaps for place in range(gaps + 1)]


def tile_grid(width: int, height: int, tiling: Tiling) -> npt.NDArray[np.int64]:
    """Tiles of an image: ``(N, 4)`` left, top, right, bottom in its pixels, half-open, row by row."""
    lefts, tops = (np.array(tile_starts(edge, tiling.tile, tiling.overlap), dtype=np.int64) for edge in (width, height))
    top, left = (axis.ravel() for axis in np.meshgrid(tops, lefts, indexing="ij"))
    return np.stack([left, top, left + min(tiling.tile, width), top + min(tiling.tile, height)], axis=1)


def predict_in_tiles(image: Pixels, tiling: Tiling, predict: Predict, *, iou: float, max_det: int) -> Rows:
    """Boxes of one RGB image of any size: float64 ``(N, 6)`` left, top, right, bottom, score, label, best first.

    Memory beside the image is that of one tile and the boxes.

    Args:
        image: ``(height, width, 3)``.
        tiling: how to cut and merge.
        predict: the boxes of one tile, in pixels of the tile.
        iou: boxes of one class that overlap by more are one object; those of different tiles by half, at most.
        max_det: boxes at most for each tile's worth of the image's area.
    """
    height, width = image.shape[:2]
    if not tiling.cuts(width, height):
        return predict(image)
    grid = tile_grid(width, height, tiling)
    found = list(_tile_rows(image, grid, predict))
    if tiling.whole:
        grid = np.concatenate([grid, [[0, 0, width, height]]])
        found.append(_whole_rows(image, tiling, grid, predict))
    sources = np.repeat(np.arange(len(found)), [len(rows) for rows in found])
    views = Views(grid.astype(np.float64), sources, whole=tiling.whole)
    merged = merge_views(np.concatenate(found), views, iou=iou, merge=tiling.merge)
    return merged[: tiling.limit(width, height, max_det)]


def _tile_rows(image: Pixels, grid: npt.NDArray[np.int64], predict: Predict) -> Iterator[Rows]:
    for left, top, right, bottom in grid.tolist():
        rows = predict(np.ascontiguousarray(image[top:bottom, left:right]))
        yield _placed(rows, (right - left, bottom - top), (left, top), 1.0)


def _whole_rows(image: Pixels, tiling: Tiling, grid: npt.NDArray[np.int64], predict: Predict) -> Rows:
    """Boxes of the image scaled down, as far as an edge is longer than what all neighbouring tiles share.

    What is smaller lies whole in some tile, which sees it better.
    """
    height, width = image.shape[:2]
    scale = tiling.tile / max(width, height)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    rows = predict(cv2.resize(image, size, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False))
    rows = _placed(rows, size, (0, 0), np.array([width / size[0], height / size[1]] * 2))
    return rows[(rows[:, 2:4] - rows[:, :2] > _shared(grid)).any(axis=1)]


def _shared(grid: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Width and height of the narrowest strips that neighbouring tiles share; endless where there is one tile."""
    tiles = grid[:-1] if len(grid) > 1 else grid
    strips = []
    for axis in (0, 1):
        starts = np.unique(tiles[:, axis])
        edge = tiles[0, axis + 2] - tiles[0, axis]
        strips.append(float(edge - np.diff(starts).max()) if len(starts) > 1 else math.inf)
    return np.array(strips)


def _placed(rows: Rows, size: tuple[int, int], origin: tuple[int, int], scale: float | npt.NDArray[np.float64]) -> Rows:
    """Rows of a tile in pixels of the image, clipped to the tile."""
    boxes = np.clip(rows[:, :4], 0.0, [*size, *size]) * scale + [*origin, *origin]
    return np.concatenate([boxes, rows[:, 4:6]], axis=1)
