import json
from pathlib import Path

import pytest

from pipelines.record import RunRecord, StepRecord


@pytest.fixture
def run() -> RunRecord:
    loaded = StepRecord(
        name="data_load",
        state="succeeded",
        started=10.0,
        finished=12.346,
        outputs={"dataset": "/runs/r1/dataset", "summary": "/runs/r1/summary"},
        metadata={"dataset": {"digest": "d"}, "summary": {"images": 3.0}},
        report="/runs/r1/reports/data_load.html",
    )
    evaluated = StepRecord(
        name="model_eval",
        state="succeeded",
        cached=True,
        started=13.0,
        finished=13.0,
        outputs={"metrics": "/runs/r1/metrics", "passed": True},
        metadata={"metrics": {"map50": 0.5}},
    )
    return RunRecord(
        run_id="r1",
        pipeline="detector-training",
        parameters={"epochs": 3, "target_classes": ["cat"]},
        started=9.0,
        process=4,
        steps=[loaded, evaluated, StepRecord(name="model_publish")],
        metrics={"map50": 0.5},
        passed=True,
    )


def test_a_saved_record_reads_back_as_it_was(run: RunRecord, tmp_path: Path) -> None:
    run.save(tmp_path)
    assert RunRecord.model_validate_json((tmp_path / "run.json").read_text()) == run
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"]


def test_saving_again_replaces_the_record_whole(run: RunRecord, tmp_path: Path) -> None:
    run.save(tmp_path)
    run.state = "succeeded"
    run.finished = 20.0
    run.save(tmp_path)
    found = json.loads((tmp_path / "run.json").read_text())
    assert (found["state"], found["finished"]) == ("succeeded", 20.0)


def test_seconds_are_known_once_a_step_has_begun_and_ended(run: RunRecord) -> None:
    assert [step.seconds for step in run.steps] == [2.35, 0.0, None]
    assert StepRecord(name="x", started=1.0).seconds is None
    assert run.seconds is None
    run.finished = 11.239
    assert run.seconds == 2.24


def test_a_step_is_found_by_its_name(run: RunRecord) -> None:
    assert run.step("model_eval").cached
    with pytest.raises(StopIteration):
        run.step("model_bake")


def test_the_summary_is_plain_json_with_artifacts_but_without_parameters_among_them(run: RunRecord) -> None:
    summary = json.loads(json.dumps(run.summary()))
    assert summary == {
        "run_id": "r1",
        "state": "running",
        "seconds": None,
        "steps": [
            {"name": "data_load", "state": "succeeded", "seconds": 2.35, "cached": False},
            {"name": "model_eval", "state": "succeeded", "seconds": 0.0, "cached": True},
            {"name": "model_publish", "state": "pending", "seconds": None, "cached": False},
        ],
        "metrics": {"map50": 0.5},
        "passed": True,
        "artifacts": {
            "data_load.dataset": "/runs/r1/dataset",
            "data_load.summary": "/runs/r1/summary",
            "model_eval.metrics": "/runs/r1/metrics",
        },
        "reports": ["/runs/r1/reports/data_load.html"],
        "error": None,
    }


def test_a_state_that_does_not_exist_is_refused(run: RunRecord) -> None:
    with pytest.raises(ValueError, match="state"):
        RunRecord.model_validate({**run.model_dump(), "state": "asleep"})
