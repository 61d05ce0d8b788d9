import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest

from components.shared.errors import FormatError
from components.shared.formats import yolo
from components.shared.formats.base import PARSED_ANNOTATIONS, PARSED_IMAGES
from components.shared.ledger import Action, Rule

MakeTree = Callable[[dict[str, str | bytes]], Path]

BOX = "0 0.5 0.5 0.5 0.25\n"
DATA = "train: images/train\nval: images/val\nnames: [cat, dog]\n"


def one_image(label: str | bytes, names: str = "names: [cat, dog]") -> dict[str, str | bytes]:
    return {"data.yaml": names, "images/a.jpg": "", "labels/a.txt": label}


def test_a_small_data_set_is_read_as_shares_of_the_image(make_tree: MakeTree) -> None:
    root = make_tree(one_image("1 0.5 0.5 0.5 0.25\n"))
    assert yolo.detect(root)
    parsed = yolo.read(root)
    assert parsed.images.schema == PARSED_IMAGES
    assert parsed.annotations.schema == PARSED_ANNOTATIONS
    assert parsed.classes == ("cat", "dog")
    assert parsed.images.row(0) == (0, "a.jpg", str(root / "images/a.jpg"), None, None, None, None, None, None)
    assert parsed.annotations.select("category", "x", "y", "width", "height").row(0) == ("dog", 0.25, 0.375, 0.5, 0.25)
    assert parsed.annotations["relative"].all()
    assert parsed.annotations["source_id"].to_list() == ["labels/a.txt:1"]
    assert parsed.ledger == ()


@pytest.mark.parametrize(
    "layout",
    [
        {"images/train/a.jpg": "labels/train/a.txt", "images/val/b.jpg": "labels/val/b.txt"},
        {"images/train2017/a.jpg": "labels/train2017/a.txt", "images/val2017/b.jpg": "labels/val2017/b.txt"},
        {"train/images/a.jpg": "train/labels/a.txt", "valid/images/b.jpg": "valid/labels/b.txt"},
        {"train/a.jpg": "train/a.txt", "val/b.jpg": "val/b.txt"},
        {"train/a.jpg": "labels/train/a.txt", "val/b.jpg": "labels/val/b.txt"},
        {"x/y/images/train/a.jpg": "x/y/labels/train/a.txt", "x/y/images/val/b.jpg": "x/y/labels/val/b.txt"},
        {"JPEGImages/train/a.jpg": "labels/train/a.txt", "JPEGImages/val/b.jpg": "labels/val/b.txt"},
        {"images/train/a.jpg": "object_detection/labels/train/a.txt", "images/val/b.jpg": "elsewhere/val/b.txt"},
    ],
)
def test_every_usual_layout_gives_the_same_names_splits_and_boxes(make_tree: MakeTree, layout: dict[str, str]) -> None:
    files = dict.fromkeys(layout, "") | dict.fromkeys(layout.values(), BOX)
    parsed = yolo.read(make_tree(files))
    assert parsed.images["name"].to_list() == ["a.jpg", "b.jpg"]
    assert parsed.images["split"].to_list() == ["train", "val"]
    assert parsed.images["path"].null_count() == 0
    assert parsed.annotations["image_id"].to_list() == [0, 1]


@pytest.mark.parametrize(
    "layout",
    [{"images/a.jpg": "labels/a.txt"}, {"a.jpg": "a.txt"}, {"x/a.jpg": "x/a.txt"}, {"images/a.jpg": "images/a.txt"}],
)
def test_a_layout_without_splits_gives_none(make_tree: MakeTree, layout: dict[str, str]) -> None:
    parsed = yolo.read(make_tree(dict.fromkeys(layout, "") | dict.fromkeys(layout.values(), BOX)))
    assert parsed.images.select("name", "split").rows() == [("a.jpg", None)]
    assert parsed.annotations.height == 1


def test_the_same_name_in_two_splits_keeps_its_folder(make_tree: MakeTree) -> None:
    files = {f"images/{split}/a.jpg": "" for split in ("train", "val")} | {"data.yaml": DATA}
    assert yolo.read(make_tree(files)).images["name"].to_list() == ["images/train/a.jpg", "images/val/a.jpg"]


