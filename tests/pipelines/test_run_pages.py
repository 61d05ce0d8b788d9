from pathlib import Path

import pytest

from pipelines.record import RunRecord, StepRecord
from pipelines.run_pages import copy_reports, write_run_index


@pytest.fixture
def run(tmp_path: Path) -> RunRecord:
    made, log = tmp_path / "artifacts" / "report", tmp_path / "logs" / "data_load.log"
    for path, text in ((made, "<!doctype html>loaded"), (log, "image 1")):
        path.parent.mkdir()
        path.write_text(text)
    loaded = StepRecord(name="data_load", state="succeeded", outputs={"report": str(made)}, log=str(log))
    failed = StepRecord(name="data_prep", state="failed", outputs={"report": "/gone"}, log="/gone", error="Bad <b>.")
    return RunRecord(
        run_id="r1",
        pipeline="p",
        state="failed",
        parameters={"source": "<script>alert(1)</script>"},
        started=0.0,
        finished=7.4,
        process=1,
        steps=[loaded, failed, StepRecord(name="model_pack", outputs={"report": 3})],
        metrics={"map50": 0.5, "map50_95": 0.25},
        passed=False,
    )


def test_each_report_is_copied_under_its_steps_name(run: RunRecord, tmp_path: Path) -> None:
    copy_reports(run, tmp_path)
    assert [path.name for path in (tmp_path / "reports").iterdir()] == ["data_load.html"]
    assert (tmp_path / "reports" / "data_load.html").read_text() == "<!doctype html>loaded"
    assert [step.report for step in run.steps] == [str(tmp_path / "reports" / "data_load.html"), None, None]


def test_the_index_links_what_is_there_and_nothing_that_is_not(run: RunRecord, tmp_path: Path) -> None:
    copy_reports(run, tmp_path)
    write_run_index(run, tmp_path)
    page = (tmp_path / "index.html").read_text()
    assert 'href="reports/data_load.html"' in page
    assert 'href="logs/data_load.log"' in page
    assert "/gone" not in page


def test_the_index_shows_outcome_numbers_and_facts_and_runs_none_of_them(run: RunRecord, tmp_path: Path) -> None:
    write_run_index(run, tmp_path)
    page = (tmp_path / "index.html").read_text()
    for text in ("Run r1", "mAP50-95", "0.250", "not met", "Bad &lt;b&gt;.", "&lt;script&gt;alert(1)"):
        assert text in page
    assert "<script>alert(1)" not in page


def test_the_index_of_a_run_that_came_to_nothing_is_written_too(tmp_path: Path) -> None:
    run = RunRecord(
        run_id="r2", pipeline="p", parameters={}, started=0.0, process=1, steps=[StepRecord(name="model_pack")]
    )
    write_run_index(run, tmp_path)
    assert "Gate" not in (tmp_path / "index.html").read_text()


def test_the_index_shows_the_warnings_of_a_step_and_where_a_preempted_one_stands(tmp_path: Path) -> None:
    trained = StepRecord(name="model_train", state="succeeded", warnings=["Overfitting <b>.", "Too slow."])
    steps = [trained, StepRecord(name="model_pack", state="preempted", error="Told to end.", warnings=["Not this."])]
    run = RunRecord(run_id="r3", pipeline="p", state="failed", parameters={}, started=0.0, process=1, steps=steps)
    write_run_index(run, tmp_path)
    page = (tmp_path / "index.html").read_text()
    for text in ("Overfitting &lt;b&gt;. Too slow.", "Told to end.", "preempted", "1 of 2 steps succeeded so far"):
        assert text in page
    assert "Not this." not in page
