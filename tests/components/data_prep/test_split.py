"""Splits: disjoint by content, stable, never empty."""

import hashlib
from collections.abc import Callable, Mapping

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.data_prep.groups import find_groups
from components.data_prep.hashed import position_of
from components.data_prep.leaks import check_no_leak
from components.data_prep.split import SPLITS, Assignment, SplitPlan, assign_splits
from components.shared.dataset import Dataset
from components.shared.errors import ConfigError, DataQualityError

MakeDataset = Callable[..., Dataset]
SHARES = {"train": 0.7, "val": 0.15, "test": 0.15}


def assign(
    dataset: Dataset,
    *,
    mode: str = "auto",
    seed: int = 0,
    sizes: Mapping[str, int] | None = None,
    group_by: str = "",
    near_duplicates: int = -1,
) -> Assignment:
    grouping = find_groups(dataset.images, group_by=group_by, near_duplicates=near_duplicates)
    truth = dataset.ground_truth()
    return assign_splits(dataset.images, truth, grouping, SplitPlan(SHARES, mode, seed, sizes or {}))


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
        SplitPlan(dict(zip(SPLITS, shares, strict=True))).check()


def test_an_unknown_mode_is_refused() -> None:
    with pytest.raises(ConfigError, match="'half'"):
        SplitPlan(SHARES, "half").check()


def test_positions_lie_in_the_unit_interval() -> None:
    positions = [position_of(f"{number}", 0) for number in range(500)]
    assert all(0 <= position < 1 for position in positions)
    assert sum(positions) / 500 == pytest.approx(0.5, abs=0.05)


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def folders(count: int, each: int) -> list[dict[str, object]]:
    """Images in folders of ``each``, whose content says where they are."""
    names = [f"scene{place // each}/{place % each}.jpg" for place in range(count * each)]
    return [{"name": name, "sha256": digest(name)} for name in names]


