"""Converted torchvision models give the boxes of the weights they are from."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from components.shared.detection.contract import load_spec
from components.shared.detection.engine_runtime import EngineRuntime
from components.shared.detection.torchvision_export import export
from components.shared.detection.torchvision_models import build_model
from components.shared.detection.torchvision_runtime import TorchvisionRuntime, TorchvisionWeights
from components.shared.errors import ArchiveError

pytestmark = pytest.mark.xdist_group("detector")
SMALL = "retinanet_mobilenet_v3_small_fpn"
IMGSZ = 96


def image(seed: int, width: int, height: int) -> Any:
    blocks = np.random.default_rng(seed).integers(0, 256, (height // 10 + 1, width // 10 + 1, 3), dtype=np.uint8)
    return blocks.repeat(10, axis=0).repeat(10, axis=1)[:height, :width]


def save_weights(path: Path, architecture: str) -> Path:
    """A network that was never trained, with scores all over the range."""
    import torch  # noqa: PLC0415 - heavy

    torch.set_num_threads(2)
    torch.manual_seed(0)
    model = build_model(architecture, 3, IMGSZ).train()
    with torch.no_grad():
        for layer in model.modules():
            if isinstance(layer, torch.nn.BatchNorm2d):
                layer.momentum = 1.0
        model.backbone(torch.rand(4, 3, IMGSZ, IMGSZ))
        if architecture == SMALL:
            scores = model.head.classification_head.cls_logits
            scores.weight.mul_(3)
            scores.bias.add_(3)
        else:
            for layer in (
                model.rpn.head.bbox_pred,
                model.rpn.head.cls_logits,
                *model.roi_heads.box_predictor.children(),
            ):
                layer.weight.mul_(0.02)
    TorchvisionWeights(architecture, ("a", "b", "c"), IMGSZ, model.state_dict()).save(path)
    return path


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_weights(tmp_path_factory.mktemp("weights") / "best.pt", SMALL)


def assert_same(runtime: EngineRuntime, original: TorchvisionRuntime) -> None:
    """Nearly every box has its like; rounding may decide otherwise between two that overlap and score alike."""
    for seed, (width, height) in enumerate([(96, 72), (50, 96), (200, 200), (300, 40)]):
        pixels = image(seed, width, height)
        expected = original.predict(pixels, conf=0.1, iou=0.5, max_det=50)
        found = runtime.predict(pixels, conf=0.1, iou=0.5, max_det=50)
        assert len(expected) > 3
        tolerance = np.array([1, 1, 1, 1, 1e-3, 0])  # pixels; a network that was never trained magnifies rounding
        alike = (np.abs(found[None] - expected[:, None]) <= tolerance).all(axis=2).any(axis=1)
        assert alike.mean() >= 0.9


@pytest.mark.slow
@pytest.mark.parametrize("runtime", ["onnx", "openvino"])
def test_a_converted_retinanet_finds_what_its_weights_find(weights: Path, tmp_path: Path, runtime: str) -> None:
    spec = export(weights, tmp_path / "one", runtime, imgsz=IMGSZ)
    assert spec == load_spec(tmp_path / "one")
    assert spec.classes == ("a", "b", "c")
    assert export(weights, tmp_path / "two", runtime, imgsz=IMGSZ) == spec
    assert_same(EngineRuntime(tmp_path / "one"), TorchvisionRuntime(weights, imgsz=IMGSZ, device="cpu"))


@pytest.mark.slow
def test_a_converted_faster_rcnn_finds_what_its_weights_find(tmp_path: Path) -> None:
    weights = save_weights(tmp_path / "best.pt", "fasterrcnn_mobilenet_v3_large_320_fpn")
    export(weights, tmp_path / "onnx", "onnx", imgsz=IMGSZ)
    original = TorchvisionRuntime(weights, imgsz=IMGSZ, device="cpu")
    assert_same(EngineRuntime(tmp_path / "onnx"), original)
    with pytest.raises(ArchiveError, match="cannot be converted to 'openvino', whose files differ each time"):
        export(weights, tmp_path / "openvino", "openvino", imgsz=IMGSZ)


@pytest.mark.slow
def test_torchscript_is_refused(weights: Path, tmp_path: Path) -> None:
    with pytest.raises(ArchiveError, match="cannot be converted to 'torchscript': use 'onnx' or 'openvino'"):
        export(weights, tmp_path, "torchscript", imgsz=IMGSZ)
