"""A diff names what changed, and only that; boxes are followed from one version to the next."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.shared.dataset import ANNOTATIONS, IMAGES, Dataset
from components.shared.dataset_boxes import BoxChanges
from components.shared.dataset_diff import ClassChange, compare
from components.shared.dataset_shift import distance, expected_by_chance

NOTHING = BoxChanges(added=0, removed=0, changed=0, moved=0, reclassified=0, unchanged=0, images=0)


def build(images: Sequence[Mapping[str, object]], boxes: Sequence[Mapping[str, object]] = ()) -> Dataset:
    """Images of 100 x 80 pixels and cat boxes of 10 x 10; each record says only what differs."""
    image_rows = [
        {**dict.fromkeys(IMAGES), "image_id": place, "width": 100, "height": 80, **image}
        for place, image in enumerate(images)
    ]
    flags = {"crowd": False, "difficult": False, "truncated": False, "kind": "ground_truth", "category": "cat"}
    shape = {"x": 5.0, "y": 5.0, "width": 10.0, "height": 10.0}
    box_rows = [
        {**dict.fromkeys(ANNOTATIONS), "annotation_id": place, "image_id": 0, **flags, **shape, **box}
        for place, box in enumerate(boxes)
    ]
    frames = pl.DataFrame(image_rows, schema=IMAGES), pl.DataFrame(box_rows, schema=ANNOTATIONS)
    return Dataset("small", ("cat", "dog"), *frames)


def image(name: str, content: str | None = None) -> dict[str, object]:
    return {"name": name, "sha256": content or f"content of {name}"}


def test_a_dataset_does_not_differ_from_itself_in_another_order() -> None:
    one = build([image("a"), image("b")], [{"x": 1.0}, {"image_id": 1, "category": "dog"}])
    other = replace(one, images=one.images.reverse(), annotations=one.annotations.reverse())
    found = compare(one, other)
    assert (found.added, found.removed, found.changed, found.renamed, found.relabelled) == ((), (), (), (), ())
    assert found.unchanged == 2
    assert found.boxes == replace(NOTHING, unchanged=2)
    assert {shift.verdict for shift in found.shifts} == {"the same"}


def test_images_are_told_apart_by_name_and_by_content() -> None:
    before = build([image("kept"), image("gone"), image("edited", "1"), image("old name", "same"), image("moved")])
    after = build(
        [
            image("kept"),
            image("come"),
            image("edited", "2"),
            image("new name", "same"),
            {**image("moved"), "split": "val"},
        ]
    )
    found = compare(before, after)
    assert found.added == ("come",)
    assert found.removed == ("gone",)
    assert found.changed == ("edited",)
    assert found.renamed == (("old name", "new name"),)
    assert found.relabelled == ("moved",)
    assert found.unchanged == 1


def test_copies_of_one_content_are_paired_once_each() -> None:
    before = build([image("a", "x"), image("b", "x"), image("c", "x")])
    after = build([image("d", "x"), image("a", "x")])
    found = compare(before, after)
    assert (found.unchanged, found.renamed, found.removed, found.added) == (1, (("b", "d"),), ("c",), ())


def test_missing_files_of_one_name_are_the_same() -> None:
    missing = build([{"name": "a", "sha256": None}])
    assert compare(missing, missing).unchanged == 1


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"x": 7.0}, {"changed": 1, "moved": 1}),
        ({"x": 40.0}, {"added": 1, "removed": 1}),
        ({"category": "dog"}, {"changed": 1, "reclassified": 1}),
        ({"category": None}, {"changed": 1, "reclassified": 1}),
        ({"category": "dog", "width": 11.0}, {"changed": 1, "moved": 1, "reclassified": 1}),
        ({"difficult": True}, {"changed": 1}),
        ({"score": 0.5}, {"changed": 1}),
        ({"x": 5.00001}, {"unchanged": 1}),
        ({"crowd": None}, {"unchanged": 1}),
    ],
)
def test_a_box_is_followed(change: dict[str, object], expected: dict[str, int]) -> None:
    before, after = build([image("a")], [{}]), build([image("a")], [change])
    touched = 0 if "unchanged" in expected else 1
    assert compare(before, after).boxes == replace(NOTHING, **expected, images=touched)


def test_of_boxes_that_overlap_each_goes_with_the_nearest() -> None:
    before = build([image("a")], [{"x": 0.0}, {"x": 3.0}])
    after = build([image("a")], [{"x": 2.9}, {"x": 0.1}])
    assert compare(before, after).boxes == replace(NOTHING, changed=2, moved=2, images=1)


def test_equal_boxes_count_each() -> None:
    before, after = build([image("a")], [{}] * 3), build([image("a")], [{}] * 5)
    assert compare(before, after).boxes == replace(NOTHING, unchanged=3, added=2, images=1)


def test_boxes_of_added_and_removed_images_are_added_and_removed() -> None:
    before, after = build([image("a")], [{}] * 2), build([image("b")], [{}] * 3)
    assert compare(before, after).boxes == replace(NOTHING, added=3, removed=2)


def test_classes_are_counted_and_their_order_is_watched() -> None:
    boxes = [{}, {"image_id": 1}, {"category": "dog"}]
    before = build([image("a"), image("b")], boxes)
    after = replace(before, classes=("dog", "cow", "cat"))
    found = compare(before, after)
    assert (found.classes_added, found.classes_removed, found.classes_moved) == (("cow",), (), True)
    assert found.classes[0] == ClassChange("cat", 2, 2, 2, 2)
    assert compare(before, replace(before, classes=("cat",))).classes_removed == ("dog",)


def test_an_empty_dataset_can_be_compared() -> None:
    empty = build([])
    found = compare(empty, build([image("a")], [{}]))
    assert (found.added, found.boxes.added) == (("a",), 1)
    assert {shift.verdict for shift in found.shifts} == {"nothing to compare"}


def test_the_distance_is_that_of_the_formula() -> None:
    assert distance(pl.Series(["a"]), pl.Series(["b"])) == 1
    assert distance(pl.Series(["a", "b"]), pl.Series(["b", "a"])) == 0
    # p = (1, 0), q = (1/2, 1/2): 0.5 log2(4/3) + 0.5 (0.5 log2(2/3) + 0.5 log2(2))
    assert distance(pl.Series(["a"]), pl.Series(["a", "b"])) == pytest.approx(0.557923, abs=1e-6)


@given(st.lists(st.sampled_from("abcd"), min_size=1), st.lists(st.sampled_from("abcd"), min_size=1))
def test_the_distance_is_symmetric_and_between_0_and_1(one: list[str], other: list[str]) -> None:
    there, back = distance(pl.Series(one), pl.Series(other)), distance(pl.Series(other), pl.Series(one))
    assert there == pytest.approx(back)
    assert there is not None
    assert 0 <= there <= 1


def test_two_samples_of_one_source_differ_by_about_what_chance_allows() -> None:
    values = pl.Series(range(20), dtype=pl.Int64)
    found = [
        distance(
            values.sample(400, with_replacement=True, seed=seed),
            values.sample(900, with_replacement=True, seed=-seed % 997),
        )
        for seed in range(1, 30)
    ]
    mean = sum(each**2 for each in found if each is not None) / len(found)
    assert mean == pytest.approx(expected_by_chance(20, 400, 900) ** 2, rel=0.25)
