import math

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from components.model_train.story import Epoch, Overfitting
from components.model_train.watching.overfitting import FIRST, look

Series = npt.NDArray[np.float64]
PATIENCE = 10


def epochs(train: Series, val: Series) -> list[Epoch]:
    return [
        Epoch(
            number=number,
            seconds=9.0 * number,
            values={
                "train/box_loss": float(learned) * 0.75,
                "train/cls_loss": float(learned) * 0.25,
                "val/box_loss": float(checked) * 0.5,
                "val/cls_loss": float(checked) * 0.5,
                "map50_95": 0.1,
            },
        )
        for number, (learned, checked) in enumerate(zip(train, val, strict=True), start=1)
    ]


def scored(told: list[Epoch], scores: Series) -> list[Epoch]:
    """The same epochs with a ``map50``."""
    return [
        epoch.model_copy(update={"values": {**epoch.values, "map50": float(score)}})
        for epoch, score in zip(told, scores, strict=True)
    ]


def through(count: int, *points: tuple[int, float]) -> Series:
    """A series through the points (epoch, value), straight between them."""
    numbers, values = zip(*points, strict=True)
    return np.interp(np.arange(1, count + 1), numbers, values)


def decay(count: int, start: float = 2.0, end: float = 0.5, tau: float = 30.0) -> Series:
    return end + (start - end) * np.exp(-np.arange(count) / tau)


def u_curve(count: int, turn: int, slope: float = 0.01) -> Series:
    rise = np.maximum(0, np.arange(1, count + 1) - turn) * slope
    return decay(count, 2.5, 1.0, turn / 5) + rise


def noisy(values: Series, seed: int, share: float) -> Series:
    return values * (1 + share * np.random.default_rng(seed).standard_normal(values.size))


def seen(train: Series, val: Series, patience: int = PATIENCE) -> Overfitting | None:
    return look(epochs(train, val), mode="warn", patience=patience)


seeds = st.integers(0, 2**32 - 1)


@given(
    st.lists(st.floats(0.0, 1.0), min_size=1, max_size=80),
    st.lists(st.floats(0.0, 1.0), min_size=80, max_size=80),
    st.integers(1, 12),
)
def test_a_validation_loss_that_never_rises_is_never_overfitting(
    falls: list[float], train_falls: list[float], patience: int
) -> None:
    val = 1.0 + np.cumsum(falls)[::-1]
    train = 0.1 + np.cumsum(train_falls[: val.size])[::-1]
    assert seen(train, val, patience) is None


@given(turn=st.integers(10, 60), slope=st.floats(0.005, 0.2), patience=st.integers(3, 20), seed=seeds)
def test_a_u_curve_is_noticed_patience_epochs_after_it_left_its_minimum(
    turn: int, slope: float, patience: int, seed: int
) -> None:
    count = turn + patience + 40
    val = noisy(u_curve(count, turn, slope), seed, 0.001)
    found = seen(noisy(decay(count), seed + 1, 0.001), val, patience)
    assert found is not None
    assert abs(found.best_epoch - turn) <= 3 + math.ceil(0.02 / slope)
    left = turn + math.ceil(0.05 * val[turn - 1] / slope)
    assert found.noticed_epoch <= left + patience + 6
    assert found.noticed_epoch >= turn + patience


@given(seed=seeds, share=st.floats(0.001, 0.02), count=st.integers(15, 200))
@example(seed=4428, share=0.125, count=94)  # two epochs low by accident, one after the other
def test_a_flat_validation_loss_is_not_overfitting_however_noisy_it_is(seed: int, share: float, count: int) -> None:
    val = noisy(decay(count, 2.5, 1.0, 3.0), seed, share)
    assert seen(noisy(decay(count), seed + 1, share / 2), val) is None


