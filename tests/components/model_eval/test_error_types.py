import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from components.model_eval.error_types import ErrorType, ErrorTypes, error_types
from components.shared.boxes import iou_matrix
from components.shared.errors import ConfigError
from components.shared.evaluation.coco_metrics import coco_metrics
from components.shared.evaluation.outcomes import (
    DETECTIONS,
    PREDICTIONS,
    TRUTHS,
    UNMATCHED,
    sort_detections,
    truth_table,
    usable_images,
    with_outcomes,
)

COCO_TINY = Path(__file__).parents[4] / "shared" / "data" / "coco_tiny"
HERE = (100.0, 100.0, 40.0, 40.0)
NEAR = (120.0, 100.0, 40.0, 40.0)  # IoU 1/3 with HERE
TENTH = (100.0, 100.0, 40.0, 4.0)  # IoU exactly 0.1 with HERE
AWAY = (10.0, 10.0, 20.0, 20.0)


def diagnose(case_truths: Any, found: Any, **options: float) -> ErrorTypes:
    dataset, detections = case_truths, found
    truths = truth_table(dataset, usable_images(dataset))
    return error_types(sort_detections(detections), truths, dataset.classes, **{"confidence": 0.0, **options})


def counts(errors: ErrorTypes) -> dict[str, int]:
    return {name: count for name, count in errors.summary.select("type", "count").iter_rows() if count}


def costs(errors: ErrorTypes) -> dict[str, float]:
    return dict(errors.summary.select("type", "cost").iter_rows())


@pytest.fixture
def one(shapes: Callable[..., Any], truth: Any, found: Any, detections: Any) -> Callable[..., ErrorTypes]:
    """Errors of predictions (class, score, box) on one image with one ``a`` at HERE; ``b`` exists elsewhere."""

    def run(*predicted: tuple[str, float, Any], **options: Any) -> ErrorTypes:
        crowd = options.pop("crowd", False)
        dataset = shapes([truth(0, "a", HERE, crowd), truth(1, "b", HERE)], ["a", "b"], 2)
        rows = [found(0, *row) for row in predicted] + [found(1, "b", 0.99, HERE)]
        return diagnose(dataset, detections(rows), **options)

    return run


@pytest.mark.parametrize(
    ("predicted", "expected"),
    [
        ([("a", 0.9, HERE)], {}),
        ([("b", 0.9, HERE)], {"class": 1}),
        ([("a", 0.9, NEAR)], {"location": 1}),
        ([("b", 0.9, NEAR)], {"both": 1, "missed": 1}),
        ([("a", 0.9, HERE), ("a", 0.8, HERE)], {"duplicate": 1}),
        ([("a", 0.9, HERE), ("a", 0.8, AWAY)], {"background": 1}),
        ([("a", 0.9, TENTH)], {"location": 1}),
        ([("b", 0.9, TENTH)], {"background": 1, "missed": 1}),
        ([], {"missed": 1}),
        ([("unknown", 0.9, HERE)], {"class": 1}),
        ([("unknown", 0.9, AWAY)], {"background": 1, "missed": 1}),
    ],
)
def test_each_wrong_prediction_and_each_lost_object_has_its_type(
    one: Callable[..., ErrorTypes], predicted: list[Any], expected: dict[str, int]
) -> None:
    assert counts(one(*predicted)) == expected


def test_the_box_of_a_class_or_location_error_says_so_and_is_not_missed(one: Callable[..., ErrorTypes]) -> None:
    assert one(("a", 0.5, NEAR), ("b", 0.9, HERE)).truths.to_list() == ["class", None]
    assert one(("a", 0.9, NEAR), ("b", 0.5, HERE)).truths.to_list() == ["location", None]


def test_a_prediction_in_an_ignore_region_is_no_error_and_the_region_is_not_missed(
    one: Callable[..., ErrorTypes],
) -> None:
    errors = one(("a", 0.9, (105.0, 105.0, 10.0, 10.0)), crowd=True)

    assert counts(errors) == {}
    assert errors.predictions.to_list() == [None, None]
    assert errors.truths.to_list() == [None, None]


def test_below_the_confidence_nothing_counts_but_the_object_is_missed(one: Callable[..., ErrorTypes]) -> None:
    errors = one(("a", 0.3, NEAR), confidence=0.5)

    assert counts(errors) == {"missed": 1}
    assert errors.predictions.to_list() == ["location", None]
    assert errors.truths.to_list() == ["missed", None]


