import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

Run = Callable[..., tuple[int, list[str]]]

ROOT = Path(__file__).parents[2]
SETUP = ROOT / "manifests" / "components" / "minio" / "config-map-minio-setup.yaml"
CLIENT = """#!/bin/sh
echo "$*" >> "$CALLS"
case "$*" in
*"alias set minio"*) [ ! -e "$HOME/down" ] || { rm "$HOME/down"; exit 1; } ;;
*"policy attach"*) exit "${ATTACH:-0}" ;;
*"policy entities"*) echo "Policies: ${ENTITIES:-}" ;;
*"ls own/"*) exit "${OWN:-0}" ;;
esac
"""


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Runs the set-up with a client that writes down how it is called: MinIO's own cannot be had from a registry."""
    script = yaml.safe_load(SETUP.read_text())["data"]["setup.sh"].replace("sleep 5", "sleep 0")
    credentials = {
        "root/user": "root-1", "root/password": "r" * 40, "store/S3_ENDPOINT_URL": "http://minio:9000",
        "store/AWS_ACCESS_KEY_ID": "detection-1", "store/AWS_SECRET_ACCESS_KEY": "s" * 40,
    }  # fmt: skip
    for name, value in credentials.items():
        path = tmp_path / "credentials" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(value)
    (tmp_path / "mc").write_text(CLIENT)
    (tmp_path / "mc").chmod(0o755)
    calls = tmp_path / "calls"

    def do(**environment: str) -> tuple[int, list[str]]:
        calls.unlink(missing_ok=True)
        ours = script.replace("/credentials/", f"{tmp_path}/credentials/")
        places = {"PATH": f"{tmp_path}:/usr/bin:/bin", "HOME": str(tmp_path), "CALLS": str(calls)}
        done = subprocess.run(["sh", "-c", ours], env=places | environment, check=False, timeout=60)
        return done.returncode, calls.read_text().replace("--quiet ", "").splitlines()

    return do


def test_the_bucket_the_policy_and_the_user_are_made_in_order(run: Run) -> None:
    code, calls = run()
    assert code == 0
    assert [" ".join(call.split()[:3]) for call in calls] == [
        "alias set minio", "mb --ignore-existing minio/detection", "admin policy create", "admin user add",
        "admin policy attach", "alias set own", "ls own/detection",
    ]  # fmt: skip


def test_a_server_that_is_not_up_yet_is_waited_for(run: Run, tmp_path: Path) -> None:
    (tmp_path / "down").touch()
    code, calls = run()
    assert code == 0
    assert calls[0] == calls[1]


def test_a_policy_that_is_attached_already_is_no_failure_and_another_reason_is(run: Run) -> None:
    assert run(ATTACH="1", ENTITIES="detection")[0] == 0
    assert run(ATTACH="1", ENTITIES="readonly")[0] != 0


def test_a_user_that_cannot_see_the_bucket_fails_the_job(run: Run) -> None:
    assert run(OWN="1")[0] != 0


def test_the_user_of_runs_may_use_one_bucket_and_administer_nothing() -> None:
    policy = json.loads(yaml.safe_load(SETUP.read_text())["data"]["policy.json"])
    for statement in policy["Statement"]:
        assert all(action.startswith("s3:") and "*" not in action for action in statement["Action"])
        assert all(resource.startswith("arn:aws:s3:::detection") for resource in statement["Resource"])
