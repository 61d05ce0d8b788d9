"""CVAT, Open Images, labelme, KITTI and datumaro: the same boxes whatever format they come in, and no harm done."""

import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from components.shared.errors import ConfigError, FormatError, UnsafeInputError
from components.shared.formats.base import Parsed
from components.shared.formats.registry import FORMATS, detect

MakeTree = Callable[[dict[str, str | bytes]], Path]
Row = tuple[str, str, float, float, float, float]

# folder of the same 273 boxes, where its files belong, the format, and how exact its numbers are in pixels
SAME_BOXES = [
    ("pascalvoc_format", "Annotations", "voc", 1e-9),
    ("imagenet_format", "", "voc", 1e-9),
    ("coco_format_v1", "annotations", "coco", 1e-9),
    ("coco_format_v2", "annotations", "coco", 1e-9),
    ("yolo_format", "", "yolo", 1e-3),
    ("cvat_format", "", "cvat", 1e-9),
    ("openimages_format", "", "openimages", 1e-4),
]

CVAT = """<?xml version="1.0" encoding="utf-8"?>
<annotations><version>1.1</version>
 <meta><task><labels><label><name>dog</name></label><label><name>cat</name></label></labels></task></meta>
 <image id="0" name="a.jpg" width="20" height="10" subset="train">{shapes}</image>
 <image id="1" name="b.jpg" width="20" height="10"><tag label="night" source="manual"></tag></image>
</annotations>"""


def place(source: Path, inner: str, images: Path, root: Path) -> Path:
    target = root / inner if inner else root
    shutil.copytree(source, target, dirs_exist_ok=True)
    (root / "images").mkdir(exist_ok=True)
    for image in images.iterdir():
        try:
            os.link(image, root / "images" / image.name)
        except OSError:
            shutil.copy(image, root / "images")
    return root


@pytest.mark.parametrize(("folder", "inner", "name", "exact"), SAME_BOXES, ids=[row[0] for row in SAME_BOXES])
def test_one_set_of_boxes_is_the_same_in_every_format(
    folder: str,
    inner: str,
    name: str,
    exact: float,
    tmp_path: Path,
    real_data: Callable[[str], Path],
    sized_boxes: Callable[[Parsed], list[Row]],
) -> None:
    data = real_data("odmetrics_multiformat")
    root = place(data / "gts" / folder, inner, data / "images", tmp_path / "set")
    parsed = FORMATS[name].read(root)
    found = sized_boxes(parsed)
    truth = place(data / "gts" / "pascalvoc_format", "Annotations", data / "images", tmp_path / "truth")
    expected = sized_boxes(FORMATS["voc"].read(truth))
    assert len(found) == 273
    assert parsed.images.height == 100
    assert parsed.images["path"].null_count() == 0
    assert [row[:2] for row in found] == [row[:2] for row in expected]
    for got, wanted in zip(found, expected, strict=True):
        assert got[2:] == pytest.approx(wanted[2:], abs=exact), got[0]


@pytest.mark.parametrize(("folder", "name"), [("cvat_format", "cvat"), ("openimages_format", "openimages")])
def test_the_format_is_found_without_being_told(
    folder: str, name: str, tmp_path: Path, real_data: Callable[[str], Path]
) -> None:
    shutil.copytree(real_data("odmetrics_multiformat") / "gts" / folder, tmp_path / "set")
    assert detect(tmp_path / "set").name == name


def test_datumaro_and_our_reader_agree_on_cvat(
    tmp_path: Path, real_data: Callable[[str], Path], sized_boxes: Callable[[Parsed], list[Row]]
) -> None:
    datumaro = pytest.importorskip("datumaro")
    data = real_data("odmetrics_multiformat")
    root = place(data / "gts" / "cvat_format", "", data / "images", tmp_path / "set")
    found = datumaro.Dataset.import_from(str(root), "cvat")
    labels = [label.name for label in found.categories()[datumaro.AnnotationType.label]]
    theirs = sorted(
        (f"{item.id}.jpg", labels[box.label], *box.get_bbox()) for item in found for box in item.annotations
    )
    assert theirs == sized_boxes(FORMATS["cvat"].read(root))


