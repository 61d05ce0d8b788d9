import json
from collections.abc import Callable
from pathlib import Path

import pytest

from components.shared.errors import FormatError
from components.shared.formats import voc
from components.shared.formats.base import PARSED_ANNOTATIONS, PARSED_IMAGES
from components.shared.ledger import Action, Rule

MakeTree = Callable[[dict[str, str | bytes]], Path]


def thing(name: str = "dog", corners: tuple[object, ...] = (1, 2, 5, 8), more: str = "") -> str:
    tags = "".join(
        f"<{tag}>{value}</{tag}>" for tag, value in zip(("xmin", "ymin", "xmax", "ymax"), corners, strict=True)
    )
    return f"<object><name>{name}</name><bndbox>{tags}</bndbox>{more}</object>"


def xml(*objects: str, filename: str = "a.jpg", size: tuple[object, object] = (20, 10)) -> str:
    head = f"<filename>{filename}</filename><size><width>{size[0]}</width><height>{size[1]}</height></size>"
    return f"<annotation>{head}{''.join(objects)}</annotation>"


def one_image(content: str) -> dict[str, str | bytes]:
    return {"Annotations/a.xml": content, "JPEGImages/a.jpg": ""}


def test_a_small_data_set_is_read(make_tree: MakeTree) -> None:
    root = make_tree(one_image(xml(thing(), thing("cat", (0, 0, 20, 10)))))
    assert voc.detect(root)
    parsed = voc.read(root)
    assert parsed.images.schema == PARSED_IMAGES
    assert parsed.annotations.schema == PARSED_ANNOTATIONS
    assert parsed.classes == ("cat", "dog")
    assert parsed.images.row(0) == (
        0,
        "a.jpg",
        str(root / "JPEGImages/a.jpg"),
        20,
        10,
        None,
        "Annotations/a.xml",
        None,
        None,
    )
    boxes = parsed.annotations.select("category", "x", "y", "width", "height").rows()
    assert boxes == [("dog", 1.0, 2.0, 4.0, 6.0), ("cat", 0.0, 0.0, 20.0, 10.0)]
    assert parsed.ledger == ()


@pytest.mark.parametrize(
    ("corners", "expected"),
    [
        (("1.5", "2.25", "3.5", "4.25"), (1.5, 2.25, 2.0, 2.0)),
        (("1,5", "2,25", "3,5", "4,25"), (1.5, 2.25, 2.0, 2.0)),
        ((" 1 ", "2", "3", "4"), (1.0, 2.0, 2.0, 2.0)),
        (("0.1", "0.1", "0.3", "0.4"), (0.1, 0.1, 0.2, 0.3)),
        ((-5, -5, 500, 500), (-5.0, -5.0, 505.0, 505.0)),
        ((5, 5, 1, 1), (5.0, 5.0, -4.0, -4.0)),
        ((5, 5, 5, 5), (5.0, 5.0, 0.0, 0.0)),
    ],
)
def test_corners_are_edges_and_nothing_is_repaired(
    make_tree: MakeTree, corners: tuple[object, ...], expected: str | None
) -> None:
    parsed = voc.read(make_tree(one_image(xml(thing(corners=corners)))))
    assert parsed.annotations.select("x", "y", "width", "height").row(0) == expected


def test_corners_that_are_not_finite_are_left_to_validation(make_tree: MakeTree) -> None:
    parsed = voc.read(make_tree(one_image(xml(thing(corners=("nan", 1, "inf", 2))))))
    assert parsed.annotations["width"].is_finite().to_list() == [False]


