import logging
from collections.abc import Callable
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from components.model_eval.slices import MOST_VALUES, SLICES, slices
from components.shared.evaluation.coco_metrics import coco_metrics
from components.shared.evaluation.outcomes import (
    at_confidence,
    sort_detections,
    truth_table,
    usable_images,
    with_outcomes,
)

SMALL, MEDIUM, LARGE = (50.0, 50.0, 20.0, 20.0), (50.0, 50.0, 60.0, 60.0), (50.0, 50.0, 120.0, 120.0)


def cut(dataset: Any, detections: pl.DataFrame, *, confidence: float = 0.0, least: int = 1) -> pl.DataFrame:
    images = usable_images(dataset)
    predictions, truths = with_outcomes(
        sort_detections(detections), truth_table(dataset, images), images, threshold=0.5
    )
    return slices(predictions, at_confidence(truths, confidence), images, confidence=confidence, least=least)


def row(table: pl.DataFrame, name: str) -> dict[str, Any]:
    return table.row(by_predicate=pl.col("slice") == name, named=True)


def test_a_right_prediction_goes_with_the_box_it_found_and_a_wrong_one_with_its_own(
    shapes: Callable[..., Any], truth: Any, found: Any, detections: Any
) -> None:
    dataset = shapes([truth(0, "a", (50, 50, 31, 31)), truth(1, "a", LARGE)], ["a"], 3)
    # The first prediction is of medium size and finds the small box; the second finds nothing.
    rows = [found(0, "a", 0.9, (50, 50, 35, 33)), found(2, "a", 0.8, MEDIUM), found(2, "a", 0.7, SMALL)]

    table = cut(dataset, detections(rows))

    small, medium, large = (row(table, f"size:{name}") for name in ("small", "medium", "large"))
    assert (small["support"], small["recall"], small["precision"]) == (1, 1.0, 0.5)
    assert small["f1"] == pytest.approx(2 / 3)
    assert (medium["support"], medium["recall"]) == (0, None)
    assert (large["support"], large["recall"], large["precision"], large["f1"]) == (1, 0.0, None, 0.0)


def test_the_size_is_the_objects_area_not_its_boxs(shapes: Callable[..., Any], truth: Any, detections: Any) -> None:
    dataset = shapes([truth(0, "a", MEDIUM, attributes='{"area": 900}')], ["a"], 1)

    assert row(cut(dataset, detections([])), "size:small")["support"] == 1


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ((1.0, 50.0, 20.0, 20.0), "border:cut"),
        ((50.0, 0.0, 20.0, 20.0), "border:cut"),
        ((299.5, 50.0, 20.0, 20.0), "border:cut"),
        ((50.0, 219.0, 20.0, 20.0), "border:cut"),
        ((1.5, 1.5, 20.0, 20.0), "border:inside"),
        ((50.0, 50.0, 20.0, 60.5), "aspect:tall"),
        ((50.0, 50.0, 20.0, 60.0), "aspect:even"),
        ((50.0, 50.0, 60.0, 20.0), "aspect:even"),
        ((50.0, 50.0, 60.5, 20.0), "aspect:wide"),
    ],
)
def test_border_and_shape_are_told_from_the_box(
    shapes: Callable[..., Any], truth: Any, detections: Any, box: Any, expected: str
) -> None:
    table = cut(shapes([truth(0, "a", box)], ["a"], 1), detections([]))

    kind = expected.split(":", maxsplit=1)[0]
    assert table.filter((pl.col("kind") == kind) & (pl.col("support") == 1))["slice"].to_list() == [expected]


def test_density_counts_the_objects_of_the_image(
    shapes: Callable[..., Any], truth: Any, found: Any, detections: Any
) -> None:
    boxes = [(image_id, place) for image_id, count in ((0, 3), (1, 4), (2, 12)) for place in range(count)]
    truths = [truth(image_id, "a", (20.0 * place, 10.0, 15.0, 15.0)) for image_id, place in boxes]
    crowds = [truth(0, "a", (10.0, 100.0, 50.0, 50.0), True) for _ in range(5)]

    table = cut(
        shapes([*truths, *crowds], ["a"], 4),
        detections([found(3, "a", 0.9, SMALL), found(1, "a", 0.9, LARGE)]),
    )

    of_density = table.filter(pl.col("kind") == "density")
    assert of_density["slice"].to_list() == ["density:1-3", "density:4-9", "density:10+"]
    assert of_density["support"].to_list() == [3, 4, 12]
    assert of_density["precision"].to_list() == [None, 0.0, None]


