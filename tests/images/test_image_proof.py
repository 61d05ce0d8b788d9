"""Inside the real images, where some were built: scripts/build-images, then scripts/prove-images for all of it."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from image_pods import Pods, changed, container, isolated, run_in

from pipelines.packages import IMAGES_FILE, IMAGES_VARIABLE

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def image() -> str:
    """The image of the steps in buildah's own store."""
    if not shutil.which("buildah"):
        pytest.skip("there is no buildah")
    file = Path(os.environ.get(IMAGES_VARIABLE) or IMAGES_FILE)
    if not file.is_file():
        pytest.skip(f"no images were built: there is no {file.name} (scripts/build-images --tool buildah)")
    found: str = json.loads(file.read_text(encoding="utf-8")).get("steps-python", "")
    known = subprocess.run(["buildah", "inspect", "--type", "image", found], capture_output=True, check=False)
    if known.returncode:
        pytest.skip(f"{found!r} is not in buildah's store here")
    return found


def test_a_pod_is_nobody_special_and_cannot_write_its_code(image: str) -> None:
    script = (
        "import os, components; found = os.getuid(), os.getgid(), os.access(components.__path__[0], os.W_OK);"
        " assert found == (10001, 0, False), found"
    )
    with container(image) as name:
        done = run_in(name, ("python3", "-c", script), {}, {})
    assert done.returncode == 0, done.stderr


def test_every_step_finds_its_libraries_in_the_image(image: str) -> None:
    steps = ("data_load.load", "data_prep.prepare", "model_pack.pack", "model_eval.evaluate", "model_publish.publish")
    script = f"import importlib, torch; [importlib.import_module('components.' + step) for step in {steps}]"
    with container(image) as name:
        done = run_in(name, ("python3", "-c", script), {"HOME": "/nonexistent"}, {})
    assert done.returncode == 0, done.stderr


def test_what_is_written_where_a_pod_may_not_is_noticed(image: str) -> None:
    with container(image) as name:
        began = Path("/proc/self").stat().st_ctime
        run_in(name, ("sh", "-c", "echo x > /home/pipeline/x; echo x > /tmp/x"), {}, {})
        assert "/home/pipeline/x" in changed(name, began)
        assert "/tmp/x" not in changed(name, began)


def test_the_environment_of_a_pod_is_its_own(image: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "of this machine")
    assert "BUILDAH_ISOLATION" in isolated()
    assert Pods(tmp_path, {}).ran == []
    with container(image) as name:
        done = run_in(name, ("sh", "-c", 'test -z "$AWS_SECRET_ACCESS_KEY"'), {}, {})
    assert done.returncode == 0
