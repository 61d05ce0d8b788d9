"""What a writer writes, its reader reads back: boxes, classes, splits and names."""

import json
import tempfile
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from odd_datasets import CLASSES, PIXEL, dataset_of, stems

from components.shared.dataset import Dataset
from components.shared.errors import FormatError, UnsafeInputError
from components.shared.formats.registry import FORMATS, read_source

PLAIN = ("coco", "yolo", "voc")  # hold every name, split and score
WRITTEN = (*PLAIN, "ymir", "groundtruth", "labelstudio")
coordinates = st.floats(-50, 5000, allow_nan=False).map(lambda value: round(value, 6))
lengths = st.just(0.0) | st.floats(1e-6, 5000, allow_nan=False)


@st.composite
def datasets(draw: st.DrawFn) -> Dataset:
    classes = draw(st.lists(st.sampled_from(CLASSES), min_size=1, max_size=4, unique=True))
    names = draw(stems)
    names = [name for name in names if not any(other.startswith(f"{name}.") for other in names)]
    images, annotations = [], []
    for image_id, stem in enumerate(names):
        width, height = draw(st.integers(1, 5000)), draw(st.integers(1, 5000))
        split = draw(st.sampled_from(["train", "val", "test", None]))
        images.append(
            {
                "image_id": image_id,
                "name": f"{stem}.png",
                "sha256": "0" * 64,
                "width": width,
                "height": height,
                "split": split,
            }
        )
        for _ in range(draw(st.integers(0, 3))):
            annotations.append({
                "annotation_id": len(annotations), "image_id": image_id, "category": draw(st.sampled_from(classes)),
                "x": draw(coordinates), "y": draw(coordinates), "width": draw(lengths), "height": draw(lengths),
                "crowd": False, "difficult": draw(st.booleans()), "truncated": draw(st.booleans()),
                "score": draw(st.none() | st.floats(0, 1)), "kind": "ground_truth",
            })  # fmt: skip
    return dataset_of(classes, images, annotations)


def rows_of(
    images: pl.DataFrame, annotations: pl.DataFrame, sizes: dict[str, tuple[int, int]]
) -> list[tuple[object, ...]]:
    joined = annotations.join(images.select("image_id", "name"), on="image_id")
    found = []
    for row in joined.iter_rows(named=True):
        width, height = sizes[row["name"]] if row.get("relative") else (1, 1)
        box = [row["x"] * width, row["y"] * height, row["width"] * width, row["height"] * height]
        found.append((row["name"], row["category"], *box, row["score"]))
    return found


def check_round_trip(dataset: Dataset, name: str, root: Path) -> None:
    FORMATS[name].write(dataset, root, lambda image_id: PIXEL + bytes([image_id]))
    parsed = FORMATS[name].read(root)
    assert parsed.ledger == ()
    assert parsed.classes == (tuple(sorted(dataset.classes)) if name == "voc" else dataset.classes)
    splits = ("name", "split")
    assert sorted(parsed.images.select(splits).rows(), key=str) == sorted(dataset.images.select(splits).rows(), key=str)
    numbers = dict(dataset.images.select("name", "image_id").iter_rows())
    for image, path in parsed.images.select("name", "path").iter_rows():
        assert Path(path).read_bytes() == PIXEL + bytes([numbers[image]])
    sizes = {
        image: (width, height) for image, width, height in dataset.images.select("name", "width", "height").iter_rows()
    }
    expected = sorted(rows_of(dataset.images, dataset.annotations, sizes), key=lambda row: row[0])
    found = sorted(rows_of(parsed.images, parsed.annotations, sizes), key=lambda row: row[0])
    assert [row[:2] for row in found] == [row[:2] for row in expected]
    for got, wanted in zip(found, expected, strict=True):
        if name == "yolo":
            assert got[2:6] == pytest.approx(wanted[2:6], abs=1e-6)
            assert got[6] == wanted[6]
        else:
            assert got == wanted
    if name != "yolo":
        flags = ("difficult", "truncated")
        assert sorted(parsed.annotations.select(flags).rows()) == sorted(dataset.annotations.select(flags).rows())


@pytest.mark.parametrize("name", PLAIN)
@given(dataset=datasets())
def test_any_data_set_comes_back_as_it_was_written(name: str, dataset: Dataset) -> None:
    with tempfile.TemporaryDirectory() as folder:
        check_round_trip(dataset, name, Path(folder) / "set")


@pytest.mark.parametrize("split", [None, "val"])
@pytest.mark.parametrize("name", PLAIN)
def test_a_name_with_a_splits_folder_is_no_split(name: str, split: str | None, tmp_path: Path) -> None:
    names = ["train/a.png", "a.png", "b.png", "x/b.png"]
    images = [
        {
            "image_id": i,
            "name": n,
            "sha256": "0" * 64,
            "width": 9,
            "height": 9,
            "split": split if n == "a.png" else None,
        }
        for i, n in enumerate(names)
    ]
    check_round_trip(dataset_of(["cat"], images, []), name, tmp_path)


