"""A torchvision model from training to proof and service where ultralytics cannot be imported by any process."""

import json
import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).parents[5]
JOURNEY = Path(__file__).with_name("torchvision_journey.py")
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("journey")]
BLOCKER = """
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "ultralytics":
            raise ImportError("ultralytics is not allowed here")

sys.meta_path.insert(0, Blocker())
"""


@pytest.fixture(scope="module")
def interpreter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python with all the libraries of this one but ultralytics; its children inherit that."""
    home = tmp_path_factory.mktemp("without-ultralytics")
    venv.create(home, with_pip=False, symlinks=True)
    (site,) = home.glob("lib/python*/site-packages")
    (site / "no_ultralytics.py").write_text(BLOCKER)
    (site / "no_ultralytics.pth").write_text("import no_ultralytics\n")
    (site / "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return home / "bin" / "python"


@pytest.fixture(scope="module")
def result(interpreter: Path, module_splits: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("journey")
    module_splits.train.save(folder / "train")
    module_splits.val.save(folder / "val")
    tools = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    done = subprocess.run(
        [interpreter, str(JOURNEY), str(folder), module_splits.store],
        env=os.environ | {"PYTHONPATH": str(REPOSITORY), "PATH": tools},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads((folder / "result.json").read_text())


def test_the_served_model_is_proved_to_be_the_trained_one(result: dict[str, Any]) -> None:
    assert result["proof"]["tensors_compared"] > 100
    assert result["proof"]["boxes_compared"] > 0
    assert result["proof"]["http_boxes_compared"] > 0
    assert result["proof"]["max_score_difference"] < 1e-5


def test_it_is_evaluated_from_its_archive(result: dict[str, Any]) -> None:
    assert result["evaluated"]


def test_nothing_in_the_archive_is_or_names_ultralytics(result: dict[str, Any]) -> None:
    assert result["mentions"] == []
    assert result["imported"] == []
    assert not any("ultralytics" in name for name in result["packed"])
    assert "components/shared/detection/torchvision_runtime.py" in {
        name.removeprefix("src/") for name in result["packed"]
    }


def test_its_manifest_asks_for_no_agpl_library(result: dict[str, Any]) -> None:
    assert not any(requirement.startswith("ultralytics") for requirement in result["requirements"])
    assert any(requirement.startswith("torchvision==") for requirement in result["requirements"])
    assert any("BSD-3-Clause" in licence for licence in result["licences"])
    assert not any("AGPL-3.0" in licence for licence in result["licences"])
