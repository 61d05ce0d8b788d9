"""``python -m pipelines.runs`` over the runs of this machine."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from components.shared.progress import Reporter, StepProgress
from components.shared.store import open_store
from pipelines.record import RunRecord, StepRecord
from pipelines.runs.command import main

NOBODY = 2**22 - 3  # no process has this number


@pytest.fixture(autouse=True)
def _no_cluster(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith(("KFP_", "KF_PIPELINES_", "KUBE"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))


def made(runs: Path, run_id: str = "20261121-100000-aaaa", **facts: Any) -> Path:
    """A run's folder with its record and a log."""
    folder = runs / run_id
    (folder / "logs").mkdir(parents=True)
    steps = facts.pop("steps", [("data_load", "succeeded"), ("model_train", "succeeded")])
    log = str(folder / "logs" / "model_train.log")
    record = RunRecord(
        run_id=run_id,
        pipeline="detector-training",
        parameters={"store": (runs / "store").as_uri(), "name": "cats"} | facts.pop("parameters", {}),
        started=facts.pop("started", time.time() - 100),
        process=facts.pop("process", NOBODY),
        steps=[
            StepRecord(name=name, state=state, started=time.time() - 90, error=facts.get("error"), log=log)
            if state in {"failed", "preempted"}
            else StepRecord(name=name, state=state, started=time.time() - 90, log=log)
            for name, state in steps
        ],
        **{"state": "succeeded", "finished": time.time() - 50} | facts,
    )
    record.save(folder)
    (folder / "logs" / "model_train.log").write_text("epoch 1\n")
    return folder


