import re
from collections.abc import Callable
from typing import Any

import pytest

from components.model_eval.evaluation import Demand, EvaluateOptions, Evaluation
from components.model_eval.gate import interval_text
from components.model_eval.quality import evaluate_predictions

BOX = (10.0, 10.0, 50.0, 50.0)
Judge = Callable[..., Evaluation]


@pytest.fixture
def judge(shapes: Any, truth: Any, detections: Any, found: Any) -> Judge:
    """30 images with a cat each, of which 24 are found; the class dog has no object, small boxes there are none."""
    truths = [truth(image, "cat", BOX) for image in range(30)]
    made = detections([found(image, "cat", 0.9, BOX) for image in range(24)])
    dataset = shapes(truths, ["cat", "dog"], 30)
    return lambda **options: evaluate_predictions(dataset, made, ("cat", "dog"), EvaluateOptions(**options))


def only(evaluation: Evaluation, name: str) -> Demand:
    (demand,) = (demand for demand in evaluation.demands if demand.name == name)
    return demand


def test_every_demand_says_what_was_found_with_its_interval_and_what_was_asked_for(judge: Judge) -> None:
    demands = judge(min_map50=0.5, min_map50_95=0.6, class_gates={"cat": 0.7}, slice_gates={"size:medium": 0.5}).demands

    assert [demand.name for demand in demands] == ["map50", "map50_95", "class cat", "slice size:medium"]
    assert all(demand.passed for demand in demands)
    low, high = r"0\.\d\d", r"[01]\.\d\d"
    for demand, title, needed in zip(
        demands,
        ["mAP50", "mAP50-95", "AP50 of 'cat'", "Recall of the slice 'size:medium'"],
        ["0.5", "0.6", "0.7", "0.5"],
        strict=True,
    ):
        pattern = rf"{title} is 0\.8\d\d \(95 %: {low} to {high}\), at least the {needed} the gate asks for\."
        assert pytest.approx(demand.value, abs=0.02) == 0.8
        assert re.fullmatch(pattern, demand.sentence), demand.sentence


def test_the_reasons_of_a_shut_gate_are_the_demands_that_were_not_met(judge: Judge) -> None:
    evaluation = judge(min_map50=0.5, class_gates={"cat": 0.95})

    assert not evaluation.passed
    assert evaluation.reasons == (only(evaluation, "class cat").sentence,)
    assert "below the 0.95 the gate asks for" in evaluation.reasons[0]


def test_an_open_gate_begins_with_the_headline(judge: Judge) -> None:
    evaluation = judge(class_gates={"cat": 0.5})

    assert evaluation.passed
    assert evaluation.reasons[0].startswith("mAP50 is 0.8")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"class_gates": {"catt": 0.1}}, "names the class 'catt', which is unknown: did you mean 'cat'?"),
        ({"class_gates": {"dog": 0.0}}, "no object of the class 'dog', so its AP50 cannot be measured"),
        ({"slice_gates": {"size:smal": 0.1}}, "'size:smal', which is unknown: did you mean 'size:small'?"),
        ({"slice_gates": {"size:small": 0.0}}, "The slice 'size:small' has only 0 objects in the test set, too few"),
    ],
)  # fmt: skip
def test_what_cannot_be_measured_is_not_met_and_says_what_to_do(
    judge: Judge, options: dict[str, Any], sentence: str
) -> None:
    evaluation = judge(**options)

    assert not evaluation.passed
    assert sentence in evaluation.reasons[0]
    assert evaluation.demands[-1].value is None


def test_a_value_just_below_the_gate_is_shown_with_the_digits_that_tell(judge: Judge) -> None:
    value = judge().metrics["map50"]
    demand = only(judge(min_map50=value + 0.0001), "map50")

    assert not demand.passed
    shown = float(demand.sentence.split()[2])
    needed = float(demand.sentence.split("below the ")[1].split()[0])
    assert shown < needed


def test_the_interval_of_a_single_image_is_not_shown(shapes: Any, truth: Any, detections: Any, found: Any) -> None:
    dataset = shapes([truth(0, "cat", BOX)], ["cat"], 1)
    evaluation = evaluate_predictions(dataset, detections([found(0, "cat", 0.9, BOX)]), ("cat",), EvaluateOptions())

    assert interval_text(evaluation.diagnosis.intervals.map50) == ""
