from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.model_eval.bootstrap import (
    CLASS_INTERVALS,
    Interval,
    _class_precisions,
    _mean,
    _weights,
    bootstrap,
    paired_bootstrap,
)
from components.model_eval.match_records import match_records
from components.shared.evaluation.coco_metrics import coco_metrics
from components.shared.evaluation.outcomes import sort_detections, truth_table

EXACT = 1e-9
Set = tuple[pl.DataFrame, pl.DataFrame, list[int], list[str]]


@pytest.fixture
def case(random_set: Callable[..., Any]) -> Callable[..., Set]:
    def make(seed: int, images: int = 12, **options: Any) -> Set:
        made = random_set(seed, images=images, **options)
        truths = truth_table(made.dataset, made.dataset.images)
        return sort_detections(made.detections), truths, list(range(images)), list(made.dataset.classes)

    return make


@pytest.mark.parametrize("seed", range(8))
def test_the_values_are_those_of_coco(case: Callable[..., Set], seed: int) -> None:
    made = case(seed, crowd=0.3, boxes=10)

    intervals = bootstrap(*made, resamples=2)

    expected = coco_metrics(*made)
    assert intervals.map50.value == pytest.approx(expected.summary["map50"], abs=EXACT)
    assert intervals.map50_95.value == pytest.approx(expected.summary["map50_95"], abs=EXACT)
    for name in ("ap50", "ap50_95"):
        values = intervals.by_class.get_column(name).to_list()
        assert values == pytest.approx(expected.by_class.get_column(name).to_list(), abs=EXACT)


@pytest.mark.parametrize("seed", range(4))
def test_a_resample_has_the_numbers_of_a_set_with_its_images_repeated(case: Callable[..., Set], seed: int) -> None:
    detections, truths, images, classes = case(seed, crowd=0.3)
    detections = sort_detections(detections.with_columns(pl.col("score") + 1e-6 * pl.int_range(pl.len())))  # no ties
    weights = _weights(len(images), 3, seed)
    found = _mean(_class_precisions(match_records(detections, truths, images, classes), weights)[..., 0])

    for drawn, value in zip(weights, found.tolist(), strict=True):
        copies = [(image, 100 * image + copy) for image, count in enumerate(drawn.tolist()) for copy in range(count)]
        renamed = pl.DataFrame(copies, schema={"image_id": pl.UInt32, "copy": pl.UInt32}, orient="row")
        repeated = [
            table.join(renamed, on="image_id").drop("image_id").rename({"copy": "image_id"}).sort("image_id")
            for table in (detections, truths)
        ]
        expected = coco_metrics(sort_detections(repeated[0]), repeated[1], [copy for _, copy in copies], classes)
        assert value == pytest.approx(expected.summary["map50_95"], abs=EXACT)


def test_more_than_a_hundred_detections_of_a_class_on_an_image_are_cut(case: Callable[..., Set]) -> None:
    detections, truths, _, classes = case(1, images=1, classes=1, boxes=30)
    many = sort_detections(pl.concat([detections] * 20))
    assert many.height > 200

    intervals = bootstrap(many, truths, [0], classes, resamples=3)

    assert intervals.map50.value == pytest.approx(coco_metrics(many, truths, [0], classes).summary["map50"], abs=EXACT)


def test_the_same_seed_gives_the_same_intervals_and_another_seed_others(case: Callable[..., Set]) -> None:
    made = case(2)

    first, second, other = (bootstrap(*made, resamples=50, seed=seed) for seed in (4, 4, 5))

    assert first.map50_95 == second.map50_95
    assert first.by_class.equals(second.by_class)
    assert first.map50_95 != other.map50_95


def test_the_value_lies_inside_its_interval(case: Callable[..., Set]) -> None:
    intervals = bootstrap(*case(3, images=40, classes=12), resamples=200)

    for interval in (intervals.map50, intervals.map50_95):
        assert 0 <= interval.low < interval.value < interval.high <= 1
    inside = intervals.by_class.select(
        pl.col("ap50_low").is_between(0, pl.col("ap50")), pl.col("ap50_high").is_between(pl.col("ap50"), 1)
    )
    assert inside.to_numpy().all()


def test_more_images_make_narrower_intervals(case: Callable[..., Set]) -> None:
    few, many = (bootstrap(*case(6, images=images), resamples=200).map50 for images in (15, 150))

    assert many.high - many.low < 0.6 * (few.high - few.low)


def test_a_perfect_model_has_no_doubt(case: Callable[..., Set]) -> None:
    _, truths, images, classes = case(5, crowd=0.0)
    perfect = truths.with_columns(pl.lit(0.9).alias("score"))

    found = bootstrap(perfect, truths, images, classes, resamples=30).map50_95

    assert (found.value, found.low, found.high) == pytest.approx((1.0, 1.0, 1.0))


