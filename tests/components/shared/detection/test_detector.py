"""The detector on a tiny real checkpoint: what it gives, what it refuses, and what it leaves alone."""

import json
import os
import pickle
import runpy
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from components.shared.detection.detector import Detector, _detections
from components.shared.detection.ultralytics_runtime import UltralyticsRuntime, load_state
from components.shared.errors import ArchiveError, ConfigError, InputError
from components.shared.images import decode

REPOSITORY = Path(__file__).parents[4]
pytestmark = pytest.mark.xdist_group("detector")
TINY = runpy.run_path(str(REPOSITORY / "tests/components/model_pack/tiny_model.py"))
DATA = REPOSITORY.parent / "shared" / "data"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return TINY["make_tiny_model"](tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture(scope="module")
def detector(model: Path) -> Detector:
    return Detector(model)


@pytest.fixture
def copy(model: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(model, tmp_path / "copy"))


def image(seed: int, width: int = 80, height: int = 60) -> Any:
    return decode(TINY["encoded_image"](seed, width, height))


def rewrite(folder: Path, **changes: Any) -> None:
    path = folder / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_an_image_gives_the_same_boxes_alone_and_among_others(detector: Detector) -> None:
    images = [image(1), image(2, 50, 90), image(3, 64, 64), image(4)]
    together = detector.predict(images)
    for pixels, among in zip(images, together, strict=True):
        (alone,) = detector.predict([pixels])
        assert alone.scores.size > 5
        np.testing.assert_allclose(alone.boxes, among.boxes, rtol=1e-4)
        np.testing.assert_allclose(alone.scores, among.scores, rtol=1e-4)
        np.testing.assert_array_equal(alone.labels, among.labels)


def test_two_detectors_of_one_folder_agree_bit_for_bit(model: Path, detector: Detector) -> None:
    (first,), (second,) = detector.predict([image(5)]), Detector(model).predict([image(5)])
    np.testing.assert_array_equal(first.boxes, second.boxes)
    np.testing.assert_array_equal(first.scores, second.scores)


@pytest.mark.parametrize(("width", "height"), [(1, 1), (1, 300), (700, 1), (33, 47), (640, 480)])
def test_boxes_lie_inside_images_of_any_size(detector: Detector, width: int, height: int) -> None:
    (found,) = detector.predict([image(6, width, height)])
    assert found.boxes.dtype == np.float64
    assert found.labels.dtype == np.int64
    assert (found.boxes >= 0).all()
    assert (found.boxes[:, [0, 2]] <= width).all()
    assert (found.boxes[:, [1, 3]] <= height).all()
    assert (found.boxes[:, 2:] > found.boxes[:, :2]).all()


@pytest.mark.slow
def test_boxes_are_the_ones_the_library_itself_finds(model: Path, detector: Detector) -> None:
    from ultralytics import YOLO  # noqa: PLC0415 - after the environment is prepared

    pixels = image(7)
    (found,) = detector.predict([pixels])
    (plain,) = YOLO(model / "weights" / "best.pt").predict(
        Image.fromarray(pixels), imgsz=64, conf=0.001, iou=0.7, verbose=False
    )
    corners = plain.boxes.xyxy.numpy()
    visible = (corners[:, 2] > corners[:, 0]) & (corners[:, 3] > corners[:, 1])
    np.testing.assert_allclose(found.scores, plain.boxes.conf.numpy()[visible], rtol=1e-5)
    np.testing.assert_allclose(found.boxes, corners[visible], rtol=1e-4, atol=1e-3)


def test_a_grey_image_is_an_image(detector: Detector) -> None:
    (found,) = detector.predict([np.full((40, 60, 3), 128, dtype=np.uint8)])
    assert np.isfinite(found.scores).all()


def test_no_images_give_no_results(detector: Detector) -> None:
    assert detector.predict([]) == []


def test_scores_descend_and_stop_at_the_threshold_and_the_limit(detector: Detector) -> None:
    (found,) = detector.predict([image(8)], conf=0.1, max_det=4)
    assert len(found.scores) <= 4
    assert (found.scores >= 0.1).all()
    assert (np.diff(found.scores) <= 0).all()


def test_ties_have_one_order_whatever_order_they_come_in() -> None:
    rows = np.array(
        [[5, 5, 9, 9, 0.5, 1], [1, 1, 4, 4, 0.5, 0], [0, 1, 4, 4, 0.5, 0], [2, 2, 3, 3, 0.9, 1]], dtype=float
    )
    for order in ([0, 1, 2, 3], [3, 2, 1, 0], [1, 3, 0, 2]):
        found = _detections(rows[order], 10, 10)
        assert found.boxes[:, 0].tolist() == [2, 0, 1, 5]
        assert found.labels.tolist() == [1, 0, 0, 1]


def test_a_box_outside_the_image_is_dropped_and_one_across_its_edge_clipped() -> None:
    found = _detections(np.array([[-5, -5, 4, 20, 0.9, 0], [12, 2, 15, 6, 0.8, 0]], dtype=float), 10, 10)
    assert found.boxes.tolist() == [[0, 0, 4, 10]]


@pytest.mark.parametrize(
    "wrong",
    [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((0, 4, 3), np.uint8)],
)
def test_an_array_that_is_no_rgb_image_is_refused(detector: Detector, wrong: Any) -> None:
    with pytest.raises(InputError, match="Image 0"):
        detector.predict([wrong])


def test_swapped_class_names_are_noticed(copy: Path) -> None:
    rewrite(copy, classes=["square", "circle", "star"])
    with pytest.raises(ArchiveError, match="Class 0 is 'square' in the manifest but 'circle' in the weights"):
        Detector(copy)


def test_missing_weights_are_named(copy: Path) -> None:
    (copy / "weights" / "best.pt").unlink()
    with pytest.raises(ArchiveError, match=r"weights/best\.pt"):
        Detector(copy)


@pytest.mark.parametrize("name", ["yolov5n.pt", "yolov3-tiny.pt", "Dad's best .pt"])
def test_weights_may_have_a_name_that_the_library_takes_for_another(
    model: Path, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copyfile(model / "weights" / "best.pt", tmp_path / name)
    monkeypatch.chdir(tmp_path)  # the library replaces only a path without the letter u
    assert UltralyticsRuntime(Path(name), imgsz=64, device="cpu").names
    assert load_state(Path(name)).keys() == load_state(model / "weights" / "best.pt").keys()


def test_a_folder_may_have_an_apostrophe_in_its_name(model: Path, detector: Detector, tmp_path: Path) -> None:
    folder = tmp_path / "Dad's model"
    shutil.copytree(model, folder)
    assert load_state(folder / "weights" / "best.pt").keys() == load_state(model / "weights" / "best.pt").keys()
    assert np.array_equal(Detector(folder).predict([image(1)])[0].boxes, detector.predict([image(1)])[0].boxes)


def test_weights_that_are_no_checkpoint_are_named(copy: Path) -> None:
    (copy / "weights" / "best.pt").write_bytes(b"no weights at all")
    with pytest.raises(ArchiveError, match=r"best\.pt.*cannot be loaded"):
        Detector(copy)


def test_weights_that_hold_code_do_not_run_it(copy: Path, tmp_path: Path) -> None:
    import torch  # noqa: PLC0415 - after the environment is prepared

    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.system, (f"touch {tmp_path / 'harm'}",)

    torch.save({"model": Evil(), "ema": None}, copy / "weights" / "best.pt", pickle_module=pickle)
    with pytest.raises(ArchiveError, match="cannot be loaded"):
        Detector(copy)
    assert not (tmp_path / "harm").exists()


def test_an_unknown_framework_is_refused(copy: Path) -> None:
    rewrite(copy, framework="abacus")
    with pytest.raises(ArchiveError, match="'abacus'"):
        Detector(copy)


@pytest.mark.parametrize("device", ["toaster", "cuda:99"])
def test_a_device_that_is_not_there_is_refused(model: Path, device: str) -> None:
    with pytest.raises(ConfigError, match=device):
        Detector(model, device=device)


@pytest.mark.slow
def test_overlaps_are_suppressed_as_torchvision_does() -> None:
    import torch  # noqa: PLC0415 - after the environment is prepared
    from torchvision.ops import nms  # noqa: PLC0415 - after the environment is prepared
    from ultralytics.utils.nms import TorchNMS  # noqa: PLC0415 - after the environment is prepared

    corners = torch.rand(200, 2, generator=torch.Generator().manual_seed(0)) * 50
    boxes = torch.cat([corners, corners + 20], dim=1)
    scores = torch.linspace(1, 0, 200)
    assert TorchNMS.nms is torch.ops.torchvision.nms
    assert torch.equal(TorchNMS.nms(boxes, scores, 0.5), nms(boxes, scores, 0.5))


OFFLINE = """
import socket, sys
from pathlib import Path
def refuse(*arguments, **named):
    raise AssertionError(f"a connection was tried: {arguments}")
socket.getaddrinfo = socket.create_connection = socket.socket.connect = refuse
import numpy as np
from components.shared.detection.detector import Detector
detector = Detector(Path(sys.argv[1]))
detector.predict([np.zeros((64, 64, 3), dtype=np.uint8)])
import os, torch
from ultralytics import settings
from ultralytics.utils import ONLINE, torch_utils
names = ("sync", "clearml", "comet", "dvc", "mlflow", "raytune", "tensorboard", "wandb")
on = [name for name in names if settings[name]]
print(ONLINE, on, torch_utils.NUM_THREADS == torch.get_num_threads(), "torchvision" in sys.modules,
      Path(os.environ["YOLO_CONFIG_DIR"], "Ultralytics", "Arial.ttf").is_file(), os.environ["YOLO_CONFIG_DIR"])
"""


@pytest.mark.slow
def test_predicting_is_offline_quiet_and_leaves_nothing_behind(model: Path, tmp_path: Path) -> None:
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("YOLO", "ULTRA"))}
    done = subprocess.run(
        [sys.executable, "-c", OFFLINE, str(model)],
        env=environment | {"PYTHONPATH": str(REPOSITORY), "HOME": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    *facts, settings_folder = done.stdout.split()
    assert facts == ["False", "[]", "True", "False", "True"]
    assert done.stderr == ""
    assert not Path(settings_folder).exists()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not DATA.is_dir(), reason="the real data is not beside the repository")
def test_a_real_checkpoint_finds_the_objects_of_a_real_photograph(tmp_path: Path) -> None:
    (tmp_path / "weights").mkdir()
    shutil.copyfile(DATA / "weights" / "yolo11n-coco-dequant.pt", tmp_path / "weights" / "best.pt")
    from ultralytics import YOLO  # noqa: PLC0415 - after the environment is prepared

    names = YOLO(tmp_path / "weights" / "best.pt").names
    TINY["write_manifest"](tmp_path, classes=tuple(names.values()), imgsz=640)
    detector = Detector(tmp_path)
    photograph = (DATA / "coco128_yolo" / "images" / "train2017" / "000000000036.jpg").read_bytes()
    (found,) = detector.predict([decode(photograph)], conf=0.5)
    assert {detector.classes[label] for label in found.labels} == {"person", "umbrella"}
