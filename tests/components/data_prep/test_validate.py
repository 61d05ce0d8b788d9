"""Each rule: what it rejects, mends and keeps, and the row it leaves."""

import json
import math
from collections.abc import Callable, Mapping

import polars as pl
import pytest

from components.data_prep.classes import ClassWishes, plan_classes
from components.data_prep.rules import RuleBook
from components.data_prep.validate import Checked, validate
from components.shared.dataset import Dataset
from components.shared.ledger import SCHEMA
from components.shared.rules import resolve_rules

MakeDataset = Callable[..., Dataset]


def check(
    dataset: Dataset,
    rules: Mapping[str, str] | None = None,
    *,
    min_box_size: float = 2.0,
    targets: tuple[str, ...] = (),
) -> Checked:
    categories = dataset.annotations.get_column("category").drop_nulls()
    return validate(
        dataset,
        plan_classes(dataset.classes, categories, ClassWishes(targets=targets)),
        RuleBook(min_box_size, resolve_rules(rules or {})),
    )


def boxes(checked: Checked) -> list[tuple[float, ...]]:
    return checked.annotations.select("x", "y", "width", "height").rows()


def outcomes(checked: Checked) -> list[tuple[str, str]]:
    return sorted(checked.ledger.select("rule", "action").rows())


@pytest.mark.parametrize(
    ("box", "rule"),
    [
        ({"x": math.nan}, "non-finite"),
        ({"width": math.inf}, "non-finite"),
        ({"y": None}, "non-finite"),
        ({"width": 0.0}, "zero area"),
        ({"height": -3.0}, "zero area"),
        ({"x": -10.0}, "outside"),
        ({"x": 100.0}, "outside"),
        ({"y": 80.0}, "outside"),
        ({"x": 1e308, "width": 1e308}, "outside"),
        ({"width": 1.9}, "too small"),
        ({"x": -8.5}, "too small"),
        ({"category": "yak"}, "unknown category"),
        ({"category": None}, "unknown category"),
    ],
)
def test_a_broken_box_is_rejected_with_its_rule(make_dataset: MakeDataset, box: dict[str, object], rule: str) -> None:
    checked = check(make_dataset([{}], [box, {}]))
    assert outcomes(checked) == [(rule, "rejected")]
    assert checked.annotations.height == 1
    row = checked.ledger.row(0, named=True)
    assert (row["image"], row["annotation"], row["after"]) == ("0.jpg", "a0", None)
    assert set(json.loads(row["before"])) == {"category", "x", "y", "width", "height"}
    assert row["detail"]


def test_a_box_partly_outside_is_clipped_with_before_and_after(make_dataset: MakeDataset) -> None:
    checked = check(make_dataset([{}], [{"x": -4.0, "y": 75.0}]))
    assert boxes(checked) == [(0.0, 75.0, 6.0, 5.0)]
    row = checked.ledger.row(0, named=True)
    assert (row["rule"], row["action"]) == ("clipped", "fixed")
    assert json.loads(row["before"])["x"] == -4.0
    assert json.loads(row["after"]) == {"category": "cat", "height": 5.0, "width": 6.0, "x": 0.0, "y": 75.0}
    assert checked.fixed == 1


def test_rounding_at_the_edge_is_clipped_without_a_row(make_dataset: MakeDataset) -> None:
    checked = check(make_dataset([{}], [{"x": 90.005}]))
    assert checked.ledger.is_empty()
    [(x, _, width, _)] = boxes(checked)
    assert x + width == pytest.approx(100, abs=1e-9)


def test_a_box_inside_is_left_bit_for_bit(make_dataset: MakeDataset) -> None:
    checked = check(make_dataset([{}], [{"x": 0.1, "width": 0.2 + 20}]))
    assert boxes(checked) == [(0.1, 10.0, 0.2 + 20, 10.0)]


def test_the_later_of_two_equal_annotations_is_rejected(make_dataset: MakeDataset) -> None:
    checked = check(make_dataset([{}, {}], [{}, {"x": 10.001}, {"x": 10.4}, {"crowd": True}, {"image_id": 1}]))
    assert outcomes(checked) == [("duplicate annotation", "rejected")]
    assert checked.ledger.get_column("annotation").to_list() == ["a1"]
    assert "a0" in checked.ledger.get_column("detail")[0]


def test_two_classes_may_share_a_box(make_dataset: MakeDataset) -> None:
    assert check(make_dataset([{}], [{}, {"category": "dog"}])).ledger.is_empty()


