import math
from typing import Any

import polars as pl
import pytest

from components.model_eval.evaluation import EvaluateOptions
from components.model_eval.per_class import PER_CLASS
from components.model_eval.quality import FALLBACK_CONFIDENCE, evaluate_predictions
from components.shared.errors import ConfigError
from components.shared.evaluation.curves import CONFIDENCES
from components.shared.evaluation.outcomes import PREDICTIONS, TRUTHS

BOX = (10.0, 10.0, 50.0, 50.0)
AWAY = (150.0, 100.0, 40.0, 40.0)
OPTIONS = EvaluateOptions()


def test_each_box_gets_its_outcome_and_its_partner(shapes: Any, truth: Any, detections: Any, found: Any) -> None:
    dataset = shapes([truth(0, "cat", BOX), truth(0, "cat", AWAY), truth(1, "cat", BOX, crowd=True)], ["cat"], 2)
    made = [found(0, "cat", 0.6, BOX), found(0, "cat", 0.9, BOX), found(1, "cat", 0.8, (20.0, 20.0, 5.0, 5.0))]

    evaluation = evaluate_predictions(dataset, detections(made), ("cat",), OPTIONS)

    columns = ("score", "outcome", "annotation_id", "name")
    assert evaluation.predictions.select(columns).rows() == [
        (0.9, "TP", 0, "images/000.jpg"),
        (0.6, "FP", None, "images/000.jpg"),
        (0.8, "ignored", 2, "images/001.jpg"),
    ]
    assert evaluation.truths.select("outcome", "score").rows() == [("MTP", 0.9), ("FN", None), ("ignored", None)]
    assert evaluation.predictions.schema == PREDICTIONS
    assert evaluation.truths.schema == TRUTHS


def test_an_object_found_only_below_the_confidence_is_missed(
    shapes: Any, truth: Any, detections: Any, found: Any
) -> None:
    dataset = shapes([truth(image, "cat", BOX) for image in range(4)], ["cat"], 5)
    made = [found(image, "cat", 0.9, BOX) for image in range(3)] + [found(3, "cat", 0.1, BOX)]
    made += [found(4, "cat", 0.15, (5.0 * index, 100.0, 60.0, 60.0)) for index in range(8)]

    evaluation = evaluate_predictions(dataset, detections(made), ("cat",), OPTIONS)

    assert 0.15 < evaluation.confidence < 0.9
    assert evaluation.truths.get_column("outcome").to_list() == ["MTP", "MTP", "MTP", "FN"]
    assert evaluation.truths.get_column("score").to_list() == [0.9, 0.9, 0.9, 0.1]
    assert evaluation.metrics["recall"] == pytest.approx(0.75)
    assert evaluation.metrics["precision"] == pytest.approx(1.0)


def test_predictions_of_a_class_the_data_lacks_are_wrong_but_do_not_enter_map(
    shapes: Any, truth: Any, detections: Any, found: Any
) -> None:
    dataset = shapes([truth(0, "cat", BOX)], ["cat"], 1)
    made = detections([found(0, "cat", 0.9, BOX), found(0, "dragon", 0.95, AWAY)])

    evaluation = evaluate_predictions(dataset, made, ("dragon", "cat"), OPTIONS)

    assert evaluation.metrics["map50"] == pytest.approx(1.0)
    assert evaluation.metrics["false_positives"] == 1
    dragon = evaluation.per_class.row(by_predicate=pl.col("category") == "dragon", named=True)
    assert (dragon["known"], dragon["false_positives"], dragon["ap50"]) == (True, 1, None)
    assert evaluation.confusion.labels == ("cat", "dragon", "background")
    assert evaluation.confusion.matrix == ((1, 0, 0), (0, 0, 0), (0, 1, 0))


def test_objects_of_a_class_the_model_lacks_are_missed(shapes: Any, truth: Any, detections: Any, found: Any) -> None:
    dataset = shapes([truth(0, "cat", BOX), truth(0, "dog", AWAY)], ["cat", "dog"], 1)

    evaluation = evaluate_predictions(dataset, detections([found(0, "cat", 0.9, BOX)]), ("cat",), OPTIONS)

    assert evaluation.metrics["map50"] == pytest.approx(0.5)
    dog = evaluation.per_class.row(by_predicate=pl.col("category") == "dog", named=True)
    assert (dog["known"], dog["missed"], dog["ap50"], dog["precision"]) == (False, 1, 0.0, None)


def test_confused_classes_stand_off_the_diagonal_and_background_catches_the_rest(
    shapes: Any, truth: Any, detections: Any, found: Any
) -> None:
    dataset = shapes([truth(0, "cat", BOX), truth(0, "dog", AWAY), truth(1, "dog", BOX)], ["cat", "dog"], 2)
    made = [found(0, "cat", 0.9, BOX), found(0, "cat", 0.9, AWAY), found(1, "dog", 0.9, AWAY)]

    evaluation = evaluate_predictions(dataset, detections(made), ("cat", "dog"), OPTIONS)

    assert evaluation.confusion.matrix == ((1, 0, 0), (1, 0, 1), (0, 1, 0))


def test_difficult_objects_count_neither_way(shapes: Any, truth: Any, detections: Any, found: Any) -> None:
    dataset = shapes([truth(0, "cat", BOX), truth(0, "cat", AWAY, difficult=True)], ["cat"], 1)
    both = [found(0, "cat", 0.9, BOX), found(0, "cat", 0.8, AWAY)]

    with_it = evaluate_predictions(dataset, detections(both), ("cat",), OPTIONS)
    without = evaluate_predictions(dataset, detections(both[:1]), ("cat",), OPTIONS)

    assert with_it.metrics["map50_95"] == without.metrics["map50_95"] == pytest.approx(1.0)
    assert with_it.metrics["ground_truths"] == 1
    assert with_it.confusion.matrix == without.confusion.matrix == ((1, 0), (0, 0))


