import base64
import json
import logging
import time
from pathlib import Path

import numpy as np
import pytest

from components.model_train.pages.pictures import BATCHES, EDGE, IMAGES, FirstBatches
from components.shared.images import encode_jpeg

CLASSES = ("bar", "block")
BOX = np.array([[64.0, 32.0, 128.0, 96.0]])


def batch(count: int = 2, height: int = 640, width: int = 640) -> np.ndarray:
    images = np.zeros((count, height, width, 3), np.uint8)
    images[:, 32:128, 64:192] = 255
    return images


def test_the_first_three_batches_are_kept_and_later_ones_ignored(tmp_path: Path) -> None:
    kept = FirstBatches(tmp_path / "batches", CLASSES)
    for _ in range(5):
        kept.add(batch(6), [BOX] * 6, [np.array([1])] * 6)
    seen = FirstBatches.load(tmp_path / "batches")
    assert kept.full
    assert [image.batch for image in seen] == [number for number in range(1, BATCHES + 1) for _ in range(IMAGES)]
    assert {image.names for image in seen} == {("block",)}


def test_boxes_shrink_with_their_image(tmp_path: Path) -> None:
    FirstBatches(tmp_path, CLASSES).add(batch(1, 480, 960), [BOX], [np.array([0])])
    (image,) = FirstBatches.load(tmp_path)
    assert image.pixels.shape == (EDGE // 2, EDGE, 3)
    np.testing.assert_allclose(image.boxes, BOX / 3, atol=0.01)
    assert image.pixels[26, 42].min() > 200  # the middle of what the box is drawn around


def test_a_small_image_keeps_its_size(tmp_path: Path) -> None:
    FirstBatches(tmp_path, CLASSES).add(batch(1, 32, 64), [np.zeros((0, 4))], [np.zeros(0, np.int64)])
    (image,) = FirstBatches.load(tmp_path)
    assert image.pixels.shape == (32, 64, 3)
    assert image.names == ()
    assert image.boxes.shape == (0, 4)


def test_what_an_earlier_attempt_kept_is_filled_up(tmp_path: Path) -> None:
    FirstBatches(tmp_path, CLASSES).add(batch(1), [BOX], [np.array([0])])
    resumed = FirstBatches(tmp_path, CLASSES)
    for _ in range(3):
        resumed.add(batch(1), [BOX], [np.array([1])])
    assert [image.names[0] for image in FirstBatches.load(tmp_path)] == ["bar", "block", "block"]
    assert FirstBatches(tmp_path, CLASSES).full


def test_boxes_that_are_no_numbers_are_left_out_and_unknown_classes_get_a_name(tmp_path: Path) -> None:
    boxes = np.array([[np.nan, 0, 1, 1], [0, 0, 10, 10], [0, 0, np.inf, 1]])
    FirstBatches(tmp_path, CLASSES).add(batch(1), [boxes], [np.array([0, 7, 1])])
    (image,) = FirstBatches.load(tmp_path)
    assert image.names == ("class 7",)
    assert image.box_count == 3


def test_a_crowd_of_boxes_is_cut_and_counted(tmp_path: Path) -> None:
    FirstBatches(tmp_path, CLASSES).add(batch(1), [np.repeat(BOX, 5000, axis=0)], [np.zeros(5000, np.int64)])
    (image,) = FirstBatches.load(tmp_path)
    assert (len(image.boxes), len(image.names), image.box_count) == (300, 300, 5000)


def test_a_folder_that_is_not_there_has_no_pictures(tmp_path: Path) -> None:
    assert FirstBatches.load(tmp_path / "none") == ()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        '{"images": 3}',
        '{"images": [{"jpeg": "!", "boxes": [], "names": [], "box_count": 0}]}',
        '{"images": [{"jpeg": "QUJD", "boxes": [], "names": [], "box_count": 0}]}',
        '{"images": [{"jpeg": "", "boxes": [[1, 2, 3]], "names": ["a"], "box_count": 1}]}',
        '{"images": [{"jpeg": "", "boxes": [[1, 2, 3, 4]], "names": [], "box_count": 1}]}',
        '{"images": [], "more": 1}',
        "\x00" * 5_000_000,
    ],
)
def test_a_broken_file_is_left_out_and_the_others_are_shown(tmp_path: Path, text: str) -> None:
    kept = FirstBatches(tmp_path, CLASSES)
    for _ in range(BATCHES):
        kept.add(batch(1), [BOX], [np.array([0])])
    (tmp_path / "batch-2.json").write_text(text)
    assert [image.batch for image in FirstBatches.load(tmp_path)] == [1, 3]


def test_a_picture_larger_than_any_we_keep_is_refused(tmp_path: Path) -> None:
    FirstBatches(tmp_path, CLASSES).add(batch(1), [BOX], [np.array([0])])
    path = tmp_path / "batch-1.json"
    saved = json.loads(path.read_text())
    saved["images"][0]["jpeg"] = _large_jpeg()
    path.write_text(json.dumps(saved))
    assert FirstBatches.load(tmp_path) == ()


def _large_jpeg() -> str:
    return base64.b64encode(encode_jpeg(np.zeros((2000, 2000, 3), np.uint8))).decode()


def test_no_training_ends_for_a_picture(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("no folder")
    kept = FirstBatches(blocked, CLASSES)
    with caplog.at_level(logging.WARNING):
        kept.add(batch(1), [BOX], [np.array([0])])
        kept.add(np.zeros((1, 8)), [BOX], [np.array([0])])
        kept.add(batch(1), [BOX], [np.zeros(0, np.int64)])
    assert len(caplog.records) == 3


def test_an_ignored_batch_costs_nothing_and_a_kept_one_little(tmp_path: Path) -> None:
    kept, images = FirstBatches(tmp_path, CLASSES), batch(16)
    boxes, labels = [BOX] * 16, [np.array([0])] * 16
    started = time.process_time()
    for _ in range(BATCHES):
        kept.add(images, boxes, labels)
    assert time.process_time() - started < 1.0  # about 0.02 s on an idle machine
    started = time.process_time()
    for _ in range(1000):
        kept.add(images, boxes, labels)
    assert time.process_time() - started < 0.1
