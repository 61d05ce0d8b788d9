"""The command in this process: what it refuses, what it makes of paths, and how it ends; runs themselves are e2e."""

import json
from pathlib import Path
from typing import Any

import pytest

from components.shared.errors import StoreError
from components.shared.hyperparameters_table import OPTIONS
from pipelines import submit
from pipelines.backends.local import LocalOptions
from pipelines.catalogue import SWEEP, TRAINING
from pipelines.config import TrainingConfig
from pipelines.record import RunRecord, StepRecord
from pipelines.training import STEPS

TORCH = b"PK\x03\x04"  # the beginning of a file that torch saved
SUMMARY = {"run_id", "state", "seconds", "steps", "metrics", "passed", "artifacts", "reports", "error"}


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")


def finished(**facts: Any) -> RunRecord:
    usual = {
        "run_id": "r1",
        "pipeline": "p",
        "state": "succeeded",
        "parameters": {"min_map50": 0.5},
        "process": 1,
        "started": 0.0,
        "finished": 3.0,
        "steps": [StepRecord(name=step, state="succeeded") for step in STEPS],
    }
    return RunRecord.model_validate(usual | facts)


class Runs:
    """Stands for the backend: remembers what it was asked to run and gives back a record."""

    def __init__(self) -> None:
        self.record = finished()
        self.config = TrainingConfig()
        self.options = LocalOptions(Path())

    def __call__(
        self, config: TrainingConfig, options: LocalOptions, _display: object, _pipeline: object
    ) -> tuple[RunRecord, Path]:
        self.config, self.options = config, options
        return self.record, options.runs / "r1"


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> Runs:
    made = Runs()
    monkeypatch.setattr(submit, "run_local", made)
    return made


def some_images(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "a.jpg").write_bytes(b"x")
    return folder


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--set", "epoch=3"], "Did you mean 'epochs'?"),
        (["--set", "epochs=-1"], "epochs='-1'"),
        (["--data", "nowhere"], "There is nothing at 'nowhere'"),
        (["--data", "gopher://x"], "no reader for gopher://"),
        (["--data", "sample://kitchen"], "no built-in sample"),
        (["--config", "none.yaml"], "cannot be read"),
        (["--set", "model=nowhere/best.pt"], "model='nowhere/best.pt': there is no such file"),
        (["--set", "device=77"], "The device '77' is not here"),
        (["--set", "freeze=100"], "'yolo11n.yaml' has only 23 layers that can be frozen: use 0 to 23."),
        (["--set", "store=ftp://host"], "scheme 'ftp' is unknown"),
        (["--set", "store=file://"], "names no folder"),
    ],
)
def test_bad_input_is_refused_with_one_sentence_and_leaves_nothing(
    runs: Runs, capsys: pytest.CaptureFixture[str], tmp_path: Path, arguments: list[str], words: str
) -> None:
    assert submit.main(["--local", "--json", *arguments]) == 2
    out, err = capsys.readouterr()
    (line,) = out.splitlines()
    summary = json.loads(line)
    assert set(summary) == SUMMARY
    assert (summary["run_id"], summary["state"], summary["passed"]) == (None, "refused", None)
    assert (summary["steps"], summary["metrics"], summary["artifacts"], summary["reports"]) == ([], {}, {}, [])
    assert words in summary["error"]
    assert err.strip() == f"error: {summary['error']}"
    assert list(tmp_path.iterdir()) == []
    assert runs.options.runs == Path()


def test_without_local_nothing_runs(runs: Runs, capsys: pytest.CaptureFixture[str]) -> None:
    assert submit.main([]) == 2
    out, err = capsys.readouterr()
    assert (out, runs.options.runs) == ("", Path())
    assert "--local" in err


def test_a_runs_folder_that_cannot_be_made_is_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    assert submit.main(["--local", "--runs", "file/runs"]) == 2
    assert f"error: '{tmp_path}/file/runs' cannot hold runs" in capsys.readouterr().err


