import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.model_eval.calibration import BINS, calibration, wilson_interval
from components.shared.errors import ConfigError

OUTCOMES = st.lists(st.tuples(st.floats(0, 1), st.sampled_from(["TP", "FP", "ignored"])), max_size=40)


def predictions(*rows: tuple[float, str]) -> pl.DataFrame:
    return pl.DataFrame(list(rows), schema={"score": pl.Float64, "outcome": pl.String}, orient="row")


def test_each_bin_has_its_count_mean_score_and_share_of_right_ones() -> None:
    result = calibration(predictions((0.6, "TP"), (0.8, "FP"), (0.7, "TP"), (0.2, "FP")), bins=2, floor=0.0)

    assert result.bins.columns == list(BINS)
    assert result.bins["count"].to_list() == [1, 3]
    assert result.bins["score"].to_list() == pytest.approx([0.2, 0.7])
    assert result.bins["right"].to_list() == pytest.approx([0.0, 2 / 3])


def test_the_error_is_the_mean_distance_weighted_by_the_bins_counts() -> None:
    result = calibration(predictions((0.6, "TP"), (0.8, "FP"), (0.7, "TP"), (0.2, "FP")), bins=2, floor=0.0)

    assert result.error == pytest.approx((1 * 0.2 + 3 * (0.7 - 2 / 3)) / 4)
    assert result.bias == pytest.approx(2.3 / 4 - 0.5)


@pytest.mark.parametrize(("score", "position"), [(0.1, 1), (0.3, 3), (0.7, 7), (0.0, 0), (1.0, 9), (0.2999999, 2)])
def test_a_score_on_an_edge_belongs_to_the_bin_above_and_1_to_the_last(score: float, position: int) -> None:
    result = calibration(predictions((score, "TP")), floor=0.0)

    assert result.bins["count"].arg_max() == position


def test_ignored_predictions_and_those_below_the_floor_do_not_count() -> None:
    result = calibration(predictions((0.9, "ignored"), (0.04, "FP"), (0.05, "TP")))

    assert (result.count, result.bins["count"].sum()) == (1, 1)


def test_without_predictions_there_is_no_error_and_every_bin_is_empty() -> None:
    result = calibration(predictions())

    assert (result.error, result.bias, result.count) == (None, None, 0)
    assert result.bins.select("score", "right", "right_low", "right_high").null_count().row(0) == (10, 10, 10, 10)


def test_the_interval_is_wilsons() -> None:
    # 8 of 10: Brown, Cai and DasGupta's formula by hand gives 0.490 to 0.943.
    low, high = wilson_interval(np.array([8.0, 0.0, 5.0, 0.0]), np.array([10.0, 5.0, 5.0, 0.0]))

    assert low == pytest.approx([0.49016, 0.0, 0.56552, 0.0], abs=1e-5)
    assert high == pytest.approx([0.94331, 0.43448, 1.0, 1.0], abs=1e-5)


@settings(max_examples=60, deadline=None)
@given(OUTCOMES, st.integers(1, 15), st.sampled_from([0.0, 0.05, 0.5]))
def test_bins_hold_every_judged_prediction_once_and_shares_lie_in_their_intervals(
    rows: list[tuple[float, str]], bins: int, floor: float
) -> None:
    result = calibration(predictions(*rows), bins=bins, floor=floor)

    filled = result.bins.filter(pl.col("count") > 0)
    assert filled["count"].sum() == sum(score >= floor and outcome != "ignored" for score, outcome in rows)
    assert filled.select(pl.col("right").is_between("right_low", "right_high").all()).item()
    assert filled.select((pl.col("score") >= pl.col("low") - 1e-12).all()).item()
    assert result.error is None or 0 <= abs(result.bias or 0) <= result.error + 1e-12 <= 1 + 1e-12


@pytest.mark.parametrize(("bins", "floor"), [(0, 0.1), (10, -0.1), (10, float("nan"))])
def test_senseless_bins_or_floors_are_refused(bins: int, floor: float) -> None:
    with pytest.raises(ConfigError, match="at least 1 bin"):
        calibration(predictions(), bins=bins, floor=floor)