def test_slices_below_the_support_are_listed_and_not_judged(
    shapes: Callable[..., Any], truth: Any, detections: Any
) -> None:
    dataset = shapes([truth(0, "a", SMALL)] * 19 + [truth(0, "a", LARGE)] * 20, ["a"], 1)

    table = cut(dataset, detections([]), least=20)

    assert dict(table.schema) == SLICES
    small, large = row(table, "size:small"), row(table, "size:large")
    assert [small[name] for name in ("support", "recall", "precision", "f1", "ap50")] == [19, None, None, None, None]
    assert [large[name] for name in ("support", "recall", "f1", "ap50")] == [20, 0.0, 0.0, 0.0]


def test_each_value_of_a_tag_is_a_slice_of_its_images(
    shapes: Callable[..., Any], truth: Any, found: Any, detections: Any
) -> None:
    dataset = shapes([truth(image_id, "a", SMALL) for image_id in range(3)], ["a"], 3)
    object.__setattr__(
        dataset,
        "images",
        dataset.images.with_columns(
            pl.Series("tags", ['{"light": "day"}', '{"light": "night", "site": "A \u00e9"}', None])
        ),
    )

    table = cut(dataset, detections([found(0, "a", 0.9, SMALL), found(1, "a", 0.9, LARGE)]))

    day, night = row(table, "tag:light=day"), row(table, "tag:light=night")
    assert (day["recall"], day["precision"], day["ap50"]) == (1.0, 1.0, pytest.approx(1.0))
    assert (night["recall"], night["precision"]) == (0.0, 0.0)
    assert row(table, "tag:site=A \u00e9")["support"] == 1


def test_a_tag_with_a_value_an_image_does_not_flood_the_table(
    shapes: Callable[..., Any], truth: Any, detections: Any, caplog: pytest.LogCaptureFixture
) -> None:
    dataset = shapes([truth(image_id, "a", SMALL) for image_id in range(60)], ["a"], 60)
    tags = pl.Series("tags", [f'{{"id": "{number}"}}' for number in range(60)])
    object.__setattr__(dataset, "images", dataset.images.with_columns(tags))

    with caplog.at_level(logging.INFO):
        table = cut(dataset, detections([]))

    assert table.filter(pl.col("kind") == "tag").height == MOST_VALUES
    assert "'id' has 60 values" in caplog.text


def test_nothing_at_all_gives_slices_without_support(shapes: Callable[..., Any], detections: Any) -> None:
    table = cut(shapes([], ["a"], 2), detections([]))

    assert table["support"].sum() == 0
    assert table["recall"].null_count() == table.height


def test_average_precision_by_size_is_that_of_coco(random_set: Callable[..., Any]) -> None:
    case = random_set(3, images=60, crowd=0.1)
    truths = truth_table(case.dataset, usable_images(case.dataset))
    # One object an image and class: a prediction cannot be near a box inside and one outside the slice.
    lonely = truths.filter(pl.len().over("image_id", "category") == 1)["annotation_id"].implode()
    kept = case.dataset.annotations.filter(pl.col("annotation_id").is_in(lonely))
    object.__setattr__(case.dataset, "annotations", kept)
    truths = truth_table(case.dataset, usable_images(case.dataset))

    table = cut(case.dataset, case.detections)

    for name, low, high in (("small", 0, 32**2), ("medium", 32**2, 96**2), ("large", 96**2, 1e9)):
        outside = ~pl.col("area").is_between(low, high, closed="left")
        own = pl.col("width") * pl.col("height")
        # COCO ignores boxes of another size, and wrong predictions of another size.
        matched = with_outcomes(sort_detections(case.detections), truths, usable_images(case.dataset), threshold=0.5)[0]
        inside = matched.filter((pl.col("outcome") == "TP") | own.is_between(low, high, closed="left"))
        regions = truths.with_columns((pl.col("ignore") | outside).alias("ignore"))
        expected = coco_metrics(
            inside, regions, usable_images(case.dataset)["image_id"].to_list(), case.dataset.classes
        )
        assert row(table, f"size:{name}")["ap50"] == pytest.approx(expected.summary["map50"], abs=1e-9)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 10_000), confidence=st.sampled_from([0.0, 0.3, 0.8]))
def test_the_slices_of_a_kind_add_up_to_the_whole(random_set: Callable[..., Any], seed: int, confidence: float) -> None:
    case = random_set(seed, images=5)
    images = usable_images(case.dataset)
    predictions, truths = with_outcomes(
        sort_detections(case.detections), truth_table(case.dataset, images), images, threshold=0.5
    )
    counted = truths.filter(~pl.col("ignore"))
    found = counted.filter(pl.col("score") >= confidence).height
    table = slices(predictions, truths, images, confidence=confidence, least=0)

    for _, of_kind in table.group_by("kind"):
        assert of_kind["support"].sum() == counted.height
        hits = (of_kind["recall"] * of_kind["support"]).sum()
        assert hits == pytest.approx(found)
    assert table.filter(pl.col("recall").is_not_null())["recall"].is_between(0, 1).all()
