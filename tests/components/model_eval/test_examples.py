from dataclasses import replace
from typing import Any

from components.model_eval.evaluation import EvaluateOptions, StartComparison
from components.model_eval.examples import choose_false, choose_missed, choose_right, draw_examples
from components.model_eval.quality import evaluate_predictions
from components.model_eval.report_start import before_and_after, most_changed
from components.shared.detection.inference import Inference

SMALL = (10.0, 10.0, 20.0, 20.0)
LARGE = (100.0, 50.0, 120.0, 120.0)


def test_misses_without_any_find_come_first_then_the_largest_each_of_another_image(
    shapes: Any, truth: Any, detections: Any, found: Any
) -> None:
    truths = [truth(0, "cat", SMALL), truth(0, "cat", LARGE), truth(1, "cat", SMALL), truth(2, "cat", LARGE)]
    dataset = shapes(truths, ["cat"], 3)
    made = detections([found(2, "cat", 0.01, LARGE)])
    evaluation = evaluate_predictions(dataset, made, ("cat",), EvaluateOptions(), inference=Inference(confidence=0.5))

    chosen = choose_missed(evaluation, most=4)

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
    assert [shown.tags for shown in examples.missed] == [("dog", "taken for another class"), ("dog", "nothing found")]
    assert {shown.tags for shown in examples.false} == {("cat", "wrong class"), ("cat", "nothing there")}
    assert [shown.caption.rpartition(", ")[2] for shown in examples.false] == ["it is dog", "nothing is here"]
    assert {shown.tags for shown in examples.right} == {("cat",), ("dog",)}
    assert all(shown.width > 2 * shown.height * 0.9 for shown in examples.missed)


def test_kinds_of_error_take_turns_before_more_of_one(shapes: Any, truth: Any, detections: Any) -> None:
    truths = [truth(image, "cat", LARGE) for image in range(3)] + [truth(3, "dog", SMALL)]
    evaluation = evaluate_predictions(shapes(truths, ["cat", "dog"], 4), detections([]), ("cat",), EvaluateOptions())

    chosen = choose_missed(evaluation, most=2)

    assert chosen.get_column("category").to_list() == ["cat", "dog"]


def test_before_and_after_show_the_images_that_changed_most_with_what_changed(
    shapes: Any, truth: Any, detections: Any, found: Any, painted_images: Any
) -> None:
    truths = [truth(0, "cat", SMALL), truth(1, "cat", SMALL), truth(1, "cat", LARGE), truth(2, "cat", LARGE)]
    dataset = shapes(truths, ["cat"], 3)
    after = [found(1, "cat", 0.9, SMALL), found(1, "cat", 0.9, LARGE), found(2, "cat", 0.9, LARGE)]
    before = [found(0, "cat", 0.9, SMALL), found(2, "cat", 0.9, LARGE), found(2, "fridge", 0.9, SMALL)]
    before += [found(1, "cat", 0.001, LARGE)]
    evaluation = evaluate_predictions(dataset, detections(after), ("cat",), EvaluateOptions())
    evaluation = replace(evaluation, start=StartComparison(0.2, 0.1, detections(before)))

    compared = draw_examples(evaluation, painted_images, dataset.images).compared

    assert [shown.caption for shown in compared.pictures] == [
        "images/001.jpg: 0 of 2 found, 0 wrong boxes before, 2 of 2 found, 0 wrong boxes after",
        "images/000.jpg: 1 of 1 found, 0 wrong boxes before, 0 of 1 found, 0 wrong boxes after",
    ]
    assert [shown.tags for shown in compared.pictures] == [("better",), ("worse",)]
    assert compared.foreign == 1
    assert (compared.before.tally().found, compared.after.tally().found) == (2, 3)


def test_crowded_images_come_after_those_that_changed_less(
    shapes: Any, truth: Any, detections: Any, found: Any
) -> None:
    crowd = [truth(0, "cat", (10.0 + 20 * place, 10.0, 15.0, 15.0)) for place in range(14)]
    dataset = shapes([*crowd, truth(1, "cat", LARGE)], ["cat"], 2)
    after = [found(one.image_id, "cat", 0.9, one.box) for one in [*crowd, truth(1, "cat", LARGE)]]
    evaluation = evaluate_predictions(dataset, detections(after), ("cat",), EvaluateOptions())
    evaluation = replace(evaluation, start=StartComparison(0.0, 0.0, detections([])))

    assert most_changed(before_and_after(evaluation, dataset.images)) == [1, 0]
