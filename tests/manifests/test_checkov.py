import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

Documents = list[dict[str, Any]]
Rendered = dict[str, Documents]

CHECKOV = "checkov==3.3.30"
EXPLAINED = {
    ("CKV_K8S_35", "Deployment.kubeflow.detection-serving"),
    ("CKV_K8S_35", "CronJob.kubeflow.detection-housekeeping"),
}


@pytest.mark.slow
def test_checkov_has_nothing_to_say_but_what_is_explained(rendered: Rendered, tmp_path: Path) -> None:
    runner = shutil.which("uv")
    if runner is None:
        pytest.skip("uv, which runs checkov apart from our own libraries, is not installed")
    path = tmp_path / "spot.yaml"
    path.write_text(yaml.safe_dump_all(rendered["spot"]))
    options = ["--framework", "kubernetes", "--skip-download", "--compact", "--output", "json"]
    command = [runner, "tool", "run", "--from", CHECKOV, "checkov", "--file", str(path), *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=500)
    if not done.stdout.lstrip().startswith("{"):
        pytest.skip(f"{CHECKOV} cannot be had here: {done.stderr.strip()[-200:]}")
    results = json.loads(done.stdout)["results"]
    assert [(one["check_id"], one["resource"]) for one in results["failed_checks"]] == []
    skipped = {
        (one["check_id"], one["resource"]): one["check_result"]["suppress_comment"] for one in results["skipped_checks"]
    }
    assert set(skipped) == EXPLAINED
    assert all(len(reason) > 10 for reason in skipped.values())
    assert len(results["passed_checks"]) > 300
