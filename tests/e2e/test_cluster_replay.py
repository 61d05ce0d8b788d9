from pathlib import Path
from typing import Any

import pytest
import yaml
from commands import TINY
from replay import Replay

from components.shared.run_record import read_outcome
from components.shared.store import open_store
from pipelines.catalogue import TRAINING
from pipelines.packages import build_package
from pipelines.parameters import resolve

pytestmark = pytest.mark.e2e
SMALL = (*TINY, "sample_images=30", "sample_edge=128", "load_seconds=0", "proof_images=2")


@pytest.fixture
def server(s3_server: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A store that this process reaches too."""
    for name, value in s3_server.environment.items():
        monkeypatch.setenv(name, value)
    return s3_server


def replayed(folder: Path, server: Any, *settings: str, fails: tuple[str, ...] = ()) -> tuple[Replay, Any]:
    """The package of the training pipeline, executed, and the record that its exit handler left."""
    store = f"s3://{server.bucket}/{folder.name}"
    config, _ = resolve(None, [*SMALL, f"store={store}", "gpus=0", *settings], {})
    spec = next(yaml.safe_load_all(build_package().text))
    variables = {**server.environment, "PIPELINE_RUN_ID": "r1", "PIPELINE_POD": "pod-1"}
    replay = Replay(spec, folder, TRAINING.arguments(config), variables, fails=fails)
    replay.run_all()
    return replay, read_outcome(open_store(store), "r1")


def test_the_compiled_commands_run_on_cluster_shaped_inputs_and_an_s3_store(tmp_path: Path, server: Any) -> None:
    replay, record = replayed(tmp_path, server, "min_map50=0")
    published = replay.outputs["model-publish"]["parameters"]
    assert published["version"]
    assert replay.outputs["model-eval"]["parameters"]["passed"] is True
    assert replay.outputs["model-test"]["artifacts"]["proof"]["metadata"]["tensors_compared"] > 0
    sizes = [path.stat().st_size for path in (tmp_path / "minio").rglob("*") if path.is_file()]
    assert len(sizes) < 60, "artifacts must stay few files: the cluster moves them one by one"
    assert (record.state, record.pipeline, record.champion) == ("succeeded", "detector-training", True)
    assert record.versions["model"] == f"workbench@{published['version']}"
    assert [step.name for step in record.steps if step.state == "skipped"] == ["model_deploy"]


def test_a_failed_step_leaves_a_record_that_says_so(tmp_path: Path, server: Any) -> None:
    replay, record = replayed(tmp_path, server, fails=("condition-2",))
    assert set(replay.outputs) == {"data-load", "data-prep", "change-check", "run-record"}
    assert record.state == "failed"
    assert {step.name: step.state for step in record.steps}["model_train"] == "pending"
