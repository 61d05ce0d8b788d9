"""The step as it runs: a tiny model is converted, measured on validation images and packed with what is good enough."""

import json
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from components.model_pack.compare import Compared, compare_runtimes
from components.model_pack.pack import Packed, PackOptions, run
from components.model_pack.samples import read_samples
from components.shared.archive import open_archive
from components.shared.detection.contract import load_spec
from components.shared.detection.detector import Detector
from components.shared.detection.manifest import load_manifest
from components.shared.errors import ArchiveError, ConfigError
from components.shared.files import sha256_file
from components.shared.images import decode
from components.shared.progress import Notify, silent
from components.shared.runtime_table import RuntimeTable, load_runtime_table

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("pack")]
HERE = Path(__file__).parent
TINY = runpy.run_path(str(HERE / "tiny_model.py"))
VAL = runpy.run_path(str(HERE / "tiny_val.py"))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(TINY["make_tiny_model"](tmp_path_factory.mktemp("model") / "tiny"))


@pytest.fixture(scope="module")
def data(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(VAL["make_val"](tmp_path_factory.mktemp("data"), model, TINY["encoded_image"], broken=1))


def run_on(data: Path, model: Path, target: Path, notify: Notify = silent, **options: object) -> Packed:
    return run(
        model,
        data / "val",
        (data / "store").as_uri(),
        target / "archive",
        target / "report.html",
        PackOptions(**{"images": 0, **options}),
        notify,
    )


@pytest.fixture(scope="module")
def packed(model: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Packed, Path]:
    """With ONNX, and with eight bits that cannot keep the accuracy of a model that guesses."""
    target = tmp_path_factory.mktemp("packed")
    result = run_on(data, model, target, runtimes=("onnx", "onnx-int8"), serve_runtime="onnx", max_drop=0.0001)
    return result, target


@pytest.fixture(scope="module")
def table(packed: tuple[Packed, Path]) -> RuntimeTable:
    found = load_runtime_table(packed[1] / "archive")
    assert found is not None
    return found


def test_packing_again_gives_the_same_bytes_and_tells_how_far_it_is(
    packed: tuple[Packed, Path], model: Path, data: Path, tmp_path: Path
) -> None:
    shutil.copytree(model, tmp_path / "moved")
    heard: list[float] = []
    again = run_on(
        data,
        tmp_path / "moved",
        tmp_path,
        notify=lambda share, _: heard.append(share),
        runtimes=("onnx", "onnx-int8"),
        serve_runtime="onnx",
        max_drop=0.0001,
    )
    assert heard == sorted(heard)
    assert heard[-1] == 1.0
    assert again.manifest == packed[0].manifest
    for name in ("model.bento", "manifest.json"):
        assert sha256_file(tmp_path / "archive" / name) == sha256_file(packed[1] / "archive" / name)


def test_each_runtime_is_measured_against_the_weights(table: RuntimeTable) -> None:
    weights, onnx, _ = table.rows
    assert [row.runtime for row in table.rows] == ["torch", "onnx", "onnx-int8"]
    assert table.images == 6, "the one that cannot be decoded is left out"
    assert weights.map50_95 == pytest.approx(1.0)
    assert onnx.drop == pytest.approx(0.0, abs=1e-3)
    assert onnx.boxes_apart == 0
    assert onnx.max_box_difference is not None
    assert onnx.max_box_difference < 0.1
    assert onnx.latency_ms_p50 is not None
    assert onnx.latency_ms_p95 is not None
    assert 0 < onnx.latency_ms_p50 <= onnx.latency_ms_p95
    assert weights.served == ("cuda",)
    assert onnx.served == ("cpu",)


def test_a_runtime_that_loses_too_much_is_refused_with_its_numbers(
    packed: tuple[Packed, Path], table: RuntimeTable, tmp_path: Path
) -> None:
    refused = table.rows[2]
    assert refused.drop is not None
    assert refused.drop > 0.0001
    assert f"{refused.map50_95:.4f} against {table.rows[0].map50_95:.4f}" in refused.refused
    opened = open_archive(packed[1] / "archive", tmp_path)
    assert opened.manifest.runtimes == ("onnx",)
    assert [path.name for path in (opened.bento / "src" / "runtimes").iterdir()] == ["onnx"]


def test_a_runtime_that_must_serve_but_loses_too_much_ends_the_run(model: Path, data: Path, tmp_path: Path) -> None:
    with pytest.raises(ArchiveError, match=r"'onnx-int8' cannot serve\. It loses .* more than max_drop 0\.0001"):
        run_on(data, model, tmp_path, runtimes=("onnx-int8",), serve_runtime="onnx-int8", max_drop=0.0001)
    assert not (tmp_path / "archive").exists()


def test_the_manifest_says_how_the_model_predicts_and_what_it_came_from(
    packed: tuple[Packed, Path], tmp_path: Path
) -> None:
    manifest = packed[0].manifest
    opened = open_archive(packed[1] / "archive", tmp_path)
    assert manifest.inference.runtimes == {"cpu": "onnx", "cuda": "torch"}
    assert manifest.inference.confidence > 0.3, "what counts as an object begins at 0.5"
    assert manifest.input == load_spec(opened.bento / "src" / "runtimes" / "onnx").input
    assert set(manifest.datasets) == {"train", "val"}
    assert "+" in manifest.code
    assert any(pin.startswith("onnxruntime==") for pin in manifest.requirements)
    assert any("requirements-torch.txt adds ultralytics" in licence for licence in manifest.licences)
    assert json.loads((opened.bento / "src" / "inference.json").read_text()) == manifest.inference.model_dump()


def test_the_numbers_are_flat_and_the_report_names_the_choice(packed: tuple[Packed, Path]) -> None:
    result, target = packed
    assert result.metrics["onnx_map50_95"] == pytest.approx(1.0, abs=1e-3)
    assert result.metrics["onnx_int8_drop"] > 0
    assert all(isinstance(value, float) for value in result.metrics.values())
    page = (target / "report.html").read_text(encoding="utf-8")
    assert "On a CPU the model is served with onnx" in page
    assert "onnx-int8 is left out: It loses" in page


def test_what_is_measured_is_what_the_packed_model_finds(packed: tuple[Packed, Path], tmp_path: Path) -> None:
    opened = open_archive(packed[1] / "archive", tmp_path)
    pixels = decode(TINY["encoded_image"](1))
    (ours,) = Detector(opened.model, runtime="onnx").predict([pixels])
    (theirs,) = Detector(opened.model).predict([pixels])
    assert len(ours.scores) == len(theirs.scores)
    assert ours.boxes == pytest.approx(theirs.boxes, abs=0.05)


LIGHT = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"torch", "torchvision", "ultralytics", "polars", "kfp", "pandas", "onnx"}:
            raise ImportError(f"{name} is not installed here")

