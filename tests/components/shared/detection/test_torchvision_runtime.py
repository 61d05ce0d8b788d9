"""torchvision models built, saved, loaded and asked, and weights files that are not what they should be."""

import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from components.shared.detection.frameworks import find_framework, known_frameworks
from components.shared.detection.torchvision_models import ARCHITECTURES, build_model, first_label, set_limits
from components.shared.detection.torchvision_runtime import (
    TorchvisionRuntime,
    TorchvisionWeights,
    fit_longest,
    fitted_size,
    load_state,
    load_weights,
    to_tensor,
)
from components.shared.errors import ArchiveError, ConfigError
from components.shared.presets import TORCHVISION_MODELS, is_torchvision

SMALL = "retinanet_mobilenet_v3_small_fpn"
CLASSES = ("bar", "block", "ring")
pytestmark = pytest.mark.xdist_group("torchvision")


@pytest.fixture(scope="module")
def weights() -> TorchvisionWeights:
    torch.manual_seed(0)
    model = build_model(SMALL, len(CLASSES), 64)
    torch.nn.init.normal_(model.head.classification_head.cls_logits.bias, std=2.0)  # so that it is sure of something
    return TorchvisionWeights(SMALL, CLASSES, 64, model.state_dict())


@pytest.fixture(scope="module")
def saved(weights: TorchvisionWeights, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "best.pt"
    weights.save(path)
    return path


@pytest.fixture(scope="module")
def runtime(saved: Path) -> TorchvisionRuntime:
    return TorchvisionRuntime(saved, imgsz=64, device="cpu")


def picture(width: int, height: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8)


def test_weights_come_back_as_they_were_saved_and_the_same_ones_give_the_same_bytes(
    weights: TorchvisionWeights, saved: Path, tmp_path: Path
) -> None:
    loaded = load_weights(saved)
    assert (loaded.architecture, loaded.classes, loaded.imgsz) == (SMALL, CLASSES, 64)
    assert loaded.state.keys() == weights.state.keys()
    assert all(loaded.state[name].equal(weights.state[name]) for name in weights.state)
    loaded.save(tmp_path / "under another name.pt")
    assert (tmp_path / "under another name.pt").read_bytes() == saved.read_bytes()


def test_the_state_is_every_tensor_as_stored(weights: TorchvisionWeights, saved: Path) -> None:
    state = load_state(saved)
    assert all(state[name].equal(tensor) for name, tensor in weights.state.items())


def test_boxes_are_in_the_images_pixels_whatever_its_size(runtime: TorchvisionRuntime) -> None:
    for width, height in ((64, 64), (200, 90), (30, 64), (640, 5), (1, 1)):
        rows = runtime.predict(picture(width, height), conf=0.0, iou=0.7, max_det=300)
        assert rows.dtype == np.float64
        assert rows.shape[1] == 6
        assert (rows[:, [0, 1]] >= 0).all()
        assert (rows[:, [2]] <= width + 1e-3).all()
        assert (rows[:, [3]] <= height + 1e-3).all()


def test_a_place_has_one_label_its_best(weights: TorchvisionWeights, runtime: TorchvisionRuntime) -> None:
    rows = runtime.predict(picture(64, 64), conf=0.0, iou=1.0, max_det=100_000)
    model = weights.build()
    with torch.inference_mode():
        features = list(model.backbone(model.transform([to_tensor(picture(64, 64))])[0].tensors).values())
        places = model.head(features)["cls_logits"].shape[1]
    assert places / 2 < len(rows) <= places
    assert set(rows[:, 5]) <= {0.0, 1.0, 2.0}


def test_of_two_boxes_of_a_class_that_overlap_one_stays(runtime: TorchvisionRuntime) -> None:
    strict = runtime.predict(picture(64, 64), conf=0.0, iou=0.3, max_det=300)
    loose = runtime.predict(picture(64, 64), conf=0.0, iou=0.9, max_det=300)
    assert 0 < len(strict) < len(loose)
    for label in set(strict[:, 5]):
        boxes = torch.as_tensor(strict[strict[:, 5] == label, :4])
        from torchvision.ops import box_iou  # noqa: PLC0415 - heavy

        overlaps = box_iou(boxes, boxes).fill_diagonal_(0)
        assert overlaps.max() <= 0.3 + 1e-6


def test_threshold_and_cap_are_kept_and_the_same_image_gives_the_same_boxes(runtime: TorchvisionRuntime) -> None:
    all_rows = runtime.predict(picture(80, 60), conf=0.0, iou=0.7, max_det=300)
    conf = float(np.median(all_rows[:, 4]))
    some = runtime.predict(picture(80, 60), conf=conf, iou=0.7, max_det=300)
    assert 0 < len(some) < len(all_rows)
    assert (some[:, 4] > conf).all()
    assert len(runtime.predict(picture(80, 60), conf=0.0, iou=0.7, max_det=3)) == 3
    np.testing.assert_array_equal(all_rows, runtime.predict(picture(80, 60), conf=0.0, iou=0.7, max_det=300))


def test_scaling_leaves_an_image_of_the_right_size_alone_and_keeps_its_shape_else() -> None:
    assert fit_longest(picture(64, 20), 64) is not None
    np.testing.assert_array_equal(fit_longest(picture(64, 20), 64), picture(64, 20))
    for width, height in ((128, 40), (30, 10), (1000, 1), (7, 13)):
        scaled = fit_longest(picture(width, height), 64)
        assert (scaled.shape[1], scaled.shape[0]) == fitted_size(width, height, 64)
        assert max(scaled.shape) == 64


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_architecture_learns_and_predicts(architecture: str) -> None:
    model = build_model(architecture, 3, 64)
    targets = [
        {
            "boxes": torch.tensor([[4.0, 4.0, 40.0, 50.0]]),
            "labels": torch.tensor([2 + first_label(model)]),
        },
        {"boxes": torch.zeros((0, 4)), "labels": torch.zeros(0, dtype=torch.int64)},
    ]
    images = [to_tensor(picture(64, 64)), to_tensor(picture(64, 48))]
    losses = model.train()(images, targets)
    sum(losses.values()).backward()
    assert all(torch.isfinite(loss) for loss in losses.values())
    set_limits(model, conf=0.0, iou=0.5, max_det=7)
    with torch.inference_mode():
        found = model.eval()(images)
    assert all(len(one["boxes"]) <= 7 for one in found)
    assert {int(label) for one in found for label in one["labels"]} <= {0, 1, 2}


def test_presets_and_the_runtime_know_the_same_models() -> None:
    assert TORCHVISION_MODELS == ARCHITECTURES
    assert is_torchvision(SMALL)
    assert not is_torchvision("yolo11n.yaml")
    with pytest.raises(ConfigError, match="abacus"):
        build_model("abacus", 1, 64)


def test_frameworks_are_found_by_name_and_each_has_files_to_pack() -> None:
    assert known_frameworks() == ("torchvision", "ultralytics")
    components = Path(__file__).parents[4] / "components"
    for name in known_frameworks():
        framework = find_framework(name)
        assert framework.name == name
        assert all((components / file).is_file() for file in framework.code)
    with pytest.raises(ArchiveError, match="'abacus'"):
        find_framework("abacus")
    with pytest.raises(ArchiveError, match="torchvision or ultralytics"):
        find_framework("../torchvision")


@pytest.mark.slow
def test_nothing_of_it_imports_ultralytics(saved: Path) -> None:
    code = (
        "import sys, numpy\n"
        "from components.shared.detection.frameworks import find_framework\n"
        f"runtime = find_framework('torchvision').open_runtime(__import__('pathlib').Path({str(saved)!r}), 64, 'cpu')\n"
        "runtime.predict(numpy.zeros((9, 9, 3), numpy.uint8), conf=0.1, iou=0.5, max_det=9)\n"
        "assert not [name for name in sys.modules if name.startswith('ultralytics')]\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[4])


class Harm:
    """A pickle that runs a command."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (Path.write_text, (self.path, "harm"))


def test_code_in_a_weights_file_is_never_run(tmp_path: Path) -> None:
    path = tmp_path / "evil.pt"
    torch.save({"format": 1, "architecture": Harm(tmp_path / "harm")}, path)
    with pytest.raises(ArchiveError, match=r"evil\.pt"):
        load_weights(path)
    path.write_bytes(pickle.dumps(Harm(tmp_path / "harm")))
    with pytest.raises(ArchiveError, match=r"evil\.pt"):
        load_weights(path)
    assert not (tmp_path / "harm").exists()


@pytest.mark.parametrize("content", [b"", b"no weights", b"PK\x03\x04", b"\x80\x04."])
def test_a_file_that_is_none_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "best.pt").write_bytes(content)
    with pytest.raises(ArchiveError, match=r"best\.pt"):
        load_weights(tmp_path / "best.pt")
    with pytest.raises(ArchiveError, match="missing"):
        load_weights(tmp_path / "nowhere.pt")


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
def test_a_cut_file_is_refused(saved: Path, tmp_path: Path, share: float) -> None:
    data = saved.read_bytes()
    (tmp_path / "cut.pt").write_bytes(data[: int(len(data) * share)])
    with pytest.raises(ArchiveError, match=r"cut\.pt"):
        load_weights(tmp_path / "cut.pt")


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("format", 2, "format 1"),
        ("architecture", "abacus", "'abacus'"),
        ("architecture", ["abacus"], "architecture"),
        ("classes", [], "classes"),
        ("classes", "abc", "classes"),
        ("classes", [1, 2, 3], "classes"),
        ("imgsz", 0, "imgsz"),
        ("imgsz", "64", "imgsz"),
        ("imgsz", True, "imgsz"),
        ("state", None, "state"),
        ("state", {"a": 1}, "state"),
    ],
)
def test_a_field_that_cannot_be_is_refused(saved: Path, tmp_path: Path, field: str, value: object, words: str) -> None:
    content = torch.load(saved, weights_only=True) | {field: value}
    torch.save(content, tmp_path / "best.pt")
    with pytest.raises(ArchiveError, match=words):
        load_weights(tmp_path / "best.pt")
    torch.save([1, 2], tmp_path / "best.pt")
    with pytest.raises(ArchiveError, match="format 1"):
        load_weights(tmp_path / "best.pt")


def test_tensors_that_do_not_fit_the_architecture_are_refused(weights: TorchvisionWeights, tmp_path: Path) -> None:
    TorchvisionWeights(SMALL, ("one", "two"), 64, weights.state).save(tmp_path / "best.pt")
    with pytest.raises(ArchiveError, match="do not fit"):
        TorchvisionRuntime(tmp_path / "best.pt", imgsz=64, device="cpu")


@pytest.mark.parametrize("device", ["toaster", "cuda:99", "99"])
def test_a_device_that_is_not_there_is_refused(saved: Path, device: str) -> None:
    with pytest.raises(ConfigError, match=device):
        TorchvisionRuntime(saved, imgsz=64, device=device)
