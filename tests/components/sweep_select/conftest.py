import math
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from components.shared.detection.manifest import ModelManifest
from components.shared.files import sha256_tree
from components.shared.sweep import leave_failure, setting_id
from components.sweep_select.candidates import Trained

Make = Callable[..., Trained]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """A made-up model folder as model_train leaves one, with the facts beside it."""

    def made(
        setting: Mapping[str, object], score: float = 0.5, *, failed: str = "", kind: str = "models", **facts: object
    ) -> Trained:
        mark = setting_id(setting)
        folder = tmp_path / kind / mark
        if failed:
            leave_failure(folder, failed)
            return Trained(folder, {"setting": mark, "failed": failed})
        (folder / "weights").mkdir(parents=True)
        (folder / "weights" / "best.pt").write_bytes(f"{kind}: weights of {mark}".encode())
        (folder / "test_image.png").write_bytes(b"image")
        scores = {"map50_95": score, "map50": min(1.0, score * 1.5)} if math.isfinite(score) else {}
        manifest = ModelManifest(
            framework="ultralytics",
            weights="weights/best.pt",
            last="weights/best.pt",
            test_image="test_image.png",
            classes=("cat",),
            imgsz=64,
            parameters={"model": "yolo11n.yaml", "epochs": 2},
            datasets={"train": "t1", "val": "v1"},
            libraries={},
            metrics={**scores, "best_epoch": 2, "epochs": 3},
            files=sha256_tree(folder),
        )
        manifest.save(folder)
        return Trained(folder, {"setting": mark, "digest": manifest.digest, **facts})

    return made