SLOW_START = (  # the validation loss rises while the model finds nothing, and falls far below later
    through(100, (1, 12.1), (17, 9.0), (40, 6.0), (100, 3.1)),
    through(100, (1, 15.2), (17, 16.0), (45, 15.6), (50, 12.0), (100, 7.7)),
    through(100, (1, 0.0), (48, 0.0), (52, 0.08), (100, 0.6)),
)
NEXT_TO_NOTHING = (  # a loss measured at nothing, in epochs without a single box found
    through(90, (1, 8.0), (19, 4.4), (90, 1.5)),
    through(90, (1, 4.6), (15, 3.0), (19, 0.3), (24, 3.6), (30, 7.2), (90, 7.0)),
    through(90, (1, 0.0), (33, 0.0), (37, 0.29), (90, 0.33)),
)
LATE_FIND = (  # measured: 16 images with wrong labels from scratch, every fourth epoch
    through(
        120, (4, 7.35), (16, 6.75), (24, 6.0), (32, 3.6), (44, 2.45), (60, 1.93), (80, 1.61), (100, 1.29), (120, 1.2)
    ),
    through(
        120, (4, 4.57), (16, 1.12), (24, 11.4), (32, 0.64), (48, 0.57), (56, 10.8), (72, 9.84), (88, 8.79), (120, 8.98)
    ),
    through(120, (1, 0.0), (60, 0.0), (64, 0.033), (84, 0.007), (88, 0.206), (120, 0.207)),
)


@pytest.mark.parametrize("series", [SLOW_START, NEXT_TO_NOTHING, LATE_FIND])
def test_what_the_validation_loss_does_before_anything_is_found_does_not_count(
    series: tuple[Series, Series, Series],
) -> None:
    train, val, scores = series
    told = epochs(train, val)
    assert any(look(told[:count], mode="warn", patience=PATIENCE) for count in range(20, len(told), 4))
    told = scored(told, scores)
    assert not any(look(told[:count], mode="warn", patience=PATIENCE) for count in range(20, len(told) + 1, 4))


@given(
    before=st.lists(st.tuples(st.floats(0, 50), st.floats(0, 50), st.floats(0, 0.049)), max_size=40),
    seed=seeds,
    turn=st.integers(12, 30),
)
def test_epochs_before_anything_is_found_change_no_finding(
    before: list[tuple[float, float, float]], seed: int, turn: int
) -> None:
    train, val = noisy(decay(70), seed, 0.001), noisy(u_curve(70, turn), seed + 1, 0.001)
    late = np.concatenate([[0.05], np.random.default_rng(seed).random(69)])  # what it does later is all the same
    first = np.array(before).reshape(-1, 3).T
    shift = max(len(before), FIRST)
    idle = np.full((3, shift - len(before)), 1e-3)
    told = scored(
        epochs(np.concatenate([first[0], idle[0], train]), np.concatenate([first[1], idle[1], val])),
        np.concatenate([first[2], idle[2], late]),
    )
    found = look(told, mode="warn", patience=PATIENCE)
    assert found is not None
    assert found == look(told[shift:], mode="warn", patience=PATIENCE)
    assert abs(found.best_epoch - shift - turn) <= 5


def test_a_model_that_never_finds_anything_is_never_overfitting() -> None:
    told = epochs(decay(60), u_curve(60, 25))
    assert look(scored(told, np.full(60, 0.049)), mode="warn", patience=PATIENCE) is None


@pytest.mark.parametrize("score", [math.nan, 0.6])
def test_scores_from_the_start_or_that_are_never_numbers_change_nothing(score: float) -> None:
    told = epochs(decay(60), u_curve(60, 25))
    found = look(scored(told, np.full(60, score)), mode="warn", patience=PATIENCE)
    assert found is not None
    assert found == seen(decay(60), u_curve(60, 25))


def test_one_bad_epoch_is_not_overfitting() -> None:
    val = decay(60, 2.5, 1.0, 6.0)
    val[40] = 5.0
    assert seen(decay(60), val) is None