sys.meta_path.insert(0, Blocked())
from pathlib import Path
source = Path(sys.argv[1])
sys.path.insert(0, str(source))
import components
assert Path(components.__file__).is_relative_to(source), components.__file__
from components.shared.archive import load_archive_manifest
from components.shared.detection.detector import Detector
from components.shared.images import decode
manifest = load_archive_manifest(source)
inference = manifest.inference
detector = Detector(source / "model", runtime=inference.runtime_for("cpu"))
(found,) = detector.predict([decode((source / "model" / "test_image.png").read_bytes())], tiling=inference.tiling)
print(len(found.scores))
"""


def test_the_packed_code_predicts_where_neither_torch_nor_ultralytics_is_installed(
    packed: tuple[Packed, Path], tmp_path: Path
) -> None:
    opened = open_archive(packed[1] / "archive", tmp_path)
    done = subprocess.run(
        [sys.executable, "-P", "-c", LIGHT, str(opened.bento / "src")],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 0


def compare_on(data: Path, model: Path, work: Path, **options: object) -> Compared:
    """What ``run`` packs, without packing it."""
    asked = PackOptions(**{"images": 0, **options})
    shutil.copytree(model, work / "source" / "model")
    samples = read_samples(data / "val", (data / "store").as_uri(), work / "samples", asked.images)
    return compare_runtimes(work / "source", load_manifest(model), asked, samples, silent)


def test_tiles_are_written_down_and_measured_with(model: Path, data: Path, tmp_path: Path) -> None:
    compared = compare_on(data, model, tmp_path, runtimes=(), tile=48, tile_overlap=0.25, tile_merge="wbf", images=2)
    inference, weights = compared.inference, compared.table.rows[0]
    assert (inference.tile, inference.tile_overlap, inference.tile_merge) == (48, 0.25, "wbf")
    assert inference.runtimes == {"cpu": "torch", "cuda": "torch"}
    assert compared.runtimes == ()
    assert compared.input is None
    assert weights.map50_95 is not None
    assert weights.map50_95 < 1.0, "the truth was found without tiles"


def test_a_model_that_finds_nothing_keeps_the_default_thresholds(data: Path, tmp_path: Path) -> None:
    blind = Path(TINY["make_tiny_model"](tmp_path / "blind", bias=-40.0))
    compared = compare_on(data, blind, tmp_path, runtimes=("onnx",))
    assert compared.inference.confidence == 0.25
    assert compared.inference.class_confidence == {}
    assert compared.inference.runtimes["cpu"] == "onnx"
    assert compared.table.rows[1].drop == 0
    assert "finds nothing" in compared.thresholds


def test_without_ground_truth_the_weights_serve_with_the_default_thresholds(model: Path, tmp_path: Path) -> None:
    bare = VAL["make_val"](tmp_path / "bare", model, TINY["encoded_image"], count=2, sure=1.0)
    compared = compare_on(bare, model, tmp_path, runtimes=("onnx",))
    assert compared.inference.runtimes["cpu"] == "torch"
    assert compared.inference.confidence == 0.25
    assert compared.table.rows[1].map50_95 is None
    assert compared.table.rows[1].boxes_apart == 0
    assert "nothing was measured for" in compared.thresholds


def test_without_images_the_weights_serve_and_eight_bits_are_refused(model: Path, tmp_path: Path) -> None:
    bare = VAL["make_val"](tmp_path / "bare", model, TINY["encoded_image"], count=0, broken=1)
    compared = compare_on(bare, model, tmp_path, runtimes=("onnx", "onnx-int8"))
    assert compared.inference.runtimes["cpu"] == "torch"
    assert [row.latency_ms_p50 for row in compared.table.rows] == [None] * 3
    assert compared.runtimes == ("onnx",)
    assert "needs images to calibrate with" in compared.table.rows[2].refused


def test_tensorrt_without_a_gpu_is_refused_before_anything_is_read(tmp_path: Path, model: Path) -> None:
    with pytest.raises(ConfigError, match="'tensorrt' is built on the GPU"):
        run_on(tmp_path / "absent", model, tmp_path, runtimes=("tensorrt",), device="cpu")
