"""What a training may start from, and what is refused before anything is trained."""

import os
import pickle
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from components.model_train.trainers.base import Start
from components.model_train.trainers.ultralytics.start import begin, check_architecture, read_weights
from components.shared.detection.environment import prepare_environment
from components.shared.errors import ConfigError

prepare_environment(1)
ROOT = Path(__file__).parents[5]
CLASSES = ("bar", "block")


class Bomb:
    """Unpickling it leaves a file behind."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, ...]:
        return os.system, (f"touch '{self.mark}'",)


@pytest.fixture
def mark(tmp_path: Path) -> Iterator[Path]:
    """A path that must not exist when the test ends."""
    path = tmp_path / "executed"
    yield path
    assert not path.exists()


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(url: str, **_: object) -> None:
        raise AssertionError(f"the network was asked for {url}")

    monkeypatch.setattr("ultralytics.utils.downloads.safe_download", refuse)


def from_yaml(name: str) -> Any:
    """What a training of a model YAML begins with."""
    return begin(Start("ultralytics", name), CLASSES).model


def refusal(name: str) -> str:
    """The sentence with which a model YAML or a weights file is refused, early and late alike."""
    early, late = (read_weights, from_weights) if name.endswith(".pt") else (check_architecture, from_yaml)
    sentences = []
    for step in (early, late):
        with pytest.raises(ConfigError) as caught:
            step(Path(name) if name.endswith(".pt") else name)
        sentences.append(str(caught.value))
    assert sentences[0] == sentences[1]
    assert name in sentences[0]
    assert sentences[0].endswith(".")
    assert "\n" not in sentences[0]
    return sentences[0]


def from_weights(path: Path) -> Any:
    """What a training of a weights file begins with."""
    return begin(Start("ultralytics", "", path), CLASSES).model


@pytest.mark.parametrize("name", ["yolo11n.yaml", "yolo11.yaml", "yolov8s.yaml"])
def test_a_model_the_library_knows_is_a_detector_to_train(name: str) -> None:
    assert from_yaml(name).task == "detect"


@pytest.mark.parametrize(
    ("name", "near"), [("yolo11q.yaml", "yolo11.yaml"), ("yolo12345.yaml", "yolo12.yaml"), ("zzz.yaml", "yolo")]
)
def test_an_unknown_model_is_refused_with_near_names(name: str, near: str) -> None:
    assert re.match(rf"There is no model '{re.escape(name)}'\. Near it: .*{re.escape(near)}", refusal(name))


def test_a_model_yaml_of_ones_own_is_read(tmp_path: Path) -> None:
    from ultralytics.utils import ROOT as LIBRARY  # noqa: PLC0415 - after the environment is prepared

    own = tmp_path / "mine.yaml"
    own.write_text((LIBRARY / "cfg" / "models" / "11" / "yolo11.yaml").read_text())
    assert from_yaml(str(own)).task == "detect"


@pytest.mark.parametrize("name", ["https://example.org/yolo11n.yaml", "ul://a/b/c.yaml", "/no/such/yolo11n.yaml"])
def test_a_model_yaml_elsewhere_is_never_fetched(name: str) -> None:
    assert "There is no model" in refusal(name)


@pytest.mark.parametrize(
    ("name", "task"), [("yolo11n-seg.yaml", "segment"), ("yolov8n-cls.yaml", "classify"), ("yolo11n-obb.yaml", "obb")]
)
def test_a_model_for_another_task_is_refused(name: str, task: str) -> None:
    assert refusal(name) == f"{name!r} is made for the task {task!r}; this pipeline trains detectors."


@pytest.mark.parametrize("content", ["nc: [", "- a", "backbone: 3", ""])
def test_a_yaml_that_is_no_model_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "broken.yaml").write_text(content)
    assert "cannot be loaded as a detection model" in refusal(str(tmp_path / "broken.yaml"))


def test_code_in_a_model_yaml_is_refused_and_not_run(tmp_path: Path, mark: Path) -> None:
    from ultralytics.utils import ROOT as LIBRARY  # noqa: PLC0415 - after the environment is prepared

    text = (LIBRARY / "cfg" / "models" / "11" / "yolo11.yaml").read_text()
    (tmp_path / "evil.yaml").write_text(f"{text}\nactivation: __import__('os').system('touch {mark}')\n")
    assert "blocked" in refusal(str(tmp_path / "evil.yaml"))


@pytest.mark.parametrize("content", [b"", b"not weights at all", bytes(range(256)) * 8], ids=["empty", "text", "noise"])
def test_a_file_that_holds_no_weights_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "corrupt.pt").write_bytes(content)
    text = refusal(str(tmp_path / "corrupt.pt"))
    assert "cannot be loaded as a detection model" in text
    assert "yolo predict" not in text


@pytest.mark.parametrize("content", [b"hello", b"<!DOCTYPE html>", b"version https://git-lfs"])
def test_a_file_that_torch_never_saved_is_refused_with_how_it_begins(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "best.pt").write_bytes(content)
    assert f"it begins with {content[:16]!r}, which is no file that torch saved." in refusal(str(tmp_path / "best.pt"))


def test_cut_weights_are_refused(tmp_path: Path) -> None:
    import torch  # noqa: PLC0415 - after the environment is prepared

    torch.save({"model": torch.zeros(1000)}, tmp_path / "whole.pt")
    (tmp_path / "cut.pt").write_bytes((tmp_path / "whole.pt").read_bytes()[:2000])
    assert "truncated or corrupted" in refusal(str(tmp_path / "cut.pt"))


@pytest.mark.parametrize("kind", ["checkpoint", "pickle"])
def test_weights_that_hold_code_are_refused_and_the_code_is_not_run(tmp_path: Path, mark: Path, kind: str) -> None:
    import torch  # noqa: PLC0415 - after the environment is prepared

    if kind == "checkpoint":
        torch.save({"model": Bomb(mark), "ema": None}, tmp_path / "bomb.pt")
    else:
        (tmp_path / "bomb.pt").write_bytes(pickle.dumps(Bomb(mark), protocol=2))
    assert "outside the supported" in refusal(str(tmp_path / "bomb.pt"))


IMPORTED_BEFORE = """
import sys
from pathlib import Path
import ultralytics.nn.tasks
from components.model_train.trainers.base import Start
from components.model_train.trainers.ultralytics.start import begin
from components.shared.detection.environment import prepare_environment
from components.shared.errors import ConfigError
prepare_environment(1)
try:
    begin(Start("ultralytics", "", Path(sys.argv[1])), ("a",))
except ConfigError as error:
    print(error)
"""


@pytest.mark.slow
def test_code_in_weights_is_not_run_when_the_library_was_imported_before(tmp_path: Path, mark: Path) -> None:
    import torch  # noqa: PLC0415 - after the environment is prepared

    torch.save({"model": Bomb(mark)}, tmp_path / "bomb.pt")
    kept = {name: value for name, value in os.environ.items() if name != "ULTRALYTICS_SAFE_LOAD"}
    done = subprocess.run(
        [sys.executable, "-c", IMPORTED_BEFORE, str(tmp_path / "bomb.pt")],
        env={**kept, "PYTHONPATH": str(ROOT), "YOLO_OFFLINE": "1", "YOLO_AUTOINSTALL": "0"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert "outside the supported" in done.stdout, done.stderr