def boxes_of(parsed: Parsed) -> list[tuple[object, ...]]:
    return parsed.annotations.select("category", "x", "y", "width", "height").rows()


def test_cvat_shapes_become_boxes_or_ledger_rows(make_tree: MakeTree) -> None:
    shapes = """
      <box label="cat" occluded="1" xtl="1.10" ytl="2.20" xbr="3.30" ybr="4.40" z_order="0">
        <attribute name="difficult">true</attribute><attribute name="colour">red</attribute></box>
      <box label="dog" occluded="0" xtl="4" ytl="4" xbr="8" ybr="6" rotation="90.00"></box>
      <polygon label="cat" points="1.00,1.00;5.00,1.00;3.00,4.00"></polygon>
      <ellipse label="cat" cx="5" cy="5" rx="2" ry="1"></ellipse>
      <points label="cat" points="1,1"></points><polygon label="cat" points="1,1;x,2;3,3"></polygon>"""
    root = make_tree({"annotations.xml": CVAT.format(shapes=shapes), "images/a.jpg": "", "images/b.jpg": ""})
    parsed = FORMATS["cvat"].read(root)
    assert parsed.classes == ("dog", "cat")
    found = boxes_of(parsed)
    assert found[0] == ("cat", 1.1, 2.2, 2.2, 2.2)
    assert found[1][1:] == pytest.approx((5, 3, 2, 4))
    assert found[2:] == [("cat", 1.0, 1.0, 4.0, 3.0), ("cat", 3.0, 4.0, 4.0, 2.0)]
    attributes = [json.loads(text) if text else None for text in parsed.annotations["attributes"]]
    assert attributes == [
        {"colour": "red", "occluded": "1"}, {"rotation": 90.0}, {"segmentation": [[1, 1, 5, 1, 3, 4]]}, None,
    ]  # fmt: skip
    assert parsed.annotations["difficult"].to_list() == [True, False, False, False]
    assert parsed.images.select("name", "split", "tags").rows() == [
        ("a.jpg", "train", None), ("b.jpg", None, '{"night":"yes"}'),
    ]  # fmt: skip
    assert [entry.detail.rpartition(": ")[2] for entry in parsed.ledger] == [
        "a points is no box", "its points are not three or more pairs of numbers",
    ]  # fmt: skip


def test_cvat_tracks_belong_to_the_images_of_their_frames(make_tree: MakeTree) -> None:
    track = """<annotations><meta></meta><track id="0" label="car">
      <box frame="0" outside="0" xtl="1" ytl="1" xbr="2" ybr="2"></box>
      <box frame="1" outside="1" xtl="1" ytl="1" xbr="2" ybr="2"></box></track></annotations>"""
    parsed = FORMATS["cvat"].read(make_tree({"annotations.xml": track, "images/frame_000000.png": ""}))
    assert parsed.images.select("name").rows() == [("frame_000000.png",)]
    assert parsed.images["path"].null_count() == 0
    assert boxes_of(parsed) == [("car", 1.0, 1.0, 1.0, 1.0)]


@pytest.mark.parametrize("name", ["cvat", "datumaro", "kitti"])
def test_entities_are_refused(name: str, make_tree: MakeTree) -> None:
    bomb = '<!DOCTYPE x [<!ENTITY a "b">]><annotations><meta></meta><image name="&a;"/></annotations>'
    root = make_tree(
        {"annotations.xml": bomb, "label_2/a.txt": "", "annotations/a.json": '{"items": [], "categories": {}}'}
    )
    with pytest.raises(UnsafeInputError, match="entities"):
        FORMATS[name].read(root)


