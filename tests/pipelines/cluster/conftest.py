"""A Kubeflow Pipelines of its own for each test, and an environment that names no other."""

import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.pipelines.cluster.kfp_stub import KfpStub

WHOLE_COMMANDS = {
    *("test_doctor", "test_schedule", "test_submit_cluster", "test_upload", "test_plan"),
    *("test_runs", "test_runs_act", "test_runs_watch", "test_runs_logs"),
}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What needs a server of its own is slow, and so are whole commands by the hundred."""
    for item in items:
        if Path(__file__).parent not in item.path.parents:
            continue
        if "s3_server" in getattr(item, "fixturenames", ()) or item.path.stem in WHOLE_COMMANDS:
            item.add_marker(pytest.mark.slow)


@pytest.fixture(autouse=True)
def _no_cluster_of_the_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No address, credential, proxy, kubeconfig or home of whoever runs the tests."""
    names = [
        name for name in os.environ if name.startswith(("KFP_", "KF_PIPELINES_", "KUBE")) or "PROXY" in name.upper()
    ]
    for name in names:
        monkeypatch.delenv(name)
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("COLUMNS", "200")


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waits between two tries are short."""
    monkeypatch.setattr("pipelines.backends.cluster.calls._BACKOFF", 0.001)


@pytest.fixture
def kfp() -> Iterator[KfpStub]:
    """A Kubeflow Pipelines; each request has to be as KFP's own OpenAPI has it."""
    stub = KfpStub()
    try:
        yield stub
    finally:
        stub.close()
    assert stub.problems == []


@pytest.fixture
def s3_uri(s3_server: Any, monkeypatch: pytest.MonkeyPatch) -> str:
    """An empty S3 store's address; the environment to open it is set."""
    for name in [name for name in os.environ if name.startswith(("AWS_", "S3_"))]:
        monkeypatch.delenv(name)
    for name, value in s3_server.environment.items():
        monkeypatch.setenv(name, value)
    return f"s3://{s3_server.bucket}/{uuid.uuid4().hex}"
