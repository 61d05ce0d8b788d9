"""The images' locks: made from pyproject.toml, the same versions as everywhere else, every file by its hash."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from components.model_pack.requirements import REQUIREMENTS
from components.shared.detection.engines import engine_requirements
from components.shared.errors import ConfigError
from pipelines.images import locks as image_locks
from pipelines.images.locks import LOCKED, LOCKS, SERVING, is_in_step, main, pins_of, requirements_of

ROOT = Path(__file__).parents[2]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


@pytest.fixture(params=sorted(LOCKED))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def text_of(name: str) -> str:
    return (LOCKS / f"{name}.lock").read_text(encoding="utf-8")


def test_a_lock_is_in_step_with_the_project(name: str) -> None:
    assert is_in_step(name), "run scripts/lock-images"


def test_a_lock_has_all_that_the_image_needs_at_a_version_that_is_allowed(name: str) -> None:
    pins = pins_of(text_of(name))
    for text in requirements_of(name, PROJECT):
        wanted = Requirement(text)
        if wanted.marker is None or wanted.marker.evaluate():
            assert wanted.specifier.contains(pins[canonicalize_name(wanted.name)], prereleases=True), text


def test_every_distribution_has_a_hash_and_the_version_the_tests_run_with(name: str) -> None:
    blocks = re.split(r"\n(?=[A-Za-z])", text_of(name).split("\n", 2)[2])
    assert all("--hash=sha256:" in block for block in blocks)
    assert not re.search(r"://", text_of(name)), "a lock names no address"
    ours = re.findall(r"^([\w.-]+==[^\s;]+)", text_of(name), re.MULTILINE)
    known = set(re.findall(r"^([\w.-]+==[^\s;]+)", (ROOT / "requirements.lock").read_text(), re.MULTILINE))
    assert name == "build" or set(ours) <= known


def test_what_serves_has_what_an_archive_asks_for_and_nothing_of_the_training_library() -> None:
    assert set(SERVING) == {*REQUIREMENTS, *engine_requirements("onnx")}
    pins = pins_of(text_of("serving"))
    assert not set(pins) & set(LOCKED["serving"].forbidden)
    assert len(pins) < len(pins_of(text_of("steps"))) / 2


def test_the_lock_of_the_steps_leaves_out_what_only_a_gpu_uses() -> None:
    assert "triton" not in pins_of(text_of("steps"))
    assert "triton" in pins_of(text_of("trainer"))


def test_a_change_of_a_requirement_makes_a_lock_stale(tmp_path: Path) -> None:
    locks = tmp_path / "images" / "locks"
    locks.mkdir(parents=True)
    for file in ("pyproject.toml", "requirements.lock"):
        (tmp_path / file).write_text((ROOT / file).read_text(encoding="utf-8"), encoding="utf-8")
    (locks / "steps.lock").write_text(text_of("steps"), encoding="utf-8")
    assert is_in_step("steps", tmp_path)
    project = (tmp_path / "pyproject.toml").read_text(encoding="utf-8")
    (tmp_path / "pyproject.toml").write_text(project.replace('"minio>=7.2.15"', '"minio>=7.2.16"'), encoding="utf-8")
    assert not is_in_step("steps", tmp_path)


def test_a_version_that_moves_in_the_projects_lock_makes_a_lock_stale(tmp_path: Path) -> None:
    (tmp_path / "images" / "locks").mkdir(parents=True)
    (tmp_path / "pyproject.toml").write_text((ROOT / "pyproject.toml").read_text(encoding="utf-8"), encoding="utf-8")
    moved = re.sub(r"^pillow==\S+", "pillow==99.0", (ROOT / "requirements.lock").read_text(), flags=re.MULTILINE)
    (tmp_path / "requirements.lock").write_text(moved, encoding="utf-8")
    (tmp_path / "images" / "locks" / "serving.lock").write_text(text_of("serving"), encoding="utf-8")
    assert not is_in_step("serving", tmp_path)


def test_a_missing_extra_is_named() -> None:
    project = {"project": {"dependencies": ["a"], "optional-dependencies": {}}, "build-system": {"requires": []}}
    with pytest.raises(ConfigError, match="no extra 'mlflow', which the image 'trainer' needs"):
        requirements_of("trainer", project)


def test_the_command_checks_without_a_network(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--check"]) == 0
    assert main(["--check", "nothing"]) == 2
    assert "There is no lock 'nothing': choose of steps, trainer, serving, executor, build." in capsys.readouterr().err
    monkeypatch.setattr(image_locks, "is_in_step", lambda name: name != "steps")
    assert main(["--check"]) == 1
    assert "Not in step with pyproject.toml: steps; run scripts/lock-images." in capsys.readouterr().err