@pytest.mark.parametrize("name", ["../a.jpg", "/etc/passwd", "https://x/a.jpg"])
def test_names_that_leave_the_source_are_recorded(name: str, make_tree: MakeTree) -> None:
    document = CVAT.format(shapes="").replace("a.jpg", name)
    parsed = FORMATS["cvat"].read(make_tree({"annotations.xml": document, "images/b.jpg": ""}))
    assert [entry.rule.value for entry in parsed.ledger] == ["unsafe name"]
    assert parsed.images["name"].to_list() == ["b.jpg"]


def test_open_images_codes_get_their_names_and_flags_their_columns(make_tree: MakeTree) -> None:
    header = (
        "ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax,IsOccluded,IsTruncated,IsGroupOf,IsDepiction,IsInside"
    )
    lines = [
        header,
        "a,xclick,/m/02,1,0.1,0.5,0.2,0.4,1,1,0,0,0",
        "a,xclick,/m/01,1,0,1,0,1,0,0,1,0,-1",
        "a,x,/m/01,1,0,1,x,1",
    ]
    root = make_tree({
        "train-annotations-bbox.csv": "\ufeff" + "\r\n".join(lines) + "\r\n",
        "class-descriptions-boxable.csv": "/m/01,Person\r\n/m/02,Toy car\r\n/m/03,Unused\r\n",
        "train/a.jpg": "",
        "train/b.jpg": "",
    })  # fmt: skip
    parsed = FORMATS["openimages"].read(root)
    assert parsed.classes == ("Person", "Toy car")
    assert boxes_of(parsed)[1] == ("Person", 0.0, 0.0, 1.0, 1.0)
    assert boxes_of(parsed)[0][1:] == pytest.approx((0.1, 0.2, 0.4, 0.2))
    flags = parsed.annotations.select("crowd", "truncated", "attributes").rows()
    assert flags == [(False, True, '{"IsOccluded":1}'), (True, False, None)]
    assert parsed.images.select("name", "split").rows() == [("train/a.jpg", "train"), ("train/b.jpg", "train")]
    assert [entry.detail for entry in parsed.ledger] == ["train-annotations-bbox.csv:4: its edges are not four numbers"]


def test_labelme_shapes_become_boxes_or_ledger_rows(make_tree: MakeTree) -> None:
    shapes: list[object] = [
        {"label": "cat", "points": [[5, 6], [1, 2]], "shape_type": "rectangle", "flags": {"difficult": True}},
        {"label": "dog", "points": [[1, 1], [5, 1], [3, 4]], "shape_type": "polygon", "group_id": 3},
        {"label": "dog", "points": [[5, 5], [8, 9]], "shape_type": "circle"},
        {"label": "dog", "points": [[5, 5], [8, 9]], "shape_type": "line"},
        {"label": "dog", "points": [["a", 1]]},
        7,
    ]
    document = {
        "shapes": shapes,
        "imagePath": "..\\images\\a.jpg",
        "imageWidth": 20,
        "imageHeight": 10,
        "flags": {"night": True},
    }
    files = {"labels/a.json": json.dumps(document), "labels/b.json": '{"shapes": [}, "imagePath": "b.jpg"'}
    root = make_tree({**files, "images/a.jpg": "", "images/b.jpg": "", "images/c.jpg": ""})
    assert detect(root).name == "labelme"
    parsed = FORMATS["labelme"].read(root)
    assert boxes_of(parsed) == [
        ("cat", 1.0, 2.0, 4.0, 4.0), ("dog", 1.0, 1.0, 4.0, 3.0), ("dog", 0.0, 0.0, 10.0, 10.0),
    ]  # fmt: skip
    assert parsed.annotations["difficult"].to_list() == [True, False, False]
    assert parsed.images.select("name", "tags").rows()[0] == ("a.jpg", '{"night":"yes"}')
    assert len(parsed.ledger) == 4


KITTI_LINE = "Car 0.00 0 -1.58 1.00 2.00 11.50 6.25 1.65 1.67 3.64 -0.65 1.71 46.70 -1.59"


