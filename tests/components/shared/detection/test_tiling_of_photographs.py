"""Tiles on and off on a large image with known truth: many small photographs side by side."""

from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from components.shared.detection.frameworks import find_framework
from components.shared.detection.inference import Merge
from components.shared.detection.match import ALONE, match_boxes
from components.shared.detection.tiling import Tiling, predict_in_tiles

DATA = Path(__file__).parents[4].parent / "shared" / "data"
WEIGHTS = DATA / "weights" / "yolo11n-coco-dequant.pt"
PHOTOGRAPHS = DATA / "coco128_yolo"
EDGE = 240  # longest edge of a photograph, pixels

pytestmark = [
    pytest.mark.slow,
    pytest.mark.xdist_group("detector"),
    pytest.mark.skipif(not WEIGHTS.is_file() or not PHOTOGRAPHS.is_dir(), reason="needs ../shared/data"),
]


def _canvas(columns: int, rows: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float64]]:
    """An image of ``columns`` x ``rows`` photographs and its objects: box and class."""
    image = np.full((rows * EDGE, columns * EDGE, 3), 114, dtype=np.uint8)
    truth: list[list[float]] = []
    for place, path in enumerate(sorted((PHOTOGRAPHS / "images" / "val2017").iterdir())[: columns * rows]):
        photograph = cv2.imread(str(path))
        assert photograph is not None
        scale = EDGE / max(photograph.shape[:2])
        small = cv2.resize(photograph, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        height, width = small.shape[:2]
        left, top = place % columns * EDGE, place // columns * EDGE
        image[top : top + height, left : left + width] = small[:, :, ::-1]
        labels = PHOTOGRAPHS / "labels" / "val2017" / f"{path.stem}.txt"
        for line in labels.read_text().splitlines() if labels.is_file() else ():
            kind, x, y, w, h = map(float, line.split())
            corners = [(x - w / 2) * width, (y - h / 2) * height, (x + w / 2) * width, (y + h / 2) * height]
            truth.append([*(corners + np.array([left, top] * 2)), kind])
    return image, np.array(truth)


def _measure(rows: npt.NDArray[np.float64], truth: npt.NDArray[np.float64]) -> tuple[float, float]:
    """Share of the objects that are found, and of the boxes that are objects."""
    kinds = truth[:, 4].astype(np.int64)
    labels = rows[:, 5].astype(np.int64)
    matches = match_boxes(rows[:, :4], rows[:, 4], truth[:, :4], labels=labels, truth_labels=kinds)
    hits = int((matches.partner != ALONE).sum())
    return hits / len(truth), hits / max(1, len(rows))


def test_tiles_find_several_times_as_many_small_objects() -> None:
    image, truth = _canvas(5, 4)
    runtime = find_framework("ultralytics").open_runtime(WEIGHTS, 320, "cpu")
    known: dict[bytes, npt.NDArray[np.float64]] = {}

    def predict(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
        key = pixels.tobytes()
        if key not in known:
            known[key] = runtime.predict(pixels, conf=0.25, iou=0.7, max_det=300)
        return known[key]

    def tiled(merge: Merge) -> tuple[float, float]:
        return _measure(predict_in_tiles(image, Tiling(320, merge=merge), predict, iou=0.7, max_det=300), truth)

    recall, _ = _measure(predict(image), truth)
    for merge in ("nms", "wbf"):
        found, right = tiled(merge)
        assert found > 0.25, f"{merge}: {found:.2f}, whole: {recall:.2f}"
        assert found > 2.5 * recall, f"{merge}: {found:.2f}, whole: {recall:.2f}"
        assert right > 0.5, f"{merge}: {right:.2f} of the boxes are objects"
