"""What a packed model asks to be installed: complete, pinned to hashes, and without torch where nothing needs it."""

import ast
import importlib.metadata
import sys
from pathlib import Path

import pytest
from packaging.utils import canonicalize_name
from pip_requirements_parser import RequirementsFile

from components.model_pack import requirements
from components.model_pack.pack import CODE, PACKAGE
from components.model_pack.requirements import LOCKS, write_requirements
from components.shared.detection.engines import engine_code
from components.shared.detection.frameworks import find_framework

AGPL = {"ultralytics", "ultralytics-thop"}


def names(path: Path) -> set[str]:
    return {str(one.name) for one in RequirementsFile.from_file(str(path), include_nested=False).requirements}


@pytest.fixture(scope="module")
def light(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("light")
    write_requirements(folder, find_framework("ultralytics"), ("onnx", "torchscript"), "onnx")
    return folder


def test_serving_a_converted_model_on_a_cpu_needs_neither_torch_nor_ultralytics(light: Path) -> None:
    found = names(light / "requirements.txt")
    assert {"bentoml", "onnxruntime", "numpy", "starlette"} <= found
    assert not found & {"torch", "torchvision", "polars", *AGPL}


def imported(path: Path) -> set[str]:
    """Top-level packages a module imports when it is imported itself."""
    found = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Import):
            found.update(alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.partition(".")[0])
    return found - sys.stdlib_module_names - {"components"}


def test_everything_the_packed_code_imports_is_asked_for(light: Path) -> None:
    paths = [PACKAGE / name for name in (*CODE, *engine_code("onnx"), "model_pack/service.py") if name.endswith(".py")]
    wanted = set().union(*map(imported, paths))
    providers = importlib.metadata.packages_distributions()
    asked = names(light / "requirements.txt")
    assert {"bentoml", "numpy", "pydantic"} <= wanted
    for name in wanted:
        assert {canonicalize_name(provider) for provider in providers[name]} & asked, f"nothing provides {name!r}"


def test_the_second_file_adds_what_the_weights_need(light: Path) -> None:
    path = light / "requirements-torch.txt"
    assert path.read_text().splitlines()[1] == "-r requirements.txt"
    assert {"torch", "torchvision", *AGPL} <= names(path)
    assert not names(path) & names(light / "requirements.txt")


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-torch.txt"])
def test_every_library_has_one_version_for_this_python_and_its_hashes(light: Path, name: str) -> None:
    parsed = RequirementsFile.from_file(str(light / name), include_nested=False)
    assert not parsed.invalid_lines
    assert all(one.is_pinned and one.hash_options for one in parsed.requirements)
    here = [one for one in parsed.requirements if one.marker is None or one.marker.evaluate()]
    assert len({one.name for one in here}) == len(here)
    for one in here:
        assert str(one.specifier) == f"=={importlib.metadata.version(str(one.name))}"


def test_one_file_is_enough_where_the_weights_serve(tmp_path: Path) -> None:
    write_requirements(tmp_path, find_framework("ultralytics"), ("onnx",), "torch")
    assert {"torch", "ultralytics", "onnxruntime"} <= names(tmp_path / "requirements.txt")
    assert not (tmp_path / "requirements-torch.txt").exists()


def test_a_torchvision_model_asks_for_nothing_that_is_copyleft(tmp_path: Path) -> None:
    write_requirements(tmp_path, find_framework("torchvision"), ("onnx",), "onnx")
    for path in tmp_path.iterdir():
        assert not names(path) & AGPL


def test_a_file_without_hashes_says_so_and_can_still_be_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(requirements, "LOCKS", (tmp_path / "absent.lock",))
    write_requirements(tmp_path, find_framework("torchvision"), (), "torch")
    path = tmp_path / "requirements.txt"
    assert "# Without hashes: there was no requirements.lock to take from.\n" in path.read_text()
    assert all(one.is_pinned and not one.hash_options for one in RequirementsFile.from_file(str(path)).requirements)


def test_a_library_that_is_not_the_locked_one_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    version = importlib.metadata.version("pillow")
    lock = next(path for path in LOCKS if path.is_file()).read_text().replace(f"pillow=={version} ", "pillow==0.1 ")
    (tmp_path / "other.lock").write_text(lock)
    monkeypatch.setattr(requirements, "LOCKS", (tmp_path / "other.lock",))
    write_requirements(tmp_path, find_framework("torchvision"), ("onnx",), "onnx")
    assert (
        f"# Without hashes: the lock does not have pillow=={version}.\n" in (tmp_path / "requirements.txt").read_text()
    )
    assert "without hashes" in caplog.text
    assert all(
        one.hash_options
        for one in RequirementsFile.from_file(
            str(tmp_path / "requirements-torch.txt"), include_nested=False
        ).requirements
    )