@pytest.mark.parametrize(
    "bad",
    [
        "<object><name>dog</name></object>",
        thing(corners=("x", 1, 2, 3)),
        thing(corners=("", 1, 2, 3)),
        thing(corners=("1_0", 1, 2, 3)),
        "<object><name>dog</name><bndbox><xmin>1</xmin></bndbox></object>",
        thing(more="<confidence>high</confidence>"),
    ],
)
def test_an_object_that_is_none_goes_to_the_ledger_and_the_others_stay(make_tree: MakeTree, bad: object) -> None:
    parsed = voc.read(make_tree(one_image(xml(thing(), bad, thing()))))
    assert parsed.annotations.height == 2
    (entry,) = parsed.ledger
    assert (entry.rule, entry.action, entry.annotation) == (Rule.MALFORMED, Action.REJECTED, "object 2")


@pytest.mark.parametrize(
    "broken",
    [
        "<annotation><object>",
        "<annotation>&x;</annotation>",
        "<annotation",
        "<!DOCTYPE a [<!ENTITY b 'c'>]><annotation/>",
    ],
)
def test_a_broken_file_goes_to_the_ledger_and_its_image_is_no_negative(make_tree: MakeTree, broken: bytes) -> None:
    files = one_image(broken) | {"Annotations/b.xml": xml(thing(), filename="b.jpg"), "JPEGImages/b.jpg": ""}
    parsed = voc.read(make_tree(files))
    assert parsed.images["name"].to_list() == ["b.jpg"]
    assert [entry.rule for entry in parsed.ledger] == [Rule.MALFORMED]


def test_flags_confidence_and_attributes_are_kept(make_tree: MakeTree) -> None:
    more = "<difficult>1</difficult><truncated>1</truncated><pose>Left</pose><occluded>1</occluded>"
    ymir = "<confidence>0.5</confidence><tags><color>white</color></tags><difficult>0</difficult>"
    parsed = voc.read(
        make_tree(one_image(xml(thing(more=more), thing(more=ymir), thing(more="<confidence>-1</confidence>"))))
    )
    assert parsed.annotations["difficult"].to_list() == [True, False, False]
    assert parsed.annotations["truncated"].to_list() == [True, False, False]
    assert parsed.annotations["score"].to_list() == [None, 0.5, None]
    assert parsed.annotations["kind"].to_list() == ["ground_truth", "prediction", "ground_truth"]
    attributes = [None if text is None else json.loads(text) for text in parsed.annotations["attributes"]]
    assert attributes == [{"occluded": "1", "pose": "Left"}, {"tags": {"color": "white"}}, None]


@pytest.mark.parametrize(
    ("size", "expected"),
    [((20, 10), (20, 10)), (("20,0", "10.0"), (20, 10)), ((0, ""), (None, None)), (("x", -1), (None, None))],
)
def test_the_declared_size_is_kept_when_it_says_something(
    make_tree: MakeTree, size: tuple[object, object], expected: str | None
) -> None:
    parsed = voc.read(make_tree(one_image(xml(size=size))))
    assert parsed.images.select("declared_width", "declared_height").row(0) == expected


def test_an_object_without_a_name_has_no_category(make_tree: MakeTree) -> None:
    parsed = voc.read(make_tree(one_image(xml(thing("")))))
    assert parsed.annotations["category"].to_list() == [None]


@pytest.mark.parametrize(
    ("annotation", "image", "name"),
    [
        ("Annotations/a.xml", "JPEGImages/a.jpg", "a.jpg"),
        ("annotations/a.xml", "images/a.png", "a.png"),
        ("xmls/a.xml", "images/a.jpg", "a.jpg"),
        ("a.xml", "a.jpg", "a.jpg"),
        ("images/a.xml", "images/a.jpg", "a.jpg"),
        ("annotations/a.xml", "a.jpg", "a.jpg"),
        ("x/VOC2007/Annotations/a.xml", "x/VOC2007/JPEGImages/a.jpg", "a.jpg"),
        ("Annotations/sub/a.xml", "JPEGImages/sub/a.jpg", "sub/a.jpg"),
        ("train/a.xml", "train/a.jpg", "a.jpg"),
        ("annotations/train/a.xml", "images/train/a.jpg", "a.jpg"),
        ("train/annotations/a.xml", "train/images/a.jpg", "a.jpg"),
        ("annotations/a.b.xml", "images/a.b.jpg", "a.b.jpg"),
        ("annotations/a.jpg.xml", "images/a.jpg", "a.jpg"),
        ("annotations/u\u0308.xml", "images/\u00fc.jpg", "\u00fc.jpg"),
        ("labels_xml/a.xml", "pictures/a.jpg", "pictures/a.jpg"),
    ],
)
def test_an_annotation_finds_its_image(make_tree: MakeTree, annotation: str, image: str, name: str) -> None:
    root = make_tree({annotation: xml(thing(), filename="wrong.jpg"), image: ""})
    parsed = voc.read(root)
    assert parsed.images.select("name", "path").rows() == [(name, str(root / image))]
    assert parsed.annotations.height == 1