def test_a_box_that_breaks_two_rules_has_one_row(make_dataset: MakeDataset) -> None:
    checked = check(make_dataset([{}], [{"category": "yak", "x": math.nan, "width": -1.0}]))
    assert outcomes(checked) == [("unknown category", "rejected")]


@pytest.mark.parametrize(
    ("image", "rule"),
    [
        ({"sha256": None, "width": 0, "height": 0}, "missing image"),
        ({"problem": "image file is truncated", "width": 0, "height": 0}, "unreadable image"),
        ({"width": 0}, "unreadable image"),
        ({"width": 9}, "tiny image"),
        ({"width": 1, "height": 1}, "tiny image"),
    ],
)
def test_an_unusable_image_takes_its_annotations_with_it(
    make_dataset: MakeDataset, image: dict[str, object], rule: str
) -> None:
    checked = check(make_dataset([image, {}], [{}, {}, {"image_id": 1}]))
    [row] = checked.ledger.rows(named=True)
    assert (row["image"], row["annotation"], row["rule"], row["action"]) == ("0.jpg", None, rule, "rejected")
    assert json.loads(row["before"]) == {"annotations": 2}
    assert (checked.images_rejected, checked.annotations_rejected) == (1, 2)
    assert checked.images.get_column("image_id").to_list() == [1]


def test_an_image_of_ten_pixels_a_side_is_large_enough_for_a_trainer(make_dataset: MakeDataset) -> None:
    checked = check(make_dataset([{"width": 10, "height": 10}], [{"x": 0.0, "y": 0.0}]))
    assert checked.ledger.is_empty()
    assert checked.annotations.height == 1


def test_an_annotation_of_an_image_that_is_not_there_has_a_row(make_dataset: MakeDataset) -> None:
    checked = check(make_dataset([{}], [{}, {"image_id": 7}]))
    assert outcomes(checked) == [("missing image", "rejected")]
    assert checked.annotations_rejected == 1


def test_equal_images_with_equal_annotations_are_one(make_dataset: MakeDataset) -> None:
    twins = [{"sha256": "a" * 64}, {"sha256": "a" * 64}, {}]
    annotations = [{}, {"x": 30.0}, {"image_id": 1, "x": 30.0}, {"image_id": 1}, {"image_id": 2}]
    checked = check(make_dataset(twins, annotations))
    [row] = checked.ledger.rows(named=True)
    assert (row["image"], row["rule"], row["action"]) == ("1.jpg", "duplicate image", "rejected")
    assert json.loads(row["before"]) == {"annotations": 2}
    assert checked.images.get_column("image_id").to_list() == [0, 2]
    assert (checked.images_rejected, checked.annotations_rejected) == (1, 2)


def test_equal_images_with_other_annotations_are_kept_and_told(make_dataset: MakeDataset) -> None:
    checked = check(make_dataset([{"sha256": "a" * 64}] * 2, [{}, {"image_id": 1, "x": 50.0}]))
    assert outcomes(checked) == [("duplicate image", "kept")]
    assert checked.images.height == 2


def test_boxes_of_a_resized_copy_are_scaled(make_dataset: MakeDataset) -> None:
    checked = check(make_dataset([{"declared_width": 200, "declared_height": 160}], [{"x": 150.0, "width": 40.0}]))
    assert boxes(checked) == [(75.0, 5.0, 20.0, 5.0)]
    assert outcomes(checked) == [("size mismatch", "fixed")] * 2
    assert checked.fixed == 2


def test_boxes_that_speak_against_the_declared_size_are_kept(make_dataset: MakeDataset) -> None:
    checked = check(make_dataset([{"declared_width": 50, "declared_height": 40}], [{"x": 80.0}]))
    assert boxes(checked) == [(80.0, 10.0, 10.0, 10.0)]
    assert outcomes(checked) == [("size mismatch", "kept")]


@pytest.mark.parametrize("declared", [(0, 0), (100, 200), (80, 100)])
def test_a_wrong_size_that_proves_nothing_is_kept(make_dataset: MakeDataset, declared: tuple[int, int]) -> None:
    checked = check(make_dataset([{"declared_width": declared[0], "declared_height": declared[1]}], [{}]))
    assert boxes(checked) == [(10.0, 10.0, 10.0, 10.0)]
    assert outcomes(checked) == [("size mismatch", "kept")]