def test_kitti_is_read_through_datumaro(make_tree: MakeTree) -> None:
    pytest.importorskip("datumaro")
    root = make_tree({
        "training/image_2/000000.png": "",
        "training/image_2/000001.png": "",
        "training/label_2/000000.txt": f"{KITTI_LINE}\nVan {KITTI_LINE[4:]} 0.75\n",
    })  # fmt: skip
    assert detect(root).name == "kitti"
    parsed = FORMATS["kitti"].read(root)
    assert parsed.classes == ("Car", "Van")
    assert boxes_of(parsed) == [("Car", 1.0, 2.0, 10.5, 4.25), ("Van", 1.0, 2.0, 10.5, 4.25)]
    assert parsed.annotations.select("score", "kind").rows() == [(None, "ground_truth"), (0.75, "prediction")]
    assert parsed.images.select("name", "split").rows()[0][1] == "train"
    assert [Path(path).name for path in parsed.images["path"]] == ["000000.png", "000001.png"]
    assert str(root) in parsed.images["path"][0]


def test_a_broken_kitti_file_is_one_sentence(make_tree: MakeTree) -> None:
    pytest.importorskip("datumaro")
    root = make_tree({"training/image_2/0.png": "", "training/label_2/0.txt": "Car 1 2 x\n"})
    with pytest.raises(FormatError, match="datumaro cannot read"):
        FORMATS["kitti"].read(root)


def test_datumaros_own_format_comes_back_as_it_wrote_it(tmp_path: Path, make_tree: MakeTree) -> None:
    datumaro = pytest.importorskip("datumaro")
    image = make_tree({"x/a.png": ""}) / "x" / "a.png"
    boxes = [datumaro.Bbox(1, 2, 3, 4, label=1, attributes={"is_crowd": True, "colour": "red"})]
    item = datumaro.DatasetItem("deep/a", subset="train", media=datumaro.Image.from_file(str(image)), annotations=boxes)
    datumaro.Dataset.from_iterable([item], categories=["dog", "cat"]).export(
        str(tmp_path / "set"), "datumaro", save_media=True
    )
    assert detect(tmp_path / "set").name == "datumaro"
    parsed = FORMATS["datumaro"].read(tmp_path / "set")
    assert parsed.classes == ("dog", "cat")
    assert boxes_of(parsed) == [("cat", 1.0, 2.0, 3.0, 4.0)]
    assert parsed.annotations.select("crowd", "attributes").rows() == [(True, '{"colour":"red"}')]
    assert parsed.images["path"].null_count() == 0


def test_media_outside_the_source_is_no_image_of_it(tmp_path: Path, make_tree: MakeTree) -> None:
    pytest.importorskip("datumaro")
    secret = tmp_path / "secret.jpg"
    secret.write_bytes(b"secret")
    items = [{"id": "a", "image": {"path": str(secret), "size": [1, 1]}, "annotations": []},
             {"id": "b", "image": {"path": "../../../secret.jpg"}, "annotations": []}]  # fmt: skip
    document = {"categories": {"label": {"labels": [{"name": "cat"}]}}, "items": items}
    root = make_tree({"annotations/train.json": json.dumps(document), "images/train/c.jpg": ""})
    try:
        parsed = FORMATS["datumaro"].read(root)
    except FormatError:
        return
    assert parsed.images["path"].drop_nulls().len() == 0


def test_without_the_extra_the_message_says_what_to_install(
    make_tree: MakeTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = make_tree({"training/label_2/0.txt": KITTI_LINE})
    monkeypatch.setitem(sys.modules, "datumaro", None)
    assert FORMATS["kitti"].detect(root)
    with pytest.raises(FormatError, match="extra 'formats'"):
        FORMATS["kitti"].read(root)


@pytest.mark.parametrize("name", ["cvat", "openimages", "labelme", "kitti", "datumaro"])
def test_what_cannot_be_written_says_so(name: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="read but not written"):
        FORMATS[name].write(None, tmp_path, lambda _: b"")  # type: ignore[arg-type]
