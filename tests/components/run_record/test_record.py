"""The exit handler keeps the record whatever happened, and is never the reason for a run to fail."""

import subprocess
import sys
from pathlib import Path

import pytest

from components.run_record import record
from components.run_record.record import keep_record
from components.shared.progress import Reporter
from components.shared.run_record import read_outcome
from components.shared.step import RUN_ID
from components.shared.store import open_store

ROOT = Path(__file__).parents[3]
STEPS = ("data_load", "data_prep")


@pytest.fixture(autouse=True)
def _in_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(RUN_ID, "r1")


def keep(store: str, told: str = "COMPLETE") -> bool:
    return keep_record(store, pipeline="detector-training", name="nightly", steps=STEPS, told=told)


@pytest.mark.parametrize(
    ("told", "state"), [("COMPLETE", "succeeded"), ("SUCCEEDED", "succeeded"), ("FAILED", "failed")]
)
def test_the_record_says_how_the_run_ended_in_the_words_of_either_runner(tmp_path: Path, told: str, state: str) -> None:
    store = open_store((tmp_path / "store").as_uri())
    for step in STEPS:
        Reporter(store, "r1", step).finish()
    assert keep(store.uri, told)
    outcome = read_outcome(store, "r1")
    assert outcome is not None
    assert (outcome.state, outcome.pipeline, outcome.name) == (state, "detector-training", "nightly")


@pytest.mark.parametrize("store", ["s3://b/p", "ftp://host/x", "file://"])
def test_without_a_store_the_log_has_a_sentence_and_nothing_fails(
    store: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("S3_ENDPOINT_URL", "no endpoint")
    assert not keep(store)
    assert "The run has no record: " in caplog.text


def test_a_defect_of_its_own_does_not_fail_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(record, "assemble", broken)
    assert not keep((tmp_path / "store").as_uri())
    assert "please report it" in caplog.text


def test_the_component_runs_with_the_status_of_a_cluster(tmp_path: Path) -> None:
    code = """
import sys
from kfp.dsl import PipelineTaskFinalStatus
from components.run_record.component import run_record
status = PipelineTaskFinalStatus(state="COMPLETE", pipeline_job_resource_name="j", pipeline_task_name="t",
    error_code=None, error_message=None)
run_record.python_func(store=sys.argv[1], pipeline="p", run="n", steps="data_load", status=status)
"""
    store = open_store((tmp_path / "store").as_uri())
    done = subprocess.run(
        [sys.executable, "-c", code, store.uri], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "the run r1: succeeded" in done.stderr
    assert read_outcome(store, "r1") is not None