def test_without_detections_the_quality_is_zero(shapes: Any, truth: Any, detections: Any) -> None:
    dataset = shapes([truth(0, "cat", BOX)], ["cat"], 2)

    evaluation = evaluate_predictions(dataset, detections([]), ("cat",), OPTIONS)

    expected = dict.fromkeys(("map50", "map50_95", "map75", "ar_100", "precision", "recall", "f1"), 0.0)
    assert {name: evaluation.metrics[name] for name in expected} == expected
    assert evaluation.metrics["false_negatives"] == 1
    assert evaluation.confidence == FALLBACK_CONFIDENCE
    assert not evaluation.passed
    assert "found nothing with a score of 0.001 or more." in evaluation.reasons[0]


def test_without_ground_truth_nothing_can_pass(shapes: Any, detections: Any, found: Any) -> None:
    dataset = shapes([], ["cat"], 2)

    evaluation = evaluate_predictions(
        dataset, detections([found(0, "cat", 0.9, BOX)]), ("cat",), EvaluateOptions(min_map50=0.0)
    )

    assert not evaluation.passed
    assert "no ground truth" in evaluation.reasons[0]
    assert evaluation.metrics["map50"] == 0.0
    assert "precision" not in evaluation.metrics
    assert evaluation.confusion.matrix == ((0, 0), (1, 0))


@pytest.mark.parametrize("least", [1.0, 0.0])
def test_the_gate_opens_at_the_bound_itself(shapes: Any, truth: Any, detections: Any, found: Any, least: float) -> None:
    dataset = shapes([truth(0, "cat", BOX)], ["cat"], 1)

    evaluation = evaluate_predictions(
        dataset, detections([found(0, "cat", 0.9, BOX)]), ("cat",), EvaluateOptions(min_map50=least)
    )

    assert evaluation.passed
    assert evaluation.reasons == (f"mAP50 is 1.000, at least the {least:g} the gate asks for.",)


def test_a_gate_that_stays_shut_says_what_was_reached_and_what_was_needed(
    shapes: Any, truth: Any, detections: Any, found: Any
) -> None:
    dataset = shapes([truth(0, "cat", BOX), truth(0, "dog", AWAY)], ["cat", "dog"], 1)

    evaluation = evaluate_predictions(
        dataset, detections([found(0, "cat", 0.9, BOX)]), ("cat", "dog"), EvaluateOptions(min_map50=0.6)
    )

    assert not evaluation.passed
    assert evaluation.reasons == ("mAP50 is 0.500, below the 0.6 the gate asks for.",)


def test_images_that_cannot_be_decoded_are_counted_and_left_out(
    shapes: Any, truth: Any, detections: Any, found: Any
) -> None:
    dataset = shapes([truth(0, "cat", BOX), truth(1, "cat", BOX)], ["cat"], 2)
    broken = pl.when(pl.col("image_id") == 1).then(pl.lit("truncated")).otherwise("problem").alias("problem")
    object.__setattr__(dataset, "images", dataset.images.with_columns(broken))

    evaluation = evaluate_predictions(dataset, detections([found(0, "cat", 0.9, BOX)]), ("cat",), OPTIONS)

    assert evaluation.metrics["images"] == 1
    assert evaluation.metrics["images_skipped"] == 1
    assert evaluation.metrics["map50"] == pytest.approx(1.0)


@pytest.mark.parametrize("seed", range(4))
def test_the_parts_of_an_evaluation_agree_with_each_other(random_set: Any, seed: int) -> None:
    case = random_set(seed, classes=4)

    evaluation = evaluate_predictions(case.dataset, case.detections, case.dataset.classes, OPTIONS)

    table, metrics = evaluation.per_class, evaluation.metrics
    assert all(math.isfinite(value) for value in metrics.values())
    assert table.schema == PER_CLASS
    for column, name in [("true_positives",) * 2, ("false_positives",) * 2, ("missed", "false_negatives")]:
        assert table.get_column(column).sum() == metrics[name]
    assert table.get_column("ap50").mean() == pytest.approx(metrics["map50"])
    assert table.get_column("ap50_95").mean() == pytest.approx(metrics["map50_95"])
    assert table.get_column("f1").mean() == pytest.approx(metrics["f1"])
    assert table.get_column("recall").mean() == pytest.approx(metrics["recall"])
    assert table.get_column("precision").mean() == pytest.approx(metrics["precision"])
    at = round(evaluation.confidence * 1000)
    assert CONFIDENCES[at] == evaluation.confidence
    assert evaluation.curves.mean_f1.max() == pytest.approx(metrics["f1"])
    curve_ap = dict(zip(evaluation.curves.classes, evaluation.curves.precision_at_recall.mean(axis=1), strict=True))
    measured = table.filter(pl.col("ap50").is_not_null())
    assert curve_ap == pytest.approx(dict(measured.select("category", "ap50").iter_rows()), abs=1e-12)
    matrix = evaluation.confusion.matrix
    assert sum(sum(row) for row in matrix[:-1]) == metrics["ground_truths"]


@pytest.mark.parametrize("options", [{"min_map50": 1.5}, {"conf": -0.1}, {"iou": math.nan}, {"max_det": 0}])
def test_an_option_out_of_bounds_is_refused_with_its_value(options: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=next(iter(options))):
        EvaluateOptions(**options)