@pytest.mark.parametrize(
    ("label", "box", "score"),
    [
        (b"0 0,5 0,5 0,5 0,25", (0.25, 0.375, 0.5, 0.25), None),
        (b"\xef\xbb\xbf0 0.5 0.5 0.5 0.25\r\n", (0.25, 0.375, 0.5, 0.25), None),
        (b"0.0 0.5 0.5 0.5 0.25\r\r", (0.25, 0.375, 0.5, 0.25), None),
        (b"\n\n  0\t0.5  0.5 0.5 0.25  ", (0.25, 0.375, 0.5, 0.25), None),
        (b"0 0.5 0.5 0.5 0.25 0.75", (0.25, 0.375, 0.5, 0.25), 0.75),
        (b"0 0.1 0.2 0.5 0.2 0.5 0.9", (0.1, 0.2, 0.4, 0.7), None),
        (b"0 1.5 -0.5 0 -1", (1.5, 0.0, 0.0, -1.0), None),
    ],
)
def test_every_kind_of_line_is_read(
    make_tree: MakeTree, label: bytes, box: tuple[float, ...], score: float | None
) -> None:
    parsed = yolo.read(make_tree(one_image(label)))
    assert parsed.ledger == ()
    assert parsed.annotations.select("x", "y", "width", "height").row(0) == pytest.approx(box)
    assert parsed.annotations["score"].to_list() == [score]
    assert parsed.annotations["kind"].to_list() == ["prediction" if score else "ground_truth"]


def test_a_polygon_keeps_its_outline(make_tree: MakeTree) -> None:
    parsed = yolo.read(make_tree(one_image("0 0.1 0.2 0.5 0.2 0.5 0.9")))
    assert json.loads(parsed.annotations["attributes"][0]) == {"segmentation_relative": [0.1, 0.2, 0.5, 0.2, 0.5, 0.9]}


@pytest.mark.parametrize("line", ["0 nan 0.5 0.5 0.5", "0 inf 0.5 0.5 0.5", "0 nan 0.2 0.5 0.2 0.5 0.9"])
def test_numbers_that_are_none_are_left_to_validation(make_tree: MakeTree, line: str) -> None:
    parsed = yolo.read(make_tree(one_image(line)))
    assert not math.isfinite(parsed.annotations["x"][0])


@pytest.mark.parametrize(
    "line",
    ["cat 0.5 0.5 0.5 0.5", "0 0.5 0.5 0.5", "0", "0.5 0.5 0.5 0.5 0.5", "0 0.5 0.5 0.5 x", "0,0.5,0.5,0.5,0.5",
     "0 1_0 0.5 0.5 0.5", "0 1 2 3 4 5 6 7", "nan 0.5 0.5 0.5 0.5"],
)  # fmt: skip
def test_a_malformed_line_goes_to_the_ledger_and_the_others_stay(make_tree: MakeTree, line: str) -> None:
    parsed = yolo.read(make_tree(one_image(f"{BOX}{line}\n{BOX}")))
    assert parsed.annotations["source_id"].to_list() == ["labels/a.txt:1", "labels/a.txt:3"]
    (entry,) = parsed.ledger
    assert (entry.rule, entry.annotation) == (Rule.MALFORMED, "labels/a.txt:2")


def test_a_binary_label_file_does_not_crash(make_tree: MakeTree) -> None:
    parsed = yolo.read(make_tree(one_image(bytes(range(256)))))
    assert parsed.annotations.height == 0
    assert {entry.rule for entry in parsed.ledger} == {Rule.MALFORMED}


@pytest.mark.parametrize("index", [2, 7, -1])
def test_a_class_without_a_name_keeps_its_index(make_tree: MakeTree, index: int) -> None:
    parsed = yolo.read(make_tree(one_image(f"{index} 0.5 0.5 0.5 0.5")))
    assert parsed.annotations["category"].to_list() == [None]
    assert json.loads(parsed.annotations["attributes"][0]) == {"class": index}


