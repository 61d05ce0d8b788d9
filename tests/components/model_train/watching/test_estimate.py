import pytest

from components.model_train.care import Care
from components.model_train.story import Estimate
from components.model_train.watching.estimate import SECONDS, VALIDATION, Calibration, compare


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def calibrate(
    times: list[float], batches: int, total: int = 10, first: int = 1, memory: float = 0.0
) -> tuple[list[int], Estimate | None]:
    """The batches after which there was an estimate, and the estimate."""
    clock = Clock()
    calibration = Calibration(total, clock)
    calibration.begun(images=batches * 4, batch=4, batches=batches, first_epoch=first)
    told, result = [], None
    for number, seconds in enumerate(times):
        clock.now += seconds
        estimate = calibration.batch_done(first + number // batches, number % batches + 1, memory)
        if estimate is not None:
            told.append(number + 1)
            result = estimate
    return told, result


def test_the_estimate_comes_once_after_enough_batches_and_without_the_slow_first_ones() -> None:
    told, estimate = calibrate([30.0, 5.0, *[0.5] * 198], batches=100)
    assert told == [10]
    assert estimate is not None
    assert estimate.batches == 8
    assert estimate.seconds_per_epoch == pytest.approx(50 * (1 + VALIDATION))
    assert estimate.hours == pytest.approx(500 * (1 + VALIDATION) / 3600)


def test_fast_batches_are_measured_for_some_seconds() -> None:
    told, estimate = calibrate([1.0, 0.1, *[0.01] * 998], batches=1000)
    assert told == [2 + round(SECONDS / 0.01)] or told == [3 + round(SECONDS / 0.01)]
    assert estimate is not None
    assert estimate.seconds_per_epoch == pytest.approx(10 * (1 + VALIDATION))


@pytest.mark.parametrize(
    ("times", "seconds", "measured"),
    [([4.0], 4.0, 1), ([4.0, 1.0], 2.0, 1), ([4.0, 2.0, 1.0], 3.0, 1), ([4.0, 2.0, 1.0, 1.0], 4.0, 2)],
)
def test_a_tiny_epoch_is_judged_by_what_there_is(times: list[float], seconds: float, measured: int) -> None:
    told, estimate = calibrate(times, batches=len(times))
    assert told == [len(times)]
    assert estimate is not None
    assert estimate.seconds_per_epoch == pytest.approx(seconds * (1 + VALIDATION))
    assert estimate.batches == measured


def test_one_slow_batch_does_not_count() -> None:
    _, estimate = calibrate([1.0, 1.0, 1.0, 1.0, 60.0, *[1.0] * 20], batches=100)
    assert estimate is not None
    assert estimate.seconds_per_epoch == pytest.approx(100 * (1 + VALIDATION))


def test_a_resumed_training_counts_only_the_epochs_that_are_left() -> None:
    _, estimate = calibrate([1.0] * 20, batches=20, total=10, first=8)
    assert estimate is not None
    assert estimate.hours == pytest.approx(3 * 20 * (1 + VALIDATION) / 3600)


def test_a_second_attempt_is_measured_anew() -> None:
    clock = Clock()
    calibration = Calibration(10, clock)
    for seconds in (1.0, 2.0):
        calibration.begun(4, 4, 1, 1)
        clock.now += seconds
        estimate = calibration.batch_done(1, 1)
        assert estimate is not None
        assert estimate.seconds_per_epoch == pytest.approx(seconds * (1 + VALIDATION))


def test_nothing_is_said_of_a_training_that_has_not_begun() -> None:
    assert Calibration(10).batch_done(1, 1) is None


def test_the_peak_memory_is_the_gpus_or_else_this_processs() -> None:
    _, estimate = calibrate([1.0], batches=1, memory=3e9)
    assert estimate is not None
    assert estimate.memory == 3e9
    _, estimate = calibrate([1.0], batches=1)
    assert estimate is not None
    assert estimate.device == "cpu"
    assert 1e7 < estimate.memory < 1e12


def estimate_of(hours: float) -> Estimate:
    return Estimate(seconds_per_epoch=38.0, hours=hours, memory=1e9, device="cpu", batches=8)


def test_a_time_that_is_too_short_is_told_with_both_times_and_what_fits() -> None:
    sentence = compare(estimate_of(3800 / 3600), Care(max_hours=0.5))
    assert sentence.startswith(
        "100 epochs will take about 1 h 03 min (38 s each), but max_hours=0.5 ends the training after about 47 of"
    )


@pytest.mark.parametrize("max_hours", [0.0, 1.1, 100.0])
def test_nothing_is_told_when_there_is_time_enough_or_no_limit(max_hours: float) -> None:
    assert compare(estimate_of(3800 / 3600), Care(max_hours=max_hours)) == ""


def test_what_earlier_attempts_used_counts() -> None:
    care = Care(max_hours=1.2)
    assert compare(estimate_of(3800 / 3600), care) == ""
    assert "of which 30 min 00 s are used, ends the training after about 66" in compare(
        estimate_of(3800 / 3600), care, 1800
    )
    assert "after about 0 of them" in compare(estimate_of(3800 / 3600), care, 9000)
