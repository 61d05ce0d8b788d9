import base64
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from components.model_eval import explorer
from components.model_eval.explorer import IOUS, encode_counts, explorer_data
from components.shared.evaluation.outcomes import (
    DETECTIONS,
    at_confidence,
    sort_detections,
    truth_table,
    usable_images,
    with_outcomes,
)

IOU, BIN = st.integers(0, 9), st.integers(0, 199)


def decode(text: str, size: int) -> np.ndarray:
    """The array behind the text, read as a browser would: byte by byte."""
    numbers, value, shift = [], 0, 0
    for byte in base64.b64decode(text):
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            numbers.append(value)
            value, shift = 0, 0
    cells, position = np.zeros(size, dtype=np.int64), -1
    for gap, coded in zip(numbers[::2], numbers[1::2], strict=True):
        position += gap + 1
        cells[position] = -(coded + 1) // 2 if coded % 2 else coded // 2
    return cells


def counts_at(data: dict[str, Any], name: str, iou: int, least: int) -> tuple[int, int, int, int]:
    """Right, wrong, ignored and missed of a class at the IoU of that position and scores from bin ``least`` up."""
    shape = (len(data["classes"]), 21, data["bins"])
    label = data["classes"].index(name)
    rows = decode(data["counts"], int(np.prod(shape))).reshape(shape)[label, :, least:].sum(axis=1)
    right, ignored = int(rows[1 : iou + 2].sum()), int(rows[11 : iou + 12].sum())
    return right, int(rows[0]) - right - ignored, ignored, data["truths"][label] - right


def counts_by_tables(case: Any, name: str, iou: int, confidence: float) -> tuple[int, int, int, int]:
    images = usable_images(case.dataset)
    predictions, truths = with_outcomes(
        sort_detections(case.detections),
        truth_table(case.dataset, images),
        images,
        threshold=float(IOUS[iou]),
    )
    made = predictions.filter((pl.col("score") >= confidence) & (pl.col("category") == name))["outcome"].to_list()
    lost = at_confidence(truths, confidence).filter(pl.col("category") == name)["outcome"].to_list().count("FN")
    return made.count("TP"), made.count("FP"), made.count("ignored"), lost


def data_of(case: Any) -> dict[str, Any]:
    truths = truth_table(case.dataset, usable_images(case.dataset))
    made: dict[str, Any] = explorer_data(sort_detections(case.detections), truths, case.dataset.classes)
    return made


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 10_000), iou=IOU, least=BIN)
def test_at_every_iou_and_step_of_confidence_the_counts_are_those_of_the_tables(
    random_set: Callable[..., Any], seed: int, iou: int, least: int
) -> None:
    case = random_set(seed, images=4, crowd=0.3)  # scores have two digits, so many lie on an edge of a bin

    data = json.loads(json.dumps(data_of(case)))

    for name in case.dataset.classes:
        assert counts_at(data, name, iou, least) == counts_by_tables(case, name, iou, least / 200)


def test_one_prediction_is_right_up_to_the_iou_it_has(
    shapes: Callable[..., Any], truth: Any, found: Any, detections: Any
) -> None:
    truths = truth_table(dataset := shapes([truth(0, "a", (0, 0, 100, 100))], ["a"], 1), usable_images(dataset))

    data = explorer_data(detections([found(0, "a", 0.42, (0, 0, 100, 72))]), truths, ["a"])

    assert [counts_at(data, "a", iou, 0) for iou in range(10)] == [(1, 0, 0, 0)] * 5 + [(0, 1, 0, 1)] * 5
    assert counts_at(data, "a", 0, 84) == (1, 0, 0, 0)
    assert counts_at(data, "a", 0, 85) == (0, 0, 0, 1)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from([0, 0, 0, 1, -1, 63, -64, 64, 127, 128, -5_000, 2_000_000]), max_size=300))
def test_what_is_encoded_can_be_read_again(values: list[int]) -> None:
    array = np.array(values, dtype=np.int64)

    assert decode(encode_counts(array), len(array)).tolist() == values


def test_without_predictions_everything_is_missed(shapes: Callable[..., Any], truth: Any, detections: Any) -> None:
    truths = truth_table(dataset := shapes([truth(0, "a", (0, 0, 9, 9))], ["a"], 1), usable_images(dataset))

    data = explorer_data(detections([]), truths, ["a", "b"])

    assert (data["counts"], data["truths"]) == ("", [1, 0])
    assert counts_at(data, "a", 3, 0) == (0, 0, 0, 1)


def test_without_classes_there_is_nothing_to_show(random_set: Callable[..., Any]) -> None:
    case = random_set(2)
    truths = truth_table(case.dataset, usable_images(case.dataset))

    data = explorer_data(case.detections, truths, [])

    assert (data["classes"], data["truths"], data["counts"]) == ([], [], "")


def test_classes_that_are_not_asked_for_are_left_out(random_set: Callable[..., Any]) -> None:
    case = random_set(2)
    truths = truth_table(case.dataset, usable_images(case.dataset))
    whole = data_of(case)

    part = explorer_data(sort_detections(case.detections), truths, ["class 1"])

    assert part["truths"] == whole["truths"][1:2]
    assert counts_at(part, "class 1", 0, 0) == counts_at(whole, "class 1", 0, 0)


@pytest.mark.slow
@pytest.mark.parametrize("classes", [1, 80])
def test_a_hundred_thousand_predictions_stay_below_600_kilobytes(classes: int) -> None:
    random = np.random.default_rng(0)
    count = 100_000
    names = [f"class {index}" for index in range(classes)]
    boxes = np.concatenate([random.uniform(0, 600, (count, 2)), random.uniform(5, 60, (count, 2))], axis=1)
    columns = dict(zip(("x", "y", "width", "height"), boxes.T, strict=True))
    made = pl.DataFrame(
        {
            "image_id": np.arange(count) // 100,
            "category": [names[label] for label in random.integers(0, classes, count)],
            "score": random.uniform(0, 1, count),
            **columns,
        },
        schema=DETECTIONS,
    )
    truths = made.gather_every(3).with_columns(pl.col("x") + pl.col("width") * 0.1, pl.lit(value=False).alias("ignore"))

    data = explorer_data(made, truths, names)

    assert data["bins"] == 200
    assert len(json.dumps(data)) < 600_000


def test_counts_that_would_be_too_large_get_fewer_bins_and_stay_exact(
    random_set: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    case = random_set(4)
    monkeypatch.setattr(explorer, "_MOST_CHARACTERS", 10)

    data = data_of(case)

    assert data["bins"] == 25
    for least in (0, 5, 20):
        assert counts_at(data, "class 0", 2, least) == counts_by_tables(case, "class 0", 2, least / 25)