def test_a_rising_validation_loss_is_not_overfitting_while_the_training_loss_rises_too() -> None:
    train = np.concatenate([decay(30), 0.9 + 0.01 * np.arange(40)])
    assert seen(train, u_curve(70, 30)) is None


@pytest.mark.parametrize("closed", [22, 27, 33, 40])
def test_the_drop_of_the_training_loss_when_mosaic_is_switched_off_is_no_evidence(closed: int) -> None:
    train = noisy(decay(60, 2.0, 1.5, 3.0), 4, 0.004)
    train[closed:] *= 0.6
    assert seen(train, noisy(u_curve(60, 25), 5, 0.004)) is None


def test_a_training_loss_that_falls_beside_that_drop_is_evidence() -> None:
    train = noisy(decay(60, 2.0, 0.9, 30.0), 4, 0.004)
    train[40:] *= 0.6
    found = seen(train, noisy(u_curve(60, 25), 5, 0.004))
    assert found is not None
    assert abs(found.best_epoch - 25) <= 3


def test_a_training_loss_that_fell_no_longer_is_no_evidence() -> None:
    rise = 1.0 + 0.002 * np.maximum(0, np.arange(80) - 30)
    train = np.concatenate([decay(38, 2.0, 0.5, 20.0), 0.73 + 0.001 * np.arange(42)])
    assert seen(train, rise) is None
    assert seen(decay(80), rise) is not None


def test_a_rise_that_nobody_would_care_about_is_not_overfitting() -> None:
    val = np.concatenate([decay(30, 2.0, 1.0, 4.0), np.full(40, 1.012)])
    assert seen(decay(70), val) is None


def test_a_rise_no_larger_than_one_that_was_made_good_again_is_not_overfitting() -> None:
    wave = 1.0 + 0.05 * np.cos(np.arange(90) * 2 * math.pi / 24) - 0.0002 * np.arange(90)
    assert [seen(decay(count), wave[:count]) for count in range(40, 91)] == [None] * 51


def test_one_lucky_epoch_is_no_minimum() -> None:
    val = noisy(np.full(60, 1.0), 7, 0.001)
    val[20] = 0.7
    assert seen(decay(60), val) is None


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.02, 0.1])
def test_the_accidental_minimum_of_a_long_noisy_series_is_no_minimum(share: float) -> None:
    flat = [noisy(decay(250, 2.5, 1.0, 3.0), seed, share) for seed in range(60)]
    assert [seen(decay(250, tau=60.0), val) for val in flat] == [None] * 60


@pytest.mark.parametrize("lowest", range(FIRST))
def test_the_first_epochs_do_not_count(lowest: int) -> None:
    val = np.full(60, 1.0)
    val[: lowest + 1] = 0.5
    assert seen(decay(60), val) is None


def test_a_loss_on_its_way_back_to_its_minimum_is_not_overfitting() -> None:
    val = np.concatenate([decay(20, 2.5, 1.0, 4.0), [2.5], 2.5 - 0.03 * np.arange(35)])
    assert seen(decay(56), val) is None


def test_a_later_lower_minimum_makes_an_earlier_finding_void() -> None:
    val = u_curve(50, 25)
    assert seen(decay(50), val) is not None
    better = np.concatenate([val, decay(40, val[-1], 0.6, 5.0)])
    assert seen(decay(90), better) is None


@given(st.data())
def test_epochs_without_a_loss_are_left_out_and_change_nothing_else(data: st.DataObject) -> None:
    train, val = decay(70), u_curve(70, 30, 0.02)
    for index in data.draw(st.lists(st.integers(0, 69), max_size=12)):
        data.draw(st.sampled_from([train, val]))[index] = data.draw(st.sampled_from([math.nan, math.inf, -math.inf]))
    found = seen(train, val)
    assert found is not None
    assert abs(found.best_epoch - 30) <= 8


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_losses_that_are_never_numbers_are_never_overfitting(bad: float) -> None:
    assert seen(decay(40), np.full(40, bad)) is None
    assert seen(np.full(40, bad), u_curve(40, 15)) is None