def test_an_overlap_of_exactly_the_foreground_is_right_and_a_second_one_a_duplicate(
    one: Callable[..., ErrorTypes],
) -> None:
    half = (100.0, 100.0, 40.0, 20.0)

    assert counts(one(("a", 0.9, half), ("a", 0.8, half))) == {"duplicate": 1}


@pytest.mark.parametrize(
    ("predicted", "gained"),
    [
        # mAP50 is (AP of a + 1) / 2; a false prediction before the right one halves AP of a.
        ([("a", 0.9, AWAY), ("a", 0.8, HERE)], {"background": 0.25}),
        ([("a", 0.9, NEAR)], {"location": 0.5}),
        ([("a", 0.9, NEAR), ("a", 0.8, HERE)], {"location": 0.25}),
        ([("b", 0.9, HERE)], {"class": 0.5}),
        # Class b: the false one (0.995) comes before the right one (0.99), so class a gains 1 and class b a half.
        ([("b", 0.995, HERE)], {"class": 0.75}),
        # a's only object is missed: a leaves the mean of 0 and 1.
        ([], {"missed": 0.5}),
    ],
)
def test_the_cost_is_what_mending_that_type_alone_would_gain(
    one: Callable[..., ErrorTypes], predicted: list[Any], gained: dict[str, float]
) -> None:
    assert costs(one(*predicted)) == pytest.approx(dict.fromkeys(ErrorType, 0.0) | gained, abs=1e-9)


def test_only_the_best_of_several_errors_about_an_object_is_mended_the_others_go(
    one: Callable[..., ErrorTypes],
) -> None:
    errors = one(("a", 0.9, NEAR), ("a", 0.8, NEAR), ("b", 0.7, HERE))

    assert costs(errors)["location"] == pytest.approx(0.5)
    assert costs(errors)["class"] == pytest.approx(0.0)


def test_a_model_that_finds_nothing_owes_everything_to_missed_objects(
    shapes: Callable[..., Any], truth: Any, detections: Any
) -> None:
    errors = diagnose(shapes([truth(0, "a", HERE)], ["a", "b"], 1), detections([]))

    assert errors.map50 == 0
    assert counts(errors) == {"missed": 1}
    assert costs(errors) == dict.fromkeys(ErrorType, 0.0) | {"missed": 1.0}


def test_without_ground_truth_there_is_no_cost(shapes: Callable[..., Any], found: Any, detections: Any) -> None:
    errors = diagnose(shapes([], ["a"], 1), detections([found(0, "a", 0.9, HERE)]))

    assert errors.map50 is None
    assert counts(errors) == {"background": 1}
    assert set(costs(errors).values()) == {None}


@pytest.mark.parametrize(("background", "foreground"), [(0.0, 0.5), (0.5, 0.5), (0.1, 1.1), (0.6, 0.5)])
def test_bounds_that_make_no_sense_are_refused(
    one: Callable[..., ErrorTypes], background: float, foreground: float
) -> None:
    with pytest.raises(ConfigError, match=r"0 < background < foreground <= 1"):
        one(background=background, foreground=foreground)


def by_the_paper(predictions: pl.DataFrame, truths: pl.DataFrame) -> list[str | None]:
    """The types one prediction at a time, from the matched tables."""
    kinds: list[str | None] = []
    for row in predictions.iter_rows(named=True):
        there = truths.filter((pl.col("image_id") == row["image_id"]) & ~pl.col("ignore"))
        box = np.array([[row[name] for name in ("x", "y", "width", "height")]])
        ious = iou_matrix(box, there.select("x", "y", "width", "height").to_numpy().astype(float).reshape(-1, 4))[0]
        same = (there.get_column("category") == row["category"]).to_numpy().astype(bool)
        own, other = ious[same].max(initial=0.0), ious[~same].max(initial=0.0)
        if row["outcome"] != "FP":
            kinds.append(None)
        elif 0.1 <= own < 0.5:
            kinds.append("location")
        elif other >= 0.5:
            kinds.append("class")
        elif own >= 0.5:
            kinds.append("duplicate")
        else:
            kinds.append("background" if other <= 0.1 else "both")
    return kinds


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 10_000), crowd=st.sampled_from([0.0, 0.3]), confidence=st.sampled_from([0.0, 0.4, 0.95]))
def test_types_are_those_of_the_paper_and_everything_adds_up(
    random_set: Callable[..., Any], seed: int, crowd: float, confidence: float
) -> None:
    case = random_set(seed, crowd=crowd, images=5)
    images = usable_images(case.dataset)
    truths = truth_table(case.dataset, images)
    predictions, matched = with_outcomes(sort_detections(case.detections), truths, images, threshold=0.5)

    errors = error_types(predictions, truths, case.dataset.classes, confidence=confidence)

    assert errors.predictions.to_list() == by_the_paper(predictions, truths)
    lost = (~matched["ignore"]) & ~(matched["score"].fill_null(-1) >= confidence)
    assert errors.truths.is_not_null().to_list() == lost.to_list()
    made = predictions.with_columns(errors.predictions).filter(pl.col("score") >= confidence)
    found = counts(errors)
    assert found.get("missed", 0) == errors.truths.to_list().count("missed")
    assert sum(found.values()) - found.get("missed", 0) == made["error"].count()
    assert all(cost >= 0 for cost in costs(errors).values() if cost is not None)