@pytest.mark.parametrize("filename", ["b.jpg", "b", "b.png", "x/b.jpg", "C:\\photos\\b.jpg"])
def test_the_file_name_decides_where_no_image_shares_the_stem(make_tree: MakeTree, filename: str) -> None:
    parsed = voc.read(make_tree({"annotations/1.xml": xml(thing(), filename=filename), "images/b.jpg": ""}))
    assert parsed.images["name"].to_list() == ["b.jpg"]


def test_of_two_images_with_one_stem_the_named_one_is_taken(make_tree: MakeTree) -> None:
    files = {"a.xml": xml(thing(), filename="a.png"), "a.jpg": "", "a.png": ""}
    parsed = voc.read(make_tree(files))
    assert parsed.images["name"][0] == "a.png"


def test_a_wrong_file_name_does_not_steal_another_annotations_image(make_tree: MakeTree) -> None:
    files = {
        "annotations/a.xml": xml(thing(), filename="b.jpg"),
        "annotations/b.xml": xml(filename="b.jpg"),
        "images/b.jpg": "",
    }
    parsed = voc.read(make_tree(files))
    missing = parsed.images.filter(parsed.images["path"].is_null())["image_id"].to_list()
    assert parsed.annotations["image_id"].to_list() == missing


@pytest.mark.parametrize(
    ("missing", "there"),
    [
        ("Annotations/a.b.xml", ("Annotations/a/a.b.xml", "JPEGImages/a/a.b.png")),
        ("Annotations/a/a.b.xml", ("Annotations/a.b.xml", "JPEGImages/a.b.png")),
        ("val/xmls/a.b.xml", ("train/xmls/a.b.xml", "train/a.b.png")),
    ],
)
def test_a_missing_image_is_not_taken_for_one_that_has_its_own_file(
    make_tree: MakeTree, missing: str, there: tuple[str, str]
) -> None:
    own, image = there
    files: dict[str, str | bytes] = {missing: xml(filename="a.b.png"), own: xml(filename="a.b.png"), image: ""}
    parsed = voc.read(make_tree(files))
    assert (parsed.images.height, parsed.ledger) == (2, ())
    found = parsed.images.drop_nulls("path")
    assert found["source_id"].to_list() == [own]


def test_a_missing_image_keeps_its_row(make_tree: MakeTree) -> None:
    parsed = voc.read(make_tree({"annotations/a.xml": xml(thing(), filename="a.jpg"), "images/z.jpg": ""}))
    assert parsed.images.select("name", "path").row(0) == ("a.jpg", None)


@pytest.mark.parametrize("filename", ["../../etc/passwd", "/etc/passwd", "http://x/a.jpg"])
def test_an_unsafe_file_name_goes_to_the_ledger(make_tree: MakeTree, filename: str) -> None:
    parsed = voc.read(make_tree({"annotations/1.xml": xml(thing(), filename=filename), "images/b.jpg": ""}))
    assert parsed.images["path"].to_list() == []
    assert [entry.rule for entry in parsed.ledger] == [Rule.UNSAFE_NAME]


