"""Official models by name: known without asking the network, downloaded once, and never half."""

from pathlib import Path

import pytest

from components.model_train.trainers.ultralytics.names import official_names, official_weights
from components.shared.errors import ConfigError, TrainingError


@pytest.mark.parametrize(
    "name",
    [
        "yolov3u",
        "yolov5nu",
        "yolov8s",
        "yolov8n-oiv7",
        "yolov9t",
        "yolov10b",
        "yolo11x",
        "yolo12m",
        "yolo26n",
        "rtdetr-l",
    ],
)
def test_the_detectors_of_every_family_are_official(name: str) -> None:
    assert f"{name}.pt" in official_names()


@pytest.mark.parametrize(
    "name", ["yolo11n-seg", "yolo26n-cls", "yolov8n-pose", "yolo26n-depth", "yolov8s-world", "sam_b", "yolo_nas_s"]
)
def test_official_weights_for_something_else_are_refused_before_they_are_downloaded(name: str) -> None:
    with pytest.raises(ConfigError, match="no official weights of a detector have that name"):
        official_weights(f"{name}.pt")


def test_a_slip_is_answered_with_near_names() -> None:
    with pytest.raises(ConfigError, match=r"There are no weights at 'yolo11q\.pt', .* Near it: yolo11\w\.pt"):
        official_weights("yolo11q.pt")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PIPELINE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "weights"


def test_official_weights_without_network_fail_with_the_way_out(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*_: object, **__: object) -> None:
        raise ConnectionError("Download failure:\n no network")

    monkeypatch.setattr("ultralytics.utils.downloads.attempt_download_asset", offline)
    with pytest.raises(TrainingError) as caught:
        official_weights("yolo11n.pt")
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
        official_weights("yolo11n.pt")
    assert list(cache.iterdir()) == []


def test_official_weights_are_downloaded_once(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def deliver(url: str, file: Path, **_: object) -> None:
        asked.append(url.rpartition("/")[2])
        file.write_bytes(bytes(200_000))

    monkeypatch.setattr("ultralytics.utils.downloads.safe_download", deliver)
    assert [official_weights("yolo11n.pt").name for _ in range(2)] == ["yolo11n.pt"] * 2
    assert asked == ["yolo11n.pt"]
    assert [path.name for path in cache.iterdir()] == ["yolo11n.pt"]
