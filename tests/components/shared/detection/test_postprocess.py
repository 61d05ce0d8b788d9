"""Boxes are read from every layout, and overlaps suppressed as torchvision does."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.shared.detection.postprocess import decode, suppress
from components.shared.detection.preprocess import Placement

WHOLE = Placement(1.0, 1.0, 0, 0, 200, 100, 200, 100)


def crowd(seed: int, count: int, *, whole: bool) -> tuple[Any, Any]:
    random = np.random.default_rng(seed)
    corners = random.uniform(0, 60, (count, 2))
    boxes = np.concatenate([corners, corners + random.uniform(0, 40, (count, 2))], axis=1)
    scores = random.random(count)
    if whole:  # exact ties in overlap and score
        boxes, scores = boxes.round(-1), scores.round(1)
    return boxes.astype(np.float32), scores.astype(np.float32)


def reference(boxes: Any, scores: Any, labels: Any, iou: float) -> Any:
    """torchvision's suppression of each class alone, best score first."""
    import torch  # noqa: PLC0415 - heavy
    from torchvision.ops import nms  # noqa: PLC0415 - heavy

    kept = np.zeros(len(boxes), dtype=bool)
    for label in np.unique(labels):
        own = np.flatnonzero(labels == label)
        kept[own[nms(torch.from_numpy(boxes[own]), torch.from_numpy(scores[own]), iou).numpy()]] = True
    order = np.argsort(-scores, kind="stable")
    return order[kept[order]]


@given(
    seed=st.integers(0, 10**6),
    count=st.integers(0, 700),
    classes=st.integers(1, 4),
    iou=st.sampled_from([0.0, 0.3, 0.5, 0.7, 1.0]),
    whole=st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_the_boxes_that_stay_are_those_of_torchvision(
    seed: int, count: int, classes: int, iou: float, whole: bool
) -> None:
    boxes, scores = crowd(seed, count, whole=whole)
    labels = np.random.default_rng(seed + 1).integers(0, classes, count)
    ours = suppress(boxes, scores, labels, iou=iou, max_det=count + 1)
    np.testing.assert_array_equal(ours, reference(boxes, scores, labels, iou))


def test_a_limit_keeps_the_best_of_what_would_stay() -> None:
    boxes, scores = crowd(3, 900, whole=False)
    labels = np.zeros(900, dtype=np.int64)
    every = suppress(boxes, scores, labels, iou=0.9, max_det=900)
    assert len(every) > 300
    np.testing.assert_array_equal(suppress(boxes, scores, labels, iou=0.9, max_det=40), every[:40])


@given(seed=st.integers(0, 10**6), conf=st.sampled_from([0.001, 0.25, 0.9]), max_det=st.sampled_from([5, 300]))
@settings(max_examples=25, deadline=None)
def test_a_yolo_output_is_read_as_ultralytics_reads_it(seed: int, conf: float, max_det: int) -> None:
    import torch  # noqa: PLC0415 - heavy
    from ultralytics.utils.nms import non_max_suppression  # noqa: PLC0415 - heavy

    random = np.random.default_rng(seed)
    places = random.random((1, 9, 800), dtype=np.float32)
    places[:, :2] *= 100
    places[:, 2:4] *= 60
    (theirs,) = non_max_suppression(torch.from_numpy(places.copy()), conf, 0.7, max_det=max_det)
    placement = Placement(1.0, 1.0, 50, 50, 1000, 1000, 1100, 1100)
    ours = decode([places], "yolo", placement, conf=conf, iou=0.7, max_det=max_det)
    expected = theirs.double().numpy()
    expected[:, :4] = np.clip(expected[:, :4] - 50, 0, 1000)
    np.testing.assert_array_equal(ours, expected)


@pytest.mark.parametrize(
    ("layout", "outputs"),
    [
        ("yolo", [np.array([[[20], [30], [20], [40], [0.1], [0.9]]], dtype=np.float32)]),
        ("end2end", [np.array([[[10, 10, 30, 50, 0.9, 1], [0, 0, 9, 9, 0.1, 0]]], dtype=np.float32)]),
        ("detr", [np.array([[[0.1, 0.3, 0.1, 0.4, 0.9, 1], [0.5, 0.5, 0.1, 0.1, 0.1, 0]]], dtype=np.float32)]),
        (
            "boxes",
            [
                np.array([[10, 10, 30, 50], [10, 10, 30, 51], [5, 5, 5, 9]], dtype=np.float32),
                np.array([0.9, 0.8, 0.99], dtype=np.float32),
                np.array([1, 1, 0]),
            ],
        ),
    ],
)
def test_every_layout_gives_the_same_row(layout: Any, outputs: Any) -> None:
    rows = decode(outputs, layout, WHOLE, conf=0.25, iou=0.5, max_det=10)
    np.testing.assert_allclose(rows, [[10, 10, 30, 50, 0.9, 1]], rtol=1e-6)


def test_nothing_above_the_threshold_is_no_rows() -> None:
    rows = decode([np.zeros((1, 6, 50), dtype=np.float32)], "yolo", WHOLE, conf=0.25, iou=0.5, max_det=10)
    assert rows.shape == (0, 6)
