"""What a training may start from, and what is refused before anything is trained."""

import os
import pickle
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from components.model_train.trainers.ultralytics_start import start_model
from components.shared.detection.environment import prepare_environment
from components.shared.errors import ConfigError, TrainingError

prepare_environment(1)
ROOT = Path(__file__).parents[4]
WEIGHTS = ROOT.parent / "shared" / "data" / "weights" / "yolo11n-coco-dequant.pt"
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


def refusal(name: str) -> str:
    """The sentence with which a start is refused."""
    with pytest.raises(ConfigError) as caught:
        start_model(name, CLASSES)
    text = str(caught.value)
    assert name in text
    assert text.endswith(".")
    assert "\n" not in text
    return text


@pytest.mark.parametrize("name", ["yolo11n.yaml", "yolo11.yaml", "yolov8s.yaml"])
def test_a_model_the_library_knows_is_a_detector_to_train(name: str) -> None:
    assert start_model(name, CLASSES).task == "detect"


@pytest.mark.parametrize(
    ("name", "near"), [("yolo11q.yaml", "yolo11.yaml"), ("yolo12345.yaml", "yolo12.yaml"), ("zzz.yaml", "yolo")]
)
def test_an_unknown_model_is_refused_with_near_names(name: str, near: str) -> None:
    assert re.match(rf"There is no model '{re.escape(name)}'\. Near it: .*{re.escape(near)}", refusal(name))


def test_a_model_yaml_of_ones_own_is_read(tmp_path: Path) -> None:
    from ultralytics.utils import ROOT as LIBRARY  # noqa: PLC0415 - after the environment is prepared

    own = tmp_path / "mine.yaml"
    own.write_text((LIBRARY / "cfg" / "models" / "11" / "yolo11.yaml").read_text())
    assert start_model(str(own), CLASSES).task == "detect"


@pytest.mark.parametrize("name", ["https://example.org/yolo11n.yaml", "ul://a/b/c.yaml", "/no/such/yolo11n.yaml"])
def test_a_model_yaml_elsewhere_is_never_fetched(name: str) -> None:
    assert "There is no model" in refusal(name)


@pytest.mark.parametrize(
    ("name", "task"), [("yolo11n-seg.yaml", "segment"), ("yolov8n-cls.yaml", "classify"), ("yolo11n-obb.yaml", "obb")]
)
def test_a_model_for_another_task_is_refused(name: str, task: str) -> None:
    assert refusal(name) == f"model={name!r} is made for the task {task!r}; this pipeline trains detectors."


@pytest.mark.parametrize("content", ["nc: [", "- a", "backbone: 3", ""])
def test_a_yaml_that_is_no_model_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "broken.yaml").write_text(content)
    assert "cannot be loaded as a detection model" in refusal(str(tmp_path / "broken.yaml"))


def test_code_in_a_model_yaml_is_refused_and_not_run(tmp_path: Path, mark: Path) -> None:
    from ultralytics.utils import ROOT as LIBRARY  # noqa: PLC0415 - after the environment is prepared

    text = (LIBRARY / "cfg" / "models" / "11" / "yolo11.yaml").read_text()
    (tmp_path / "evil.yaml").write_text(f"{text}\nactivation: __import__('os').system('touch {mark}')\n")
    assert "blocked" in refusal(str(tmp_path / "evil.yaml"))


@pytest.mark.parametrize("name", ["missing.pt", "yolo99n.pt", "/no/such/folder/best.pt", "~/no-such-weights.pt"])
def test_missing_weights_and_unofficial_names_are_refused_without_asking_the_network(name: str) -> None:
    assert refusal(name) == f"There are no weights at {name!r}, and no official weights have that name."


@pytest.mark.parametrize("content", [b"", b"not weights at all", bytes(range(256)) * 8], ids=["empty", "text", "noise"])
def test_a_file_that_holds_no_weights_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "corrupt.pt").write_bytes(content)
    text = refusal(str(tmp_path / "corrupt.pt"))
    assert "cannot be loaded as a detection model" in text
    assert "yolo predict" not in text


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
import ultralytics.nn.tasks
from components.model_train.trainers.ultralytics_start import start_model
from components.shared.detection.environment import prepare_environment
from components.shared.errors import ConfigError
prepare_environment(1)
try:
    start_model(sys.argv[1], ("a",))
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


def test_real_weights_are_a_detector(tmp_path: Path) -> None:
    if not WEIGHTS.is_file():
        pytest.skip("the public weights are not beside the repository")
    (tmp_path / "mine.pt").symlink_to(WEIGHTS)
    model = start_model(str(tmp_path / "mine.pt"), CLASSES)
    assert (model.task, len(model.names)) == ("detect", 80)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PIPELINE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "weights"


def test_official_weights_without_network_fail_with_the_way_out(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*_: object, **__: object) -> None:
        raise ConnectionError("Download failure:\n no network")

    monkeypatch.setattr("ultralytics.utils.downloads.attempt_download_asset", offline)
    with pytest.raises(TrainingError) as caught:
        start_model("yolo11n.pt", CLASSES)
    assert str(caught.value) == (
        "The official weights 'yolo11n.pt' cannot be downloaded (Download failure: no network): "
        f"put the file at {str(cache / 'yolo11n.pt')!r}, give a path to weights, or train from scratch with "
        "model='yolo11n.yaml'."
    )
    assert list(cache.iterdir()) == []


def test_a_download_that_breaks_off_leaves_no_half_file_to_be_found_later(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(file: str, **_: object) -> None:
        Path(file).write_bytes(b"half")
        raise ConnectionError("reset")

    monkeypatch.setattr("ultralytics.utils.downloads.attempt_download_asset", broken)
    with pytest.raises(TrainingError, match="reset"):
        start_model("yolo11n.pt", CLASSES)
    assert list(cache.iterdir()) == []


def test_official_weights_are_downloaded_once(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not WEIGHTS.is_file():
        pytest.skip("the public weights are not beside the repository")
    asked = []

    def deliver(url: str, file: Path, **_: object) -> None:
        asked.append(url.rpartition("/")[2])
        file.write_bytes(WEIGHTS.read_bytes())

    monkeypatch.setattr("ultralytics.utils.downloads.safe_download", deliver)
    assert [start_model("yolo11n.pt", CLASSES).task for _ in range(2)] == ["detect", "detect"]
    assert asked == ["yolo11n.pt"]
    assert [path.name for path in cache.iterdir()] == ["yolo11n.pt"]
