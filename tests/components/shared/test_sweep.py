from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.shared.sweep import (
    CURVE_POINTS,
    curve_as_text,
    curve_from_text,
    describe_setting,
    leave_failure,
    read_failure,
    setting_id,
    step_name,
)

VALUES = st.one_of(st.booleans(), st.integers(-(2**40), 2**40), st.floats(allow_nan=False), st.text(max_size=8))
SETTINGS = st.dictionaries(st.text(max_size=8), VALUES | st.dictionaries(st.text(max_size=4), VALUES))


def travelled(value: object) -> object:
    """As a list or mapping of KFP brings it."""
    if isinstance(value, dict):
        return {name: travelled(item) for name, item in value.items()}
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


@given(SETTINGS)
def test_a_setting_keeps_its_name_when_its_numbers_travel_as_floats_in_another_order(
    setting: dict[str, object],
) -> None:
    arrived = dict(reversed([(name, travelled(value)) for name, value in setting.items()]))
    assert setting_id(arrived) == setting_id(setting)


def test_another_setting_has_another_name() -> None:
    settings = [{"lr0": 0.01}, {"lr0": 0.02}, {"lr0": 0.01, "seed": 1}, {"cos_lr": True}, {"cos_lr": "true"}]
    assert len({setting_id(setting) for setting in settings}) == len(settings)


def test_a_step_without_a_setting_keeps_its_name() -> None:
    assert step_name("model_train", {}) == "model_train"
    assert step_name("model_train", {"lr0": 0.01}) == f"model_train-{setting_id({'lr0': 0.01})}"


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ({"lr0": 0.01, "imgsz": 320.0}, "lr0=0.01, imgsz=320"),
        ({"hyperparameters": {"mosaic": 0.0, "cos_lr": True}}, "mosaic=0, cos_lr=true"),
        ({"model": f"/{'long/' * 20}best.pt"}, f"model=…{('long/' * 20)[-52:]}best.pt"),
    ],
)
def test_a_setting_is_described_in_words(setting: dict[str, object], words: str) -> None:
    assert describe_setting(setting) == words


def test_a_failure_is_left_in_place_of_a_model(tmp_path: Path) -> None:
    assert read_failure(tmp_path) == ""
    leave_failure(tmp_path / "model", "It diverged.")
    assert read_failure(tmp_path / "model") == "It diverged."


def test_a_curve_travels_as_text_without_what_is_no_number() -> None:
    assert curve_as_text([(1, 0.12345), (2, float("nan")), (3, 0.5)]) == "1:0.1235 3:0.5"
    assert curve_from_text("1:0.1235 3:0.5 x 4: :2 5:0") == [(1, 0.1235), (3, 0.5), (5, 0.0)]
    assert curve_from_text(curve_as_text([])) == []


@pytest.mark.parametrize("epochs", [1, 64, 65, 100, 300, 10_000])
def test_a_long_curve_is_thinned_and_keeps_its_last_epoch(epochs: int) -> None:
    kept = curve_from_text(curve_as_text([(epoch, epoch / 20_000) for epoch in range(1, epochs + 1)]))
    assert min(epochs, CURVE_POINTS // 2) <= len(kept) <= CURVE_POINTS + 1
    assert kept[-1][0] == epochs
