import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pycocotools import mask

from components.shared.boxes import corners_to_size, iou_matrix, overlap_matrix

sides = st.floats(0, 1000, allow_nan=False, width=32)
box_arrays = arrays(np.float64, st.tuples(st.integers(1, 6), st.just(4)), elements=sides)


def test_corners_become_a_corner_and_a_size() -> None:
    assert corners_to_size(np.array([[10.0, 20.0, 15.0, 27.5]])).tolist() == [[10.0, 20.0, 5.0, 7.5]]


def test_equal_boxes_overlap_fully_and_touching_boxes_not_at_all() -> None:
    boxes = np.array([[0.0, 0.0, 10.0, 10.0], [10.0, 0.0, 10.0, 10.0]])

    assert iou_matrix(boxes, boxes).tolist() == [[1.0, 0.0], [0.0, 1.0]]


def test_half_open_boxes_have_no_extra_pixel() -> None:
    ious = iou_matrix(np.array([[0.0, 0.0, 10.0, 10.0]]), np.array([[5.0, 0.0, 10.0, 10.0]]))

    assert ious.item() == pytest.approx(50 / 150)


def test_a_prediction_inside_an_ignore_region_is_covered_fully() -> None:
    inside = np.array([[40.0, 40.0, 5.0, 5.0]])
    region = np.array([[0.0, 0.0, 100.0, 100.0]])

    assert overlap_matrix(inside, region, np.array([True])).item() == 1.0
    assert overlap_matrix(inside, region, np.array([False])).item() == pytest.approx(0.0025)


def test_without_boxes_the_matrix_is_empty() -> None:
    assert iou_matrix(np.empty((0, 4)), np.ones((3, 4))).shape == (0, 3)
    assert iou_matrix(np.ones((2, 4)), np.empty((0, 4))).shape == (2, 0)


@settings(max_examples=2 * settings().max_examples)
@given(box_arrays, box_arrays, st.randoms(use_true_random=False))
def test_overlaps_are_those_of_pycocotools(first: np.ndarray, second: np.ndarray, random: object) -> None:
    crowd = np.array([random.random() < 0.5 for _ in second])  # type: ignore[attr-defined]

    ours = overlap_matrix(first, second, crowd)

    assert np.array_equal(ours, np.asarray(mask.iou(first, second, crowd.astype(np.uint8).tolist())))
