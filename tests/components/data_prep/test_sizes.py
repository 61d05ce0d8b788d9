"""Boxes drawn in the encoded frame end up on the same pixels of the upright image."""

from collections.abc import Callable

import numpy as np
import polars as pl
import pytest
from PIL import Image, ImageOps

from components.data_prep.classes import ClassWishes, plan_classes
from components.data_prep.rules import RuleBook
from components.data_prep.validate import validate
from components.shared.dataset import Dataset

MakeDataset = Callable[..., Dataset]
ENCODED = {"declared_width": 100, "declared_height": 60, "width": 60, "height": 100}


def check(dataset: Dataset) -> pl.DataFrame:
    return validate(dataset, plan_classes(dataset.classes, [], ClassWishes()), RuleBook(1.0)).annotations


def upright(orientation: int, box: tuple[int, int, int, int]) -> tuple[float, ...]:
    """Where the pixels of a box of the encoded 100 x 60 image go when Pillow applies the orientation."""
    left, top, width, height = box
    pixels = np.zeros((60, 100), dtype=np.uint8)
    pixels[top : top + height, left : left + width] = 255
    image = Image.fromarray(pixels)
    image.getexif()[0x0112] = orientation
    rows, columns = np.nonzero(np.asarray(ImageOps.exif_transpose(image)))
    first = columns.min(), rows.min()
    return (*map(float, first), float(columns.max() + 1 - first[0]), float(rows.max() + 1 - first[1]))


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
def test_boxes_that_fit_only_the_encoded_frame_are_turned(make_dataset: MakeDataset, orientation: int) -> None:
    box = (70, 5, 20, 9)
    record = dict(zip(("x", "y", "width", "height"), map(float, box), strict=True))
    [row] = check(make_dataset([{**ENCODED, "orientation": orientation}], [record])).rows(named=True)
    assert (row["x"], row["y"], row["width"], row["height"]) == upright(orientation, box)


def test_boxes_that_fit_both_frames_follow_the_rest_of_the_source(make_dataset: MakeDataset) -> None:
    turned = {**ENCODED, "orientation": 6}
    found = check(make_dataset([turned, turned], [{"x": 70.0}, {"image_id": 1}]))
    assert found.get_column("y").to_list() == [70.0, 10.0]
    assert found.get_column("x").to_list() == [40.0, 40.0]


def test_boxes_that_fit_both_frames_stay_when_the_source_contradicts_itself(make_dataset: MakeDataset) -> None:
    turned = {**ENCODED, "orientation": 6}
    annotations = [{"x": 70.0}, {"image_id": 1, "x": 20.0}, {"image_id": 2, "y": 80.0}]
    found = check(make_dataset([turned, turned, turned], annotations))
    assert found.select("x", "y").rows() == [(40.0, 70.0), (20.0, 10.0), (10.0, 80.0)]


def test_boxes_of_the_upright_frame_stay(make_dataset: MakeDataset) -> None:
    found = check(make_dataset([{**ENCODED, "orientation": 8}], [{"y": 85.0}]))
    assert found.select("x", "y").rows() == [(10.0, 85.0)]
