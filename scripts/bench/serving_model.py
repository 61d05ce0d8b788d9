"""What the service is measured with: photographs, and a model packed as the pipeline packs it."""

# ruff: noqa: PLC0415 - the command line answers --help without the libraries

import itertools
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT.parent / "shared" / "data"
PHOTOGRAPHS = DATA / "coco128_yolo"
WEIGHTS = DATA / "weights" / "yolo11n-coco-dequant.pt"
EDGE = 640
_DRAWN = 32


@dataclass(frozen=True)
class Packed:
    """An unpacked archive: its weights, its bento, and the runtime it serves on a CPU."""

    weights: Path
    bento: Path
    served: str


def photographs(count: int, folder: Path = PHOTOGRAPHS) -> list[bytes]:
    """So many JPEG files, from the folder or drawn, the same ones again where there are fewer."""
    found = [path.read_bytes() for path in sorted(folder.rglob("*.jpg"))] or [_drawn(seed) for seed in range(_DRAWN)]
    return list(itertools.islice(itertools.cycle(found), count))


def pack_model(work: Path, runtimes: str | None, serve_runtime: str) -> Path:
    """Pack the model with its conversions measured on the photographs; the archive's folder.

    Args:
        work: a folder that stays as long as the archive.
        runtimes: separated by commas; ``None`` for what the step converts to by default.
        serve_runtime: as the step's parameter; without photographs ``auto`` cannot tell, so ``onnx`` is taken.
    """
    from components.model_pack.options import PackOptions
    from components.model_pack.pack import run

    model = _model_folder(work / "model")
    val, store = _validation(work)
    chosen = {"runtimes": tuple(name for name in runtimes.split(",") if name)} if runtimes is not None else {}
    if serve_runtime == "auto" and not PHOTOGRAPHS.is_dir():
        serve_runtime = "onnx"
    options = PackOptions(serve_runtime=serve_runtime, **chosen)
    run(model, val, store, work / "archive", work / "report.html", options)
    return work / "archive"


def unpacked(archive: Path, work: Path) -> Packed:
    """The archive verified and ready to be served from a folder below ``work``."""
    from components.shared.archive import open_archive
    from components.shared.detection.manifest import load_manifest

    opened = open_archive(archive, work / "opened")
    weights = opened.model / load_manifest(opened.model).weights
    return Packed(weights, opened.bento, opened.manifest.inference.runtime_for("cpu"))


def _model_folder(folder: Path) -> Path:
    """As a training leaves it."""
    from components.shared.detection.environment import prepare_environment
    from components.shared.detection.manifest import ModelManifest
    from components.shared.files import sha256_tree

    prepare_environment()
    (folder / "weights").mkdir(parents=True)
    best = folder / "weights" / "best.pt"
    if WEIGHTS.is_file():
        shutil.copyfile(WEIGHTS, best)
    else:
        _draw_weights(best)
    shutil.copyfile(best, folder / "weights" / "last.pt")
    (folder / "test_image.jpg").write_bytes(photographs(1)[0])
    ModelManifest(
        framework="ultralytics",
        weights="weights/best.pt",
        last="weights/last.pt",
        test_image="test_image.jpg",
        classes=_class_names(best),
        imgsz=EDGE,
        parameters={"epochs": 0},
        datasets={"train": "0" * 64, "val": "1" * 64},
        libraries={},
        files=sha256_tree(folder),
    ).save(folder)
    return folder


def _class_names(weights: Path) -> tuple[str, ...]:
    from ultralytics import YOLO

    names: dict[int, str] = YOLO(str(weights)).names
    return tuple(names[index] for index in sorted(names))


def _draw_weights(path: Path) -> None:
    """A model of the same size that was never trained: as fast, and finds nothing worth the name."""
    import torch
    from ultralytics.nn.tasks import DetectionModel

    torch.manual_seed(0)
    network = DetectionModel("yolo11n.yaml", nc=80, verbose=False)
    network.names = {index: f"class {index}" for index in range(80)}
    network.args = {"imgsz": EDGE}
    state: dict[str, Any] = {"epoch": -1, "model": None, "ema": network.half()}
    torch.save(state | {"train_args": {"imgsz": EDGE, "task": "detect"}}, path)


def _validation(work: Path) -> tuple[Path, str]:
    """The photographs, or a small sample, as a data set in a store."""
    from components.data_load.load import load
    from components.data_load.options import LoadOptions

    source = str(PHOTOGRAPHS) if PHOTOGRAPHS.is_dir() else "sample://workbench"
    store = (work / "store").as_uri()
    load(LoadOptions(source=source), store, work / "val", work / "load.html")
    return work / "val", store


def _drawn(seed: int) -> bytes:
    """A picture of 640 x 480 with as much detail as a photograph."""
    from components.shared.images import encode_jpeg

    random = np.random.default_rng(seed)
    coarse = random.integers(0, 256, (30, 40, 3)).repeat(16, axis=0).repeat(16, axis=1)
    return encode_jpeg(np.clip(coarse + random.normal(0, 12, coarse.shape), 0, 255).astype(np.uint8))
