"""What is refused before any data is prepared, and what passes."""

from pathlib import Path
from typing import Any

import pytest

from components.shared.detection.manifest import ModelManifest
from components.shared.detection.torchvision_models import build_model
from components.shared.detection.torchvision_runtime import TorchvisionWeights
from components.shared.errors import ConfigError
from pipelines.precheck import absolute_paths, check_training

TORCH = b"PK\x03\x04 and more"
SMALL = "retinanet_mobilenet_v3_small_fpn"


def refusal(**values: object) -> str:
    with pytest.raises(ConfigError) as caught:
        absolute_paths(values)
    return str(caught.value)


def model_folder(folder: Path, weights: bytes = TORCH) -> Path:
    folder.mkdir()
    (folder / "best.pt").write_bytes(weights)
    about: dict[str, Any] = {"framework": "ultralytics", "weights": "best.pt", "last": "best.pt", "imgsz": 64}
    about |= {"test_image": "test.jpg", "classes": ("a",), "parameters": {}, "datasets": {}, "libraries": {}}
    ModelManifest(**about, files={}).save(folder)
    return folder


@pytest.mark.parametrize("parameter", ["model", "start_from"])
@pytest.mark.parametrize("content", [TORCH, b"\x80\x02}"])
def test_a_file_that_torch_saved_becomes_an_absolute_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, parameter: str, content: bytes
) -> None:
    (tmp_path / "best.pt").write_bytes(content)
    monkeypatch.chdir(tmp_path)
    assert absolute_paths({parameter: "best.pt", "epochs": 3}) == {parameter: str(tmp_path / "best.pt")}


@pytest.mark.parametrize("parameter", ["model", "start_from"])
@pytest.mark.parametrize(("content", "words"), [(b"<html>404", "it begins with b'<html>404'"), (b"", "it is empty")])
def test_weights_that_are_a_text_or_empty_are_refused(
    tmp_path: Path, parameter: str, content: bytes, words: str
) -> None:
    (tmp_path / "best.pt").write_bytes(content)
    path = str(tmp_path / "best.pt")
    assert refusal(**{parameter: path}).startswith(f"{parameter}={path!r} is no file that torch saved, {words}:")


def test_a_packed_model_must_begin_as_one(tmp_path: Path) -> None:
    (tmp_path / "model.bento").write_bytes(b"PK")
    assert "is no packed model" in refusal(start_from=str(tmp_path / "model.bento"))
    assert "is no packed model" in refusal(start_from=str(tmp_path))
    (tmp_path / "model.bento").write_bytes(b"\xfd7zXZ\x00")
    for path in (tmp_path, tmp_path / "model.bento"):
        assert absolute_paths({"start_from": str(path)}) == {"start_from": str(path)}


def test_a_model_folder_needs_its_manifest_and_its_weights(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "the folder holds no model" in refusal(start_from=str(empty))
    (empty / "manifest.json").write_text("{}")
    assert "is not a model manifest" in refusal(start_from=str(empty))
    good = model_folder(tmp_path / "good")
    assert absolute_paths({"start_from": str(good)}) == {"start_from": str(good)}
    assert "is no file that torch saved" in refusal(start_from=str(model_folder(tmp_path / "text", b"text")))
    (good / "best.pt").unlink()
    assert "its weights 'best.pt' are missing" in refusal(start_from=str(good))


def test_a_folder_or_an_address_is_no_model(tmp_path: Path) -> None:
    (tmp_path / "best.pt").mkdir()
    assert "is a folder: give a file, or a model folder as start_from" in refusal(model=str(tmp_path / "best.pt"))
    assert "there is no such file" in refusal(model="https://example.org/best.pt")
    (tmp_path / "notes.txt").touch()
    assert "is no weights file" in refusal(start_from=str(tmp_path / "notes.txt"))


@pytest.mark.parametrize("value", ["", "champion", "cats@champion", "yolo11n.pt", "s3://bucket/best.pt", "3f2a9c"])
def test_names_and_addresses_stay_as_they_are(value: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert absolute_paths({"start_from": value}) == {"start_from": value}


def parameters(**values: object) -> dict[str, object]:
    return {"preset": "quick", "model": "", "start_from": "", "device": "auto", "freeze": 0, **values}


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"device": "cpu", "freeze": 23},
        {"preset": "balanced", "freeze": 23},
        {"start_from": "champion", "freeze": 100},  # who knows what that is
        {"model": SMALL, "freeze": 13},
    ],
)
def test_what_can_be_trained_passes(values: dict[str, object]) -> None:
    check_training(parameters(**values))


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"device": "77"}, "The device '77' is not here"),
        ({"freeze": 24}, "freeze=24, but 'yolo11n.yaml' has only 23 layers that can be frozen: use 0 to 23."),
        ({"model": "yolov8n.pt", "freeze": 23}, "has only 22 layers"),
        ({"model": SMALL, "freeze": 14}, "has only 13 layers"),
    ],
)
def test_a_gpu_that_is_not_here_and_more_layers_than_the_model_has_are_refused(
    values: dict[str, object], words: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        check_training(parameters(**values))
    assert words in str(caught.value)


def test_the_layers_of_weights_are_counted_too(tmp_path: Path) -> None:
    path = tmp_path / "theirs.pt"
    TorchvisionWeights(SMALL, ("cat",), 64, build_model(SMALL, 1, 64).state_dict()).save(path)
    with pytest.raises(ConfigError, match="only 13 layers"):
        check_training(parameters(start_from=str(path), freeze=14))