@pytest.mark.parametrize("name", WRITTEN)
def test_a_written_tree_is_recognised_as_its_format(name: str, tmp_path: Path) -> None:
    images = [{"image_id": 0, "name": "a.png", "sha256": "0" * 64, "width": 10, "height": 10, "split": "train"}]
    FORMATS[name].write(dataset_of(["cat"], images, []), tmp_path / "set", lambda _: PIXEL)
    chosen, parsed = read_source(tmp_path / "set")
    assert chosen.name == name
    assert (parsed.images.height, parsed.annotations.height, parsed.classes) == (1, 0, ("cat",))


@pytest.mark.parametrize("name", WRITTEN)
def test_two_images_that_differ_in_their_suffix_keep_their_own_boxes(name: str, tmp_path: Path) -> None:
    names = ["x/a.jpg", "x/a.png", "x/a.b.png"]
    images = [{"image_id": i, "name": n, "sha256": "0" * 64, "width": 10, "height": 10} for i, n in enumerate(names)]
    boxes = [
        {"annotation_id": i, "image_id": i, "category": "cat", "x": float(i), "y": 0.0, "width": 1.0, "height": 1.0}
        for i in range(3)
    ]
    FORMATS[name].write(dataset_of(["cat"], images, boxes), tmp_path, lambda image_id: PIXEL + bytes([image_id]))
    parsed = FORMATS[name].read(tmp_path)
    lefts = dict(parsed.annotations.select("image_id", "x").iter_rows())
    scale = 10 if parsed.annotations["relative"][0] else 1
    found = {
        Path(path).read_bytes()[-1]: lefts[i] * scale
        for i, path in parsed.images.select("image_id", "path").iter_rows()
    }
    assert found == pytest.approx({0: 0.0, 1: 1.0, 2: 2.0})


@pytest.mark.parametrize("name", ["../a.png", "/a.png", "a/../../b.png"])
@pytest.mark.parametrize("kind", WRITTEN)
def test_a_writer_never_leaves_its_folder(kind: str, name: str, tmp_path: Path) -> None:
    images = [{"image_id": 0, "name": name, "sha256": "0" * 64, "width": 10, "height": 10}]
    with pytest.raises(UnsafeInputError, match="cannot be written"):
        FORMATS[kind].write(dataset_of(["cat"], images, []), tmp_path / "set", lambda _: PIXEL)
    assert not (tmp_path / "set").exists()


def test_coco_keeps_crowds_attributes_and_categories_that_do_not_exist(tmp_path: Path) -> None:
    images = [
        {
            "image_id": 3,
            "name": "a.png",
            "sha256": None,
            "width": 0,
            "height": 0,
            "declared_width": 7,
            "declared_height": 5,
        }
    ]
    attributes = [{"segmentation": [[1, 2, 3, 4, 5, 6]], "area": 2.5}, {"category_id": 99}]
    boxes = [
        {"annotation_id": i, "image_id": 3, "category": category, "x": 1.0, "y": 1.0, "width": 2.0, "height": 2.0,
         "crowd": i == 0, "attributes": json.dumps(attributes[i])}
        for i, category in enumerate(["cat", None])
    ]  # fmt: skip
    FORMATS["coco"].write(dataset_of(["cat"], images, boxes), tmp_path, lambda _: b"")
    parsed = FORMATS["coco"].read(tmp_path)
    assert parsed.images.select("path", "declared_width", "declared_height").row(0) == (None, 7, 5)
    assert parsed.annotations["crowd"].to_list() == [True, False]
    assert parsed.annotations["category"].to_list() == ["cat", None]
    assert [json.loads(text) for text in parsed.annotations["attributes"]] == attributes


def test_voc_refuses_what_xml_cannot_hold(tmp_path: Path) -> None:
    images = [{"image_id": 0, "name": "a.png", "sha256": "0" * 64, "width": 10, "height": 10}]
    boxes = [{"annotation_id": 0, "image_id": 0, "category": "a\x01", "x": 1.0, "y": 1.0, "width": 2.0, "height": 2.0}]
    with pytest.raises(FormatError, match="XML"):
        FORMATS["voc"].write(dataset_of(["a\x01"], images, boxes), tmp_path, lambda _: PIXEL)


def test_yolo_leaves_out_images_whose_size_nobody_knows(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    images = [{"image_id": 0, "name": "a.png", "sha256": "0" * 64, "width": 0, "height": 0, "split": "train"}]
    FORMATS["yolo"].write(dataset_of(["cat"], images, []), tmp_path, lambda _: PIXEL)
    assert "'a.png' was not written" in caplog.text