def test_an_error_of_the_backend_ends_with_its_own_exit_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object) -> None:
        raise StoreError("The bucket [red]'b'[/red] is gone.")

    monkeypatch.setattr(submit, "run_local", broken)
    assert submit.main(["--local"]) == StoreError.exit_code == 1
    assert "error: The bucket [red]'b'[/red] is gone." in capsys.readouterr().err


@pytest.mark.parametrize("written", ["data/cats", "./data/../data/cats", "{tmp}/data/cats", "file://{tmp}/data/cats"])
def test_a_source_becomes_an_absolute_path(runs: Runs, tmp_path: Path, written: str) -> None:
    folder = some_images(tmp_path / "data" / "cats")
    assert submit.main(["--local", "--data", written.format(tmp=tmp_path)]) == 0
    assert runs.config.source == str(folder)


def test_the_sample_stays_the_sample(runs: Runs) -> None:
    assert submit.main(["--local"]) == 0
    assert runs.config.source == "sample://workbench"


def test_data_wins_over_the_source_of_a_configuration(runs: Runs, tmp_path: Path) -> None:
    folder = some_images(tmp_path / "cats")
    (tmp_path / "run.yaml").write_text("source: nowhere\nepochs: 7\n")
    assert submit.main(["--local", "--config", "run.yaml", "--data", "cats", "--set", "epochs=3"]) == 0
    assert (runs.config.source, runs.config.epochs) == (str(folder), 3)


def test_a_model_file_becomes_an_absolute_path_and_a_name_stays_a_name(runs: Runs, tmp_path: Path) -> None:
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "best.pt").write_bytes(TORCH)
    assert submit.main(["--local", "--set", "model=weights/best.pt"]) == 0
    assert runs.config.model == str(tmp_path / "weights" / "best.pt")
    assert submit.main(["--local", "--set", "model=yolo11s.yaml"]) == 0
    assert runs.config.model == "yolo11s.yaml"


def test_the_store_lies_beside_the_runs_unless_somebody_chose_one(runs: Runs, tmp_path: Path) -> None:
    assert submit.main(["--local", "--runs", "out"]) == 0
    assert runs.options.runs == tmp_path / "out"
    assert runs.config.store == (tmp_path / "out" / "store").as_uri()
    assert submit.main(["--local", "--runs", "out", "--set", "store=my store"]) == 0
    assert runs.config.store == (tmp_path / "my store").as_uri()


@pytest.mark.parametrize(("arguments", "reuse"), [([], True), (["--no-cache"], False)])
def test_earlier_results_are_reused_unless_told_otherwise(runs: Runs, arguments: list[str], reuse: bool) -> None:
    assert submit.main(["--local", *arguments]) == 0
    assert runs.options.reuse is reuse


@pytest.mark.parametrize(
    ("state", "passed", "gate_asked", "code"),
    [
        ("succeeded", True, False, 0),
        ("succeeded", True, True, 0),
        ("succeeded", False, False, 0),
        ("succeeded", False, True, 3),
        ("succeeded", None, True, 0),
        ("failed", None, False, 1),
        ("failed", False, True, 1),
        ("terminated", None, True, 130),
    ],
)
def test_the_exit_code_tells_how_it_went(state: str, passed: bool | None, gate_asked: bool, code: int) -> None:
    assert submit._exit_code(finished(state=state, passed=passed), gate_asked=gate_asked) == code


@pytest.mark.parametrize(
    ("arguments", "code"), [([], 0), (["--gate"], 3), (["--set", "min_map50=0.9"], 3), (["--set", "epochs=3"], 0)]
)
def test_the_gate_is_asked_for_with_an_option_or_by_setting_its_bound(
    runs: Runs, arguments: list[str], code: int
) -> None:
    runs.record = finished(passed=False)
    assert submit.main(["--local", *arguments]) == code


def test_json_is_the_only_line_of_standard_output_and_the_table_goes_to_standard_error(
    runs: Runs, capsys: pytest.CaptureFixture[str]
) -> None:
    runs.record = finished(metrics={"map50": 0.75, "map50_95": 0.5}, passed=True)
    assert submit.main(["--local", "--json"]) == 0
    out, err = capsys.readouterr()
    (line,) = out.splitlines()
    assert json.loads(line) == runs.record.summary()
    assert set(runs.record.summary()) == SUMMARY
    assert "model_publish" in err