def test_images_without_annotations_beside_others_are_without_objects(make_tree: MakeTree) -> None:
    parsed = voc.read(make_tree(one_image(xml(thing())) | {"JPEGImages/b.jpg": "", "elsewhere/c.jpg": ""}))
    assert parsed.images["name"].to_list() == ["a.jpg", "b.jpg"]


def test_image_sets_give_the_split(make_tree: MakeTree) -> None:
    files: dict[str, str | bytes] = {f"Annotations/{stem}.xml": xml() for stem in ("a", "b c", "d", "e", "f", "g")}
    files |= {f"JPEGImages/{stem}.jpg": "" for stem in ("a", "b c", "d", "e", "f", "g")}
    lists = {"train": "a\r\n", "val": "b c\n", "test": "d\nf\n", "trainval": "a\nb c\ne\nf\n", "dog_train": "g 1\n"}
    files |= {f"ImageSets/Main/{name}.txt": text for name, text in lists.items()}
    parsed = voc.read(make_tree(files))
    assert dict(parsed.images.select("name", "split").rows()) == {
        "a.jpg": "train", "b c.jpg": "val", "d.jpg": "test", "e.jpg": None, "f.jpg": None, "g.jpg": None,
    }  # fmt: skip


def test_two_years_with_the_same_names_keep_their_folders(make_tree: MakeTree) -> None:
    files = {}
    for year, split in (("VOC2007", "train"), ("VOC2012", "val")):
        files[f"VOCdevkit/{year}/Annotations/1.xml"] = xml(thing())
        files[f"VOCdevkit/{year}/JPEGImages/1.jpg"] = ""
        files[f"VOCdevkit/{year}/ImageSets/Main/{split}.txt"] = "1\n"
    parsed = voc.read(make_tree(files))
    assert parsed.images["name"].to_list() == ["VOC2007/JPEGImages/1.jpg", "VOC2012/JPEGImages/1.jpg"]
    assert parsed.images["split"].to_list() == ["train", "val"]


def test_two_annotations_of_one_image_are_joined_and_recorded(make_tree: MakeTree) -> None:
    files = {"x/1.xml": xml(thing(), filename="a.jpg"), "x/2.xml": xml(thing(), filename="a.jpg"), "x/a.jpg": ""}
    parsed = voc.read(make_tree(files))
    assert parsed.annotations["image_id"].to_list() == [0, 0]
    assert [(entry.rule, entry.action) for entry in parsed.ledger] == [(Rule.DUPLICATE_IMAGE_ID, Action.FIXED)]


@pytest.mark.parametrize(
    "encode", [lambda text: text.replace("><", ">\r\n<").encode(), lambda text: text.encode("utf-8-sig")]
)
def test_line_ends_and_byte_order_marks_do_not_matter(make_tree: MakeTree, encode: Callable[[str], bytes]) -> None:
    text = xml(thing("größe"), filename="a.jpg")
    parsed = voc.read(make_tree({"Annotations/a.xml": encode(text), "JPEGImages/a.jpg": ""}))
    assert parsed.annotations.select("category", "x", "width").row(0) == ("größe", 1.0, 4.0)
    assert parsed.ledger == ()


@pytest.mark.parametrize("encoding", ["utf-16", "iso-8859-1"])
def test_an_encoding_that_the_file_declares_is_followed(make_tree: MakeTree, encoding: str) -> None:
    text = f'<?xml version="1.0" encoding="{encoding}"?>{xml(thing("größe"))}'
    files = {"Annotations/a.xml": text.encode(encoding), "Annotations/b.xml": xml(), "JPEGImages/a.jpg": ""}
    parsed = voc.read(make_tree(files))
    assert parsed.annotations["category"].to_list() == ["größe"]


@pytest.mark.parametrize("name", ["1", "007", "1e3", "no", "null", "1.0"])
def test_a_class_name_stays_the_text_it_is(make_tree: MakeTree, name: str) -> None:
    parsed = voc.read(make_tree(one_image(xml(thing(name)))))
    assert parsed.classes == (name,)


