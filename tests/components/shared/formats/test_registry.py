import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from components.shared.errors import ConfigError, FormatError, SourceError
from components.shared.formats.base import Parsed
from components.shared.formats.registry import FORMATS, detect, get, matching, read_source
from components.shared.formats.tree import one_look, scan
from components.shared.ledger import Rule

MakeTree = Callable[[dict[str, str | bytes]], Path]
SizedBoxes = Callable[[Parsed], list[tuple[str, str, float, float, float, float]]]

COCO = json.dumps({
    "images": [{"id": 1, "file_name": "a.jpg"}],
    "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 1, 2, 2]}],
    "categories": [{"id": 1, "name": "cat"}],
})  # fmt: skip
CORNERS = "<xmin>1</xmin><ymin>1</ymin><xmax>3</xmax><ymax>3</ymax>"
VOC = f"<annotation><object><name>cat</name><bndbox>{CORNERS}</bndbox></object></annotation>"
YOLO = "0 0.5 0.5 0.5 0.5"
SOURCES: dict[str, dict[str, str | bytes]] = {
    "coco": {"annotations/instances.json": COCO, "images/a.jpg": ""},
    "yolo": {"labels/a.txt": YOLO, "images/a.jpg": ""},
    "voc": {"Annotations/a.xml": VOC, "JPEGImages/a.jpg": ""},
}


@pytest.mark.parametrize("name", SOURCES)
@pytest.mark.parametrize("folder", ["", "set/", "x/y/set/", "__MACOSX/../set/"])
def test_a_data_set_is_recognised_also_some_folders_down(make_tree: MakeTree, name: str, folder: str) -> None:
    files = {f"{folder}{path}": content for path, content in SOURCES[name].items()}
    junk = {"__MACOSX/._a.jpg": b"x", ".DS_Store": b"x", f"{folder}.hidden.json": b"{"}
    chosen, parsed = read_source(make_tree(files | junk))
    assert chosen is FORMATS[name]
    assert parsed.images.select("name", "split").rows() == [("a.jpg", None)]
    assert parsed.annotations.height == 1


@pytest.mark.parametrize("name", SOURCES)
def test_a_data_set_beside_other_files_some_folders_down_is_recognised(make_tree: MakeTree, name: str) -> None:
    files = {f"download/x/{path}": content for path, content in SOURCES[name].items()}
    chosen, parsed = read_source(make_tree(files | {"README.md": "hello", "download/LICENSE": "mine"}))
    assert chosen.name == name
    assert parsed.annotations.height == 1


@pytest.mark.parametrize(
    ("files", "found"),
    [
        ({f"{i}.txt": "some words" for i in range(14)}, "14 .txt files, no images"),
        ({"a.jpg": "", "b.png": ""}, "2 images, but no annotations"),
        ({"a.json": "[]", "b.csv": "x"}, "1 .json file, 1 .csv file, no images"),
        ({"LICENSE": "x"}, "1 suffixless file, no images"),
    ],
)
def test_a_folder_that_is_no_data_set_gets_one_sentence_that_says_what_it_holds(
    make_tree: MakeTree, files: dict[str, str | bytes], found: str
) -> None:
    with pytest.raises(FormatError) as caught:
        read_source(make_tree(files))
    assert found in str(caught.value)
    assert all(name in str(caught.value) for name in FORMATS)
    assert "\n" not in str(caught.value)


def test_an_empty_a_missing_and_a_non_folder_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "empty" / "er").mkdir(parents=True)
    (tmp_path / "file").write_text("x")
    for name, match in (("empty", "is empty"), ("gone", "does not exist"), ("file", "is a file")):
        for format_name in ("auto", *FORMATS):
            with pytest.raises(SourceError, match=match):
                read_source(tmp_path / name, format_name)


@pytest.mark.parametrize("name", SOURCES)
def test_detection_never_raises(tmp_path: Path, name: str) -> None:
    assert not FORMATS[name].detect(tmp_path / "gone")


def test_a_named_format_is_read_even_where_another_is_found(make_tree: MakeTree) -> None:
    root = make_tree(SOURCES["coco"] | SOURCES["voc"])
    assert read_source(root, "voc")[0].name == "voc"


def test_the_wrong_named_format_says_what_is_missing(make_tree: MakeTree) -> None:
    with pytest.raises(FormatError, match=r"no COCO JSON .* 1 \.xml file, 1 image"):
        read_source(make_tree(SOURCES["voc"]), "coco")


def test_two_equally_complete_formats_are_a_question(make_tree: MakeTree) -> None:
    with pytest.raises(FormatError, match="'coco' and 'yolo': say which"):
        read_source(make_tree(SOURCES["coco"] | SOURCES["yolo"]))


