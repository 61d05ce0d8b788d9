"""What belongs together: content, keys, parents and near-duplicates."""

from collections.abc import Callable

import numpy as np
import polars as pl
import pytest

from components.data_prep.groups import Grouping, find_groups, group_keys
from components.shared.dataset import Dataset
from components.shared.errors import ConfigError
from components.shared.grouping import check_group_by

MakeDataset = Callable[..., Dataset]
PICTURE = 0x0F0F_F0F0_3C3C_5A5A


def groups_of(grouping: Grouping) -> list[set[int]]:
    table = grouping.images.group_by("group").agg("image_id").sort("group")
    return [set(members) for members in table.get_column("image_id")]


@pytest.mark.parametrize(
    ("group_by", "keys"),
    [
        ("", [None, None, None]),
        ("folder", ["", "a/b", "a/c"]),
        ("folder:1", ["", "a", "a"]),
        ("tag:site", ["north", "7", None]),
        ("tag:camera", [None, "x", None]),
        (r"name:cam(\d+)", ["12", "3", None]),
        (r"name:cam\d+", ["cam12", "cam3", None]),
        (r"name:^(?:.*/)?(\w+)_|(c)/", ["cam12", "cam3", "c"]),
    ],
)
def test_keys(make_dataset: MakeDataset, group_by: str, keys: list[str | None]) -> None:
    images = [
        {"name": "cam12_1.jpg", "tags": '{"site": "north"}'},
        {"name": "a/b/cam3_1.jpg", "tags": '{"camera": "x", "site": 7}'},
        {"name": "a/c/plain.jpg", "tags": None},
    ]
    assert group_keys(make_dataset(images).images, group_by).to_list() == keys


def test_images_without_a_key_are_told_and_a_key_nobody_has_is_refused(make_dataset: MakeDataset) -> None:
    images = make_dataset([{"tags": '{"camera": "x"}'}, {"tags": None}, {"tags": "no json"}]).images
    (flag,) = find_groups(images, group_by="tag:camera").flags
    assert "2 of 3 images have no 'tag:camera'" in flag
    with pytest.raises(ConfigError, match=r"none of the 3 images has it.*their tags are 'camera'"):
        find_groups(images, group_by="tag:site")
    with pytest.raises(ConfigError, match="look at the pattern"):
        find_groups(images, group_by="name:nobody")


def test_broken_tags_stand_alone(make_dataset: MakeDataset) -> None:
    dataset = make_dataset([{"tags": "{"}, {"tags": "[1]"}, {"tags": '{"a": null}'}])
    assert group_keys(dataset.images, "tag:a").to_list() == [None, None, None]


@pytest.mark.parametrize("group_by", ["folders", "folder:0", "folder:x", "tag:", "tag", "name:", "name:(", "x:y"])
def test_a_grouping_that_does_not_exist_is_refused(group_by: str) -> None:
    with pytest.raises(ConfigError, match="group_by is"):
        check_group_by(group_by)


def test_content_key_and_parent_connect(make_dataset: MakeDataset) -> None:
    same = {"sha256": "a" * 64}
    images = [
        {"name": "x/0.jpg", **same},
        {"name": "y/1.jpg", **same},
        {"name": "y/2.jpg"},
        {"name": "z/3.jpg", "parent": "a" * 64},
        {"name": "w/4.jpg", "parent": "b" * 64},
        {"name": "v/5.jpg", "parent": "b" * 64},
        {"name": "u/6.jpg"},
    ]
    dataset = make_dataset(images)
    assert groups_of(find_groups(dataset.images)) == [{0, 1, 3}, {2}, {4, 5}, {6}]
    assert groups_of(find_groups(dataset.images, group_by="folder")) == [{0, 1, 2, 3}, {4, 5}, {6}]


def test_a_tag_that_looks_like_a_digest_connects_with_no_content(make_dataset: MakeDataset) -> None:
    images = [{"sha256": "a" * 64}, {"tags": '{"t": "' + "a" * 64 + '"}'}]
    assert groups_of(find_groups(make_dataset(images).images, group_by="tag:t")) == [{0}, {1}]


