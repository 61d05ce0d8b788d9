"""A whole sweep on this machine: two settings, one of them packed."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from commands import LEAN, ROOT, Finished

from components.shared.detection.manifest import load_manifest
from components.shared.files import sha256_tree
from components.shared.sweep import step_name
from pipelines.record import RECORD

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.xdist_group("sweep")]
SETTINGS = [{"lr0": 0.003}, {"lr0": 0.02, "hyperparameters": {"mosaic": 0.0}}]
COMMON = (*LEAN, "sample_images=40", "sample_edge=96", "min_map50=0")


def run_sweep(runs: Path, settings: list[dict[str, Any]], *more: str) -> Finished:
    sets = [part for one in (*COMMON, f"settings={json.dumps(settings)}", *more) for part in ("--set", one)]
    done = subprocess.run(
        [sys.executable, "-m", "pipelines.sweep", "--local", "--json", "--runs", str(runs), *sets],
        cwd=ROOT,
        env=dict(os.environ),
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    return Finished(done.returncode, done.stdout, done.stderr)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def finished(runs: Path) -> Finished:
    return run_sweep(runs, SETTINGS)


def steps(finished: Finished) -> dict[str, dict[str, Any]]:
    return {step["name"]: step for step in finished.summary["steps"]}


def metadata(runs: Path, finished: Finished, step: str) -> dict[str, Any]:
    record = json.loads((runs / finished.summary["run_id"] / RECORD).read_text())
    return next(one["metadata"] for one in record["steps"] if one["name"] == step)


def test_every_setting_is_trained_and_the_rest_is_done_once(finished: Finished) -> None:
    assert finished.code == 0, finished.err
    trained = [step_name("model_train", setting) for setting in SETTINGS]
    assert list(steps(finished)) == [
        *("data_load", "data_prep"), *trained,
        *("sweep_select", "model_pack", "model_eval", "model_test", "model_publish"),
    ]  # fmt: skip
    assert {step["state"] for step in steps(finished).values()} == {"succeeded"}


def test_the_model_that_is_packed_is_the_better_one_byte_for_byte(runs: Path, finished: Finished) -> None:
    artifacts = {name: Path(path) for name, path in finished.summary["artifacts"].items()}
    models = [artifacts[f"{step_name('model_train', setting)}.model"] for setting in SETTINGS]
    scores = [load_manifest(model).metrics["map50_95"] for model in models]
    winner = models[scores.index(max(scores))]
    assert sha256_tree(artifacts["sweep_select.model"]) == sha256_tree(winner)
    assert metadata(runs, finished, "sweep_select")["model"]["digest"] == load_manifest(winner).digest
    packed = json.loads((artifacts["model_pack.archive"] / "manifest.json").read_text())
    assert load_manifest(winner).digest in json.dumps(packed)


def test_each_setting_was_trained_as_it_says_on_its_share_of_the_cpus(runs: Path, finished: Finished) -> None:
    artifacts = {name: Path(path) for name, path in finished.summary["artifacts"].items()}
    for setting in SETTINGS:
        step = step_name("model_train", setting)
        parameters = load_manifest(artifacts[f"{step}.model"]).parameters
        assert parameters["lr0"] == setting["lr0"]
        assert parameters.get("mosaic") == (0.0 if "hyperparameters" in setting else None)
        assert (runs / finished.summary["run_id"] / "logs" / f"{step}.log").is_file()
        assert (runs / "store" / "progress" / finished.summary["run_id"] / f"{step}.json").is_file()
    spec = (runs / finished.summary["run_id"] / "pipeline.yaml").read_text()
    assert "PIPELINE_CPUS" in spec


def test_the_report_compares_the_settings(runs: Path, finished: Finished) -> None:
    page = (runs / finished.summary["run_id"] / "reports" / "sweep_select.html").read_text()
    for words in ("lr0=0.003", "lr0=0.02, mosaic=0", "wins with a validation mAP50-95 of", "mAP50-95 by epoch"):
        assert words in page


def test_a_sweep_with_one_setting_more_trains_only_that(runs: Path, finished: Finished) -> None:
    assert finished.code == 0
    more = {"lr0": 0.001}
    again = run_sweep(runs, [more, *SETTINGS])
    assert again.code == 0, again.err
    cached = {name for name, step in steps(again).items() if step["cached"]}
    assert {"data_load", "data_prep", *(step_name("model_train", setting) for setting in SETTINGS)} <= cached
    assert step_name("model_train", more) not in cached


def test_a_setting_that_cannot_be_trained_is_refused_before_anything_starts(tmp_path: Path) -> None:
    refused = run_sweep(tmp_path / "runs", [{"lr0": 0.01}, {"epoch": 2}])
    assert (refused.code, refused.summary["state"]) == (2, "refused")
    assert "settings[1] has 'epoch'" in refused.summary["error"]
    assert "did you mean 'epochs'?" in refused.summary["error"]
    assert not (tmp_path / "runs").exists()