def test_other_classes_are_left_out_without_a_row(make_dataset: MakeDataset) -> None:
    checked = check(
        make_dataset([{}, {}], [{}, {"category": "dog"}, {"category": "dog", "x": -99.0}]), targets=("cat",)
    )
    assert checked.ledger.is_empty()
    assert checked.left_out == {"dog": 2}
    assert checked.images.height == 2


def test_a_dataset_without_annotations_is_judged_too(make_dataset: MakeDataset) -> None:
    checked = check(make_dataset([{}, {"sha256": None}]))
    assert (checked.images.height, checked.annotations.height) == (1, 0)
    assert checked.ledger.schema == pl.Schema(SCHEMA)


def noticed(checked: Checked) -> list[tuple[str, str, str]]:
    return checked.ledger.select("rule", "action", "annotation").rows()


@pytest.mark.parametrize(
    ("rules", "box", "left", "outcome"),
    [
        ({"clipped": "reject"}, {"x": -4.0}, None, ("clipped", "rejected")),
        ({"clipped": "keep"}, {"x": -4.0}, (-4.0, 10.0, 10.0, 10.0), ("clipped", "kept")),
        ({"clipped": "reject"}, {"x": 90.005}, (90.005, 10.0, pytest.approx(9.995), 10.0), None),
        ({"clipped": "keep"}, {"x": -9.0}, None, ("too small", "rejected")),
        ({"too small": "keep"}, {"width": 0.5}, (10.0, 10.0, 0.5, 10.0), ("too small", "kept")),
        ({"too small": "fix"}, {"width": 0.5}, (9.25, 10.0, 2.0, 10.0), ("too small", "fixed")),
        ({"too small": "fix"}, {"x": 99.5}, (98.0, 10.0, 2.0, 10.0), ("too small", "fixed")),
        ({"too small": "fix"}, {"x": 0.0, "width": 0.1}, (0.0, 10.0, 2.0, 10.0), ("too small", "fixed")),
        ({"too small": "fix", "clipped": "reject"}, {"x": 99.5}, None, ("clipped", "rejected")),
        ({"outside": "keep"}, {"x": 120.0}, (120.0, 10.0, 10.0, 10.0), ("outside", "kept")),
        ({"zero area": "fix"}, {"x": 30.0, "width": -20.0}, (10.0, 10.0, 20.0, 10.0), ("zero area", "fixed")),
        ({"zero area": "fix"}, {"width": 0.0}, (9.0, 10.0, 2.0, 10.0), ("zero area", "fixed")),
        ({"zero area": "fix"}, {"x": 100.0, "width": 0.0}, (98.0, 10.0, 2.0, 10.0), ("zero area", "fixed")),
        ({"zero area": "fix"}, {"x": 150.0, "width": 0.0}, None, ("outside", "rejected")),
        ({"zero area": "fix"}, {"x": -1e308, "width": -1e308}, None, ("non-finite", "rejected")),
        ({"zero area": "fix", "outside": "keep"}, {"x": 150.0, "width": 0.0}, (149.0, 10.0, 2.0, 10.0), None),
    ],
)  # fmt: skip
def test_a_rule_does_what_is_asked(
    make_dataset: MakeDataset,
    rules: dict[str, str],
    box: dict[str, object],
    left: tuple[float, ...] | None,
    outcome: tuple[str, str] | None,
) -> None:
    checked = check(make_dataset([{}], [box]), rules)
    assert boxes(checked) == ([] if left is None else [left])
    if outcome is not None:
        assert outcomes(checked) == [outcome]
    if left is None:
        assert checked.ledger.get_column("after").to_list() == [None]
    else:
        assert all(json.loads(after)["x"] == left[0] for after in checked.ledger.get_column("after"))


def test_two_things_that_are_kept_have_a_row_each(make_dataset: MakeDataset) -> None:
    checked = check(make_dataset([{}], [{"x": -9.0}]), {"clipped": "keep", "too small": "keep"})
    assert boxes(checked) == [(-9.0, 10.0, 10.0, 10.0)]
    assert outcomes(checked) == [("clipped", "kept"), ("too small", "kept")]
    assert checked.fixed == 0


def test_a_box_grown_at_the_edge_is_fixed_once(make_dataset: MakeDataset) -> None:
    checked = check(make_dataset([{}], [{"x": -9.0}]), {"too small": "fix"})
    assert outcomes(checked) == [("too small", "fixed")]
    assert checked.fixed == 1


