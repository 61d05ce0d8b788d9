"""The overlays as a user gets them: configured with images and passwords, and rendered by kubectl."""

import importlib.util
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
IMAGES = {
    "steps-python": f"registry.example:5000/detection/steps@sha256:{'1' * 64}",
    "trainer-python": f"registry.example:5000/detection/trainer@sha256:{'2' * 64}",
    "serving": f"registry.example:5000/detection/serving@sha256:{'3' * 64}",
}


def _render(folder: Path) -> list[dict[str, Any]]:
    command = shutil.which("kubectl")
    if command is None:
        pytest.skip("kubectl is not installed")
    done = subprocess.run([command, "kustomize", folder], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return list(yaml.load_all(done.stdout, Loader=loader))


@pytest.fixture(scope="session")
def render() -> Callable[[Path], list[dict[str, Any]]]:
    """Renders a folder; skips where there is no kubectl."""
    return _render


@pytest.fixture(scope="session")
def configured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of manifests/ with images by digest and a password for each overlay."""
    home = tmp_path_factory.mktemp("manifests")
    built = home / "images.json"
    built.write_text(json.dumps(IMAGES))
    shutil.copytree(ROOT / "manifests", home / "manifests", ignore=shutil.ignore_patterns("*.env"))
    for overlay in _overlays():
        command = [sys.executable, str(ROOT / "scripts" / "configure.py"), overlay]
        places = ["--manifests", str(home / "manifests"), "--images", str(built)]
        subprocess.run([*command, *places], check=True, timeout=60, capture_output=True)
    return home / "manifests"


@pytest.fixture(scope="session")
def rendered(configured: Path) -> dict[str, list[dict[str, Any]]]:
    """The documents of every overlay by its name, and of ``gpu`` with MinIO behind TLS."""
    found = {overlay: _render(configured / "overlays" / overlay) for overlay in _overlays()}
    secured = configured / "overlays" / "secured"
    shutil.copytree(configured / "overlays" / "gpu", secured, dirs_exist_ok=True)
    file = secured / "kustomization.yaml"
    text = file.read_text()
    file.write_text(text.replace("components/monitoring\n", "components/monitoring\n- ../../components/minio-tls\n"))
    return found | {"secured": _render(secured)}


@pytest.fixture(scope="session")
def policies() -> ModuleType:
    """The policies beside this file."""
    specification = importlib.util.spec_from_file_location("manifest_policies", Path(__file__).with_name("policies.py"))
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules[specification.name] = module
    specification.loader.exec_module(module)
    return module


def _overlays() -> list[str]:
    return sorted(folder.name for folder in (ROOT / "manifests" / "overlays").iterdir() if folder.is_dir())