def test_missing_and_empty_labels_are_images_without_objects(make_tree: MakeTree) -> None:
    parsed = yolo.read(make_tree(one_image("") | {"images/b.jpg": "", "images/c.jpg": "", "labels/c.txt": BOX}))
    assert parsed.images.height == 3
    assert parsed.annotations["image_id"].to_list() == [2]


def test_a_label_without_an_image_is_an_image_whose_file_is_missing(make_tree: MakeTree) -> None:
    parsed = yolo.read(make_tree(one_image(BOX) | {"labels/gone.txt": BOX}))
    assert parsed.images.select("name", "source_id").rows()[1] == ("gone", "labels/gone.txt")
    assert parsed.images["path"][1] is None
    assert parsed.annotations.height == 2


def test_other_text_files_are_no_labels(make_tree: MakeTree) -> None:
    files = {"README.txt": "hello", "classes.txt": "a\nb", "docs/notes.txt": "1 2", "README.roboflow.txt": "x"}
    parsed = yolo.read(make_tree(one_image(BOX) | files))
    assert (parsed.images.height, parsed.ledger) == (1, ())


def test_an_image_called_like_a_list_has_its_label(make_tree: MakeTree) -> None:
    files = {f"images/{name}.jpg": "" for name in ("train", "labels", "classes", "README")}
    files |= {f"labels/{name}.txt": BOX for name in ("train", "labels", "README")} | {"labels/classes.txt": "cat\ndog"}
    parsed = yolo.read(make_tree(files))
    assert parsed.classes == ("cat", "dog")
    assert (parsed.images.height, parsed.annotations.height, parsed.ledger) == (4, 3, ())


def test_dotted_names_pair_with_their_own_labels(make_tree: MakeTree) -> None:
    files = {f"images/{name}.jpg": "" for name in ("a", "a.b", "a.b.c")}
    files |= {f"labels/{name}.txt": BOX * (index + 1) for index, name in enumerate(("a", "a.b", "a.b.c"))}
    parsed = yolo.read(make_tree(files))
    counts = dict(parsed.annotations["image_id"].value_counts().rows())
    assert [counts[i] for i in parsed.images.sort("name")["image_id"]] == [3, 2, 1]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ("names: [cat, dog]", ("cat", "dog")),
        ("names:\n  0: cat\n  1: dog", ("cat", "dog")),
        ("names: {'1': dog, '0': cat}", ("cat", "dog")),
        ("names: {0: cat, 2: dog}", ("cat", "1", "dog")),
        ("names: [1, yes, null, 1.0, '']", ("1", "yes", "null", "1.0", "")),
        ("names: [cat, cat]", ("cat",)),
        ("names: [Katze, 'größe \U0001f408']", ("Katze", "größe \U0001f408")),
        ("names: []", ("0",)),
        ("download: import os; os.abort()\nnc: 9\nnames: [cat]", ("cat",)),
    ],
)
def test_class_names_are_what_the_yaml_says(make_tree: MakeTree, names: tuple[str, ...], expected: str | None) -> None:
    assert yolo.read(make_tree(one_image(BOX, names))).classes == expected


@pytest.mark.parametrize(
    ("names", "match"),
    [
        ("names: cat", "'cat' as names"),
        ("names: {a: cat}", "no number"),
        ("names: {-1: cat}", "outside 0"),
        ("names: {999999999: cat}", "outside 0"),
        ("names: [[cat]]", "no text"),
        ("names: [cat", "'data.yaml' is not valid YAML: line 1"),
        ("names: !!python/name:os.system", "uses the tag"),
        ("names: &a [*a]", "alias"),
        ("path: ..\nnames: [cat]", "leaves the source"),
        ("path: ../../etc\nnames: [cat]", "leaves the source"),
        ("path: images/../../x\nnames: [cat]", "leaves the source"),
        ("path: /etc\nnames: [cat]", "leaves the source"),
        ("path: 'C:\\data'\nnames: [cat]", "leaves the source"),
        ("path: https://host/x\nnames: [cat]", "leaves the source"),
    ],
)
def test_a_bad_yaml_is_refused_in_one_sentence(make_tree: MakeTree, names: tuple[str, ...], match: str) -> None:
    root = make_tree(one_image(BOX, names))
    assert yolo.detect(root)
    with pytest.raises(FormatError, match=match) as caught:
        yolo.read(root)
    assert "data.yaml" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("path", [".", "./", "", "null", "sub/..", "gone"])
