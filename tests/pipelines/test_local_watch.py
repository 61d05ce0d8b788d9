"""How a local run takes in what its steps tell."""

import json
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from components.shared.errors import ConfigError, PreemptedError, TrainingError
from components.shared.progress import Reporter
from components.shared.store import open_store
from pipelines.backends import local
from pipelines.backends.local import _Watch
from pipelines.backends.local_worker import EVENTS
from pipelines.config import TrainingConfig
from pipelines.display import PlainDisplay
from pipelines.record import RunRecord, StepRecord
from pipelines.terminal import PatientConsole

ROOT = Path(__file__).parents[2]


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


def test_a_step_whose_shell_was_ended_before_it_is_waited_for(watch: _Watch, tmp_path: Path) -> None:
    reporter = Reporter(open_store((tmp_path / "store").as_uri()), "r1", "model_train")
    reporter.start()
    later = threading.Timer(0.5, lambda: reporter.finish("Told to end in epoch 2.", preempted=True))
    later.start()
    tell(tmp_path, "started", "failed")
    watch.read_events()
    later.join()
    step = RunRecord.model_validate_json((tmp_path / "run.json").read_text()).step("model_train")
    assert (step.state, step.error) == ("preempted", "Told to end in epoch 2.")


def test_a_step_that_tells_nothing_more_was_killed(
    watch: _Watch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "SETTLE", 0.3)
    Reporter(open_store((tmp_path / "store").as_uri()), "r1", "model_train").start()
    tell(tmp_path, "started", "failed")
    watch.read_events()
    step = RunRecord.model_validate_json((tmp_path / "run.json").read_text()).step("model_train")
    assert step.state == "failed"
    assert "was killed before it could say why" in str(step.error)


def test_a_step_that_cannot_write_to_the_store_has_failed_with_its_own_sentence(watch: _Watch, tmp_path: Path) -> None:
    sentence = "Cannot write 'leases/a.json' in 'file:///ro' (Read-only file system): check the folder's permissions."
    (tmp_path / "logs" / "kfp.log").write_text(f"kfp's words\n    2026-01-02 03:04:05,678 ERROR   {sentence}\n")
    tell(tmp_path, "started", "failed")
    watch.read_events()
    assert RunRecord.model_validate_json((tmp_path / "run.json").read_text()).step("model_train").error == sentence


STUBBORN = """
import json, os, signal, sys, time
from pathlib import Path
folder = Path(sys.argv[1])
signal.signal(signal.SIGTERM, lambda *_: (folder / "told").touch())
other = os.fork()
(folder / "events.jsonl").write_text(json.dumps({"event": "started", "step": "data_load", "time": 1.0}) + "\\n")
if other:
    (folder / "processes").write_text(f"{os.getpid()} {other}")
while True:
    time.sleep(0.1)
"""
COMMAND = """
import subprocess, sys
from pipelines import submit
from pipelines.backends import local
def start(directory, _options, _scratch):
    return subprocess.Popen([sys.executable, "-c", STUBBORN, str(directory)], start_new_session=True)
local._start = start
sys.exit(submit.main(["--local", "--runs", sys.argv[1]]))
"""


@pytest.mark.slow
def test_told_to_stop_twice_a_run_ends_at_once_with_no_process_left(tmp_path: Path) -> None:
    code = COMMAND.replace("STUBBORN", repr(STUBBORN))
    command = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, stdout=subprocess.DEVNULL)
    (folder,) = (path.parent for path in wait_for(tmp_path, "*/processes"))
    command.send_signal(signal.SIGINT)
    wait_for(folder, "told")
    assert command.poll() is None
    command.send_signal(signal.SIGINT)
    assert command.wait(timeout=20) == 130
    record = RunRecord.model_validate_json((folder / "run.json").read_text())
    assert (record.state, record.step("data_load").state) == ("terminated", "terminated")
    assert record.finished is not None
    assert not any(Path(f"/proc/{number}").exists() for number in (folder / "processes").read_text().split())


def wait_for(folder: Path, pattern: str) -> list[Path]:
    """What matches, as soon as something does and is no longer empty, or is meant to be."""
    until = time.monotonic() + 60
    while not (found := list(folder.glob(pattern))):
        assert time.monotonic() < until
        time.sleep(0.05)
    time.sleep(0.3)  # it is being written
    return found


def told(folder: Path, *events: dict[str, object]) -> None:
    with (folder / EVENTS).open("a") as handle:
        handle.writelines(json.dumps({"time": 5.0, "outputs": {}, **event}) + "\n" for event in events)


def test_a_step_that_people_are_not_shown_is_not_in_the_record_unless_it_fails(watch: _Watch, tmp_path: Path) -> None:
    told(tmp_path, {"event": "started", "step": "run_record"}, {"event": "succeeded", "step": "run_record"})
    watch.read_events()
    told(tmp_path, {"event": "started", "step": "change_check"}, {"event": "failed", "step": "change_check"})
    watch.read_events()
    watch.close(1)
    run = RunRecord.model_validate_json((tmp_path / "run.json").read_text())
    assert run.find("run_record") is None
    assert run.step("change_check").state == "failed"
    assert run.state == "failed"


def test_a_step_behind_a_gate_that_was_not_met_is_skipped_with_the_reason(watch: _Watch, tmp_path: Path) -> None:
    watch._record.steps.append(StepRecord(name="model_publish"))
    passed = {"passed": False, "reasons": "mAP50 is 0.1, below 0.5.\nAnother."}
    told(
        tmp_path,
        *({"event": "succeeded", "step": step} for step in ("model_train", "model_pack")),
        {"event": "succeeded", "step": "model_eval", "outputs": passed},
    )
    watch.read_events()
    watch.close(0)
    run = RunRecord.model_validate_json((tmp_path / "run.json").read_text())
    published = run.step("model_publish")
    assert (run.state, run.passed) == ("succeeded", False)
    assert (published.state, published.reason) == ("skipped", "not published: mAP50 is 0.1, below 0.5.")
    assert "not published: mAP50 is 0.1, below 0.5." in (tmp_path / "index.html").read_text()


def test_steps_that_were_left_out_for_no_reason_fail_the_run(watch: _Watch, tmp_path: Path) -> None:
    """kfp.local takes a condition that it cannot evaluate for False and says that the run succeeded."""
    told(tmp_path, {"event": "succeeded", "step": "model_train"})
    watch.read_events()
    watch.close(0)
    run = RunRecord.model_validate_json((tmp_path / "run.json").read_text())
    assert (run.state, run.error) == ("failed", "model_eval was never run, though every step before it succeeded.")


def test_a_run_that_had_nothing_to_do_says_so(watch: _Watch, tmp_path: Path) -> None:
    watch._record.steps.insert(0, StepRecord(name="change_check"))
    outputs = {"changed": False, "reason": "Unchanged: the champion came from the same."}
    told(tmp_path, {"event": "succeeded", "step": "change_check", "outputs": outputs})
    watch.read_events()
    watch.close(0)
    run = RunRecord.model_validate_json((tmp_path / "run.json").read_text())
    assert (run.state, run.unchanged) == ("succeeded", True)
    assert {step.state for step in run.steps[1:]} == {"skipped"}


def test_a_deployment_is_refused_on_this_machine(tmp_path: Path) -> None:
    display = PlainDisplay(PatientConsole(stderr=True))
    with pytest.raises(ConfigError, match="deploy='serving' rolls a Deployment of a cluster"):
        local.run_local(TrainingConfig(deploy="serving"), local.LocalOptions(tmp_path), display)
    assert list(tmp_path.iterdir()) == []
