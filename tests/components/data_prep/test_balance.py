"""Capping frequent classes and showing rare ones more often."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.data_prep.balance import Balance, cap_classes, repeat_factors
from components.data_prep.outcome import PrepareOptions
from components.data_prep.prepare import prepare
from components.shared.dataset import IMAGES, Dataset
from components.shared.errors import ConfigError

MakeDataset = Callable[..., Dataset]
CLASSES = ("cat", "dog", "yak")


def with_boxes(make_dataset: MakeDataset, images: Sequence[Sequence[str]]) -> Dataset:
    boxes = [
        {"image_id": image, "category": category, "x": float(place)}
        for image, categories in enumerate(images)
        for place, category in enumerate(categories)
    ]
    return make_dataset([{} for _ in images], boxes, classes=CLASSES)


def shares(balance: Balance) -> dict[str, float]:
    return dict(balance.shares.select("class", "share_after").iter_rows())


def test_a_frequent_class_is_capped_by_leaving_out_images_that_hold_only_it(make_dataset: MakeDataset) -> None:
    train = with_boxes(make_dataset, [["cat"]] * 80 + [["dog"]] * 10 + [["yak"]] * 10 + [["cat", "dog"]] * 5 + [[]] * 3)
    balance = cap_classes(train, 0.5, seed=0)
    assert 0.45 < shares(balance)["cat"] <= 0.5
    assert not balance.flag
    kept = set(balance.train.images.get_column("image_id"))
    assert kept >= set(range(80, 108))
    assert balance.ledger.height == 108 - len(kept)
    row = balance.ledger.row(0, named=True)
    assert (row["rule"], row["action"], row["before"]) == ("balance", "left out", '{"annotations":1}')
    assert "such as cat with 77.3 % of the boxes" in row["detail"]
    assert balance.shares.filter(pl.col("class") == "cat").row(0)[1:3] == (85, pytest.approx(85 / 110))


def test_two_frequent_classes_are_capped_together(make_dataset: MakeDataset) -> None:
    train = with_boxes(make_dataset, [["cat"]] * 45 + [["dog"]] * 45 + [["cat", "dog"]] * 5 + [["yak"]] * 10)
    assert max(shares(cap_classes(train, 0.4, seed=1)).values()) <= 0.4


def test_a_cap_of_one_changes_nothing(make_dataset: MakeDataset) -> None:
    train = with_boxes(make_dataset, [["cat"]] * 5)
    balance = cap_classes(train, 1.0, seed=0)
    assert balance.train is train
    assert balance.ledger.is_empty()


@pytest.mark.parametrize(
    "images",
    [
        [["cat"]] * 20,
        [["cat"]] * 20 + [["dog"]] * 20,
        [["cat"] * 50] + [["dog"]],
        [["cat", "cat", "dog"]] * 10,
        [["cat"] * 9 + ["dog"]] + [["cat"]] * 3,
    ],
)
def test_a_cap_that_cannot_be_reached_is_told_and_leaves_every_class(
    make_dataset: MakeDataset, images: list[list[str]]
) -> None:
    train = with_boxes(make_dataset, images)
    balance = cap_classes(train, 0.3, seed=0)
    assert "max_class_share 0.3 could not be reached" in balance.flag
    assert balance.shares.get_column("boxes_after").min() > 0
    before = balance.shares.get_column("share_before").max()
    assert balance.shares.get_column("share_after").max() <= before


def test_an_image_that_would_turn_the_balance_round_stays(make_dataset: MakeDataset) -> None:
    train = with_boxes(make_dataset, [["cat"] * 30] + [["cat"]] * 21 + [["dog"] * 49])
    balance = cap_classes(train, 0.5, seed=0)
    assert shares(balance) == pytest.approx({"cat": 0.5, "dog": 0.5})
    assert balance.ledger.height == 2


def test_a_train_without_boxes_is_left_alone(make_dataset: MakeDataset) -> None:
    train = with_boxes(make_dataset, [[]] * 3)
    assert cap_classes(train, 0.2, seed=0).train is train
    assert repeat_factors(train, 0.5)[0].images.get_column("weight").null_count() == 3


def test_growth_leaves_out_mostly_the_same_images(make_dataset: MakeDataset) -> None:
    grown = with_boxes(make_dataset, [["cat"]] * 200 + [["dog"]] * 60 + [["cat"]] * 20 + [["dog"]] * 6)
    small = grown.subset(range(260))
    first, second = (cap_classes(train, 0.5, seed=3).ledger.get_column("image") for train in (small, grown))
    assert len(set(first) & set(second)) >= 0.9 * len(first)
    other = cap_classes(small, 0.5, seed=4).ledger.get_column("image")
    assert set(other) != set(first)
    assert set(cap_classes(small, 0.5, seed=3).ledger.get_column("image")) == set(first)


@given(
    images=st.lists(st.lists(st.sampled_from(CLASSES), max_size=6), min_size=1, max_size=25),
    cap=st.floats(0.05, 0.99),
    seed=st.integers(0, 5),
)
def test_capping_never_empties_a_class_nor_makes_it_worse(
    make_dataset: MakeDataset, images: list[list[str]], cap: float, seed: int
) -> None:
    train = with_boxes(make_dataset, images)
    balance = cap_classes(train, cap, seed)
    assert balance.train.images.height + balance.ledger.height == len(images)
    if balance.shares.height:
        assert balance.shares.get_column("boxes_after").min() > 0
        assert (balance.shares.get_column("share_after").max() > cap + 1e-9) == bool(balance.flag)
        reachable = max(cap, 1 / balance.shares.height)
        over = [
            balance.shares.select((pl.col(f"share_{when}") - reachable).clip(0).sum()).item()
            for when in ("before", "after")
        ]
        assert over[1] <= over[0] + 1e-12
        assert balance.shares.get_column("boxes_after").sum() == balance.train.annotations.height
    negatives = [place for place, boxes in enumerate(images) if not boxes]
    assert set(negatives) <= set(balance.train.images.get_column("image_id"))


def test_repeat_factors_are_those_of_lvis(make_dataset: MakeDataset) -> None:
    train = with_boxes(make_dataset, [["cat"]] * 15 + [["cat", "dog"]] * 4 + [["yak", "dog", "yak"]])
    weighted, table = repeat_factors(train, 0.5)
    factors = dict(table.select("class", "factor").iter_rows())
    assert factors == pytest.approx({"cat": 1.0, "dog": (0.5 / 0.25) ** 0.5, "yak": (0.5 / 0.05) ** 0.5})
    weights = weighted.images.get_column("weight")
    assert weights.dtype == IMAGES["weight"]
    assert weights.to_list() == pytest.approx([None] * 15 + [2**0.5] * 4 + [10**0.5])
    shown = 15 + 4 * 2**0.5 + 10**0.5
    assert table.filter(pl.col("class") == "yak").row(0)[2:] == pytest.approx((0.05, 10**0.5 / shown))


def test_both_are_told_in_the_audit_and_touch_train_alone(make_dataset: MakeDataset) -> None:
    images = [["cat"]] * 60 + [["dog", "cat"]] * 30 + [["yak"]] * 10
    dataset = with_boxes(make_dataset, images)
    plain = prepare(dataset, PrepareOptions(near_duplicates=-1))
    options = PrepareOptions(near_duplicates=-1, max_class_share=0.5, oversample_below=0.3)
    prepared = prepare(dataset, options)
    assert prepared.val.version == plain.val.version
    assert prepared.test.version == plain.test.version
    assert prepared.counts["left_out_balance_images"] == plain.counts["train_images"] - prepared.counts["train_images"]
    assert prepared.counts["left_out_balance_images"] > 0
    assert prepared.counts["rejected"] == 0
    assert prepared.audit.balance is not None
    assert prepared.audit.repeats is not None
    assert prepared.train.images.get_column("weight").drop_nulls().min() > 1
    assert prepared.val.images.get_column("weight").null_count() == prepared.val.images.height
    assert plain.audit.balance is None
    assert plain.audit.repeats is None


@pytest.mark.parametrize("wrong", [{"max_class_share": 0.0}, {"max_class_share": 1.1}, {"oversample_below": -0.1}])
def test_shares_that_are_none_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        replace(PrepareOptions(), **wrong).check()
