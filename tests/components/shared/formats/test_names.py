import pytest

from components.shared.formats.names import (
    below_images,
    distinct,
    normal,
    split_of_file,
    split_of_folder,
    why_unsafe,
    without_suffix,
)


@pytest.mark.parametrize(
    "name",
    [
        "/etc/passwd", "C:\\a.jpg", "c:/a.jpg", "\\\\host\\a.jpg", "../a.jpg", "a/../b.jpg", "a\\..\\b.jpg", "..",
        "http://host/a.jpg", "s3://bucket/a.jpg", "a\nb.jpg", "a\x00.jpg", "\x7f", "", ".", "/", " ", "\ud800.jpg",
    ],
)  # fmt: skip
def test_names_that_could_do_harm_are_told_why(name: str) -> None:
    assert why_unsafe(name)


@pytest.mark.parametrize("name", ["a.jpg", "a b.jpg", "x/ü.jpg", "..a.jpg", "a..jpg", ".hidden", "日本.jpg", "a:b.jpg"])
def test_odd_but_harmless_names_are_safe(name: str) -> None:
    assert why_unsafe(name) is None


def test_names_are_brought_to_one_unicode_form() -> None:
    assert normal("./x//u\u0308.jpg") == "x/\u00fc.jpg"


@pytest.mark.parametrize(
    ("name", "expected"),
    [("train", "train"), ("train2017", "train"), ("Valid", "val"), ("val_1", "val"), ("test-2", "test")]
    + [(name, None) for name in ("training_data", "trains", "images", "test_bench", "", "2017")],
)
def test_a_folder_says_a_split_only_when_that_is_all_it_says(name: str, expected: str | None) -> None:
    assert split_of_folder(name) == expected


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("annotations/instances_val2017.json", "val"),
        ("train/_annotations.coco.json", "train"),
        ("valid/annotations/labels.json", "val"),
        ("annotations/instances_default.json", None),
        ("annotations/instances_train_val.json", None),
        ("annotations/trainval.json", None),
        ("train/test.json", "test"),
    ],
)
def test_a_file_says_its_split_by_its_name_or_its_folder(path: str, expected: str | None) -> None:
    assert split_of_file(path) == expected


def test_only_the_last_suffix_is_cut() -> None:
    assert without_suffix("x.y/a.b.jpg") == "x.y/a.b"
    assert without_suffix("x.y/a") == "x.y/a"


def test_an_image_path_is_cut_at_its_first_image_folder() -> None:
    assert below_images("set/JPEGImages/x/images/a.jpg") == ("set/JPEGImages", "x/images/a.jpg")
    assert below_images("set/images.jpg") is None


def test_short_names_are_kept_where_they_are_unique() -> None:
    assert distinct(["a", "b", "a"], ["x/a", "x/b", "y/a"]) == ["x/a", "b", "y/a"]
    assert distinct(["a", "a", "x/a"], ["x/a", "y/a", "z/x/a"]) == ["x/a", "y/a", "z/x/a"]
