from pathlib import Path
from typing import Any

import pytest
from commands import TINY
from replay import Replay

from pipelines.compile import compile_training
from pipelines.parameters import resolve

pytestmark = pytest.mark.e2e


def test_the_compiled_commands_run_on_cluster_shaped_inputs_and_an_s3_store(tmp_path: Path, s3_server: Any) -> None:
    settings = [*TINY, "sample_images=30", "sample_edge=128", f"store=s3://{s3_server.bucket}/replay"]
    config, _ = resolve(None, settings, {})
    replay = Replay(compile_training(), tmp_path, config.model_dump(), dict(s3_server.environment))
    replay.run_all()
    assert replay.outputs["model-publish"]["parameters"]["version"]
    assert isinstance(replay.outputs["model-eval"]["parameters"]["passed"], bool)
    assert replay.outputs["model-test"]["artifacts"]["proof"]["metadata"]["tensors_compared"] > 0
    sizes = [path.stat().st_size for path in (tmp_path / "minio").rglob("*") if path.is_file()]
    assert len(sizes) < 60, "artifacts must stay few files: the cluster moves them one by one"
