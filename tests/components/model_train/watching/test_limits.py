import math
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.model_train.care import Care
from components.model_train.story import Epoch
from components.model_train.watching.limits import reason_to_stop


def scored(scores: Sequence[float | None], minutes: float = 1.0) -> list[Epoch]:
    return [
        Epoch(number=n, seconds=60 * minutes * n, values={} if score is None else {"map50_95": score})
        for n, score in enumerate(scores, start=1)
    ]


@given(
    st.lists(st.floats(0.0, 0.05).map(lambda score: round(score, 2)), min_size=1, max_size=40),
    st.integers(0, 12),
)
def test_patience_ends_a_training_in_the_epoch_ultralytics_would_end_it_in(scores: list[float], patience: int) -> None:
    ultralytics = pytest.importorskip("ultralytics.utils.torch_utils")
    stopper = ultralytics.EarlyStopping(patience)
    for count in range(1, len(scores) + 1):
        theirs = bool(stopper(count, scores[count - 1]))
        assert bool(reason_to_stop(Care(patience=patience), scored(scores[:count]), 1000)) == theirs


def test_the_reason_names_the_best_score_its_epoch_and_the_epochs_waited() -> None:
    reason = reason_to_stop(Care(patience=3), scored([0.2, 0.6123, 0.6, 0.6123, 0.5]), 100)
    assert reason == "no better mAP50-95 than 0.612 of epoch 2 for 3 epochs (patience=3)"


@pytest.mark.parametrize("bad", [math.nan, None])
def test_a_score_that_is_none_is_no_success_and_spoils_no_later_one(bad: float | None) -> None:
    assert reason_to_stop(Care(patience=3), scored([bad, 0.1, 0.2, 0.3, 0.4]), 100) == ""
    assert "0.300 of epoch 2 for 3" in reason_to_stop(Care(patience=3), scored([0.1, 0.3, bad, 0.2, 0.2]), 100)


def test_a_training_without_scores_or_epochs_goes_on() -> None:
    assert reason_to_stop(Care(patience=1, max_hours=1.0), [], 100) == ""
    assert reason_to_stop(Care(patience=1), scored([None] * 9), 100) == ""


def test_the_last_epoch_ends_a_training_anyway() -> None:
    assert reason_to_stop(Care(patience=1, max_hours=0.01), scored([0.5] * 9), 9) == ""


def test_no_limit_is_no_reason() -> None:
    assert reason_to_stop(Care(), scored([0.5] * 900), 1000) == ""


@pytest.mark.parametrize(
    ("epochs", "reason"),
    [
        (51, ""),
        (
            52,
            "max_hours=1 would be over before half of epoch 53 of 100: 59 min 48 s are used, an epoch takes 1 min 09 s",
        ),
        (53, "max_hours=1 is used up after epoch 53 of 100 (1 h 00 min)"),
    ],
)
def test_time_is_up_where_more_than_half_of_the_next_epoch_would_be_too_late(epochs: int, reason: str) -> None:
    assert reason_to_stop(Care(max_hours=1.0), scored([0.5] * epochs, minutes=1.15), 100) == reason


def test_one_epoch_that_overruns_by_less_than_half_is_still_learned() -> None:
    assert reason_to_stop(Care(max_hours=1.0), scored([0.5], minutes=35.0), 100) == ""
    assert reason_to_stop(Care(max_hours=1.0), scored([0.5], minutes=41.0), 100).startswith("max_hours=1 would be over")


def test_the_time_of_recent_epochs_counts_not_that_of_a_slow_start() -> None:
    epochs = [Epoch(number=n, seconds=1800 + 60 * n, values={}) for n in range(1, 29)]
    assert reason_to_stop(Care(max_hours=1.0), epochs, 100) == ""


def test_a_used_up_time_is_told_before_patience() -> None:
    assert reason_to_stop(Care(patience=1, max_hours=0.01), scored([0.5] * 9), 100).startswith("max_hours=0.01 is used")


def test_times_that_stand_still_or_are_none_are_no_trouble() -> None:
    same = [Epoch(number=n, seconds=5.0, values={}) for n in range(1, 5)]
    assert reason_to_stop(Care(max_hours=1.0), same, 100) == ""
    assert reason_to_stop(Care(max_hours=1.0), [Epoch(number=1, seconds=math.nan, values={})], 100) == ""
