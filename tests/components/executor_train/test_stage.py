import io
import json
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import fromstring

import numpy as np
import polars as pl
import pytest
import yaml
from PIL import Image

from components.executor_train.annotations import corners_of
from components.executor_train.pretrained import find_pretrained
from components.executor_train.settings import read_settings
from components.executor_train.stage import Staged, stage_data
from components.shared.dataset import Dataset
from components.shared.errors import ConfigError, TrainingError
from components.shared.materialise import ImageOptions


def stage(splits: Any, target: Path, *, export_format: str = "", **options: Any) -> Staged:
    settings = read_settings(config="epochs: 3", export_format=export_format)
    folders = splits.root / "train", splits.root / "val"
    return stage_data(folders, splits.store, settings, target, **options)


def content(path: Path) -> dict[str, bytes]:
    with tarfile.open(path, "r:") as tar:
        return {member.name: tar.extractfile(member).read() if member.isfile() else b"" for member in tar}  # type: ignore[union-attr]


def test_the_executor_finds_the_tree_of_the_contract(splits: Any, tmp_path: Path) -> None:
    made = stage(splits, tmp_path / "staged")
    found = content(tmp_path / "staged")
    names = [f"train-{number:08d}" for number in range(6)] + [f"val-{number:08d}" for number in range(3)]
    assert sorted(found) == sorted(
        [
            *("in", "in/annotations", "in/assets", "in/models", "out", "out/models", "out/tensorboard"),
            *("in/env.yaml", "in/config.yaml", "in/train-index.tsv", "in/val-index.tsv"),
            *(f"in/annotations/{name}.txt" for name in names),
            *(f"in/assets/{name}.png" for name in names),
        ]
    )
    assert (made.train_images, made.val_images, made.boxes) == (6, 3, 9)


def test_an_index_pairs_absolute_paths(splits: Any, tmp_path: Path) -> None:
    stage(splits, tmp_path / "staged")
    found = content(tmp_path / "staged")
    assert found["in/val-index.tsv"].decode() == "".join(
        f"/in/assets/val-{number:08d}.png\t/in/annotations/val-{number:08d}.txt\n" for number in range(3)
    )
    assert found["in/train-index.tsv"].count(b"\n") == 6


def test_boxes_are_written_as_ark_with_both_corners_inside(splits: Any, tmp_path: Path) -> None:
    stage(splits, tmp_path / "staged")
    found = content(tmp_path / "staged")
    assert found["in/annotations/train-00000000.txt"] == b""
    assert found["in/annotations/train-00000002.txt"].decode() == (
        "0, 4, 8, 25, 29, -1.0, 0.0\n1, 34, 8, 55, 29, -1.0, 0.0\n"
    )


def test_boxes_are_written_as_voc_in_ymirs_dialect(splits: Any, tmp_path: Path) -> None:
    stage(splits, tmp_path / "staged", export_format="det-voc:raw")
    found = content(tmp_path / "staged")
    root = fromstring(found["in/annotations/train-00000002.xml"])
    assert root.findtext("filename") == "train-00000002.png"
    assert [root.findtext(f"size/{side}") for side in ("width", "height", "depth")] == ["64", "64", "3"]
    boxes = [
        [each.findtext(f"bndbox/{side}") for side in ("xmin", "ymin", "xmax", "ymax")] for each in root.iter("object")
    ]
    assert boxes == [["4", "8", "25", "29"], ["34", "8", "55", "29"]]
    assert [each.findtext("name") for each in root.iter("object")] == ["red", "blue"]
    assert found["in/train-index.tsv"].splitlines()[2].endswith(b"/in/annotations/train-00000002.xml")
    assert yaml.safe_load(found["in/config.yaml"])["export_format"] == "det-voc:raw"


def test_boxes_are_written_as_one_coco_document(splits: Any, tmp_path: Path) -> None:
    stage(splits, tmp_path / "staged", export_format="coco:raw")
    found = content(tmp_path / "staged")
    document = json.loads(found["in/annotations/coco-annotations.json"])
    assert [each["file_name"] for each in document["images"]][-1] == "val-00000002.png"
    assert [(each["id"], each["name"]) for each in document["categories"]] == [(0, "red"), (1, "blue")]
    assert [each["id"] for each in document["annotations"]] == list(range(1, 10))
    assert document["annotations"][2]["bbox"] == [34, 8, 22, 22]
    assert all(
        line.endswith(b"/in/annotations/coco-annotations.json") for line in found["in/val-index.tsv"].splitlines()
    )


def test_the_same_data_and_settings_give_the_same_bytes(splits: Any, tmp_path: Path) -> None:
    first, second = (stage(splits, tmp_path / name) for name in ("a", "b"))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert first == second


