"""Converted models give the boxes of the checkpoint they are from, and need nothing of the training library."""

import json
import runpy
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from components.shared.detection.contract import RuntimeSpec, load_spec
from components.shared.detection.detector import Detections, Detector
from components.shared.detection.engine_runtime import EngineRuntime
from components.shared.detection.frameworks import find_framework, known_frameworks
from components.shared.detection.ultralytics_export import export
from components.shared.detection.ultralytics_runtime import UltralyticsRuntime
from components.shared.errors import ArchiveError, ConfigError
from components.shared.images import decode

REPOSITORY = Path(__file__).parents[4]
pytestmark = pytest.mark.xdist_group("detector")
TINY = runpy.run_path(str(REPOSITORY / "tests/components/model_pack/tiny_model.py"))
DATA = REPOSITORY.parent / "shared" / "data"
COCO = DATA / "weights" / "yolo11n-coco-dequant.pt"
SHAPES = [(80, 60), (60, 80), (64, 64), (200, 33), (1, 1), (640, 480)]
FLOAT = ("onnx", "openvino", "torchscript")
REDUCED = ("onnx-int8", "openvino-bf16")


def image(seed: int, width: int = 80, height: int = 60) -> Any:
    return decode(TINY["encoded_image"](seed, width, height))


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``src`` of an archive: the model folder and its runtimes beside it."""
    folder = tmp_path_factory.mktemp("archive")
    model = TINY["make_tiny_model"](folder / "model")
    images = [image(seed) for seed in range(4)]
    for runtime in (*FLOAT, *REDUCED):
        export(model / "weights" / "best.pt", folder / "runtimes" / runtime, runtime, imgsz=64, images=images)
    return folder


@pytest.fixture
def copy(archive: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(archive / "runtimes" / "onnx", tmp_path / "onnx"))


def assert_same(ours: Detections, theirs: Detections) -> None:
    """Same labels in the same order, scores within 1e-4 and boxes within a thousandth of their size."""
    np.testing.assert_array_equal(ours.labels, theirs.labels)
    np.testing.assert_allclose(ours.scores, theirs.scores, atol=1e-4)
    np.testing.assert_allclose(ours.boxes, theirs.boxes, rtol=1e-3, atol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("runtime", FLOAT)
def test_a_converted_model_finds_what_the_checkpoint_finds(archive: Path, runtime: str) -> None:
    original, converted = Detector(archive / "model"), Detector(archive / "model", runtime=runtime)
    for seed, (width, height) in enumerate(SHAPES):
        pixels = image(seed, width, height)
        (theirs,), (ours,) = original.predict([pixels], conf=0.01), converted.predict([pixels], conf=0.01)
        assert_same(ours, theirs)
    assert theirs.scores.size > 5


@pytest.mark.slow
@pytest.mark.parametrize("runtime", REDUCED)
def test_fewer_bits_find_nearly_the_same(archive: Path, runtime: str) -> None:
    pixels = image(1)
    (theirs,) = Detector(archive / "model").predict([pixels], conf=0.5)
    (ours,) = Detector(archive / "model", runtime=runtime).predict([pixels], conf=0.4)
    assert ours.scores.size >= theirs.scores.size / 2
    assert abs(ours.scores[0] - theirs.scores[0]) < 0.2


def test_the_arithmetic_of_openvino_is_written_down(archive: Path) -> None:
    found = {name: load_spec(archive / "runtimes" / name).precision for name in ("openvino", "openvino-bf16")}
    assert found == {"openvino": "f32", "openvino-bf16": "bf16"}


def test_several_tensors_at_once_give_what_each_gives_alone(archive: Path) -> None:
    tensors = np.random.default_rng(0).random((3, 3, 64, 96), dtype=np.float32)
    for runtime in FLOAT:
        engine = EngineRuntime(archive / "runtimes" / runtime)._engine
        (together,) = engine.run(tensors)
        alone = np.concatenate([engine.run(each[None])[0] for each in tensors])
        np.testing.assert_allclose(together, alone, rtol=1e-2, atol=2e-2)  # pixels; this network magnifies rounding


@pytest.mark.slow
def test_the_same_weights_give_the_same_bytes(archive: Path, tmp_path: Path) -> None:
    weights = archive / "model" / "weights" / "best.pt"
    images = [image(seed) for seed in range(4)]
    for runtime in (*FLOAT, *REDUCED):
        again = export(weights, tmp_path / runtime, runtime, imgsz=64, images=images)
        assert again == load_spec(archive / "runtimes" / runtime)
        found = {path.name for path in (tmp_path / runtime).iterdir()}
        assert found == {*again.files, "runtime.json"}
        content = b"".join((tmp_path / runtime / name).read_bytes() for name in again.files)
        assert b"site-packages" not in content
        assert str(tmp_path).encode() not in content


@pytest.mark.slow
def test_neither_torch_nor_ultralytics_is_needed(archive: Path) -> None:
    script = """
import sys
for name in ("torch", "torchvision", "ultralytics", "onnx", "openvino_telemetry"):
    sys.modules[name] = None
from pathlib import Path
import numpy as np
from components.shared.detection.detector import Detector
for runtime in ("onnx", "onnx-int8", "openvino"):
    found = Detector(Path(sys.argv[1]), runtime=runtime).predict([np.full((60, 80, 3), 90, np.uint8)])
    assert found[0].scores.size
