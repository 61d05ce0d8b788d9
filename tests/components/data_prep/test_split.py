"""Splits: disjoint by content, stable, never empty."""

from collections.abc import Callable

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.data_prep.split import SPLITS, Assignment, assign_splits, check_shares, position_of
from components.shared.dataset import Dataset
from components.shared.errors import ConfigError, DataQualityError

MakeDataset = Callable[..., Dataset]
SHARES = {"train": 0.7, "val": 0.15, "test": 0.15}


def assign(dataset: Dataset, *, mode: str = "auto", seed: int = 0) -> Assignment:
    with_objects = dataset.annotations.get_column("image_id").unique()
    return assign_splits(dataset.images, with_objects, shares=SHARES, mode=mode, seed=seed)


def by_image(assignment: Assignment) -> dict[int, str]:
    return dict(assignment.images.select("image_id", "split").iter_rows())


def test_shares_are_about_what_was_asked(make_many: MakeDataset) -> None:
    counts = assign(make_many(1000)).images.get_column("split").value_counts()
    shares = {split: count / 1000 for split, count in counts.iter_rows()}
    assert shares == pytest.approx(SHARES, abs=0.05)


def test_the_same_seed_gives_the_same_split_and_another_does_not(make_many: MakeDataset) -> None:
    dataset = make_many(60)
    assert by_image(assign(dataset, seed=1)) == by_image(assign(dataset, seed=1))
    assert by_image(assign(dataset, seed=1)) != by_image(assign(dataset, seed=2))


def test_new_images_move_no_old_one(make_many: MakeDataset) -> None:
    before, after = by_image(assign(make_many(200))), by_image(assign(make_many(400)))
    assert {image: after[image] for image in before} == before


@given(
    contents=st.lists(st.integers(0, 12), min_size=3, max_size=30).filter(lambda found: len(set(found)) >= 3),
    positives=st.sets(st.integers(0, 29)),
    seed=st.integers(0, 50),
)
@settings(max_examples=60, deadline=None)
def test_no_content_is_in_two_splits_and_no_split_is_empty(
    make_dataset: MakeDataset, contents: list[int], positives: set[int], seed: int
) -> None:
    annotations = [{"image_id": image} for image in positives if image < len(contents)]
    dataset = make_dataset([{"sha256": f"{number:064}"} for number in contents], annotations)
    found = assign(dataset, seed=seed).images.join(dataset.images.select("image_id", "sha256"), on="image_id")
    assert found.height == len(contents)
    assert found.group_by("sha256").agg(pl.col("split").n_unique()).get_column("split").max() == 1
    assert set(found.get_column("split")) == set(SPLITS)
    labelled = found.filter(pl.col("image_id").is_in(list(positives)))
    contents_with_boxes = labelled.get_column("sha256").n_unique()
    assert labelled.get_column("split").n_unique() == min(3, contents_with_boxes)
    assert not contents_with_boxes or "train" in labelled.get_column("split")


def test_the_sources_own_splits_are_kept(make_dataset: MakeDataset) -> None:
    names = ["train", "train", "val", "test"]
    assignment = assign(make_dataset([{"split": name} for name in names], [{}]))
    assert list(by_image(assignment).values()) == names


@pytest.mark.parametrize(
    ("given_splits", "donor", "made"), [(("train", "val"), "val", "test"), (("train", "test"), "train", "val")]
)
def test_a_missing_split_is_taken_out_of_another(
    make_dataset: MakeDataset, given_splits: tuple[str, str], donor: str, made: str
) -> None:
    images = [{"split": given_splits[place % 2]} for place in range(40)]
    dataset = make_dataset(images, [{"image_id": place} for place in range(40)])
    pairs = {(images[image]["split"], split) for image, split in by_image(assign(dataset)).items()}
    assert pairs == {(given_splits[0], given_splits[0]), (given_splits[1], given_splits[1]), (donor, made)}


def test_random_ignores_the_source(make_dataset: MakeDataset) -> None:
    dataset = make_dataset([{"split": "train" if place < 30 else "val"} for place in range(60)], [{}])
    assert by_image(assign(dataset, mode="random")) == by_image(assign(make_dataset([{}] * 60, [{}])))


def test_the_same_content_in_two_source_splits_goes_to_train_and_is_told(make_dataset: MakeDataset) -> None:
    images = [{"split": "val", "sha256": "a" * 64}, {"split": "train", "sha256": "a" * 64}]
    dataset = make_dataset([*images, {"split": "val"}, {"split": "test"}], [{}])
    assignment = assign(dataset)
    assert by_image(assignment) == {0: "train", 1: "train", 2: "val", 3: "test"}
    assert assignment.moved.select("name", "source_split", "split").rows() == [("0.jpg", "val", "train")]


def test_source_is_refused_when_an_image_has_no_split(make_dataset: MakeDataset) -> None:
    with pytest.raises(ConfigError, match=r"1 of 3 images, such as '2\.jpg'"):
        assign(make_dataset([{"split": "train"}, {"split": "val"}, {}], [{}]), mode="source")


def test_source_is_refused_when_there_is_only_train(make_dataset: MakeDataset) -> None:
    with pytest.raises(ConfigError, match="has only train"):
        assign(make_dataset([{"split": "train"}] * 3, [{}]), mode="source")


def test_two_different_images_are_too_few(make_dataset: MakeDataset) -> None:
    with pytest.raises(DataQualityError, match="2 usable and different images"):
        assign(make_dataset([{}, {}, {"sha256": "a" * 64}, {"sha256": "a" * 64}][1:], [{}]))


@pytest.mark.parametrize("shares", [(0.7, 0.3, 0.0), (0.7, 0.2, 0.2), (1.2, -0.1, -0.1), (float("nan"), 0.5, 0.5)])
def test_impossible_shares_are_refused(shares: tuple[float, float, float]) -> None:
    with pytest.raises(ConfigError, match="share"):
        check_shares(dict(zip(SPLITS, shares, strict=True)), "auto")


def test_an_unknown_mode_is_refused() -> None:
    with pytest.raises(ConfigError, match="'half'"):
        check_shares(SHARES, "half")


def test_positions_lie_in_the_unit_interval() -> None:
    positions = [position_of(f"{number}", 0) for number in range(500)]
    assert all(0 <= position < 1 for position in positions)
    assert sum(positions) / 500 == pytest.approx(0.5, abs=0.05)