def test_of_a_format_and_its_dialect_the_dialect_is_meant(make_tree: MakeTree) -> None:
    root = make_tree({"gt/a.xml": VOC, "images/a.jpg": ""})
    assert FORMATS["voc"].detect(root)
    assert [item.name for item in matching(root)] == ["ymir"]


def test_a_folder_is_listed_once_within_one_look_and_anew_after_it(make_tree: MakeTree) -> None:
    root = make_tree(SOURCES["voc"])
    with one_look():
        before = scan(root)
        (root / "JPEGImages" / "b.jpg").write_bytes(b"x")
        assert scan(root) is before
    assert len(scan(root).images) == 2


def test_the_more_complete_of_two_formats_is_meant(make_tree: MakeTree) -> None:
    stray = COCO.replace("a.jpg", "elsewhere.jpg")
    assert detect(make_tree(SOURCES["voc"] | {"sample.json": stray})).name == "voc"


@pytest.mark.parametrize(
    ("name", "near"), [("ccoo", "coco"), ("YOLO", "yolo"), ("pascal_voc", None), ("yolov8", "yolo")]
)
def test_an_unknown_format_gets_the_near_name_and_the_list(name: str, near: str | None) -> None:
    with pytest.raises(ConfigError, match="auto, coco, yolo, voc") as caught:
        get(name)
    assert near is None or f"did you mean {near!r}" in str(caught.value)


def test_links_out_of_the_source_are_left_out_and_recorded(make_tree: MakeTree, tmp_path: Path) -> None:
    (tmp_path / "secret.jpg").write_bytes(b"x")
    root = make_tree(SOURCES["yolo"])
    (root / "images/b.jpg").symlink_to(tmp_path / "secret.jpg")
    (root / "images/c.jpg").symlink_to("a.jpg")
    (root / "images/loop").symlink_to(root)
    parsed = read_source(root)[1]
    assert parsed.images["name"].to_list() == ["a.jpg", "c.jpg"]
    assert [(entry.image, entry.rule) for entry in parsed.ledger] == [
        ("images/b.jpg", Rule.UNSAFE_NAME),
        ("images/loop", Rule.UNSAFE_NAME),
    ]


def test_files_with_impossible_names_are_left_out_and_recorded(make_tree: MakeTree) -> None:
    root = make_tree(SOURCES["yolo"])
    (root / "images/a\nb.jpg").write_bytes(b"x")
    Path(os.fsdecode(os.fsencode(root) + b"/images/\xff.jpg")).write_bytes(b"x")
    (root / "images/u\u0308.jpg").write_bytes(b"x")
    (root / "images/\u00fc.jpg").write_bytes(b"x")
    parsed = read_source(root)[1]
    assert sorted(parsed.images["name"].to_list()) == ["a.jpg", "\u00fc.jpg"]
    assert [entry.rule for entry in parsed.ledger] == [Rule.UNSAFE_NAME] * 3


def test_voc_wins_over_the_stray_coco_file_in_the_voc_sample(real_data: Callable[[str], Path]) -> None:
    assert detect(real_data("voc_sample")).name == "voc"


@pytest.mark.parametrize(
    ("name", "expected"),
    [("coco_tiny", "coco"), ("coco128_yolo", "yolo"), ("raccoon_voc", "voc"), ("label_studio/import_yolo", "yolo")],
)
def test_public_data_sets_are_recognised(real_data: Callable[[str], Path], name: str, expected: str | None) -> None:
    assert detect(real_data(name)).name == expected


def test_one_data_set_in_five_formats_comes_out_equal_box_for_box(
    real_data: Callable[[str], Path], sized_boxes: SizedBoxes, tmp_path: Path
) -> None:
    source = real_data("odmetrics_multiformat")
    found = {}
    for copy in ("pascalvoc_format", "imagenet_format", "coco_format_v1", "coco_format_v2", "yolo_format"):
        root = tmp_path / copy
        shutil.copytree(source / "gts" / copy, root)
        shutil.copytree(
            source / "images", root / ("obj_train_data" if copy == "yolo_format" else "images"), dirs_exist_ok=True
        )
        parsed: Parsed = read_source(root)[1]
        assert (parsed.images.height, parsed.annotations.height, len(parsed.classes)) == (100, 273, 20)
        assert parsed.images["path"].null_count() == 0
        assert parsed.ledger == ()
        found[copy] = sized_boxes(parsed)
    exact = found.pop("pascalvoc_format")
    rounded = found.pop("yolo_format")
    assert all(boxes == exact for boxes in found.values())
    order = {box[:2] + tuple(map(round, box[2:])): box for box in rounded}
    for box in exact:
        assert order[box[:2] + tuple(map(round, box[2:]))][2:] == pytest.approx(box[2:], abs=1e-3)
