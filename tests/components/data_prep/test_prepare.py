"""Preparing as a whole: nothing vanishes, no box leaves its frame, bad data is refused in a sentence."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.data_prep import judge
from components.data_prep.prepare import Prepared, PrepareOptions, prepare
from components.shared.dataset import ANNOTATIONS, IMAGES, Dataset
from components.shared.errors import ConfigError, DataQualityError
from components.shared.ledger import SCHEMA, Action, Entry, Rule, to_table
from components.shared.rules import HANDLING

MakeDataset = Callable[..., Dataset]
TOLERANT = PrepareOptions(max_rejected_share=1.0)
NUMBERS = st.one_of(
    st.floats(-50, 200), st.sampled_from([0.0, 10.0, 79.9999, 100.0, math.nan, math.inf, 1e308, -1e308]), st.none()
)
ANNOTATION = st.fixed_dictionaries(
    {
        "image_id": st.integers(0, 8),
        "category": st.sampled_from(["cat", "dog", " Cat", "yak", None]),
        **dict.fromkeys(("x", "y", "width", "height"), NUMBERS),
        "crowd": st.booleans(),
    }
)
IMAGE = st.fixed_dictionaries(
    {
        "sha256": st.sampled_from(["a" * 64, "b" * 64, "c" * 64, None]),
        "problem": st.sampled_from([None, None, None, "truncated"]),
        "declared_width": st.sampled_from([None, 100, 200, 80]),
        "declared_height": st.sampled_from([None, 80, 160, 100]),
        "orientation": st.sampled_from([1, 6]),
        "split": st.sampled_from([None, "train", "val"]),
    }
)
SAFE = [{}, {}, {}, {}]  # enough good images that there is always something to split


def ledger(prepared: Prepared) -> pl.DataFrame:
    return pl.concat(part.ledger for part in prepared.splits.values())


@given(images=st.lists(IMAGE, max_size=4), annotations=st.lists(ANNOTATION, max_size=25))
def test_what_comes_in_goes_out_or_is_accounted_for(
    make_dataset: MakeDataset, images: list[dict[str, object]], annotations: list[dict[str, object]]
) -> None:
    dataset = make_dataset([*SAFE, *images], [{}, *annotations])
    prepared = prepare(dataset, replace(TOLERANT, target_classes=("cat",)))
    rejected = ledger(prepared).filter(pl.col("action") == "rejected")
    own_rows = rejected.filter(pl.col("annotation").is_not_null()).height
    whole = rejected.filter(pl.col("annotation").is_null())
    lost = whole.get_column("before").str.json_path_match("$.annotations").cast(pl.Int64).sum()
    out = sum(part.annotations.height for part in prepared.splits.values())
    assert out + own_rows + lost + prepared.counts["left_out"] == dataset.annotations.height
    kept = sum(part.images.height for part in prepared.splits.values())
    assert kept + whole.height == dataset.images.height
    assert all(math.isfinite(value) for value in prepared.counts.values())
    assert prepared.counts["rejected"] == rejected.height + lost


RULES = st.fixed_dictionaries(
    {}, optional={rule: st.sampled_from(list(handling.choices)) for rule, handling in HANDLING.items()}
)
WISHES = st.fixed_dictionaries(
    {
        "rules": RULES,
        "subset": st.sampled_from(["", "boxes < 3", "boxes == 1 or width > 100", 'name != "4.jpg"']),
        "unknown_classes": st.sampled_from(["ignore", "add"]),
        "drop_classes": st.sampled_from([(), ("dog",)]),
        "max_class_share": st.sampled_from([1.0, 0.6]),
        "oversample_below": st.sampled_from([0.0, 0.9]),
    }
)


@given(
    images=st.lists(IMAGE, max_size=5),
    annotations=st.lists(ANNOTATION, max_size=25),
    wishes=WISHES,
)
def test_whatever_the_rules_do_every_record_is_accounted_for_once(
    make_dataset: MakeDataset,
    images: list[dict[str, object]],
    annotations: list[dict[str, object]],
    wishes: dict[str, Any],
) -> None:
    cats = [{"image_id": place} for place in range(9, 15)]
    dataset = make_dataset([*SAFE, *images, *[{}] * (15 - 4 - len(images))], [*cats, {"image_id": 99}, *annotations])
    prepared = prepare(dataset, replace(TOLERANT, **wishes))
    accepted = pl.concat(part.annotations for part in prepared.splits.values())
    gone = ledger(prepared).filter(pl.col("action").is_in(["rejected", "left out"]))
    own = gone.filter(pl.col("annotation").is_not_null())
    whole = gone.filter(pl.col("annotation").is_null())
    lost = whole.get_column("before").str.json_path_match("$.annotations").cast(pl.Int64).sum()
    assert accepted.height + own.height + lost + prepared.counts["left_out"] == dataset.annotations.height
    ids = [*accepted.get_column("source_id"), *own.get_column("annotation")]
    assert len(ids) == len(set(ids))
    merged = ledger(prepared).filter((pl.col("action") == "fixed") & pl.col("after").str.contains('"image"')).height
    kept = [name for part in prepared.splits.values() for name in part.images.get_column("name")]
    assert len(kept) + whole.height + merged == dataset.images.height
    assert not set(kept) & set(whole.get_column("image"))
    assert math.isfinite(sum(prepared.counts.values()))
    assert set(accepted.get_column("image_id")) <= {
        image for part in prepared.splits.values() for image in part.images.get_column("image_id")
    }
    for part in prepared.splits.values():
        assert part.images.schema == IMAGES
        assert part.annotations.schema == ANNOTATIONS
        assert part.ledger.schema == pl.Schema(SCHEMA)


@given(images=st.lists(IMAGE, max_size=4), annotations=st.lists(ANNOTATION, max_size=25))
def test_no_box_leaves_its_frame_and_none_is_too_small(
    make_dataset: MakeDataset, images: list[dict[str, object]], annotations: list[dict[str, object]]
) -> None:
    prepared = prepare(make_dataset([*SAFE, *images], [{}, *annotations]), TOLERANT)
    for part in prepared.splits.values():
        for x, y, width, height in part.annotations.select("x", "y", "width", "height").iter_rows():
            assert 0 <= x <= x + width <= 100 + 1e-6
            assert 0 <= y <= y + height <= 80 + 1e-6
            assert min(width, height) >= 2 - 1e-6


@given(images=st.lists(IMAGE, max_size=6), seed=st.integers(0, 20))
def test_splits_share_no_content(make_dataset: MakeDataset, images: list[dict[str, object]], seed: int) -> None:
    prepared = prepare(make_dataset([*SAFE, *images], [{}]), replace(TOLERANT, seed=seed))
    contents = [set(part.images.get_column("sha256")) for part in prepared.splits.values()]
    assert sum(map(len, contents)) == len(set.union(*contents))
    for split, part in prepared.splits.items():
        assert part.split == split
        assert set(part.images.get_column("split")) == {split}


def test_preparing_what_was_prepared_changes_nothing_more(make_dataset: MakeDataset) -> None:
    images = [{"declared_width": 200, "declared_height": 160}, *SAFE]
    first = prepare(make_dataset(images, [{"x": 20.0}, {"x": -3.0}, {"image_id": 2, "x": 95.0}]), TOLERANT)
    assert first.counts["fixed"] == 4  # one image and its two boxes scaled, one box clipped
    parts = first.splits.values()
    clean = replace(
        first.train,
        images=pl.concat(part.images for part in parts),
        annotations=pl.concat(part.annotations for part in parts),
        ledger=to_table([]),
    )
    again = prepare(clean, TOLERANT)
    assert (again.counts["fixed"], again.counts["rejected"]) == (0, 0)
    assert {part.version for part in again.splits.values()} == {part.version for part in parts}


def test_the_same_input_gives_the_same_versions_in_blocks_of_any_size(
    make_many: MakeDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = make_many(30)
    whole = [part.version for part in prepare(dataset, TOLERANT).splits.values()]
    monkeypatch.setattr(judge, "BLOCK", 7)
    assert [part.version for part in prepare(dataset, TOLERANT).splits.values()] == whole


def test_each_split_has_the_ledger_of_its_images_and_train_the_rest(make_many: MakeDataset) -> None:
    dataset = make_many(30)
    boxes = dataset.annotations.with_columns(x=pl.lit(-5.0))
    gone = Entry("labels/x.txt", Rule.MALFORMED, Action.REJECTED, annotation="labels/x.txt:1")
    prepared = prepare(replace(dataset, annotations=boxes, ledger=to_table([gone])), TOLERANT)
    for part in (prepared.val, prepared.test):
        assert set(part.ledger.get_column("image")) == set(part.images.get_column("name"))
    assert set(prepared.train.ledger.get_column("image")) == {
        "labels/x.txt",
        *prepared.train.images.get_column("name"),
    }
    assert prepared.counts["rejected_annotations"] == 1
    assert prepared.counts["found_annotations"] == 31


def test_too_many_rejections_stop_with_the_top_rules(make_dataset: MakeDataset) -> None:
    annotations = [{"x": 500.0}, {"x": 600.0}, {"width": 0.0}, *({"image_id": place} for place in range(4))]
    with pytest.raises(DataQualityError, match=r"3 of 7 annotations .* 42\.9%.*2 outside, 1 zero area"):
        prepare(make_dataset(SAFE, annotations), PrepareOptions())


def test_lost_images_count_as_a_share_of_the_images(make_dataset: MakeDataset) -> None:
    with pytest.raises(DataQualityError, match=r"2 of 6 images .* 33\.3%.*2 missing image"):
        prepare(make_dataset([*SAFE, {"sha256": None}, {"sha256": None}], [{}]), PrepareOptions())


def test_classes_nobody_asked_for_do_not_hide_how_bad_the_rest_is(make_dataset: MakeDataset) -> None:
    dogs = [{"category": "dog", "x": float(place)} for place in range(50)]
    with pytest.raises(DataQualityError, match="1 of 2 annotations"):
        prepare(make_dataset(SAFE, [{}, {"x": 500.0}, *dogs]), PrepareOptions(target_classes=("cat",)))


def test_no_image_left_is_refused(make_dataset: MakeDataset) -> None:
    with pytest.raises(DataQualityError, match="No usable image is left"):
        prepare(make_dataset([{"sha256": None}]), TOLERANT)


def test_no_box_left_is_refused(make_dataset: MakeDataset) -> None:
    with pytest.raises(DataQualityError, match="No box of the classes cat, dog is left in 4 images"):
        prepare(make_dataset(SAFE, [{"x": 500.0}]), TOLERANT)


def test_no_box_of_the_wanted_classes_says_so_before_any_limit(make_dataset: MakeDataset) -> None:
    with pytest.raises(DataQualityError, match="No annotation is of the classes 'dog'; all 1 are of classes that"):
        prepare(make_dataset([*SAFE, {"sha256": None}], [{}]), PrepareOptions(target_classes=("dog",)))


def test_a_class_without_boxes_keeps_its_id(make_many: MakeDataset) -> None:
    assert prepare(make_many(10), TOLERANT).val.classes == ("cat", "dog")


def test_images_of_other_classes_stay_as_negatives(make_dataset: MakeDataset) -> None:
    dataset = make_dataset([{}] * 6, [{}, *({"image_id": place, "category": "dog"} for place in range(1, 6))])
    prepared = prepare(dataset, PrepareOptions(target_classes=("cat",)))
    assert (prepared.counts["images"], prepared.counts["negatives"], prepared.counts["left_out"]) == (6, 5, 5)


def test_the_parent_is_the_version_that_was_prepared(make_many: MakeDataset) -> None:
    dataset = make_many(10)
    assert prepare(dataset, TOLERANT).test.parent == dataset.version


@pytest.mark.parametrize(
    "wrong", [{"min_box_size": -1.0}, {"min_box_size": math.nan}, {"max_rejected_share": 1.5}, {"train_share": 0.9}]
)
def test_impossible_options_are_refused(make_many: MakeDataset, wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=f"{next(iter(wrong))}"):
        prepare(make_many(5), PrepareOptions(**wrong))
