"""Packing a real tiny model: the same bytes each time, readable by BentoML, faithful to the model."""

import os
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from components.model_pack import pack as pack_module
from components.model_pack.pack import CODE, pack, pinned_requirements
from components.shared.archive import ArchiveManifest, open_archive
from components.shared.bento import bento_environment
from components.shared.detection.frameworks import find_framework, known_frameworks
from components.shared.errors import ArchiveError, ConfigError
from components.shared.files import sha256_file, sha256_tree

REPOSITORY = Path(__file__).parents[3]
pytestmark = pytest.mark.xdist_group("pack")
TINY = runpy.run_path(str(Path(__file__).with_name("tiny_model.py")))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(TINY["make_tiny_model"](tmp_path_factory.mktemp("model") / "tiny"))


@pytest.fixture(scope="module")
def archive(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("packed") / "archive"
    pack(model, folder, name="shapes")
    return folder


@pytest.mark.slow
def test_packing_twice_gives_the_same_bytes_and_the_same_tag(model: Path, archive: Path, tmp_path: Path) -> None:
    moved = shutil.copytree(model, tmp_path / "elsewhere" / "model")
    for path in moved.rglob("*"):
        os.utime(path, (1, 1))
        path.chmod(0o700)
    again = pack(moved, tmp_path / "again", name="shapes")
    assert again.tag == ArchiveManifest.model_validate_json((archive / "manifest.json").read_bytes()).tag
    for name in ("model.bento", "manifest.json"):
        assert sha256_file(archive / name) == sha256_file(tmp_path / "again" / name)


@pytest.mark.slow
def test_the_model_inside_is_the_model_byte_for_byte(model: Path, archive: Path, tmp_path: Path) -> None:
    assert sha256_tree(open_archive(archive, tmp_path).model) == sha256_tree(model)


@pytest.mark.slow
def test_the_code_inside_is_the_code_that_measures(archive: Path, tmp_path: Path) -> None:
    packed = open_archive(archive, tmp_path).bento / "src" / "components"
    code = [*CODE, *find_framework("ultralytics").code]
    assert sha256_tree(packed) == sha256_tree(REPOSITORY / "components", code)


@pytest.mark.slow
def test_the_contracts_of_both_ways_of_asking_are_in_the_archive(archive: Path, tmp_path: Path) -> None:
    bento = open_archive(archive, tmp_path).bento
    document = yaml.safe_load((bento / "apis" / "openapi.yaml").read_text())
    assert {"/predict", "/predict/image", "/model", "/readyz"} <= document["paths"].keys()
    assert list(bento.rglob("grpc_inference.proto"))


@pytest.mark.slow
def test_the_manifest_says_what_is_needed_to_serve_and_to_pass_on(archive: Path) -> None:
    manifest = ArchiveManifest.model_validate_json((archive / "manifest.json").read_bytes())
    assert manifest.tag == f"shapes:{manifest.content_digest[:16]}"
    assert manifest.classes == ("circle", "square", "star")
    assert manifest.imgsz == 64
    assert "ultralytics==8.4.190" in manifest.requirements
    assert any("AGPL-3.0" in licence for licence in manifest.licences)


@pytest.mark.slow
def test_the_bento_names_no_time_and_no_place(archive: Path, tmp_path: Path) -> None:
    opened = open_archive(archive, tmp_path)
    described = yaml.safe_load((opened.bento / "bento.yaml").read_text())
    assert str(described["creation_time"]).startswith("1980-01-01")
    assert f"{described['name']}:{described['version']}" == opened.manifest.tag
    for path in opened.bento.rglob("*"):
        if path.suffix in {".yaml", ".txt", ".in", ".json", ".md"}:
            assert str(REPOSITORY) not in path.read_text()


@pytest.mark.slow
def test_bentoml_imports_the_archive(archive: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bentoml", "import", str(archive / "model.bento")],
        env=bento_environment(tmp_path / "home"),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    manifest = ArchiveManifest.model_validate_json((archive / "manifest.json").read_bytes())
    assert (tmp_path / "home" / "bentos" / "shapes" / manifest.version / "src" / "service.py").is_file()


@pytest.mark.slow
def test_another_model_gets_another_tag(model: Path, archive: Path, tmp_path: Path) -> None:
    other = shutil.copytree(model, tmp_path / "other")
    (other / "results.csv").write_text("epoch,time\n1,2\n")
    TINY["write_manifest"](other)
    packed = pack(other, tmp_path / "packed", name="shapes")
    assert packed.tag != ArchiveManifest.model_validate_json((archive / "manifest.json").read_bytes()).tag


def test_a_model_that_changed_after_training_is_not_packed(model: Path, tmp_path: Path) -> None:
    changed = shutil.copytree(model, tmp_path / "changed")
    with (changed / "weights" / "best.pt").open("ab") as weights:
        weights.write(b"\0")
    with pytest.raises(ArchiveError, match=r"weights/best\.pt"):
        pack(changed, tmp_path / "packed", name="shapes")
    assert not (tmp_path / "packed").exists()


@pytest.mark.parametrize("name", ["", "Shapes", "a b", "a:b", "../a", "-a", "a" * 64])
def test_a_name_bentoml_would_refuse_is_refused_at_once(model: Path, tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="name"):
        pack(model, tmp_path / "packed", name=name)


@pytest.mark.slow
def test_a_failed_build_says_why_and_leaves_no_archive(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "service.py"
    broken.write_text("raise RuntimeError('the reason')\n")
    monkeypatch.setattr(pack_module, "SERVICE", broken)
    with pytest.raises(ArchiveError, match="the reason"):
        pack(model, tmp_path / "packed", name="shapes")
    assert not (tmp_path / "packed" / "manifest.json").exists()


@pytest.mark.parametrize("framework", known_frameworks())
def test_requirements_are_pinned_to_what_runs(framework: str) -> None:
    pins = pinned_requirements(find_framework(framework))
    assert all("==" in requirement and "+" not in requirement for requirement in pins)
    assert any(requirement.startswith("ultralytics==") for requirement in pins) == (framework == "ultralytics")
