import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from components.model_train import worker
from components.shared import dataset_store
from components.shared.detection.manifest import load_manifest, verify_files
from components.shared.errors import ConfigError
from components.shared.store import open_store

SETTINGS = {"epochs": 2, "batch": 4, "imgsz": 64, "device": "cpu", "optimizer": "SGD", "lr0": 0.01}


def free_port() -> int:
    with socket.socket() as each:
        each.bind(("127.0.0.1", 0))
        return int(each.getsockname()[1])


@pytest.fixture
def references(make_splits: Callable[..., Any]) -> list[str]:
    """The worker's arguments that name both datasets and their store."""
    splits = make_splits()
    store = open_store(splits.store)
    train, val = (dataset_store.commit(store, dataset, alias=None).version for dataset in (splits.train, splits.val))
    return ["--train", f"shapes@{train}", "--val", f"shapes@{val}", "--store", splits.store]


def launch(references: list[str], output: str, *, nodes: int, ranks: int) -> list[str]:
    """What each node's ``torchrun`` wrote, started as the operator starts it: everything in PET_* variables."""
    command = [sys.executable, "-m", "torch.distributed.run", "-m", "components.model_train.worker", *references]
    command += ["--output", output, "--run-id", output.replace("/", "-"), "--settings", json.dumps(SETTINGS)]
    shared = {"PET_NNODES": str(nodes), "PET_NPROC_PER_NODE": str(ranks), "PET_MASTER_ADDR": "127.0.0.1"}
    shared |= {"PET_MASTER_PORT": str(free_port()), "GOMP_SPINCOUNT": "1000"}
    started = [
        subprocess.Popen(
            command,
            env={**os.environ, **shared, "PET_NODE_RANK": str(node)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for node in range(nodes)
    ]
    try:
        with ThreadPoolExecutor() as readers:  # a node whose pipe is full would hold up the other
            logs = list(readers.map(lambda process: process.communicate(timeout=500)[0], started))
    finally:
        for process in started:
            process.kill()
    assert [process.returncode for process in started] == [0] * nodes, "\n".join(logs)
    return logs


@pytest.mark.slow
def test_processes_of_a_launcher_train_and_leave_one_model_in_the_store(references: list[str], tmp_path: Path) -> None:
    launch(references, "trained/one", nodes=1, ranks=2)

    model = tmp_path / "store" / "trained" / "one" / "model"
    manifest = load_manifest(model)
    verify_files(model, manifest)
    assert (manifest.parameters["gpus"], manifest.metrics["epochs"]) == (2, 2)
    assert (model.parent / "report.html").is_file()

    logs = launch(references, "trained/two", nodes=2, ranks=1)  # the same training: there is nothing left to do

    assert "finished before" in logs[0]
    assert load_manifest(tmp_path / "store" / "trained" / "two" / "model").files == manifest.files


@pytest.mark.slow
def test_processes_on_two_nodes_train_together(references: list[str], tmp_path: Path) -> None:
    launch(references, "trained/nodes", nodes=2, ranks=1)

    model = tmp_path / "store" / "trained" / "nodes" / "model"
    verify_files(model, load_manifest(model))


@pytest.mark.parametrize(
    ("settings", "message"),
    [("{", "is no JSON"), ("[]", "must be a JSON object"), ('{"epoch": 3}', "did you mean 'epochs'")],
)
def test_settings_that_are_none_are_refused(settings: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        worker._settings(settings)


def test_there_is_one_process_a_gpu_and_the_launcher_knows_how_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "8")

    parameters, _ = worker._settings('{"batch": 64, "preset": "balanced"}')

    assert (parameters.gpus, parameters.batch, parameters.model) == (8, 64, "yolo11s.pt")