def test_images_travel_as_they_are_and_scaled_ones_take_their_boxes_along(splits: Any, tmp_path: Path) -> None:
    stage(splits, tmp_path / "as-is")
    stage(splits, tmp_path / "small", images=ImageOptions(longest_edge=32))
    name = "in/assets/train-00000002.png"
    with Image.open(io.BytesIO(content(tmp_path / "as-is")[name])) as image:
        assert tuple(np.asarray(image)[8, 4]) == (220, 30, 30)
    found = content(tmp_path / "small")
    with Image.open(io.BytesIO(found[name])) as image:
        assert image.size == (32, 32)
    assert found["in/annotations/train-00000002.txt"].decode().startswith("0, 2, 4, 12, 14,")


def test_a_format_that_executors_do_not_read_becomes_png(make_splits: Callable[..., Any], tmp_path: Path) -> None:
    splits = make_splits(kind="WEBP")
    splits.save()
    stage(splits, tmp_path / "staged")
    data = content(tmp_path / "staged")["in/assets/val-00000000.png"]
    assert data.startswith(b"\x89PNG")


def test_an_image_turned_by_exif_is_staged_upright(make_splits: Callable[..., Any], tmp_path: Path) -> None:
    splits = make_splits(kind="JPEG")
    turned = splits.train.images.with_columns(pl.lit(6, dtype=pl.UInt8).alias("orientation"))
    splits.save(train=replace(splits.train, images=turned))
    stage(splits, tmp_path / "staged")
    found = content(tmp_path / "staged")
    with Image.open(io.BytesIO(found["in/assets/train-00000001.jpg"])) as image:
        assert not image.getexif()


def test_images_to_be_shown_more_often_are_listed_more_often(splits: Any, oversampled: Dataset, tmp_path: Path) -> None:
    oversampled.save(tmp_path / "train")
    settings = read_settings()
    stage_data((tmp_path / "train", splits.root / "val"), splits.store, settings, tmp_path / "staged")
    lines = content(tmp_path / "staged")["in/train-index.tsv"].splitlines()
    assert len(lines) == 8
    assert sum(b"train-00000000" in line for line in lines) == 3


def test_crowds_are_left_out(splits: Any, tmp_path: Path) -> None:
    crowd = pl.Series("crowd", [True] + [False] * (splits.train.annotations.height - 1))
    replace(splits.train, annotations=splits.train.annotations.with_columns(crowd)).save(tmp_path / "train")
    made = stage_data((tmp_path / "train", splits.root / "val"), splits.store, read_settings(), tmp_path / "staged")
    assert made.boxes == 8


@pytest.mark.parametrize(
    ("box", "corners"),
    [
        ((0, 0, 10, 10), (0, 0, 9, 9)),
        ((-5, -5, 10, 10), (0, 0, 4, 4)),
        ((15, 5, 10, 100), (15, 5, 19, 9)),
        ((3.4, 3.6, 2.2, 2.2), (3, 4, 5, 5)),
        ((3.1, 3.1, 0.2, 0.2), (3, 3, 3, 3)),
        ((19.9, 9.9, 5, 5), (19, 9, 19, 9)),
        ((20, 0, 5, 5), None),
        ((0, -8, 5, 5), None),
        ((0, 0, 0, 5), None),
        ((float("nan"), 0, 5, 5), None),
        ((0, 0, float("inf"), 5), None),
    ],
)
def test_corners_are_whole_pixels_inside_the_image(box: tuple[float, ...], corners: object) -> None:
    assert corners_of(box, 20, 10) == corners


def test_pretrained_weights_lie_below_the_models_folder(splits: Any, tmp_path: Path) -> None:
    (tmp_path / "weights" / "deep").mkdir(parents=True)
    (tmp_path / "weights" / "a.params").write_bytes(b"a")
    (tmp_path / "weights" / "deep" / "b.json").write_bytes(b"b")
    stage(splits, tmp_path / "staged", pretrained=str(tmp_path / "weights"))
    found = content(tmp_path / "staged")
    assert found["in/models/a.params"] == b"a"
    paths = ["/in/models/a.params", "/in/models/deep/b.json"]
    assert yaml.safe_load(found["in/config.yaml"])["pretrained_model_params"] == paths


@pytest.mark.parametrize("pretrained", ["missing.pt", "https://host/x.pt", "[1]", "[broken", "s3://"])
def test_pretrained_weights_that_are_not_there_are_refused(pretrained: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        find_pretrained(pretrained, tmp_path)


def test_two_weights_of_one_name_are_refused(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "best.pt").touch()
    both = json.dumps([str(tmp_path / folder / "best.pt") for folder in ("a", "b")])
    with pytest.raises(ConfigError, match=r"two files called 'best\.pt'"):
        find_pretrained(both, tmp_path)


def test_a_split_without_boxes_or_with_images_of_the_other_is_refused(splits: Any, tmp_path: Path) -> None:
    replace(splits.val, annotations=splits.val.annotations.clear()).save(tmp_path / "bare")
    for val, words in ((tmp_path / "bare", "nothing to learn"), (splits.root / "train", "are also trained on")):
        with pytest.raises(TrainingError, match=words):
            stage_data((splits.root / "train", val), splits.store, read_settings(), tmp_path / "staged")
    assert not (tmp_path / "staged").exists()
