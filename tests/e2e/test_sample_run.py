import json
import re
from pathlib import Path

import polars as pl
import pytest
from commands import TINY, Finished, submit

from components.shared.dataset import Dataset
from components.shared.run_record import read_outcome
from components.shared.store import open_store

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("sample")]
SMALL = (*TINY, "sample_images=40", "sample_edge=128", "load_seconds=1", "proof_images=2", "min_map50=0")
STEPS = ["data_load", "data_prep", "model_train", "model_pack", "model_eval", "model_test", "model_publish"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def first(runs: Path) -> Finished:
    finished = submit("--runs", runs, settings=SMALL)
    assert finished.code == 0, finished.err
    return finished


def test_every_step_succeeds_and_says_so_as_json(first: Finished) -> None:
    summary = first.summary
    assert set(summary) == {
        *("run_id", "state", "seconds", "steps", "metrics", "passed", "artifacts", "reports", "error"),
    }
    assert (summary["state"], summary["error"]) == ("succeeded", None)
    assert [step["name"] for step in summary["steps"]] == STEPS
    assert all(step["state"] == "succeeded" and not step["cached"] for step in summary["steps"])
    assert set(summary["metrics"]) == {"map50", "map50_95"}


def test_standard_output_holds_nothing_but_the_json_object(first: Finished) -> None:
    assert len(first.out.strip().splitlines()) == 1
    assert "model_test" in first.err


def test_the_run_folder_has_record_logs_reports_and_index(first: Finished, runs: Path) -> None:
    summary = first.summary
    folder = runs / summary["run_id"]
    record = json.loads((folder / "run.json").read_text())
    assert record["state"] == "succeeded"
    assert record["parameters"]["sample_images"] == 40
    for step in STEPS:
        assert (folder / "logs" / f"{step}.log").is_file()
    index = (folder / "index.html").read_text()
    assert len(summary["reports"]) == 6
    for report in summary["reports"]:
        assert Path(report).read_text().lower().startswith("<!doctype html>")
        assert f"reports/{Path(report).name}" in index
    for path in summary["artifacts"].values():
        assert Path(path).exists()


def test_the_training_log_has_a_line_an_epoch(first: Finished, runs: Path) -> None:
    log = (runs / first.summary["run_id"] / "logs" / "model_train.log").read_text()
    assert re.search(
        r"epoch 1/1 \(100 %\): train box [\d.]+ cls [\d.]+ dfl [\d.]+ \| val box .* mAP50 [\d.]+ mAP50-95 [\d.]+", log
    )


def test_the_planted_defects_are_all_in_the_ledger(first: Finished) -> None:
    folders = [Path(first.summary["artifacts"][f"data_prep.{split}"]) for split in ("train", "val", "test")]
    rules = set(pl.concat([Dataset.load(folder).ledger for folder in folders]).get_column("rule"))
    assert rules >= {
        *("clipped", "zero area", "outside", "duplicate annotation", "unknown category", "unreadable image"),
    }


def test_the_model_is_registered_under_its_content_digest(first: Finished, runs: Path) -> None:
    store = open_store(f"file://{runs}/store")
    records = [found.key for found in store.list("models/") if found.key.endswith("/model.json")]
    manifest = json.loads((Path(first.summary["artifacts"]["model_pack.archive"]) / "manifest.json").read_text())
    assert records == [f"models/workbench/versions/{manifest['content_digest']}/model.json"]
    champion = store.exists("models/workbench/aliases/champion.json")
    assert champion == first.summary["passed"]


def test_a_second_run_reuses_every_unchanged_step_but_publishing(first: Finished, runs: Path) -> None:
    second = submit("--runs", runs, settings=SMALL)
    assert second.code == 0, second.err
    cached = {step["name"]: step["cached"] for step in second.summary["steps"]}
    assert cached == {step: step != "model_publish" for step in STEPS}
    assert second.summary["metrics"] == first.summary["metrics"]
    assert len(second.summary["reports"]) == 6


def test_a_changed_parameter_runs_the_steps_it_matters_to_and_a_gate_not_met_exits_with_3(
    first: Finished, runs: Path
) -> None:
    assert first.code == 0
    changed = submit("--runs", runs, settings=(*SMALL, "min_map50=0.9999"))
    assert changed.code == 3, changed.err
    cached = {step["name"]: step["cached"] for step in changed.summary["steps"]}
    assert {name for name, reused in cached.items() if not reused} == {"model_eval", "model_publish"}
    assert changed.summary["passed"] is False
    assert changed.summary["state"] == "succeeded"
    assert {step["name"]: step["state"] for step in changed.summary["steps"]}["model_publish"] == "skipped"
    record = read_outcome(open_store(f"file://{runs}/store"), changed.summary["run_id"])
    assert record is not None
    assert record.gate is not None
    assert "below the 0.9999 the gate asks for" in record.gate.reasons[0]


def test_a_run_that_changes_nothing_ends_as_unchanged_when_asked_to(first: Finished, runs: Path) -> None:
    assert first.code == 0
    again = submit("--runs", runs, settings=(*SMALL, "only_if_changed=true"))
    assert again.code == 0, again.err
    states = {step["name"]: step["state"] for step in again.summary["steps"]}
    assert states == dict.fromkeys(STEPS[2:], "skipped") | dict.fromkeys((*STEPS[:2], "change_check"), "succeeded")
    record = read_outcome(open_store(f"file://{runs}/store"), again.summary["run_id"])
    assert record is not None
    assert record.state == "unchanged"