def test_a_person_gets_the_table_the_scores_and_where_everything_is(
    runs: Runs, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    runs.record = finished(metrics={"map50": 0.75, "map50_95": 0.5}, passed=False)
    runs.record.step("model_pack").outputs["archive"] = "/runs/r1/archive"
    assert submit.main(["--local"]) == 0
    out = capsys.readouterr().out
    assert "test split  mAP50 0.750, mAP50-95 0.500 (gate min_map50 0.5: not met, the champion stays)" in out
    assert "archive     /runs/r1/archive/model.bento" in out
    assert f"reports     {tmp_path / 'runs' / 'r1' / 'index.html'}" in out


def test_a_person_is_told_why_it_failed_and_which_log_says_more(runs: Runs, capsys: pytest.CaptureFixture[str]) -> None:
    failed = StepRecord(name="data_load", state="failed", error="Bad [/x].", log="/runs/r1/logs/data_load.log")
    steps = [failed, *(StepRecord(name=step) for step in STEPS[1:])]
    runs.record = finished(state="failed", steps=steps, error="Bad [/x].")
    assert submit.main(["--local"]) == 1
    out = capsys.readouterr().out
    assert "error       Bad [/x]." in out
    assert "log         /runs/r1/logs/data_load.log" in out


def preempted(*others: str, **parameters: object) -> RunRecord:
    """A run whose training was told to end; ``others`` are states of steps after it."""
    told = "Told to end in epoch 4 of 9: saved up to epoch 3; run the same again to go on."
    train = StepRecord(name="model_train", state="preempted", error=told, log="/runs/r1/logs/model_train.log")
    steps = [train, *(StepRecord.model_validate({"name": f"s{n}", "state": s}) for n, s in enumerate(others))]
    return finished(state="failed", steps=steps, error=told, parameters={"min_map50": 0.5, **parameters})


def test_a_run_that_was_told_to_end_exits_with_75_and_says_how_to_go_on(
    runs: Runs, capsys: pytest.CaptureFixture[str]
) -> None:
    runs.record = preempted("pending")
    assert submit.main(["--local"]) == 75
    out = capsys.readouterr().out
    assert "error       Told to end in epoch 4 of 9" in out
    assert "log         /runs/r1/logs/model_train.log" in out
    assert "next        run the same command again to go on" in out


def test_a_run_that_keeps_nothing_does_not_promise_to_go_on(runs: Runs, capsys: pytest.CaptureFixture[str]) -> None:
    runs.record = preempted(resume="never")
    assert submit.main(["--local"]) == 75
    assert "the same command begins anew" in capsys.readouterr().out


def test_a_run_in_which_another_step_failed_as_well_has_failed(runs: Runs, capsys: pytest.CaptureFixture[str]) -> None:
    runs.record = preempted("failed")
    runs.record.steps[1].log = "/runs/r1/logs/s0.log"
    assert submit.main(["--local"]) == 1
    out = capsys.readouterr().out
    assert "log         /runs/r1/logs/s0.log" in out
    assert "next  " not in out


def test_an_option_that_does_not_exist_exits_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        submit.main(["--cluster"])
    assert caught.value.code == 2
    assert "--cluster" in capsys.readouterr().err


def test_the_hyperparameters_are_listed_with_default_bounds_and_trainers(capsys: pytest.CaptureFixture[str]) -> None:
    for pipeline in (TRAINING, SWEEP):
        assert submit.main(["--list-hyperparameters"], pipeline) == 0
        lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
        assert set(OPTIONS) < set(lines)
        assert lines["momentum"].endswith(
            "[a number from 0 to 0.999] (default: 0.937 (torchvision: 0.9); ultralytics, torchvision)"
        )
        with pytest.raises(SystemExit):
            submit.main(["--help"], pipeline)
        assert "--list-hyperparameters" in capsys.readouterr().out


def test_help_names_every_parameter_with_its_default(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        submit.main(["--help"])
    out = capsys.readouterr().out
    for name in TrainingConfig.model_fields:
        assert f"  {name}" in out