def test_a_loss_that_only_one_split_has_or_that_never_is_a_number_is_left_out() -> None:
    told = [
        epoch.model_copy(update={"values": {**epoch.values, "train/dfl_loss": 9.0 * epoch.number, "val/obj": math.nan}})
        for epoch in epochs(decay(60), u_curve(60, 25))
    ]
    told = [epoch.model_copy(update={"values": {**epoch.values, "train/obj": 1.0}}) for epoch in told]
    assert look(told, mode="warn", patience=PATIENCE) == seen(decay(60), u_curve(60, 25))


@given(seed=seeds, power=st.integers(-20, 20))
def test_the_scale_of_the_losses_does_not_matter(seed: int, power: int) -> None:
    train, val = noisy(decay(70), seed, 0.01), noisy(u_curve(70, 30), seed + 1, 0.01)
    found, scaled = seen(train, val), seen(train * 2.0**power, val * 2.0**power)
    assert (found and (found.best_epoch, found.noticed_epoch)) == (scaled and (scaled.best_epoch, scaled.noticed_epoch))


@given(seed=seeds)
def test_what_was_noticed_at_an_epoch_is_noticed_the_same_with_more_epochs(seed: int) -> None:
    told = epochs(noisy(decay(80), seed, 0.005), noisy(u_curve(80, 30), seed + 1, 0.005))
    found = look(told, mode="stop", patience=PATIENCE)
    assert found is not None
    assert look(told[: found.noticed_epoch], mode="stop", patience=PATIENCE) == found
    assert look(told[: found.noticed_epoch - 1], mode="stop", patience=PATIENCE) is None


def test_epochs_that_came_back_from_a_checkpoint_tell_the_same() -> None:
    told = epochs(decay(60), u_curve(60, 25))
    back = [Epoch.model_validate_json(epoch.model_dump_json()) for epoch in told]
    assert look(back, mode="warn", patience=PATIENCE) == look(told, mode="warn", patience=PATIENCE)


@pytest.mark.parametrize(("mode", "stopped"), [("off", None), ("warn", False), ("stop", True)])
def test_the_mode_decides_what_is_done_about_it(mode: str, stopped: bool | None) -> None:
    found = look(epochs(decay(60), u_curve(60, 25)), mode=mode, patience=PATIENCE)
    assert (found.stopped if found else None) == stopped


def test_the_reason_has_both_epochs_and_all_losses() -> None:
    found = seen(decay(60), u_curve(60, 25))
    assert found is not None
    val, train = u_curve(60, 25), decay(60)
    best, now = found.best_epoch, found.noticed_epoch
    for text in (f"epoch {best} ({val[best - 1]:.3f})", f"{val[now - 1]:.3f} in epoch {now}"):
        assert text in found.reason
    assert f"from {train[best - 1]:.3f} to {train[now - 1]:.3f}" in found.reason


@pytest.mark.parametrize("count", range(8))
@pytest.mark.parametrize("patience", [-1, 0, 1, 2, 10])
def test_few_epochs_are_too_few(count: int, patience: int) -> None:
    assert look(epochs(decay(count), decay(count)), mode="warn", patience=patience) is None


@pytest.mark.parametrize("patience", [1, 2, 3])
def test_a_short_patience_finds_a_plain_turn_soon(patience: int) -> None:
    found = seen(decay(40), u_curve(40, 20, 0.1), patience)
    assert found is not None
    assert found.noticed_epoch <= 20 + patience + 3


def test_losses_of_zero_are_no_trouble() -> None:
    assert seen(np.zeros(40), np.zeros(40)) is None
    assert seen(decay(40, 2.0, 0.0), np.maximum(0.0, np.arange(40.0) - 15)) is not None
