from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image

from components.model_train.pages import compared
from components.model_train.pages.compared import EDGE, BeforeAfter, before_and_after, choose_images
from components.shared.dataset import ANNOTATIONS, IMAGES, Dataset
from components.shared.errors import ArchiveError

Boxes = list[tuple[str, tuple[float, float, float, float]]]
ONE = (10.0, 10.0, 20.0, 20.0)
CLASSES = ("a", "b", "c")
DATA = Path(__file__).parents[5] / "shared" / "data"
WEIGHTS = DATA / "weights" / "yolo11n-coco-dequant.pt"


def dataset(images: list[Boxes], *, size: tuple[int, int] = (100, 80), crowd: bool = False) -> Dataset:
    rows = [
        {"image_id": i, "name": f"{i}.png", "width": size[0], "height": size[1], "sha256": f"{i:064x}"}
        for i in range(len(images))
    ]
    boxes = [(i, name, *box) for i, image in enumerate(images) for name, box in image]
    annotations = [
        {"annotation_id": n, "image_id": i, "category": name, "x": x, "y": y, "width": w, "height": h}
        | {"crowd": crowd, "difficult": False, "truncated": False, "kind": "ground_truth"}
        for n, (i, name, x, y, w, h) in enumerate(boxes)
    ]
    tables = pl.DataFrame(rows, schema=IMAGES), pl.DataFrame(annotations, schema=ANNOTATIONS)
    return Dataset(name="set", classes=CLASSES, images=tables[0], annotations=tables[1], split="val")


class Runtime:
    """Finds what it is told to, whatever it sees."""

    def __init__(self, names: tuple[str, ...], rows: list[tuple[float, ...]]) -> None:
        self.names = names
        self.rows = np.array(rows, dtype=np.float64).reshape(-1, 6)

    def predict(self, image: np.ndarray, *, conf: float, iou: float, max_det: int) -> np.ndarray:
        del image, iou, max_det
        return self.rows[self.rows[:, 4] >= conf]


class Runtimes:
    def __init__(self, **runtimes: Runtime) -> None:
        self.runtimes = runtimes
        self.asked: list[tuple[str, int, str]] = []

    def __call__(self, framework: str) -> "Runtimes":
        del framework
        return self

    def open_runtime(self, weights: Path, imgsz: int, device: str) -> Runtime:
        self.asked.append((weights.stem, imgsz, device))
        if weights.stem not in self.runtimes:
            raise ArchiveError(f"The weights {str(weights)!r} cannot be loaded.")
        return self.runtimes[weights.stem]


Compare = Callable[..., tuple[list[BeforeAfter], Runtimes]]


@pytest.fixture
def compare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Compare:
    def run(
        data: Dataset, size: tuple[int, int] = (100, 80), **runtimes: Runtime
    ) -> tuple[list[BeforeAfter], Runtimes]:
        opened = Runtimes(**runtimes)
        monkeypatch.setattr(compared, "find_framework", opened)
        paths = {}
        for image_id in data.images["image_id"]:
            paths[image_id] = tmp_path / f"{image_id:08d}.png"
            Image.new("RGB", size, (image_id * 20, 90, 90)).save(paths[image_id])
        found = before_and_after(
            tmp_path / "untrained.pt",
            tmp_path / "trained.pt",
            framework="any",
            classes=CLASSES,
            imgsz=100,
            dataset=data,
            images=paths,
            device="cpu",
        )
        return found, opened

    return run


def test_right_wrong_and_foreign_predictions_are_told_apart(compare: Compare) -> None:
    data = dataset([[("a", ONE), ("b", (60, 40, 20, 20))]])
    trained = Runtime(CLASSES, [(10, 10, 30, 30, 0.9, 0), (60, 40, 80, 60, 0.6, 2), (10, 10, 30, 30, 0.2, 0)])
    untrained = Runtime(("dog", "a"), [(10, 10, 30, 30, 0.3, 0), (11, 11, 30, 30, 0.5, 1)])
    (image,), opened = compare(data, untrained=untrained, trained=trained)
    assert image.after.names == ("a", "c")
    assert image.after.right.tolist() == [True, False]
    assert image.before.names == ("a", "dog")
    assert image.before.right.tolist() == [True, False]
    assert image.before.known.tolist() == [True, False]
    assert opened.asked == [("trained", 128, "cpu"), ("untrained", 128, "cpu")]