def test_a_folder_is_in_one_split(make_dataset: MakeDataset) -> None:
    dataset = make_dataset(folders(40, 5), [{"image_id": place} for place in range(200)])
    assignment = assign(dataset, group_by="folder")
    found = assignment.images.with_columns(folder=pl.col("image_id") // 5)
    assert found.group_by("folder").agg(pl.col("split").n_unique()).get_column("split").max() == 1
    assert (assignment.groups.count, assignment.groups.largest) == (40, 5)
    assert "40 groups of images that belong together" in assignment.method


@given(
    old=st.lists(st.tuples(st.integers(0, 15), st.integers(0, 99), st.integers(0, 2)), min_size=4, max_size=40),
    new=st.lists(st.tuples(st.integers(0, 25), st.integers(100, 199), st.integers(0, 2)), max_size=40),
    group_by=st.sampled_from(["", "folder", "name:^s(\\d+)"]),
    seed=st.integers(0, 5),
)
def test_growth_moves_no_old_image_but_those_that_the_split_names(
    make_dataset: MakeDataset,
    old: list[tuple[int, int, int]],
    new: list[tuple[int, int, int]],
    group_by: str,
    seed: int,
) -> None:
    def build(records: list[tuple[int, int, int]]) -> Dataset:
        names = [f"s{folder}/{image}.jpg" for folder, image, _ in records]
        images = [{"name": name, "sha256": digest(name)} for name in names]
        boxes = [
            {"image_id": place, "category": ("cat", "dog")[kind]}
            for place, (_, _, kind) in enumerate(records)
            if kind < 2
        ]
        return make_dataset(images, boxes)

    old, new = list(dict.fromkeys(old)), list(dict.fromkeys(new))
    if len({folder for folder, _, _ in old}) < 3 or len({(a, b) for a, b, _ in old}) < 3:
        return
    before = assign(build(old), group_by=group_by, seed=seed)
    after = assign(build([*old, *new]), group_by=group_by, seed=seed)
    named = {*before.rescued.get_column("image_id"), *after.rescued.get_column("image_id")}
    places = by_image(after)
    for image, split in by_image(before).items():
        assert places[image] == split or image in named


@pytest.mark.parametrize("sizes", [{"val": 30, "test": 0}, {"val": 0, "test": 17}, {"val": 25, "test": 40}])
def test_sizes_are_met_exactly(make_many: MakeDataset, sizes: dict[str, int]) -> None:
    assignment = assign(make_many(200), sizes=sizes)
    counts = dict(assignment.images.get_column("split").value_counts().iter_rows())
    assert {split: counts[split] for split, size in sizes.items() if size} == {
        split: size for split, size in sizes.items() if size
    }
    assert not [flag for flag in assignment.flags if "asks for" in flag]


def test_growth_moves_only_what_lies_at_the_boundary_of_a_size(make_many: MakeDataset) -> None:
    before, after = (by_image(assign(make_many(count), sizes={"test": 30})) for count in (300, 310))
    assert sum(before[image] != after[image] for image in before) <= 10


def test_a_size_that_groups_cannot_meet_is_told(make_dataset: MakeDataset) -> None:
    dataset = make_dataset(folders(20, 4), [{"image_id": place} for place in range(80)])
    assignment = assign(dataset, group_by="folder", sizes={"test": 10})
    assert assignment.images.filter(pl.col("split") == "test").height == 8
    assert "test has 8 of the 10 images that test_images asks for: groups stay whole." in assignment.flags


def test_sizes_that_leave_nothing_for_train_are_refused(make_many: MakeDataset) -> None:
    with pytest.raises(ConfigError, match=r"val_images \+ test_images is 30, but only 30 images"):
        assign(make_many(30), sizes={"val": 10, "test": 20})


def test_sizes_without_effect_are_told(make_dataset: MakeDataset) -> None:
    dataset = make_dataset([{"split": split} for split in ("train", "train", "val", "test")], [{}])
    flags = assign(dataset, sizes={"val": 2}).flags
    assert "val_images had no effect: the source's own splits are kept (split 'random' would)." in flags


def test_one_group_is_too_few(make_dataset: MakeDataset) -> None:
    with pytest.raises(DataQualityError, match="All 4 images are in 1 group, too few"):
        assign(make_dataset([{}] * 4, [{}]), group_by="folder")


@given(seed=st.integers(0, 30), rare=st.integers(3, 6))
def test_a_class_of_three_images_is_in_every_split(make_dataset: MakeDataset, seed: int, rare: int) -> None:
    boxes = [{"image_id": place, "category": "dog" if place < rare else "cat"} for place in range(60)]
    dataset = make_dataset([{}] * 60, boxes)
    assignment = assign(dataset, seed=seed)
    splits = by_image(assignment)
    assert {splits[place] for place in range(rare)} == set(SPLITS)
    places = {image: position_of(dataset.images["sha256"][image], seed) for image in range(60)}
    moved = {image for image in splits if splits[image] != SPLITS[(places[image] >= 0.7) + (places[image] >= 0.85)]}
    assert moved == set(assignment.rescued.get_column("image_id")) <= set(range(rare))
    assert len(moved) <= 2
    assert all(any(f"{image}.jpg" in flag for flag in assignment.flags) for image in moved)


def test_deviation_counts_each_class_and_split(make_many: MakeDataset) -> None:
    assignment = assign(make_many(400))
    table = assignment.deviation
    assert table.get_column("split").to_list() == list(SPLITS)
    assert table.get_column("images").sum() == table.get_column("boxes").sum() == 400
    assert table.get_column("got").sum() == pytest.approx(1)
    assert table.get_column("sigma")[0] == pytest.approx((0.7 * 0.3 / 400) ** 0.5)
    assert not assignment.flags


def test_a_class_far_from_its_share_is_told(make_dataset: MakeDataset) -> None:
    images = [{"split": ("train", "val", "test")[place % 3]} for place in range(90)]
    boxes = [{"image_id": place, "category": "dog" if place % 3 == 1 else "cat"} for place in range(90)]
    (flag,) = assign(make_dataset(images, boxes)).flags
    assert "dog (100.0% of its images in val, wanted 33.3%)" in flag


PICTURE = 0x0F0F_F0F0_3C3C_5A5A


def test_near_duplicates_of_the_sources_splits_stay_and_are_told(make_dataset: MakeDataset) -> None:
    images = [
        {"split": "train", "phash": PICTURE},
        {"split": "val", "phash": PICTURE ^ 0b11},
        {"split": "test", "phash": PICTURE ^ (0xFFFF << 20)},
        {"split": "train", "phash": PICTURE ^ 0b1},
    ]
    assignment = assign(make_dataset(images, [{}]), near_duplicates=4)
    assert list(by_image(assignment).values()) == ["train", "val", "test", "train"]
    leaks = assignment.leaks.images.select("image", "other", "distance", "split", "other_split").rows()
    assert leaks == [("1.jpg", "3.jpg", 1, "val", "train")]
    pairs = assignment.leaks.pairs.select("image", "other", "distance").rows()
    assert pairs == [("1.jpg", "3.jpg", 1), ("3.jpg", "0.jpg", 1)]
    assert any("1 images of val and test have a near-duplicate" in flag for flag in assignment.flags)
    row = assignment.leaks.ledger_rows().row(0, named=True)
    assert (row["image"], row["rule"], row["action"]) == ("1.jpg", "near-duplicate image", "kept")


@given(seed=st.integers(0, 20), distance=st.integers(0, 8))
def test_near_duplicates_are_in_one_split(make_dataset: MakeDataset, seed: int, distance: int) -> None:
    scenes = [int(digest(f"{place}")[:16], 16) for place in range(30)]
    images = [{"phash": scenes[place % 30] ^ ((1 << distance) - 1 if place >= 30 else 0)} for place in range(60)]
    assignment = assign(make_dataset(images, [{}]), seed=seed, near_duplicates=distance)
    splits = by_image(assignment)
    assert all(splits[place] == splits[place + 30] for place in range(30))
    assert assignment.leaks.images.is_empty()
    assert assignment.leaks.pairs.height == 30
    assert assignment.groups.largest == 2


def test_the_guard_refuses_torn_content_and_torn_groups(make_dataset: MakeDataset) -> None:
    dataset = make_dataset([{}, {}, {"sha256": "a" * 64}, {"parent": "a" * 64}])
    parts = {"train": dataset.subset([0, 2]), "val": dataset.subset([1, 3])}
    with pytest.raises(DataQualityError, match=r"'2\.jpg' .* train and val"):
        check_no_leak(parts)
    whole = {"train": dataset.subset([0, 2, 3]), "val": dataset.subset([1])}
    check_no_leak(whole)
    groups = pl.DataFrame({"image_id": [0, 1], "group": [5, 5]}, schema={"image_id": pl.UInt32, "group": pl.UInt32})
    with pytest.raises(DataQualityError, match=r"'0\.jpg' .* train and val"):
        check_no_leak(whole, groups)