@pytest.mark.parametrize("seed", range(4))
def test_the_map_before_mending_is_that_of_coco(random_set: Callable[..., Any], seed: int) -> None:
    case = random_set(seed)
    images = usable_images(case.dataset)
    truths, detections = truth_table(case.dataset, images), sort_detections(case.detections)
    coco = coco_metrics(detections, truths, images["image_id"].to_list(), case.dataset.classes)

    errors = error_types(detections, truths, case.dataset.classes, confidence=0.5)

    assert errors.map50 == pytest.approx(coco.summary["map50"], abs=1e-12)


def real_tables() -> tuple[pl.DataFrame, pl.DataFrame, list[str], list[int]]:
    """The boxes of coco_tiny and predictions made by moving, renaming, doubling and dropping them."""
    path = next(iter(sorted(COCO_TINY.rglob("*.json"))), None)
    if path is None:
        pytest.skip(f"{COCO_TINY} is not here")
    content = json.loads(path.read_text())
    names = {category["id"]: category["name"] for category in content["categories"]}
    rows = sorted(content["annotations"], key=lambda row: (row["image_id"], row["id"]))
    random = np.random.default_rng(7)
    true, found = [], []
    for number, row in enumerate(rows):
        box, name, crowd = np.array(row["bbox"], dtype=float), names[row["category_id"]], bool(row["iscrowd"])
        true.append((number, row["image_id"], "", name, *box.tolist(), row["area"], crowd, False, crowd))
        for _ in range(random.integers(0, 3)):
            guess = name if random.random() < 0.8 else random.choice(list(names.values()))
            moved = np.maximum(box + random.normal(0, 0.12, 4) * np.tile(box[2:], 2), 1.0)
            found.append((row["image_id"], guess, float(random.uniform(0.01, 1)), *moved.tolist()))
    truths = pl.DataFrame(true, schema={name: TRUTHS[name] for name in UNMATCHED}, orient="row")
    detections = sort_detections(pl.DataFrame(found, schema=DETECTIONS, orient="row"))
    return detections, truths, list(names.values()), [image["id"] for image in content["images"]]


def test_real_boxes_moved_about_give_every_type_and_the_map_of_coco() -> None:
    detections, truths, classes, image_ids = real_tables()

    errors = error_types(detections, truths, classes, confidence=0.1)

    assert set(counts(errors)) >= {"class", "location", "duplicate", "missed"}
    expected = coco_metrics(detections, truths, image_ids, classes).summary["map50"]
    assert errors.map50 == pytest.approx(expected, abs=1e-12)
    assert max(costs(errors), key=lambda kind: costs(errors)[kind]) in {"class", "location", "missed"}


def test_the_columns_join_the_tables_row_by_row(random_set: Callable[..., Any]) -> None:
    case = random_set(1)
    images = usable_images(case.dataset)
    predictions, matched = with_outcomes(
        sort_detections(case.detections), truth_table(case.dataset, images), images, threshold=0.5
    )

    errors = error_types(predictions, matched, case.dataset.classes, confidence=0.0)

    assert predictions.with_columns(errors.predictions).columns == [*PREDICTIONS, "error"]
    wrong = predictions.with_columns(errors.predictions).filter(pl.col("outcome") == "FP")
    assert wrong["error"].null_count() == 0
    assert matched.with_columns(errors.truths).filter(pl.col("outcome") == "FN")["error"].null_count() == 0
