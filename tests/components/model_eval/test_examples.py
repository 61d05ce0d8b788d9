from typing import Any

import polars as pl

from components.model_eval.evaluation import EvaluateOptions
from components.model_eval.examples import choose_false, choose_missed, choose_right, draw_examples
from components.model_eval.quality import evaluate_predictions

SMALL = (10.0, 10.0, 20.0, 20.0)
LARGE = (100.0, 50.0, 120.0, 120.0)


def test_misses_without_any_find_come_first_then_the_largest_each_of_another_image(
    shapes: Any, truth: Any, detections: Any, found: Any
) -> None:
    truths = [truth(0, "cat", SMALL), truth(0, "cat", LARGE), truth(1, "cat", SMALL), truth(2, "cat", LARGE)]
    dataset = shapes(truths, ["cat"], 3)
    made = detections([found(2, "cat", 0.01, LARGE)])
    evaluation = evaluate_predictions(dataset, made, ("cat",), EvaluateOptions())
    missed = evaluation.truths.with_columns(pl.lit("FN").alias("outcome"))

    chosen = choose_missed(missed, most=4)

    assert chosen.get_column("annotation_id").to_list() == [1, 2, 3, 0]


def test_false_alarms_come_by_score_and_below_the_confidence_there_are_none(
    shapes: Any, truth: Any, detections: Any, found: Any
) -> None:
    dataset = shapes([truth(0, "cat", SMALL)], ["cat"], 3)
    made = [found(0, "cat", 0.9, SMALL), found(1, "cat", 0.95, LARGE), found(2, "cat", 0.92, LARGE)]
    made += [found(2, "cat", 0.01, SMALL)]

    evaluation = evaluate_predictions(dataset, detections(made), ("cat",), EvaluateOptions())

    assert choose_false(evaluation, most=9).get_column("score").to_list() == [0.95, 0.92]
    assert choose_right(evaluation, most=9).get_column("score").to_list() == [0.9]


def test_a_picture_says_why_it_is_there_and_is_filtered_by_class(
    shapes: Any, truth: Any, detections: Any, found: Any, painted_images: Any
) -> None:
    truths = [truth(0, "cat", SMALL), truth(0, "dog", LARGE), truth(1, "dog", SMALL), truth(2, "dog", LARGE)]
    made = [found(0, "cat", 0.9, SMALL), found(0, "cat", 0.9, LARGE), found(2, "dog", 0.9, LARGE)]
    made += [found(1, "cat", 0.9, LARGE)]
    dataset = shapes(truths, ["cat", "dog"], 3)
    evaluation = evaluate_predictions(dataset, detections(made), ("cat", "dog"), EvaluateOptions())

    examples = draw_examples(evaluation, painted_images, dataset.images)

    captions = [shown.caption for shown in examples.missed]
    assert captions == [
        "dog in images/000.jpg, 120 x 120 px: missed, taken for cat (0.90)",
        "dog in images/001.jpg, 20 x 20 px: missed, nothing was found here",
    ]
    assert [shown.tags for shown in examples.missed] == [("dog",), ("dog",)]
    assert [shown.caption.rpartition(", ")[2] for shown in examples.false] == ["it is dog", "nothing is here"]
    assert {shown.tags for shown in examples.right} == {("cat",), ("dog",)}
    assert all(shown.width > 2 * shown.height * 0.9 for shown in examples.missed)
