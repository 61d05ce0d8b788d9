"""The start folder that a training leaves, with the training libraries themselves."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from components.model_train.care import Care
from components.model_train.model_folder import Outputs
from components.model_train.train import Trained, train_model
from components.shared.detection.detector import Detector
from components.shared.detection.manifest import load_manifest, verify_files
from components.shared.files import sha256_tree

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("trainers")]
MODELS = {"ultralytics": "yolo11n.yaml", "torchvision": "retinanet_mobilenet_v3_small_fpn"}


def train(splits: Any, parameters: Any, framework: str, folder: Path) -> Trained:
    train_dir, val_dir, store = splits.save()
    settings = parameters(model=MODELS[framework], epochs=1, imgsz=32)
    outputs = Outputs(folder / "model", folder / "report.html", folder / "start")
    return train_model((train_dir, val_dir), store, (settings, Care(resume="never")), outputs)


@pytest.mark.parametrize("framework", MODELS)
def test_the_detector_runs_what_a_training_started_from_and_the_same_training_leaves_it_again(
    make_splits: Any, parameters: Any, framework: str, tmp_path: Path
) -> None:
    splits = make_splits()
    trained = train(splits, parameters, framework, tmp_path / "first")
    start = tmp_path / "first" / "start"
    assert trained.start == load_manifest(start)
    verify_files(start, trained.start)
    detector = Detector(start)
    assert (detector.classes, detector.manifest.framework) == (trained.manifest.classes, framework)
    (found,) = detector.predict([np.full((48, 64, 3), 90, dtype=np.uint8)])
    assert found.boxes.shape == (len(found.scores), 4)
    train(splits, parameters, framework, tmp_path / "second")
    assert sha256_tree(tmp_path / "second" / "start") == sha256_tree(start)