def test_a_path_inside_the_source_is_followed(make_tree: MakeTree, path: str) -> None:
    assert yolo.read(make_tree(one_image(BOX, f"path: {path}\ntrain: images\nnames: [cat]"))).images.height == 1


def test_an_absolute_path_to_the_source_itself_is_fine(make_tree: MakeTree) -> None:
    root = make_tree(one_image(BOX))
    (root / "data.yaml").write_text(f"path: {root}\ntrain: images\nnames: [cat]")
    assert yolo.read(root).images["split"].to_list() == ["train"]


@pytest.mark.parametrize(
    "entry",
    ["images/train", "./images/train", "../images/train", "/content/set/images/train", "[images/train]", "train.txt"],
)
def test_split_entries_are_matched_by_their_tail_and_nothing_else_belongs(make_tree: MakeTree, entry: str) -> None:
    files = {
        "data.yaml": f"train: {entry}\nnames: [cat]",
        "images/train/a.jpg": "",
        "images/other/b.jpg": "",
        "labels/train/a.txt": BOX,
        "labels/other/b.txt": BOX,
        "train.txt": "/home/me/set/images/train/a.jpg\n",
    }
    parsed = yolo.read(make_tree(files))
    assert parsed.images.select("name", "split").rows() == [("a.jpg", "train")]
    assert parsed.annotations.height == 1


def test_several_folders_make_one_split(make_tree: MakeTree) -> None:
    files = {"data.yaml": "train: [images/x, images/y]\nval: images/z\nnames: [cat]"}
    parsed = yolo.read(make_tree(files | {f"images/{name}/{name}.jpg": "" for name in "xyz"}))
    assert parsed.images.select("name", "split").rows() == [("x.jpg", "train"), ("y.jpg", "train"), ("z.jpg", "val")]


def test_images_listed_for_train_and_val_have_no_split(make_tree: MakeTree) -> None:
    parsed = yolo.read(make_tree(one_image(BOX, "train: images\nval: images\ntest: images\nnames: [cat]")))
    assert parsed.images.select("name", "split").rows() == [("a.jpg", None)]


def test_a_missing_test_folder_is_no_problem_but_a_missing_train_folder_is(make_tree: MakeTree) -> None:
    files = {"images/val/a.jpg": "", "data.yaml": "val: images/val\ntest: images/test\nnames: [cat]"}
    root = make_tree(files)
    assert yolo.read(root).images.height == 1
    (root / "data.yaml").write_text("train: images/trian\nval: images/val\nnames: [cat]")
    with pytest.raises(FormatError, match="training images"):
        yolo.read(root)


def test_listed_images_that_are_not_there_keep_their_rows(make_tree: MakeTree) -> None:
    files = one_image(BOX, "train: train.txt\nnames: [cat]")
    parsed = yolo.read(make_tree(files | {"train.txt": "images/a.jpg\r\n\nC:\\set\\images\\gone.jpg\n"}))
    assert parsed.images.select("name", "split").rows() == [("a.jpg", "train"), ("gone.jpg", "train")]
    assert parsed.images["path"].null_count() == 1


def test_a_list_never_reaches_outside_the_source(make_tree: MakeTree, tmp_path: Path) -> None:
    (tmp_path / "secret.jpg").write_bytes(b"x")
    files = one_image(BOX, "train: train.txt\nnames: [cat]")
    parsed = yolo.read(make_tree(files | {"train.txt": f"../secret.jpg\n{tmp_path}/secret.jpg\n"}))
    assert parsed.images["path"].null_count() == parsed.images.height
    assert [(entry.image, entry.rule, entry.action) for entry in parsed.ledger] == [
        ("train.txt", Rule.UNSAFE_NAME, Action.KEPT)
    ] * 2
    assert "train.txt lists '../secret.jpg': it climbs out" in parsed.ledger[0].detail
    assert f"train.txt lists '{tmp_path}/secret.jpg': it is an absolute path" in parsed.ledger[1].detail


