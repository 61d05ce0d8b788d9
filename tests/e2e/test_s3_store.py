from pathlib import Path
from typing import Any

import pytest
from commands import LEAN, submit

from components.shared.store import open_store

pytestmark = pytest.mark.e2e


def test_a_local_run_keeps_its_data_and_models_in_s3(
    tmp_path: Path, s3_server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = f"s3://{s3_server.bucket}/local-run"
    settings = (*LEAN, "sample_images=30", "sample_edge=96", "min_map50=0", f"store={uri}")
    finished = submit("--runs", tmp_path / "runs", settings=settings, **s3_server.environment)
    assert finished.code == 0, finished.err
    for name, value in s3_server.environment.items():
        monkeypatch.setenv(name, value)
    keys = {found.key.split("/")[0] for found in open_store(uri).list("")}
    assert keys == {"checkpoints", "datasets", "models", "progress", "runs", "shards"}
    assert not (tmp_path / "runs" / "store").exists()
    secrets = {value for name, value in s3_server.environment.items() if "SECRET" in name}
    kept = "".join(path.read_text(errors="replace") for path in (tmp_path / "runs").rglob("*") if path.is_file())
    assert not [secret for secret in secrets if secret in kept]


def test_a_store_that_cannot_be_reached_is_refused_before_anything_starts(tmp_path: Path) -> None:
    finished = submit(
        "--runs",
        tmp_path / "runs",
        settings=(*LEAN, "sample_images=20", "sample_edge=96", "store=s3://bucket/x"),
        AWS_ENDPOINT_URL="http://127.0.0.1:9",
        AWS_ACCESS_KEY_ID="a",
        AWS_SECRET_ACCESS_KEY="b",
    )
    assert finished.code in (1, 2)
    assert "127.0.0.1:9" in finished.summary["error"]
    assert not (tmp_path / "runs").exists()
