"""How a local run takes in what its steps tell."""

import json
import time
from pathlib import Path

import pytest

from components.shared.errors import PreemptedError, TrainingError
from components.shared.progress import Reporter
from components.shared.store import open_store
from pipelines.backends.local import _Watch
from pipelines.backends.local_worker import EVENTS
from pipelines.display import PlainDisplay
from pipelines.record import RunRecord, StepRecord
from pipelines.terminal import PatientConsole


@pytest.fixture
def watch(tmp_path: Path) -> _Watch:
    steps = [StepRecord(name="model_train"), StepRecord(name="model_pack"), StepRecord(name="model_eval")]
    run = RunRecord(run_id="r1", pipeline="p", parameters={}, started=time.time(), process=1, steps=steps)
    (tmp_path / EVENTS).touch()
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "kfp.log").write_text("kfp's own words\n")
    return _Watch(run, tmp_path, open_store((tmp_path / "store").as_uri()), PlainDisplay(PatientConsole(stderr=True)))


def tell(folder: Path, *kinds: str) -> None:
    with (folder / EVENTS).open("a") as handle:
        handle.writelines(
            json.dumps({"step": "model_train", "event": kind, "time": 5.0, "outputs": {}}) + "\n" for kind in kinds
        )


@pytest.mark.parametrize(
    ("error", "state"), [(PreemptedError("Told to end."), "preempted"), (TrainingError("No boxes."), "failed")]
)
def test_a_step_that_was_told_to_end_is_preempted_and_the_run_with_it_has_not_succeeded(
    watch: _Watch, tmp_path: Path, capsys: pytest.CaptureFixture[str], error: TrainingError, state: str
) -> None:
    reporter = Reporter(open_store((tmp_path / "store").as_uri()), "r1", "model_train")
    reporter.notify(0.5, "epoch 3/6", warning="The disk is nearly full.")
    reporter.finish(str(error), preempted=isinstance(error, PreemptedError))
    tell(tmp_path, "started", "failed")
    watch.read_events()
    watch.close(1)
    run = RunRecord.model_validate_json((tmp_path / "run.json").read_text())
    step = run.step("model_train")
    assert (step.state, step.error, step.warnings) == (state, str(error), ["The disk is nearly full."])
    assert (run.state, run.error) == ("failed", str(error))
    told = capsys.readouterr().err
    assert "model_train: warning: The disk is nearly full." in told
    assert f"model_train: {state} (0.0 s)" in told


def test_the_warnings_of_a_step_that_succeeded_stay_with_it(watch: _Watch, tmp_path: Path) -> None:
    reporter = Reporter(open_store((tmp_path / "store").as_uri()), "r1", "model_train")
    reporter.notify(1.0, "epoch 6/6", warning="Overfitting.")
    reporter.finish()
    tell(tmp_path, "started", "finished")
    watch.read_events()
    run = RunRecord.model_validate_json((tmp_path / "run.json").read_text())
    assert (run.step("model_train").state, run.step("model_train").warnings) == ("succeeded", ["Overfitting."])
