"""What a model is converted to, what is refused instead of ending the run, and the images that calibrate it."""

import runpy
import shutil
from pathlib import Path

import numpy as np
import pytest

from components.model_pack import conversions, measure
from components.model_pack.conversions import check_device, convert_model
from components.model_pack.options import PackOptions
from components.model_pack.samples import Samples, read_samples
from components.shared.detection.detector import Detections
from components.shared.detection.inference import Inference
from components.shared.detection.manifest import ModelManifest, load_manifest
from components.shared.errors import ArchiveError, ConfigError
from components.shared.progress import silent

HERE = Path(__file__).parent
TINY = runpy.run_path(str(HERE / "tiny_model.py"))
VAL = runpy.run_path(str(HERE / "tiny_val.py"))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(TINY["make_tiny_model"](tmp_path_factory.mktemp("model") / "tiny"))


@pytest.fixture(scope="module")
def data(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(VAL["make_val"](tmp_path_factory.mktemp("data"), model, TINY["encoded_image"], count=3, broken=2))


@pytest.fixture
def source(model: Path, tmp_path: Path) -> Path:
    shutil.copytree(model, tmp_path / "source" / "model")
    return tmp_path / "source"


@pytest.fixture
def samples(data: Path, tmp_path: Path) -> Samples:
    return read_samples(data / "val", (data / "store").as_uri(), tmp_path / "samples", 0)


def of_framework(model: Path, framework: str) -> ModelManifest:
    return load_manifest(model).model_copy(update={"framework": framework})


def test_the_samples_are_the_first_by_digest_that_can_be_decoded(data: Path, tmp_path: Path, samples: Samples) -> None:
    digests = samples.images.get_column("sha256").to_list()
    assert digests == sorted(digests)
    assert len(digests) == 3
    assert samples.objects == samples.truths.height > 0
    assert [pixels.shape for _, pixels in samples.pixels(2)] == [(60, 80, 3)] * 2
    fewer = read_samples(data / "val", (data / "store").as_uri(), tmp_path / "fewer", 2)
    assert set(fewer.image_ids) <= {*samples.image_ids, 3, 4}
    assert set(fewer.truths.get_column("image_id")) <= set(fewer.image_ids)


def test_what_a_framework_does_not_offer_is_refused_with_its_reason(
    source: Path, model: Path, samples: Samples
) -> None:
    options = PackOptions(runtimes=("torchscript",))
    made = convert_model(source, of_framework(model, "torchvision"), options, samples)
    assert made.made == {}
    assert "cannot be converted to 'torchscript'" in made.refused["torchscript"]
    assert not (source / "runtimes" / "torchscript").exists()


def test_what_must_serve_but_cannot_be_made_ends_the_run(source: Path, model: Path, samples: Samples) -> None:
    options = PackOptions(runtimes=("torchscript",), serve_runtime="torchscript")
    with pytest.raises(ArchiveError, match="cannot be converted to 'torchscript'"):
        convert_model(source, of_framework(model, "torchvision"), options, samples)


def test_a_framework_without_conversions_is_refused_by_name(source: Path, model: Path, samples: Samples) -> None:
    made = convert_model(source, of_framework(model, "ymir:img-man"), PackOptions(), samples)
    assert "framework 'ymir:img-man' cannot be converted" in made.refused["onnx"]


def test_a_missing_library_refuses_the_runtime_and_leaves_nothing_of_it(
    source: Path, model: Path, samples: Samples, monkeypatch: pytest.MonkeyPatch
) -> None:
    def export(weights: Path, folder: Path, runtime: str, **_: object) -> None:
        folder.mkdir(parents=True)
        (folder / "half.onnx").write_bytes(weights.name.encode() + runtime.encode())
        raise ConfigError("The library 'onnx' cannot be imported: install it.")

    monkeypatch.setattr(conversions, "_export_of", lambda _: export)
    made = convert_model(source, load_manifest(model), PackOptions(), samples)
    assert made.refused == {"onnx": "The library 'onnx' cannot be imported: install it."}
    assert not (source / "runtimes" / "onnx").exists()


class Fragile:
    """A detector whose engine loads anything and runs nothing but the weights."""

    def __init__(self, directory: Path, *, device: str, runtime: str) -> None:
        assert device == "cpu"
        self.manifest = load_manifest(directory)
        self.classes = self.manifest.classes
        self._runtime = runtime

    def predict(self, images: list[np.ndarray], **_: object) -> list[Detections]:
        if self._runtime != "torch":
            raise RuntimeError("no kernel\nfor node /model.0/conv")
        nothing = np.empty((0, 4))
        return [Detections(nothing, nothing[:, 0], nothing[:, 0].astype(np.int64)) for _ in images]


def test_a_runtime_that_loads_but_cannot_run_is_refused(
    source: Path, samples: Samples, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measure, "Detector", Fragile)
    (source / "runtimes" / "onnx").mkdir(parents=True)
    found = measure.measure(source, ["onnx"], samples, Inference(), silent, serving="auto")
    assert [one.runtime for one in found.measured] == ["torch"]
    assert found.refused == {"onnx": "The runtime 'onnx' cannot predict: no kernel for node /model.0/conv."}
    with pytest.raises(ArchiveError, match="'onnx' cannot predict"):
        measure.measure(source, ["onnx"], samples, Inference(), silent, serving="onnx")


def test_large_images_are_measured_one_at_a_time(samples: Samples, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "CHUNK_BYTES", 1)
    assert [len(chunk) for chunk in measure._chunks(samples)] == [1, 1, 1]
    monkeypatch.undo()
    assert [len(chunk) for chunk in measure._chunks(samples)] == [3]


def test_tensorrt_is_for_gpus() -> None:
    with pytest.raises(ConfigError, match="'tensorrt' is built on the GPU it runs on"):
        check_device(PackOptions(runtimes=("tensorrt",), device="cpu"))
    check_device(PackOptions(runtimes=("onnx",), device="cuda:7"))
