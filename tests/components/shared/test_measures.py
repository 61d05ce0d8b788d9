import math

import pytest

from components.shared.measures import brief, is_loss, loss_name, number, span


@pytest.mark.parametrize(
    ("name", "short"),
    [
        ("train/box_loss", "box"),
        ("val/loss_rpn_box_reg", "rpn_box_reg"),
        ("train/total", "total"),
        ("lr", "lr"),
    ],
)
def test_a_losss_name_is_short_and_never_empty(name: str, short: str) -> None:
    assert loss_name(name) == short


def test_a_loss_belongs_to_its_split() -> None:
    assert is_loss("train/box_loss", "train")
    assert not is_loss("train/box_loss", "val")
    assert not is_loss("training_speed", "train")


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.12345, "0.123"), (9999.5, "9999.500"), (12345.6, "1.23e+04"), (math.nan, "NaN"), (math.inf, "inf")],
)
def test_a_number_is_short_whatever_it_is(value: float, text: str) -> None:
    assert number(value) == text
    if not math.isnan(value):
        assert number(-value) == f"-{text}"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-3.0, "0 s"),
        (0.4, "0 s"),
        (59.6, "1 min 00 s"),
        (3599.4, "59 min 59 s"),
        (7800.0, "2 h 10 min"),
        (360000.0, "100 h 00 min"),
        (math.inf, "0 s"),
        (math.nan, "0 s"),
    ],
)
def test_a_time_is_told_as_people_say_it(seconds: float, text: str) -> None:
    assert span(seconds) == text


def test_values_nobody_knows_are_left_out_and_none_at_all_is_an_empty_line() -> None:
    assert brief({"something": 1.0}) == ""
    assert brief({}) == ""
    assert brief({"something": 1.0, "recall": 0.25}) == "R 0.250"