def test_boxes_follow_an_image_that_was_made_smaller_and_is_shown_smaller_still(compare: Compare) -> None:
    data = dataset([[("a", (400, 200, 800, 400))]], size=(4000, 2000))
    trained = Runtime(CLASSES, [(200, 100, 600, 300, 0.9, 0)])
    (image,), _ = compare(data, size=(2000, 1000), untrained=Runtime((), []), trained=trained)
    assert image.pixels.shape == (EDGE // 2, EDGE, 3)
    np.testing.assert_allclose(image.truth.boxes, [[48, 24, 96, 48]])
    np.testing.assert_allclose(image.after.boxes, image.truth.boxes)
    assert image.after.right.tolist() == [True]


def test_untrained_weights_that_cannot_be_loaded_leave_the_rest(compare: Compare) -> None:
    (image,), _ = compare(dataset([[("a", ONE)]]), trained=Runtime(CLASSES, []))
    assert image.before is None
    assert image.after.names == ()


def test_trained_weights_that_cannot_be_loaded_leave_no_pictures(
    compare: Compare, caplog: pytest.LogCaptureFixture
) -> None:
    found, _ = compare(dataset([[("a", ONE)]]), untrained=Runtime(CLASSES, []))
    assert found == []
    assert "trained.pt" in caplog.text


def test_predictions_that_are_no_numbers_are_left_out(compare: Compare) -> None:
    trained = Runtime(CLASSES, [(np.nan, 0, 1, 1, 0.9, 0), (0, 0, 9, 9, 0.5, 1)])
    (image,), _ = compare(dataset([[("a", ONE)]]), untrained=trained, trained=trained)
    assert image.after.names == ("b",)


def test_images_that_cannot_be_read_are_left_out(compare: Compare, monkeypatch: pytest.MonkeyPatch) -> None:
    data = dataset([[("a", ONE)], [("b", ONE)]])
    whole = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda path: b"broken" if path.stem == "00000000" else whole(path))
    found, _ = compare(data, untrained=Runtime((), []), trained=Runtime(CLASSES, []))
    assert [image.name for image in found] == ["1.png"]


def test_no_model_is_loaded_when_there_is_nothing_to_show(compare: Compare) -> None:
    found, opened = compare(dataset([[], []]), untrained=Runtime((), []), trained=Runtime(CLASSES, []))
    assert found == []
    assert opened.asked == []


def test_chosen_images_cover_the_classes_before_they_repeat_any() -> None:
    data = dataset([[("a", ONE)] * 5, [("a", ONE)] * 4, [("b", ONE)], [("c", ONE)] * 2, []])
    assert choose_images(data, range(5), 3) == [0, 3, 2]


def test_crowded_images_come_last_but_do_come() -> None:
    data = dataset([[("a", ONE)] * 30, [("a", ONE)], [("b", ONE)] * 20])
    assert choose_images(data, range(3), 3)[0] == 1
    assert sorted(choose_images(data, range(3), 6)) == [0, 1, 2]


def test_images_that_are_not_on_disk_crowds_and_empty_boxes_are_not_chosen() -> None:
    data = dataset([[("a", ONE)], [("b", (0, 0, 0, 10))], [("c", (np.nan, 0, 1, 1))], [("b", ONE)]])
    assert choose_images(data, [0, 1, 2]) == [0]
    assert choose_images(dataset([[("a", ONE)]], crowd=True), [0]) == []


def test_the_choice_does_not_depend_on_the_order_of_the_table() -> None:
    data = dataset([[("a", ONE)] * (n % 4) + [("bc"[n % 2], ONE)] for n in range(40)])
    shuffled = Dataset(
        name="set",
        classes=CLASSES,
        images=data.images.reverse(),
        annotations=data.annotations.sample(fraction=1, shuffle=True, seed=1),
    )
    assert choose_images(data, range(40)) == choose_images(shuffled, list(reversed(range(40))))


@pytest.mark.slow
@pytest.mark.skipif(not WEIGHTS.is_file(), reason="the shared test data are not here")
def test_real_weights_find_real_objects_and_start_weights_keep_their_own_class_names() -> None:
    images = DATA / "raccoon_voc" / "images"
    path = images / "raccoon-1.jpg"
    data = dataset([[("raccoon", (81, 88, 441, 320))]], size=Image.open(path).size)
    raccoons = replace(data, classes=("raccoon",))
    (image,) = before_and_after(
        WEIGHTS,
        WEIGHTS,
        framework="ultralytics",
        classes=("raccoon",),
        imgsz=320,
        dataset=raccoons,
        images={0: path},
        device="cpu",
    )
    assert image.before is not None
    assert image.before.names == image.after.names == ("bear",)
    assert not image.after.known.any()
    assert not image.after.right.any()