def test_a_class_without_ground_truth_has_no_interval(case: Callable[..., Set]) -> None:
    detections, truths, images, classes = case(0)

    intervals = bootstrap(detections, truths, images, [*classes, "unseen"], resamples=10)

    assert dict(intervals.by_class.schema) == CLASS_INTERVALS
    assert intervals.by_class.row(-1) == ("unseen", *[None] * 6)
    assert intervals.map50.value == pytest.approx(coco_metrics(detections, truths, images, classes).summary["map50"])


def test_without_detections_all_is_zero_and_without_ground_truth_nothing_is_measured(case: Callable[..., Set]) -> None:
    detections, truths, images, classes = case(0)

    nothing_found = bootstrap(detections.clear(), truths, images, classes, resamples=10)
    nothing_true = bootstrap(detections, truths.clear(), images, classes, resamples=10)

    assert nothing_found.map50_95 == Interval(0.0, 0.0, 0.0)
    assert np.isnan([nothing_true.map50.value, nothing_true.map50.low, nothing_true.map50.high]).all()
    assert nothing_true.by_class.get_column("ap50").null_count() == len(classes)


def test_without_images_or_classes_nothing_is_measured(case: Callable[..., Set]) -> None:
    detections, truths, images, classes = case(0)

    assert np.isnan(bootstrap(detections, truths, [], classes, resamples=5).map50.value)
    assert bootstrap(detections, truths, images, [], resamples=5).by_class.is_empty()


def test_a_model_does_not_differ_from_itself(case: Callable[..., Set]) -> None:
    detections, *rest = case(8)

    assert paired_bootstrap(detections, detections, *rest, resamples=20) == Interval(0.0, 0.0, 0.0)


def test_a_worse_model_is_told_apart_and_the_sign_follows_the_order(case: Callable[..., Set]) -> None:
    better, truths, images, classes = case(9, images=60)
    worse = better.with_columns(pl.col("x") + 0.12 * pl.col("width"))

    ahead = paired_bootstrap(better, worse, truths, images, classes, resamples=200)
    behind = paired_bootstrap(worse, better, truths, images, classes, resamples=200)

    expected = [coco_metrics(each, truths, images, classes).summary["map50_95"] for each in (better, worse)]
    assert ahead.value == pytest.approx(expected[0] - expected[1], abs=EXACT)
    assert 0 < ahead.low < ahead.value < ahead.high
    assert (behind.low, behind.high) == pytest.approx((-ahead.high, -ahead.low))


def test_pairing_makes_the_interval_of_two_like_models_narrower_than_their_own(case: Callable[..., Set]) -> None:
    ours, truths, images, classes = case(10, images=60)
    theirs = ours.with_columns(pl.col("x") + 0.01 * pl.col("width"))

    paired = paired_bootstrap(ours, theirs, truths, images, classes, resamples=200)

    own = bootstrap(ours, truths, images, classes, resamples=200).map50_95
    assert paired.high - paired.low < 0.6 * (own.high - own.low)


@given(st.integers(1, 30), st.integers(1, 20), st.integers(0, 2**32 - 1))
def test_each_resample_draws_as_many_images_as_there_are(images: int, resamples: int, seed: int) -> None:
    weights = _weights(images, resamples, seed)

    assert weights.shape == (resamples, images)
    assert (weights >= 0).all()
    assert (weights.sum(axis=1) == images).all()


@pytest.mark.slow
def test_nineteen_intervals_in_twenty_hold_the_mean_over_other_sets(random_set: Callable[..., Any]) -> None:
    trials, images = 120, 60
    population = random_set(0, classes=4, images=3000, crowd=0.05)
    truths = truth_table(population.dataset, population.dataset.images)
    random, found = np.random.default_rng(1), []
    for trial in range(trials):
        chosen = random.choice(3000, images, replace=False)
        tables = (table.filter(pl.col("image_id").is_in(chosen)) for table in (population.detections, truths))
        classes = list(population.dataset.classes)
        found.append(bootstrap(*tables, chosen.tolist(), classes, resamples=200, seed=trial).map50_95)
    mean = np.mean([interval.value for interval in found])

    held = np.mean([interval.low <= mean <= interval.high for interval in found])

    assert 0.88 <= held <= 1.0


@pytest.mark.parametrize("column", ["score", "x", "width"])
def test_values_that_are_no_numbers_count_as_in_the_metrics(case: Callable[..., Set], column: str) -> None:
    detections, *rest = case(4)
    broken = detections.with_columns(
        pl.when(pl.int_range(pl.len()) % 3 == 0).then(float("nan")).otherwise(column).alias(column)
    )

    intervals = bootstrap(broken, *rest, resamples=2)

    assert intervals.map50.value == pytest.approx(coco_metrics(broken, *rest).summary["map50"], abs=EXACT)
