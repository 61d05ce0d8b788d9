import itertools

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.shared.detection.frameworks import Pixels, Rows
from components.shared.detection.inference import Inference
from components.shared.detection.tiling import Tiling, predict_in_tiles, tile_grid, tile_starts
from components.shared.errors import ConfigError

OVERLAPS = st.sampled_from([0.0, 0.1, 0.2, 0.25, 0.5, 0.89])
Floats = npt.NDArray[np.float64]


class Oracle:
    """Finds what is painted: every rectangle of one grey value is an object, its class the value's last bit."""

    def __init__(self) -> None:
        self.sizes: list[tuple[int, int]] = []

    def __call__(self, tile: Pixels) -> Rows:
        self.sizes.append((tile.shape[1], tile.shape[0]))
        rows = []
        for value in np.unique(tile[tile > 0]):
            ys, xs = np.nonzero(tile[:, :, 0] == value)
            rows.append([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1, 0.5 + value / 1000, value % 2])
        return np.array(rows, dtype=np.float64).reshape(-1, 6)


def _painted(width: int, height: int, boxes: list[tuple[int, int, int, int]]) -> Pixels:
    image = np.zeros((height, width, 3), dtype=np.uint8)
    for value, (left, top, right, bottom) in enumerate(boxes, start=1):
        image[top:bottom, left:right] = value
    return image


@given(length=st.integers(1, 5000), tile=st.integers(32, 700), overlap=OVERLAPS)
@settings(max_examples=2 * settings().max_examples)
def test_tiles_cover_an_edge_whole_and_overlap_enough(length: int, tile: int, overlap: float) -> None:
    starts = tile_starts(length, tile, overlap)
    if length <= tile:
        assert starts == [0]
        return
    assert (starts[0], starts[-1]) == (0, length - tile)
    assert starts == sorted(set(starts))
    shared = [before + tile - after for before, after in itertools.pairwise(starts)]
    assert min(shared) >= min(tile * overlap - 1e-6, tile - 1)
    assert len(starts) <= (length - tile) // max(1, int(tile * (1 - overlap) + 1e-9)) + 2


@given(width=st.integers(1, 400), height=st.integers(1, 400), tile=st.integers(32, 200), overlap=OVERLAPS)
def test_every_pixel_is_in_a_tile_and_every_tile_in_the_image(
    width: int, height: int, tile: int, overlap: float
) -> None:
    seen = np.zeros((height, width), dtype=bool)
    tiling = Tiling(tile, overlap)
    grid = tile_grid(width, height, tiling)
    for left, top, right, bottom in grid:
        assert 0 <= left < right <= width
        assert 0 <= top < bottom <= height
        assert (right - left, bottom - top) == (min(tile, width), min(tile, height))
        seen[top:bottom, left:right] = True
    assert seen.all()
    assert tiling.count(width, height) == len(grid) + tiling.cuts(width, height)


@given(
    objects=st.lists(st.tuples(st.integers(0, 380), st.integers(0, 280), st.integers(4, 25), st.integers(4, 25))),
    merge=st.sampled_from(["nms", "wbf"]),
)
def test_an_object_no_longer_than_the_strip_tiles_share_is_found_once_where_it_is(
    objects: list[tuple[int, int, int, int]], merge: str
) -> None:
    apart: list[tuple[int, int, int, int]] = []
    for x, y, w, h in objects:
        box = x, y, min(x + w, 400), min(y + h, 300)
        if all(box[2] < b[0] or b[2] < box[0] or box[3] < b[1] or b[3] < box[1] for b in apart):
            apart.append(box)
    image = _painted(400, 300, apart)
    rows = predict_in_tiles(image, Tiling(128, 0.25, merge, whole=False), Oracle(), iou=0.7, max_det=300)  # type: ignore[arg-type]
    assert sorted(map(tuple, rows[:, :4].round(9).tolist())) == sorted(map(tuple, apart))


@pytest.mark.parametrize("merge", ["nms", "wbf"])
@pytest.mark.parametrize("box", [(90, 40, 230, 60), (40, 90, 60, 280), (60, 60, 390, 290), (0, 0, 400, 300)])
def test_an_object_longer_than_a_tile_is_put_together_from_its_parts(
    merge: str, box: tuple[int, int, int, int]
) -> None:
    image = _painted(400, 300, [box])
    rows = predict_in_tiles(image, Tiling(128, 0.2, merge, whole=False), Oracle(), iou=0.7, max_det=300)  # type: ignore[arg-type]
    assert rows[:, :4].tolist() == [list(map(float, box))]


def test_an_image_no_larger_than_a_tile_is_predicted_as_it_is() -> None:
    oracle = Oracle()
    image = _painted(128, 100, [(10, 10, 30, 30)])
    rows = predict_in_tiles(image, Tiling(128), oracle, iou=0.7, max_det=1)
    assert oracle.sizes == [(128, 100)]
    assert rows[:, :4].tolist() == [[10, 10, 30, 30]]


def test_tiles_are_all_of_one_size_and_the_whole_image_comes_last() -> None:
    oracle = Oracle()
    predict_in_tiles(_painted(300, 100, []), Tiling(128), oracle, iou=0.7, max_det=300)
    assert oracle.sizes == [(128, 100)] * 3 + [(128, 43)]


def test_a_large_image_may_have_more_boxes_than_a_tile() -> None:
    boxes = [(x, y, x + 8, y + 8) for x in range(0, 390, 20) for y in range(0, 290, 20)][:250]
    rows = predict_in_tiles(_painted(400, 300, boxes), Tiling(128, whole=False), Oracle(), iou=0.7, max_det=100)
    assert len(rows) == 250
    assert Tiling(128).limit(400, 300, 100) == 800
    few = predict_in_tiles(_painted(400, 300, boxes), Tiling(128, whole=False), Oracle(), iou=0.7, max_det=10)
    assert len(few) == 80
    assert few[:, 4].min() == pytest.approx(rows[79, 4])


def test_an_image_one_pixel_high_is_cut_all_the_same() -> None:
    rows = predict_in_tiles(_painted(40_000, 1, [(39_990, 0, 40_000, 1)]), Tiling(640), Oracle(), iou=0.7, max_det=9)
    assert rows[:, :4].tolist() == [[39_990, 0, 40_000, 1]]


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ((31,), "tile is 31 pixels"),
        ((640, 0.9), "tile_overlap is 0.9"),
        ((640, -0.1), "tile_overlap is -0.1"),
        ((640, float("nan")), "tile_overlap is nan"),
        ((640, 0.2, "mean"), "tile_merge is 'mean'"),
    ],
)
def test_tiles_that_make_no_sense_are_refused(values: tuple[int], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        Tiling(*values)


def test_a_packed_model_says_how_it_cuts() -> None:
    assert Inference().tiling is None
    assert Inference(tile=640, tile_overlap=0.3, tile_merge="wbf").tiling == Tiling(640, 0.3, "wbf")
