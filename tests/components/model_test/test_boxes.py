"""Pairing boxes: the same ones pair, whatever their order; everything else is named."""

import numpy as np
import pytest

from components.model_test.boxes import Found, compare_boxes


def found(*rows: tuple[float, float, float, float, float, str]) -> Found:
    numbers = np.array([row[:5] for row in rows], dtype=np.float64).reshape(-1, 5)
    return Found(numbers[:, :4], numbers[:, 4], tuple(row[5] for row in rows))


A = (10.0, 10.0, 30.0, 30.0, 0.9, "cat")
B = (50.0, 10.0, 70.0, 40.0, 0.9, "dog")


def test_the_same_boxes_pair_in_any_order() -> None:
    comparison = compare_boxes("it", found(A, B), found(B, A), other_is="packed")
    assert comparison.pairs == 2
    assert comparison.differences == ()
    assert comparison.max_box_difference == 0


def test_nothing_and_nothing_are_the_same() -> None:
    assert compare_boxes("it", found(), found(), other_is="packed").differences == ()


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ((10.0, 10.0, 30.0, 30.02, 0.9, "cat"), "(10.000, 10.000) to (30.000, 30.020)"),
        ((10.0, 10.0, 30.0, 30.0, 0.9002, "cat"), "0.900200"),
        ((10.0, 10.0, 30.0, 30.0, 0.9, "dog"), "'dog'"),
    ],
)
def test_a_difference_shows_both_values(changed: tuple[float, float, float, float, float, str], says: str) -> None:
    (difference,) = compare_boxes("test image", found(A), found(changed), other_is="packed").differences
    assert difference.startswith("test image: trained finds 'cat' 0.900000 at (10.000, 10.000) to (30.000, 30.000)")
    assert says in difference


def test_a_difference_within_the_tolerance_is_measured_and_accepted() -> None:
    near = (10.0, 10.0, 30.0, 30.002, 0.90005, "cat")
    comparison = compare_boxes("it", found(A), found(near), other_is="packed")
    assert comparison.differences == ()
    assert comparison.max_box_difference == pytest.approx(0.002)
    assert comparison.max_score_difference == pytest.approx(0.00005)


def test_two_boxes_do_not_share_a_partner() -> None:
    assert len(compare_boxes("it", found(A, A), found(A), other_is="packed").differences) == 1


def test_an_extra_box_is_a_difference_too() -> None:
    (difference,) = compare_boxes("it", found(A), found(A, B), other_is="the service").differences
    assert (
        difference == "it: the service finds 'dog' 0.900000 at (50.000, 10.000) to (70.000, 40.000), trained does not"
    )


def test_a_missing_box_is_a_difference_when_nothing_is_left() -> None:
    (difference,) = compare_boxes("it", found(A), found(), other_is="packed").differences
    assert difference.endswith("packed nothing")