def test_the_anchor_of_a_folder_does_not_depend_on_its_images(make_dataset: MakeDataset) -> None:
    small = find_groups(make_dataset([{"name": "a/0.jpg"}]).images, group_by="folder")
    large = find_groups(make_dataset([{"name": f"a/{place}.jpg"} for place in range(9)]).images, group_by="folder")
    assert set(large.images.get_column("anchor")) == set(small.images.get_column("anchor"))


def near_images(hashes: list[int | None]) -> list[dict[str, object]]:
    return [{"phash": value} for value in hashes]


def test_blank_and_unknown_pictures_stand_alone(make_dataset: MakeDataset) -> None:
    dataset = make_dataset(near_images([0, 0, 0, None, None, 2**64 - 1, 2**64 - 1, 1, 3]))
    assert len(groups_of(find_groups(dataset.images, near_duplicates=4))) == 9


def test_near_duplicates_connect_across_folders(make_dataset: MakeDataset) -> None:
    images = [{"name": f"{folder}/{place}.jpg"} for folder in "abcdefgh" for place in range(2)]
    images[1] |= {"phash": PICTURE}
    images[2] |= {"phash": PICTURE ^ 0b1111}
    dataset = make_dataset(images)
    assert {0, 1, 2, 3} in groups_of(find_groups(dataset.images, group_by="folder", near_duplicates=4))
    assert {0, 1, 2, 3} not in groups_of(find_groups(dataset.images, group_by="folder", near_duplicates=3))
    assert {0, 1, 2, 3} not in groups_of(find_groups(dataset.images, group_by="folder"))


def test_a_chain_is_cut_where_its_links_are_weakest(make_dataset: MakeDataset) -> None:
    random = np.random.default_rng(0)
    other = [int(value) for value in random.integers(0, 2**64, 40, dtype=np.uint64)]
    chain = [PICTURE ^ (((1 << 3 * (place // 2)) - 1) ^ (place % 2) << 60) for place in range(30)]
    dataset = make_dataset(near_images([*chain, *other]))
    grouping = find_groups(dataset.images, near_duplicates=4)
    assert {frozenset(group) for group in groups_of(grouping) if len(group) > 1} == {
        frozenset({place, place + 1}) for place in range(0, 30, 2)
    }
    assert "30 only where their hashes differ in at most 2 bits" in grouping.flags[0]
    assert "name what belongs together with group_by" in grouping.flags[0]


def test_a_still_camera_does_not_put_all_into_one_split(make_dataset: MakeDataset) -> None:
    grouping = find_groups(make_dataset(near_images([PICTURE] * 30)).images, near_duplicates=4)
    assert len(groups_of(grouping)) == 30
    assert "30 not at all" in grouping.flags[0]


def test_near_duplicates_leave_enough_groups_to_split(make_dataset: MakeDataset) -> None:
    pairs = near_images([PICTURE, PICTURE ^ 1, ~PICTURE & (2**64 - 1), ~PICTURE & (2**64 - 1) ^ 1])
    grouping = find_groups(make_dataset(pairs).images, near_duplicates=4)
    assert len(groups_of(grouping)) == 4
    assert "too few groups" in grouping.flags[0]


def test_large_groups_that_were_asked_for_stay_whole(make_dataset: MakeDataset) -> None:
    images = [{"name": f"{'a' if place < 30 else place}/{place}.jpg", "phash": None} for place in range(40)]
    images[0]["phash"], images[35]["phash"] = PICTURE, PICTURE ^ 1
    grouping = find_groups(make_dataset(images).images, group_by="folder", near_duplicates=4)
    assert {*range(30), 35} in groups_of(grouping)
    assert not grouping.flags


def test_no_images_have_no_groups(make_dataset: MakeDataset) -> None:
    empty = make_dataset([]).images
    assert find_groups(empty, group_by="folder", near_duplicates=4).summary.count == 0
    assert isinstance(empty, pl.DataFrame)