def test_the_parts_of_an_object_are_no_objects(make_tree: MakeTree) -> None:
    part = "<part><name>head</name><bndbox><xmin>2</xmin><ymin>3</ymin><xmax>4</xmax><ymax>5</ymax></bndbox></part>"
    tail = thing("person").replace("<object>", f"<object>{part}")
    parsed = voc.read(make_tree(one_image(xml(tail, thing("person", more=part * 2)))))
    assert parsed.annotations.select("category", "x", "width").rows() == [("person", 1.0, 4.0)] * 2
    assert parsed.classes == ("person",)


def test_dotted_and_colliding_names_keep_their_own_boxes(make_tree: MakeTree) -> None:
    stems = ("a", "a.b", "a.b.c", "x/a", "x/a.b")
    files: dict[str, str | bytes] = {}
    for left, stem in enumerate(stems):
        files[f"Annotations/{stem}.xml"] = xml(thing(corners=(left, 0, 9, 9)), filename="wrong.jpg")
        files[f"JPEGImages/{stem}.jpg"] = ""
    parsed = voc.read(make_tree(files))
    found = parsed.annotations.join(parsed.images, on="image_id").select("name", "x").rows()
    assert sorted(found) == sorted((f"{stem}.jpg", float(left)) for left, stem in enumerate(stems))


def test_what_operating_systems_leave_behind_is_no_annotation(make_tree: MakeTree) -> None:
    junk: dict[str, str | bytes] = {
        "__MACOSX/Annotations/._a.xml": b"\x00\x05\x16\x07<annotation",
        "__MACOSX/JPEGImages/._a.jpg": b"\x00",
        "Annotations/._a.xml": b"\x00<annotation",
        "JPEGImages/Thumbs.db": b"x",
    }
    parsed = voc.read(make_tree(one_image(xml(thing())) | junk))
    assert (parsed.images["name"].to_list(), parsed.annotations.height, parsed.ledger) == (["a.jpg"], 1, ())


def test_ymirs_dialect_has_inclusive_corners_tags_and_qualities(make_tree: MakeTree) -> None:
    more = "<box_quality>0.5</box_quality><rotate_angle>0.0</rotate_angle><cm>TP</cm><pose>unknown</pose>"
    head = xml(thing(more=more)).replace("<size>", "<cks><sky>blue</sky></cks><image_quality>0.9</image_quality><size>")
    parsed = voc.read(make_tree(one_image(head)))
    assert parsed.annotations.select("x", "y", "width", "height").row(0) == (1.0, 2.0, 5.0, 7.0)
    assert json.loads(parsed.annotations["attributes"][0]) == {"box_quality": "0.5", "cm": "TP"}
    assert json.loads(parsed.images["tags"][0]) == {"image_quality": "0.9", "sky": "blue"}


def test_other_xml_is_no_voc(make_tree: MakeTree) -> None:
    root = make_tree({"annotations.xml": "<annotations><image/></annotations>", "a.jpg": ""})
    assert not voc.detect(root)
    with pytest.raises(FormatError, match="no Pascal VOC XML"):
        voc.read(root)


def test_the_voc_sample_comes_out_whole(real_data: Callable[[str], Path]) -> None:
    parsed = voc.read(real_data("voc_sample"))
    assert (parsed.images.height, parsed.annotations.height, len(parsed.classes)) == (10, 28, 8)
    assert parsed.images["path"].null_count() == 0
    assert parsed.images["split"].null_count() == 10  # every image is in test and in trainval


def test_the_raccoons_come_out_whole(real_data: Callable[[str], Path]) -> None:
    parsed = voc.read(real_data("raccoon_voc"))
    assert (parsed.images.height, parsed.annotations.height, parsed.classes) == (100, 107, ("raccoon",))
    assert parsed.ledger == ()
