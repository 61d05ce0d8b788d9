"""A model folder as the training step leaves it, made in half a second: a tiny detector that was never trained."""

from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from components.shared.detection.environment import limit_threads, prepare_environment
from components.shared.detection.manifest import ModelManifest
from components.shared.files import sha256_tree

CLASSES = ("circle", "square", "star")
IMGSZ = 64


def encoded_image(seed: int, width: int = 80, height: int = 60) -> bytes:
    """A PNG of coloured noise in blocks."""
    blocks = np.random.default_rng(seed).integers(0, 256, (height // 10 + 1, width // 10 + 1, 3), dtype=np.uint8)
    pixels = blocks.repeat(10, axis=0).repeat(10, axis=1)[:height, :width]
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def write_weights(path: Path, *, seed: int = 0, classes: tuple[str, ...] = CLASSES, bias: float = 4.0) -> None:
    """A checkpoint in the library's format whose detector gives scores all over the range."""
    prepare_environment()
    import torch  # noqa: PLC0415 - after the environment is prepared
    from ultralytics.nn.tasks import DetectionModel  # noqa: PLC0415 - after the environment is prepared
    from ultralytics.utils import ROOT, YAML  # noqa: PLC0415 - after the environment is prepared

    limit_threads(1)
    torch.manual_seed(seed)
    config = YAML.load(ROOT / "cfg/models/11/yolo11.yaml")
    config |= {"nc": len(classes), "scales": {"n": [0.33, 0.0625, 256]}, "scale": "n"}
    network = DetectionModel(config, verbose=False)
    noise = torch.rand(16, 3, 6, 6).repeat_interleave(11, 2).repeat_interleave(11, 3)[:, :, :IMGSZ, :IMGSZ]
    network.train()
    for layer in network.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.momentum = 1.0
    with torch.no_grad():
        network(noise)  # so that activations, and with them the boxes, follow the image
    network.eval()
    for boxes, scores in zip(network.model[-1].cv2, network.model[-1].cv3, strict=True):
        boxes[-1].weight.data.mul_(3.0)
        boxes[-1].bias.data = -0.8 * torch.arange(16.0).repeat(4)  # small boxes, so that few reach the image's edge
        scores[-1].weight.data.mul_(8.0)
        scores[-1].bias.data.add_(bias)
    network.names = dict(enumerate(classes))
    network.args = {"imgsz": IMGSZ}
    state = {"epoch": -1, "model": None, "ema": network.half(), "train_args": {"imgsz": IMGSZ, "task": "detect"}}
    torch.save(state, path)


def write_manifest(folder: Path, *, classes: tuple[str, ...] = CLASSES, imgsz: int = IMGSZ) -> ModelManifest:
    """Describe whatever lies in the folder now."""
    files = sha256_tree(folder)
    files.pop("manifest.json", None)
    manifest = ModelManifest(
        framework="ultralytics",
        weights="weights/best.pt",
        last="weights/last.pt",
        test_image="test_image.png",
        classes=classes,
        imgsz=imgsz,
        parameters={"epochs": 0},
        datasets={"train": "0" * 64, "val": "1" * 64},
        libraries={"ultralytics": "8.4.190"},
        files=files,
    )
    manifest.save(folder)
    return manifest


def make_tiny_model(folder: Path, *, bias: float = 4.0) -> Path:
    """The whole folder; ``bias`` moves the scores (a very negative one gives a model that finds nothing)."""
    (folder / "weights").mkdir(parents=True)
    write_weights(folder / "weights" / "best.pt", bias=bias)
    (folder / "weights" / "last.pt").write_bytes((folder / "weights" / "best.pt").read_bytes())
    (folder / "test_image.png").write_bytes(encoded_image(7))
    (folder / "results.csv").write_text("epoch,time\n", encoding="utf-8")
    (folder / "args.yaml").write_text("imgsz: 64\n", encoding="utf-8")
    write_manifest(folder)
    return folder
