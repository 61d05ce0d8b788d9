"""Average precision against pycocotools', and the operating point by hand."""

import contextlib
import io
import math
from typing import Any

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from components.model_train.trainers.torchvision.metrics import Judged, detection_metrics


def scene(seed: int, images: int, classes: int, *, crowded: bool = False) -> list[Judged]:
    """Boxes, and guesses near some of them; scores are rounded so that many are equal."""
    random = np.random.default_rng(seed)
    judged = []
    for _ in range(images):
        count = int(random.integers(0, 40 if crowded else 6))
        corners = random.uniform(0, 80, (count, 2))
        boxes = np.hstack([corners, corners + random.uniform(3, 40, (count, 2))])
        labels = random.integers(0, classes, count)
        near = np.repeat(boxes, 2, axis=0) + random.normal(0, 3, (2 * count, 4))
        stray = random.uniform(0, 60, (int(random.integers(0, 150 if crowded else 8)), 2))
        guesses = np.vstack([near, np.hstack([stray, stray + 10])])
        guesses[:, 2:] = np.maximum(guesses[:, 2:], guesses[:, :2] + 1)
        kinds = np.concatenate([np.repeat(labels, 2), random.integers(0, classes, len(stray))])
        scores = np.round(random.random(len(guesses)), 2)
        rows = np.hstack([guesses, scores[:, None], kinds[:, None].astype(np.float64)])
        judged.append(Judged(rows[np.argsort(-scores, kind="stable")], boxes, labels))
    return judged


def with_pycocotools(images: list[Judged], classes: int) -> tuple[float, float]:
    truths: list[dict[str, Any]] = []
    guesses: list[dict[str, Any]] = []
    for number, image in enumerate(images, 1):
        for box, label in zip(image.boxes, image.labels, strict=True):
            left, top, right, bottom = box
            size = [left, top, right - left, bottom - top]
            area = size[2] * size[3]
            truths.append(
                {
                    "id": len(truths) + 1,
                    "image_id": number,
                    "category_id": int(label),
                    "bbox": size,
                    "area": area,
                    "iscrowd": 0,
                }
            )
        for left, top, right, bottom, score, label in image.rows:
            size = [left, top, right - left, bottom - top]
            guesses.append({"image_id": number, "category_id": int(label), "bbox": size, "score": score})
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = {
            "images": [{"id": number} for number in range(1, len(images) + 1)],
            "annotations": truths,
            "categories": [{"id": label} for label in range(classes)],
        }
        coco.createIndex()
        judge = COCOeval(coco, coco.loadRes(guesses), "bbox")
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    return float(judge.stats[1]), float(judge.stats[0])


@pytest.mark.parametrize("seed", range(8))
def test_average_precision_is_that_of_pycocotools(seed: int) -> None:
    images = scene(seed, images=12, classes=3, crowded=seed % 4 == 3)
    found = detection_metrics(images, 3)
    map50, map50_95 = with_pycocotools(images, 3)
    assert found["map50"] == pytest.approx(map50, abs=1e-9)
    assert found["map50_95"] == pytest.approx(map50_95, abs=1e-9)


def test_a_class_without_boxes_does_not_count() -> None:
    images = scene(1, images=6, classes=2)
    assert detection_metrics(images, 7)["map50"] == detection_metrics(images, 2)["map50"]


def test_perfect_guesses_are_perfect() -> None:
    boxes = np.array([[1.0, 2.0, 11.0, 22.0], [30.0, 30.0, 60.0, 50.0]])
    rows = np.hstack([boxes, [[0.9], [0.8]], [[0.0], [1.0]]])
    values = detection_metrics([Judged(rows, boxes, np.array([0, 1]))], 2)
    assert values == pytest.approx({"precision": 1.0, "recall": 1.0, "map50": 1.0, "map50_95": 1.0})


def test_precision_and_recall_are_those_where_their_f1_is_best() -> None:
    box = [0.0, 0.0, 10.0, 10.0]
    far = [50.0, 50.0, 60.0, 60.0]
    rows = np.array([[*box, 0.9, 0.0], [*far, 0.5, 0.0], [*far, 0.4, 0.0]])
    values = detection_metrics([Judged(rows, np.array([box, [20.0, 20.0, 30.0, 30.0]]), np.array([0, 0]))], 1)
    assert values["precision"] == pytest.approx(1.0)
    assert values["recall"] == pytest.approx(0.5)


def test_with_nothing_found_all_is_zero_and_with_nothing_to_find_nothing_is_known() -> None:
    nothing = np.empty((0, 6))
    missed = detection_metrics([Judged(nothing, np.array([[0.0, 0.0, 5.0, 5.0]]), np.array([0]))], 1)
    assert missed == {"precision": 0.0, "recall": 0.0, "map50": 0.0, "map50_95": 0.0}
    unknown = detection_metrics([Judged(nothing, np.empty((0, 4)), np.empty(0, dtype=np.int64))], 1)
    assert all(math.isnan(value) for value in unknown.values())