"""
    command = [sys.executable, "-c", script, str(archive / "model")]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_missing_library_is_named(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ConfigError, match="The library 'onnxruntime' cannot be imported"):
        EngineRuntime(archive / "runtimes" / "onnx")


@pytest.mark.parametrize(
    ("runtime", "device"), [("onnx", "cuda:99"), ("openvino", "cuda"), ("torchscript", "cuda:99"), ("onnx", "toaster")]
)
def test_a_device_that_is_not_there_is_refused(archive: Path, runtime: str, device: str) -> None:
    with pytest.raises(ConfigError, match=device):
        EngineRuntime(archive / "runtimes" / runtime, device=device)


def test_a_runtime_that_is_not_in_the_archive_is_refused(archive: Path) -> None:
    for name in ("tensorrt", "../model", "."):
        with pytest.raises(ArchiveError, match=r"There is no runtime .*: use onnx or onnx-int8 or openvino"):
            Detector(archive / "model", runtime=name)


def test_a_changed_byte_is_noticed(copy: Path) -> None:
    content = bytearray((copy / "model.onnx").read_bytes())
    content[len(content) // 2] ^= 1
    (copy / "model.onnx").write_bytes(content)
    with pytest.raises(ArchiveError, match=r"'model\.onnx' in .* is not the file that runtime\.json describes"):
        EngineRuntime(copy)


def test_a_missing_and_an_added_file_are_noticed(copy: Path) -> None:
    (copy / "extra").write_bytes(b"")
    with pytest.raises(ArchiveError, match="'extra'"):
        EngineRuntime(copy)
    (copy / "extra").unlink()
    (copy / "model.onnx").unlink()
    with pytest.raises(ArchiveError, match="missing"):
        EngineRuntime(copy)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": "other.onnx"}, "the model 'other.onnx' is not among the files"),
        ({"runtime": "abacus"}, "runtime: "),
        ({"classes": []}, "classes: "),
        ({"surprise": 1}, "surprise: "),
    ],
)
def test_a_wrong_description_is_refused(copy: Path, change: dict[str, Any], message: str) -> None:
    path = copy / "runtime.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ArchiveError, match=message):
        load_spec(copy)


@pytest.mark.parametrize("runtime", FLOAT)
def test_a_file_that_is_no_model_is_named(archive: Path, tmp_path: Path, runtime: str) -> None:
    spec = load_spec(archive / "runtimes" / runtime)
    (tmp_path / spec.model).write_bytes(b"no model at all")
    digest = "4b8ff7a4dcba22e0dbe30e0e1cf0e86a5e8f2a2c1e0d3b4a5968778695a4b3c2"
    broken = RuntimeSpec.model_validate(spec.model_dump() | {"files": {spec.model: digest}})
    broken.save(tmp_path)
    with pytest.raises(ArchiveError, match="is not the file"):
        EngineRuntime(tmp_path)
    from components.shared.detection.engines import open_engine  # noqa: PLC0415 - only here

    with pytest.raises(ArchiveError, match=f"The model .*{spec.model}.* cannot be loaded"):
        open_engine(broken, tmp_path)


def test_swapped_class_names_are_noticed(archive: Path, tmp_path: Path) -> None:
    shutil.copytree(archive, tmp_path, dirs_exist_ok=True)
    folder = tmp_path / "runtimes" / "onnx"
    spec = load_spec(folder)
    spec.model_copy(update={"classes": spec.classes[::-1]}).save(folder)
    with pytest.raises(ArchiveError, match="Class 0 is 'circle' in the manifest but 'star' in the weights"):
        Detector(tmp_path / "model", runtime="onnx")


def test_converted_models_are_no_framework() -> None:
    assert "engine" not in known_frameworks()
    with pytest.raises(ArchiveError, match="'engine'"):
        find_framework("engine")


def test_what_cannot_be_converted_is_refused(archive: Path, tmp_path: Path) -> None:
    weights = archive / "model" / "weights" / "best.pt"
    with pytest.raises(ArchiveError, match="'openvino-int8': use torchscript or onnx"):
        export(weights, tmp_path / "a", "openvino-int8", imgsz=64)
    with pytest.raises(ConfigError, match="needs images to calibrate with"):
        export(weights, tmp_path / "b", "onnx-int8", imgsz=64)
    with pytest.raises(ArchiveError, match=r"none\.pt' are missing"):
        export(tmp_path / "none.pt", tmp_path / "c", "onnx", imgsz=64)


@pytest.mark.slow
@pytest.mark.skipif(not COCO.is_file(), reason="the COCO weights are not in ../shared/data")
@pytest.mark.parametrize("runtime", ["onnx", "openvino"])
def test_real_weights_find_the_same_in_photographs(tmp_path: Path, runtime: str) -> None:
    export(COCO, tmp_path, runtime, imgsz=640)
    theirs, ours = UltralyticsRuntime(COCO, imgsz=640, device="cpu"), EngineRuntime(tmp_path)
    for path in sorted((DATA / "coco128_yolo").rglob("*.jpg"))[:12]:
        pixels = decode(path.read_bytes())
        expected = theirs.predict(pixels, conf=0.05, iou=0.7, max_det=300)
        np.testing.assert_allclose(ours.predict(pixels, conf=0.05, iou=0.7, max_det=300), expected, atol=5e-3)