def shown(capsys: pytest.CaptureFixture[str], runs: Path, *words: str) -> Any:
    assert main([words[0], *words[1:], "--runs", str(runs), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


GOING = {"state": "running", "finished": None, "steps": [("data_load", "succeeded"), ("model_train", "running")]}
CUT_OFF = {"state": "failed", "error": "It was told to end; what it learned is saved.", "steps": [("a", "preempted")]}
FAILED = {"state": "failed", "error": "The loss is no number (box nan) in epoch 3.", "steps": [("a", "failed")]}
ENDED = {"state": "terminated", "error": "The run was stopped before its end.", "steps": [("a", "terminated")]}


@pytest.mark.parametrize(
    ("facts", "state", "code"),
    [
        ({}, "Success", None),
        ({"passed": False}, "Success", "GateNotMet"),
        ({"unchanged": True}, "Unchanged", "Unchanged"),
        (GOING, "Aborted", "Lost"),
        (CUT_OFF, "Aborted", "Preempted"),
        (FAILED, "Failed", "NaNLoss"),
        (ENDED, "Terminated", "Terminated"),
    ],
)
def test_a_local_run_has_the_same_statuses(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], facts: dict[str, Any], state: str, code: str | None
) -> None:
    made(tmp_path, **facts)
    (row,) = shown(capsys, tmp_path, "list")["runs"]
    assert (row["status"], row["code"], row["name"]) == (state, code, "cats")


def test_runs_are_listed_the_newest_first_and_what_is_none_is_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made(tmp_path, "20261121-100000-aaaa", started=time.time() - 500)
    made(tmp_path, "20261121-110000-bbbb", started=time.time() - 100)
    (tmp_path / "store").mkdir()
    (tmp_path / "half").mkdir()
    (tmp_path / "half" / "run.json").write_text('{"run_id": ')
    rows = shown(capsys, tmp_path, "list")["runs"]
    assert [row["id"] for row in rows] == ["20261121-110000-bbbb", "20261121-100000-aaaa"]


def test_a_folder_that_is_named_is_looked_at_though_there_is_a_cluster(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KFP_HOST", "http://127.0.0.1:9")
    made(tmp_path)
    assert len(shown(capsys, tmp_path, "list")["runs"]) == 1
    assert len(shown(capsys, tmp_path, "list", "--local")["runs"]) == 1


def test_without_a_word_of_a_cluster_runs_are_on_this_machine(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    made(tmp_path / "runs")
    monkeypatch.chdir(tmp_path)
    assert main(["list", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["runs"]) == 1


def test_an_empty_folder_is_no_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "--runs", str(tmp_path / "nowhere")]) == 0
    assert "no runs in" in capsys.readouterr().out


def test_a_local_run_is_named_as_one_on_a_cluster_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = made(tmp_path, "20261121-100000-aaaa", started=time.time() - 500)
    made(tmp_path, "20261122-110000-bbbb", started=time.time() - 100)
    for text in ("20261121-100000-aaaa", "20261121", str(folder)):
        assert shown(capsys, tmp_path, "show", text)["id"] == "20261121-100000-aaaa"
    assert shown(capsys, tmp_path, "show", "latest")["id"] == "20261122-110000-bbbb"
    for text, said in (("2026", "means 2 runs"), ("20261121-100000-aaab", "Did you mean"), ("cats", "means 2 runs")):
        assert main(["show", text, "--runs", str(tmp_path)]) == 2
        assert said in capsys.readouterr().err


def test_logs_are_the_step_s_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made(tmp_path)
    assert main(["logs", "latest", "--runs", str(tmp_path)]) == 0
    assert capsys.readouterr().out == "epoch 1\n"


def test_watching_a_run_that_is_over_shows_it_and_its_exit_code(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made(tmp_path, **FAILED)
    assert main(["watch", "latest", "--runs", str(tmp_path)]) == 1
    assert "The loss is no number" in capsys.readouterr().err


def test_a_deleted_run_leaves_no_folder_and_no_progress(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = made(tmp_path)
    store = open_store((tmp_path / "store").as_uri())
    Reporter(store, folder.name, "data_load").start()
    store.write("models/cats/versions/1/model.json", b"{}")
    assert main(["delete", folder.name, "--yes", "--runs", str(tmp_path)]) == 0
    assert not folder.exists()
    assert [one.key for one in store.list("")] == ["models/cats/versions/1/model.json"]
    assert "deleted cats" in capsys.readouterr().err


def test_an_archived_run_is_listed_only_when_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made(tmp_path)
    assert main(["archive", "latest", "--runs", str(tmp_path)]) == 0
    assert not shown(capsys, tmp_path, "list")["runs"]
    assert shown(capsys, tmp_path, "list", "--archived")["runs"][0]["archived"]


def test_only_a_failed_run_is_retried(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made(tmp_path)
    assert main(["retry", "latest", "--runs", str(tmp_path)]) == 2
    assert "'rerun' starts it anew" in capsys.readouterr().err


def test_a_rerun_starts_submit_with_what_was_chosen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made(tmp_path, parameters={"epochs": 3, "imgsz": 0, "source": "sample://workbench"})
    called: dict[str, Any] = {}

    def submit(arguments: list[str], pipeline: Any) -> int:
        called["pipeline"] = pipeline.name
        called["words"] = arguments
        called["file"] = Path(arguments[arguments.index("--config") + 1]).read_text()
        return 0

    monkeypatch.setattr("pipelines.submit.main", submit)
    assert main(["rerun", "latest", "--set", "epochs=5", "--runs", str(tmp_path)]) == 0
    assert called["pipeline"] == "detector-training"
    assert called["words"][:3] == ["--local", "--runs", str(tmp_path)]
    assert called["words"][-2:] == ["--set", "epochs=5"]
    assert "epochs: 3" in called["file"]
    assert "imgsz" not in called["file"], "what was left to the preset stays so"


@pytest.fixture
def going(tmp_path: Path) -> Iterator[tuple[Path, "subprocess.Popen[bytes]"]]:
    """A run whose process is a stand-in for the command, with a worker as its child, that ends when it is told."""
    runs = tmp_path / "runs"
    folder = runs / "20261121-100000-aaaa"
    code = (
        "import pathlib, re, signal, subprocess, sys, time\n"
        "folder = pathlib.Path(sys.argv[1])\n"
        "sleep = 'import time; time.sleep(60)'\n"
        "worker = [sys.executable, '-c', sleep, 'pipelines.backends.local_worker', str(folder)]\n"
        "child = subprocess.Popen(worker)\n"
        "def end(*_):\n"
        "    child.kill(); child.wait()\n"
        "    record = (folder / 'run.json').read_text()\n"
        '    (folder / \'run.json\').write_text(record.replace(\'"state": "running"\', \'"state": "terminated"\'))\n'
        "    sys.exit(130)\n"
        "signal.signal(signal.SIGTERM, end)\n"
        "print('ready', flush=True)\n"
        "time.sleep(60)\n"
    )
    command = [sys.executable, "-c", code, str(folder.resolve()), "pipelines.submit"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    made(runs, folder.name, process=process.pid, **GOING)
    yield runs, process
    process.terminate()
    process.wait()
    process.stdout.close()


def test_abort_tells_the_process_of_the_run_and_says_when_it_is_over(
    going: tuple[Path, "subprocess.Popen[bytes]"], capsys: pytest.CaptureFixture[str]
) -> None:
    runs, process = going
    store = open_store((runs / "store").as_uri())
    now = time.time()
    half = StepProgress(
        step="model_train", state="running", share=0.5, message="epoch 2 of 4", started=now, updated=now
    )
    store.write("progress/20261121-100000-aaaa/model_train.json", half.model_dump_json().encode())
    before = shown(capsys, runs, "show", "latest")
    assert (before["status"], before["node"]) == ("In Progress", "model_train")
    assert before["steps"][1]["message"] == "epoch 2 of 4"
    assert main(["delete", "latest", "--yes", "--runs", str(runs)]) == 2
    assert main(["abort", "latest", "--reason", "enough", "--runs", str(runs)]) == 0
    assert "is over: Terminated" in capsys.readouterr().out
    process.wait(10)
    assert shown(capsys, runs, "show", "latest")["reason"].endswith("ended it: enough.")


def test_abort_leaves_a_process_alone_that_is_not_the_run_s(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)", "pipelines.submit"])
    try:
        made(tmp_path, process=other.pid, started=time.time(), **GOING)
        assert main(["abort", "latest", "--runs", str(tmp_path)]) == 2
        assert "no process on this machine" in capsys.readouterr().err
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()