def test_repeated_annotations_can_stay(make_dataset: MakeDataset) -> None:
    checked = check(make_dataset([{}], [{}, {}, {"x": 50.0}]), {"duplicate annotation": "keep"})
    assert noticed(checked) == [("duplicate annotation", "kept", "a1")]
    assert checked.annotations.height == 3


def test_a_tiny_image_can_stay(make_dataset: MakeDataset) -> None:
    checked = check(make_dataset([{"width": 9}], [{"x": 0.0, "width": 5.0}]), {"tiny image": "keep"})
    assert outcomes(checked) == [("tiny image", "kept")]
    assert (checked.images.height, checked.annotations.height) == (1, 1)


def test_an_image_without_pixels_cannot_stay(make_dataset: MakeDataset) -> None:
    checked = check(make_dataset([{"width": 0}], [{}]), {"tiny image": "keep"})
    assert outcomes(checked) == [("unreadable image", "rejected")]


def test_a_size_mismatch_can_be_left_alone(make_dataset: MakeDataset) -> None:
    dataset = make_dataset([{"declared_width": 200, "declared_height": 160}], [{"x": 60.0}])
    checked = check(dataset, {"size mismatch": "keep"})
    assert boxes(checked) == [(60.0, 10.0, 10.0, 10.0)]
    assert outcomes(checked) == [("size mismatch", "kept")]
    assert checked.images.get_column("declared_width").to_list() == [200]


def test_a_size_mismatch_can_reject_the_image(make_dataset: MakeDataset) -> None:
    dataset = make_dataset(
        [{"declared_width": 200, "declared_height": 160}, {"declared_width": 100}], [{}, {"image_id": 1}]
    )
    checked = check(dataset, {"size mismatch": "reject"})
    [row] = checked.ledger.rows(named=True)
    assert (row["image"], row["rule"], row["action"]) == ("0.jpg", "size mismatch", "rejected")
    assert row["detail"].startswith("it has 100 x 80 pixels, its annotations say 200 x 160")
    assert (checked.images_rejected, checked.annotations_rejected) == (1, 1)


TWINS = [{"sha256": "a" * 64}, {"sha256": "a" * 64}, {"sha256": "a" * 64}, {}]
TWIN_BOXES = [{}, {"image_id": 1}, {"image_id": 2}, {"image_id": 2, "x": 50.0}, {"image_id": 3}]


def test_equal_images_can_all_stay(make_dataset: MakeDataset) -> None:
    checked = check(make_dataset(TWINS, TWIN_BOXES), {"duplicate image": "keep"})
    assert outcomes(checked) == [("duplicate image", "kept")] * 2
    assert (checked.images.height, checked.annotations.height) == (4, 5)


def test_copies_with_other_annotations_can_be_merged(make_dataset: MakeDataset) -> None:
    checked = check(make_dataset(TWINS, TWIN_BOXES), {"conflicting duplicate": "fix"})
    assert checked.images.get_column("image_id").to_list() == [0, 3]
    own = checked.annotations.filter(pl.col("image_id") == 0)
    assert own.select("x", "source_id").rows() == [(10.0, "a0"), (50.0, "a3")]
    assert outcomes(checked) == [
        ("duplicate annotation", "rejected"),
        ("duplicate image", "fixed"),
        ("duplicate image", "rejected"),
    ]
    row = checked.ledger.filter(pl.col("action") == "fixed").row(0, named=True)
    assert (json.loads(row["before"]), json.loads(row["after"])) == ({"annotations": 2}, {"image": "0.jpg"})
    assert (checked.images_rejected, checked.annotations_rejected, checked.fixed) == (1, 2, 1)


def test_copies_can_be_merged_with_all_their_boxes(make_dataset: MakeDataset) -> None:
    rules = {"conflicting duplicate": "fix", "duplicate annotation": "keep"}
    checked = check(make_dataset(TWINS, TWIN_BOXES), rules)
    assert checked.annotations.filter(pl.col("image_id") == 0).height == 3
    assert ("duplicate annotation", "kept", "a2") in noticed(checked)


def test_copies_with_other_annotations_can_be_rejected(make_dataset: MakeDataset) -> None:
    checked = check(make_dataset(TWINS, TWIN_BOXES), {"conflicting_duplicate": "reject", "duplicate_image": "keep"})
    assert checked.images.get_column("image_id").to_list() == [0, 1, 3]
    assert outcomes(checked) == [("duplicate image", "kept"), ("duplicate image", "rejected")]
