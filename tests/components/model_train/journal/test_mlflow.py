"""Against a real tracking server on the loopback."""

import builtins
import logging
import math
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

import pytest
import urllib3

from components.model_train.journal import Journal
from components.model_train.story import Epoch
from components.shared.store import Store

pytestmark = pytest.mark.xdist_group("mlflow")
SETTINGS = ("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "MLFLOW_HTTP_REQUEST_TIMEOUT", "MLFLOW_DISABLE_TELEMETRY")
EPOCHS = "progress/r1/model_train.epochs.jsonl"
MakeJournal = Callable[..., Journal]
MakeEpoch = Callable[..., Epoch]


def free_port() -> int:
    with socket.socket() as each:
        each.bind(("127.0.0.1", 0))
        return int(each.getsockname()[1])


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A tracking server's address."""
    pytest.importorskip("mlflow.server", reason="the development dependency mlflow is not installed")
    home, port = tmp_path_factory.mktemp("mlflow"), free_port()
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{home}/runs.db", "--artifacts-destination", str(home / "artifacts")]
    environment = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with (home / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=home, env=environment, stdout=log, stderr=subprocess.STDOUT)
    try:
        wait_for(f"http://127.0.0.1:{port}", process, home / "log")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(30)


def wait_for(uri: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if urllib3.request("GET", f"{uri}/health", retries=False, timeout=2).status == 200:
                return
        except urllib3.exceptions.HTTPError:
            time.sleep(0.2)
    pytest.fail(f"the tracking server did not start: {log.read_text()[-2000:]}")


def wait_until(reached: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not reached() and time.monotonic() < deadline:
        time.sleep(0.02)


@pytest.fixture(autouse=True)
def settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in SETTINGS:
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)


@pytest.fixture
def tracked(server: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    from mlflow import MlflowClient  # noqa: PLC0415 - takes a second

    return MlflowClient(tracking_uri=server)


def runs(client: Any, experiment: str) -> list[Any]:
    found = client.get_experiment_by_name(experiment)
    return list(client.search_runs([found.experiment_id])) if found else []


def history(client: Any, run: Any, metric: str) -> list[tuple[int, float]]:
    return sorted((item.step, item.value) for item in client.get_metric_history(run.info.run_id, metric))


@pytest.mark.slow
def test_a_training_is_one_run_with_its_parameters_metrics_and_end(
    tracked: Any, make_journal: MakeJournal, make_epoch: MakeEpoch
) -> None:
    journal = make_journal(name="whole")
    for number in (1, 2, 3):
        journal.epoch(make_epoch(number))
    journal.close("finished")
    (run,) = runs(tracked, "whole")
    assert run.info.status == "FINISHED"
    assert run.info.run_name == "r1"
    assert run.data.params == {
        "epochs": "9",
        "model": "yolo11n.yaml",
        "options.mosaic": "0.5",
        "options.hsv_h": "nan",
    }
    assert run.data.tags["pipeline.run_id"] == "r1"
    assert run.data.tags["pipeline.step"] == "model_train"
    assert run.data.tags["training.end"] == "finished"
    assert history(tracked, run, "metrics/mAP50") == [(1, 0.1), (2, 0.2), (3, 0.1 * 3)]
    assert history(tracked, run, "seconds") == [(1, 10.0), (2, 20.0), (3, 30.0)]
    assert all(math.isnan(value) for _, value in history(tracked, run, "loss/val/box"))
    assert journal.warnings == []


@pytest.mark.slow
def test_a_later_attempt_goes_on_in_the_same_run_and_repeats_nothing(
    tracked: Any, make_journal: MakeJournal, make_epoch: MakeEpoch
) -> None:
    first = make_journal(name="resumed")
    for number in (1, 2, 3):
        first.epoch(make_epoch(number))
    first.close("preempted")
    (run,) = runs(tracked, "resumed")
    assert run.info.status == "KILLED"
    second = make_journal(name="resumed", parameters={"epochs": 9, "device": "cpu"})
    for number, seconds in ((1, 10.0), (2, 20.0), (3, 33.0), (4, 44.0)):
        second.epoch(make_epoch(number, seconds=seconds))
    second.close("finished")
    (run,) = runs(tracked, "resumed")
    assert run.info.status == "FINISHED"
    assert run.data.params["device"] == "cpu"
    assert history(tracked, run, "seconds") == [(1, 10.0), (2, 20.0), (3, 30.0), (3, 33.0), (4, 44.0)]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("end", "status"),
    [
        ("stopped", "FINISHED"),
        ("preempted", "KILLED"),
        ("out of memory", "FAILED"),
        ("diverged", "FAILED"),
        ("", "FAILED"),
    ],
)
def test_how_a_training_ended_is_the_runs_status(
    tracked: Any, make_journal: MakeJournal, make_epoch: MakeEpoch, end: str, status: str
) -> None:
    name = f"ended {end or 'otherwise'}"
    journal = make_journal(name=name)
    journal.epoch(make_epoch(1))
    journal.close(end)  # type: ignore[arg-type]
    (run,) = runs(tracked, name)
    assert run.info.status == status


@pytest.mark.slow
def test_another_pipeline_run_and_a_run_without_a_name_get_runs_of_their_own(
    tracked: Any, make_journal: MakeJournal, make_epoch: MakeEpoch
) -> None:
    for run_id in ("r1", "r2", "unnamed", "unnamed", 'it\'s "odd" `name`'):
        journal = make_journal(run_id=run_id, name="several")
        journal.epoch(make_epoch(1))
        journal.close("finished")
    assert len(runs(tracked, "several")) == 5


@pytest.mark.slow
def test_many_parameters_long_values_and_a_long_history_fit(
    tracked: Any, make_journal: MakeJournal, make_epoch: MakeEpoch
) -> None:
    parameters = {**{f"option{number}": number for number in range(230)}, "long": "x" * 9000, "odd=name;": "ü"}
    journal = make_journal(name="large", parameters=parameters)
    for number in range(1, 301):
        journal.epoch(make_epoch(number))
    journal.close("finished")
    (run,) = runs(tracked, "large")
    assert len(run.data.params) == 232
    assert [step for step, _ in history(tracked, run, "lr")] == list(range(1, 301))
    assert journal.warnings == []


@pytest.mark.slow
def test_an_experiment_that_was_deleted_costs_a_warning(
    tracked: Any, make_journal: MakeJournal, make_epoch: MakeEpoch
) -> None:
    tracked.delete_experiment(tracked.create_experiment("deleted"))
    journal = make_journal(name="deleted")
    journal.epoch(make_epoch(1))
    journal.close("finished")
    (warning,) = journal.warnings
    assert warning.startswith("MLflow is not told about this training: ")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["refuses", "is silent", "is nowhere"])
def test_a_server_that_is_away_costs_one_warning_and_no_time(
    kind: str,
    make_journal: MakeJournal,
    make_epoch: MakeEpoch,
    monkeypatch: pytest.MonkeyPatch,
    store: Store,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(8)
        port = free_port() if kind == "refuses" else silent.getsockname()[1]
        host = "no-such-host.invalid" if kind == "is nowhere" else "127.0.0.1"
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://user:secret@{host}:{port}")
        monkeypatch.setattr("components.model_train.journal.CLOSING", 5.0 if kind == "is silent" else 60.0)
        if kind == "is silent":
            monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "120")  # it waits for longer than the journal does
        journal = make_journal()
        taken: list[float] = []
        for number in range(1, 21):
            began = time.monotonic()
            journal.epoch(make_epoch(number))
            taken.append(time.monotonic() - began)
            time.sleep(0.02)
        if kind == "is silent":
            silent.settimeout(120)
            waiting, _ = silent.accept()  # the client is loaded and waits for an answer
            wait_until(lambda: store.exists(EPOCHS) and any(store.list("progress/r1/model_train.tensorboard/")))
        else:
            wait_until(lambda: bool(journal.warnings))
        began = time.monotonic()
        journal.close("finished")
        assert time.monotonic() - began < 20
        if kind == "is silent":
            waiting.close()  # what still waits for an answer hears that there will be none
    wait_until(lambda: all(thread.name != "journal MLflow" for thread in threading.enumerate()))
    assert median(taken) < 0.05  # one of them may have had to wait for a processor
    assert max(taken) < 2
    assert len(store.read(EPOCHS).splitlines()) == 20
    told = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    if kind == "is silent":
        assert told == ["MLflow did not answer in time and may lack the training's end."]
    else:
        assert told == journal.warnings
        assert len(told) == 1
        assert told[0].startswith(f"MLflow is not told about this training: 'http://***@{host}:{port}' cannot be")


@pytest.mark.slow
def test_what_the_deployment_says_of_retries_is_left_as_it_is(
    tracked: Any, make_journal: MakeJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    del tracked
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "17")
    make_journal(name="patient").close("finished")
    assert os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] == "17"
    assert os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] == "1"


def test_without_the_client_one_warning_names_the_extra(
    make_journal: MakeJournal, make_epoch: MakeEpoch, monkeypatch: pytest.MonkeyPatch
) -> None:
    imported = builtins.__import__

    def refuse(name: str, *arguments: Any, **named: Any) -> Any:
        if name.partition(".")[0] == "mlflow":
            raise ModuleNotFoundError(name)
        return imported(name, *arguments, **named)

    monkeypatch.setattr(builtins, "__import__", refuse)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    journal = make_journal()
    journal.epoch(make_epoch(1))
    journal.close("finished")
    (warning,) = journal.warnings
    assert warning == (
        "MLflow is not told about this training: its client is not installed, "
        "install the extra 'mlflow' of this project."
    )
