import logging

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.shared.errors import ConfigError
from components.shared.evaluation.curves import CONFIDENCES, Curves, compute_curves
from components.shared.evaluation.thresholds import THRESHOLDS, best_thresholds, threshold_table

SCORED = st.lists(st.tuples(st.sampled_from("ab"), st.integers(1, 20), st.booleans()), max_size=30)


def curves(rows: list[tuple[str, float, bool]], truths: dict[str, int]) -> Curves:
    found = [(name, score, "TP" if right else "FP") for name, score, right in rows]
    predictions = pl.DataFrame(
        found, schema={"category": pl.String, "score": pl.Float64, "outcome": pl.String}, orient="row"
    )
    names = [name for name, count in truths.items() for _ in range(count)]
    table = pl.DataFrame(
        {"category": names, "ignore": [False] * len(names)}, schema={"category": pl.String, "ignore": pl.Boolean}
    )
    return compute_curves(predictions, table, list(truths))


def test_the_best_confidence_is_the_highest_that_still_keeps_the_right_ones() -> None:
    rows = [("a", 0.9, True), ("a", 0.7, True), ("a", 0.4, False)]

    assert best_thresholds(curves(rows, {"a": 2}), ["a"], overall=0.25, least=1) == {"a": 0.7}


def test_of_equally_good_confidences_the_higher_one_is_taken() -> None:
    # F1 is 2/3 from 0.9 (1 of 2 found, nothing wrong) and again from 0.5 (2 found, 2 wrong).
    rows = [("a", 0.9, True), ("a", 0.8, False), ("a", 0.7, False), ("a", 0.5, True)]

    assert best_thresholds(curves(rows, {"a": 2}), ["a"], overall=0.25, least=1) == {"a": 0.9}


def test_a_class_with_few_objects_takes_the_overall_confidence_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    measured = curves([("a", 0.9, True)], {"a": 19})

    with caplog.at_level(logging.INFO):
        assert best_thresholds(measured, ["a"], overall=0.3) == {"a": 0.3}
    assert "'a' takes the overall confidence 0.3: it has 19 ground truth boxes, fewer than 20" in caplog.text


def test_classes_without_objects_or_finds_take_the_overall_confidence_with_their_reason() -> None:
    table = threshold_table(curves([("b", 0.9, False)], {"a": 0, "b": 30, "c": 30}), ["a", "b", "c"], overall=0.3)

    assert dict(table.schema) == THRESHOLDS
    assert table["confidence"].to_list() == [0.3, 0.3, 0.3]
    assert table["own"].to_list() == [False, False, False]
    assert table["reason"].to_list() == ["it has no ground truth", "it is never found", "it is never found"]
    assert table["f1"].to_list() == [None, 0.0, 0.0]


def test_classes_of_the_model_that_the_data_lacks_have_a_threshold_too() -> None:
    assert best_thresholds(curves([], {}), ["x", "y"], overall=0.4) == {"x": 0.4, "y": 0.4}


@settings(max_examples=60, deadline=None)
@given(SCORED, st.integers(1, 25))
def test_no_confidence_is_better_and_no_higher_one_as_good(rows: list[tuple[str, int, bool]], truths: int) -> None:
    scored = [(name, score / 20, right) for name, score, right in rows]
    needed = max(truths, *(sum(right for name, _, right in rows if name == other) for other in "ab"))
    measured = curves(scored, {"a": needed, "b": needed})

    for index, row in enumerate(threshold_table(measured, ["a", "b"], overall=0.5, least=1).iter_rows(named=True)):
        f1 = measured.f1[index]
        if row["own"]:
            assert row["f1"] == f1.max()
            assert np.all(f1[row["confidence"] < CONFIDENCES] < row["f1"])
        else:
            assert f1.max() == 0


@pytest.mark.parametrize("overall", [-0.1, 1.5, float("nan")])
def test_an_overall_confidence_out_of_bounds_is_refused(overall: float) -> None:
    with pytest.raises(ConfigError, match="overall confidence"):
        best_thresholds(curves([], {}), ["a"], overall=overall)
