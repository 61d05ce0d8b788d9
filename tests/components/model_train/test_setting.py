from pathlib import Path
from types import SimpleNamespace

import pytest

from components.model_train.model_folder import Outputs
from components.model_train.setting import train_setting
from components.model_train.story import Epoch, Story
from components.model_train.train import Trained
from components.shared.errors import DivergedError, OutOfMemoryError, PreemptedError, StoreError, TrainingError
from components.shared.sweep import read_failure, setting_id

SETTING = {"lr0": 1.0, "hyperparameters": {"mosaic": 0.0}}


def outputs(folder: Path) -> Outputs:
    return Outputs(folder / "model", folder / "report.html", folder / "start")


def trained() -> Trained:
    epochs = [Epoch(number=number, seconds=number * 2.0, values={"map50_95": number / 10}) for number in (1, 2)]
    manifest = SimpleNamespace(digest="d1", framework="ultralytics", metrics={"map50_95": 0.2})
    return Trained(manifest, Story(epochs=epochs))  # type: ignore[arg-type]


def failing(error: Exception) -> Trained:
    raise error


def test_a_training_of_a_sweep_tells_its_setting_and_its_course(tmp_path: Path) -> None:
    told = train_setting(SETTING, outputs(tmp_path), trained)
    assert told.facts == {
        "setting": setting_id(SETTING),
        "digest": "d1",
        "framework": "ultralytics",
        "seconds": 4.0,
        "curve": "1:0.1 2:0.2",
    }
    assert told.metrics == {"map50_95": 0.2}
    assert told.start_facts == {"setting": setting_id(SETTING), "failed": "not kept"}


def test_a_training_of_no_sweep_tells_what_it_always_told(tmp_path: Path) -> None:
    told = train_setting({}, outputs(tmp_path), trained)
    assert told.facts == {"digest": "d1", "framework": "ultralytics"}


@pytest.mark.parametrize("kind", [DivergedError, OutOfMemoryError])
def test_a_setting_that_cannot_work_leaves_its_failure_and_a_report(tmp_path: Path, kind: type[TrainingError]) -> None:
    told = train_setting(SETTING, outputs(tmp_path), lambda: failing(kind("Too much.")))
    assert told.facts == {"setting": setting_id(SETTING), "failed": "Too much."}
    assert told.metrics == {}
    assert told.start_facts == told.facts
    assert read_failure(tmp_path / "model") == "Too much."
    assert read_failure(tmp_path / "start") == "This setting gave no model to compare: Too much."
    page = (tmp_path / "report.html").read_text()
    assert "lr0=1, mosaic=0" in page
    assert "This setting gave no model: Too much." in page


@pytest.mark.parametrize("error", [PreemptedError("told to end"), StoreError("gone"), TrainingError("no boxes")])
def test_a_failure_that_says_nothing_of_the_setting_ends_the_step(tmp_path: Path, error: Exception) -> None:
    with pytest.raises(type(error)):
        train_setting(SETTING, outputs(tmp_path), lambda: failing(error))
    assert not (tmp_path / "model").exists()


def test_a_training_of_no_sweep_that_diverges_fails(tmp_path: Path) -> None:
    with pytest.raises(DivergedError):
        train_setting({}, outputs(tmp_path), lambda: failing(DivergedError("NaN")))