@pytest.mark.parametrize("entry", ["../../outside", "/etc", "C:\\windows"])
def test_a_folder_outside_the_source_is_recorded_and_not_entered(make_tree: MakeTree, entry: str) -> None:
    parsed = yolo.read(make_tree(one_image(BOX, f"train: {entry}\nnames: [cat]")))
    assert parsed.images["name"].to_list() == ["a.jpg"]
    (found,) = parsed.ledger
    assert (found.image, found.rule, found.action) == ("data.yaml", Rule.UNSAFE_NAME, Action.REJECTED)
    assert f"data.yaml lists {entry!r}" in found.detail


def test_darknet_files_are_read(make_tree: MakeTree) -> None:
    files = {
        "obj.data": "classes = 2\ntrain = data/train.txt\nvalid = data/valid.txt\nnames = data/obj.names\nbackup = x/",
        "obj.names": "cat\ndog\n",
        "train.txt": "data/obj_train_data/a.jpg\n",
        "valid.txt": "data/obj_valid_data/b.jpg\n",
        "obj_train_data/a.jpg": "",
        "obj_train_data/a.txt": BOX,
        "obj_valid_data/b.jpg": "",
        "obj_valid_data/b.txt": "1 0.5 0.5 1 1",
    }
    parsed = yolo.read(make_tree(files))
    assert parsed.images.select("name", "split").rows() == [("a.jpg", "train"), ("b.jpg", "val")]
    assert parsed.annotations["category"].to_list() == ["cat", "dog"]


@pytest.mark.parametrize("name", ["classes.txt", "labels.txt", "sub/classes.txt", "obj.names", "coco.names"])
def test_a_class_list_names_the_classes(make_tree: MakeTree, name: str) -> None:
    files = {"images/a.jpg": "", "labels/a.txt": BOX, name: b"\xef\xbb\xbfcat\r\n1\r\n\r\n"}
    assert yolo.read(make_tree(files)).classes == ("cat", "1")


def test_classes_without_names_are_called_by_their_index(make_tree: MakeTree) -> None:
    parsed = yolo.read(make_tree({"a.jpg": "", "a.txt": "2 0.5 0.5 1 1"}))
    assert parsed.classes == ("0", "1", "2")
    assert parsed.annotations["category"].to_list() == ["2"]


def test_a_label_of_another_split_is_not_lent(make_tree: MakeTree) -> None:
    parsed = yolo.read(make_tree({"train/images/a.jpg": "", "val/labels/a.txt": BOX, "val/images/b.jpg": ""}))
    missing = parsed.images.filter(parsed.images["path"].is_null())["image_id"].to_list()
    assert parsed.annotations["image_id"].to_list() == missing


def test_coco128_comes_out_whole(real_data: Callable[[str], Path]) -> None:
    parsed = yolo.read(real_data("coco128_yolo"))
    on_disk = parsed.images.drop_nulls("path")
    boxes = parsed.annotations.filter(parsed.annotations["image_id"].is_in(on_disk["image_id"].implode()))
    assert on_disk["split"].value_counts().sort("split").rows() == [("train", 128), ("val", 128)]
    assert boxes.height == 929 + 898
    assert parsed.classes[0] == "person"
    assert len(parsed.classes) == 80
    # Upstream ships two labels whose images it does not.
    assert parsed.images.filter(parsed.images["path"].is_null())["name"].to_list() == ["000000000656", "000000000659"]


def test_a_label_studio_export_is_read(real_data: Callable[[str], Path]) -> None:
    parsed = yolo.read(real_data("label_studio/import_yolo"))
    assert parsed.classes == ("closed_door", "opened_door", "bus", "number")
    assert (parsed.images.height, parsed.annotations.height, parsed.ledger) == (7, 25, ())
