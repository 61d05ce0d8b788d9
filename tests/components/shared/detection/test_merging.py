import time

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.shared.detection.inference import Merge
from components.shared.detection.merging import Views, merge_views
from components.shared.detection.tiling import Tiling, tile_grid

Floats = npt.NDArray[np.float64]
LEFT, RIGHT, WHOLE = [0.0, 0, 100, 100], [80.0, 0, 180, 100], [0.0, 0, 180, 100]
MERGES: tuple[Merge, ...] = ("nms", "wbf")


def merged(*found: tuple[int, list[float]], merge: Merge = "nms", whole: bool = False, iou: float = 0.7) -> Floats:
    places = np.array([LEFT, RIGHT, WHOLE] if whole else [LEFT, RIGHT])
    views = Views(places, np.array([view for view, _ in found], dtype=np.intp), whole=whole)
    return merge_views(np.array([row for _, row in found]), views, iou=iou, merge=merge)


@pytest.mark.parametrize("merge", MERGES)
def test_boxes_of_two_tiles_on_one_object_become_one(merge: Merge) -> None:
    rows = merged((0, [84, 10, 96, 20, 0.6, 1]), (1, [85, 10, 97, 20, 0.8, 1]), merge=merge)
    assert len(rows) == 1
    assert rows[0, 5] == 1
    if merge == "nms":
        assert rows[0].tolist() == [85, 10, 97, 20, 0.8, 1]
    else:
        assert rows[0, :5] == pytest.approx([(0.6 * 84 + 0.8 * 85) / 1.4, 10, (0.6 * 96 + 0.8 * 97) / 1.4, 20, 0.7])


@pytest.mark.parametrize("merge", MERGES)
def test_boxes_of_one_tile_stay_as_the_model_gave_them(merge: Merge) -> None:
    rows = merged(
        (0, [10, 10, 30, 30, 0.9, 0]), (0, [10, 10, 30, 36, 0.8, 0]), (1, [150, 9, 160, 19, 0.7, 0]), merge=merge
    )
    assert rows[:, 4].tolist() == [0.9, 0.8, 0.7]


@pytest.mark.parametrize("merge", MERGES)
def test_boxes_of_different_classes_stay(merge: Merge) -> None:
    rows = merged((0, [84, 10, 96, 20, 0.6, 0]), (1, [84, 10, 96, 20, 0.6, 1]), merge=merge)
    assert sorted(rows[:, 5].tolist()) == [0, 1]


@pytest.mark.parametrize("merge", MERGES)
def test_a_part_cut_off_by_a_border_goes_when_the_next_tile_sees_the_whole(merge: Merge) -> None:
    rows = merged((0, [90, 10, 100, 40, 0.9, 0]), (1, [90, 10, 130, 40, 0.6, 0]), merge=merge)
    assert rows[:, :4].tolist() == [[90, 10, 130, 40]]


def test_a_part_stays_when_what_contains_it_is_far_less_sure() -> None:
    rows = merged((0, [90, 10, 100, 40, 0.9, 0]), (1, [88, 5, 170, 95, 0.02, 0]))
    assert rows[:, 4].tolist() == [0.9, 0.02]


@pytest.mark.parametrize("merge", MERGES)
def test_two_parts_that_fill_the_strip_between_two_tiles_become_the_whole_object(merge: Merge) -> None:
    rows = merged((0, [30, 10, 100, 40, 0.9, 0]), (1, [80, 11, 150, 40, 0.6, 0]), merge=merge)
    assert rows[:, :5].tolist() == [[30, 10, 150, 40, 0.9]]


@pytest.mark.parametrize("merge", MERGES)
def test_neighbours_on_either_side_of_a_strip_stay_two(merge: Merge) -> None:
    rows = merged((0, [92, 10, 100, 40, 0.9, 0]), (1, [80, 10, 88, 40, 0.6, 0]), merge=merge)
    assert len(rows) == 2


def test_an_object_seen_whole_only_in_the_image_scaled_down_replaces_its_parts() -> None:
    rows = merged(
        (0, [30, 10, 100, 40, 0.5, 0]), (1, [80, 50, 150, 80, 0.5, 0]), (2, [28, 9, 152, 82, 0.6, 0]), whole=True
    )
    assert rows[:, :4].tolist() == [[28, 9, 152, 82]]


def test_fusion_does_not_punish_what_only_one_tile_can_see_but_what_another_denies() -> None:
    alone, shared = [10.0, 10, 30, 30, 0.8, 0], [84.0, 10, 96, 20, 0.8, 1]
    rows = merged((0, alone), (0, shared), merge="wbf")
    assert rows[:, 4].tolist() == [0.8, 0.4]
    assert merged((0, alone), (0, shared))[:, 4].tolist() == [0.8, 0.8]


def test_no_boxes_give_none() -> None:
    empty = np.empty((0, 6))
    for merge in MERGES:
        views = Views(np.array([LEFT, RIGHT]), np.empty(0, dtype=np.intp))
        assert merge_views(empty, views, iou=0.7, merge=merge).shape == (0, 6)


def scene(count: int, size: int, tile: int, classes: int, seed: int) -> tuple[Floats, Views]:
    """Objects of 10 to 80 px as every tile that shows a part of them would find them, a few pixels off."""
    rng = np.random.default_rng(seed)
    centre, edges = rng.uniform(0, size, (count, 2)), rng.uniform(10, 80, (count, 2))
    boxes, labels = np.concatenate([centre - edges / 2, centre + edges / 2], axis=1), rng.integers(0, classes, count)
    grid = tile_grid(size, size, Tiling(tile)).astype(np.float64)
    rows, sources = [np.empty((0, 6))], [np.empty(0, dtype=np.intp)]
    for view, (left, top, right, bottom) in enumerate(grid):
        inside = (boxes[:, :2] < [right, bottom]).all(axis=1) & (boxes[:, 2:] > [left, top]).all(axis=1)
        seen = np.clip(boxes[inside] + rng.normal(0, 2, (inside.sum(), 4)), [left, top] * 2, [right, bottom] * 2)
        wide = (seen[:, 2:] - seen[:, :2] > 2).all(axis=1)
        scores = rng.uniform(0.01, 1, (len(seen), 1))
        rows.append(np.concatenate([seen, scores, labels[inside][:, None]], axis=1)[wide])
        sources.append(np.full(wide.sum(), view))
    return np.concatenate(rows), Views(grid, np.concatenate(sources))


@given(seed=st.integers(0, 10_000), count=st.integers(0, 60), merge=st.sampled_from(MERGES))
@settings(max_examples=30)
def test_the_order_of_the_boxes_does_not_matter(seed: int, count: int, merge: Merge) -> None:
    rows, views = scene(count, 300, 128, 2, seed)
    order = np.random.default_rng(seed).permutation(len(rows))
    shuffled = Views(views.places, views.sources[order])
    ours = merge_views(rows, views, iou=0.7, merge=merge)
    assert np.array_equal(ours, merge_views(rows[order], shuffled, iou=0.7, merge=merge))


@pytest.mark.parametrize("merge", MERGES)
def test_twenty_thousand_boxes_are_merged_in_about_a_second(merge: Merge) -> None:
    rows, views = scene(11_500, 10_000, 640, 1, 0)
    assert len(rows) > 20_000
    began = time.process_time()
    found = merge_views(rows, views, iou=0.7, merge=merge)
    assert time.process_time() - began < 4  # half a second on a core of its own
    assert 10_000 < len(found) < 13_000
