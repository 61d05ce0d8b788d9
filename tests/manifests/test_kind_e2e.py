import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "scripts" / "kind-e2e"


def _call(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    places = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/")} | environment
    return subprocess.run(
        ["bash", str(SCRIPT), *arguments], capture_output=True, text=True, check=False, timeout=60, env=places
    )


def test_a_dry_run_prints_every_command_in_order_and_runs_none() -> None:
    done = _call("--dry-run", "--base", f"python@sha256:{'a' * 64}", PATH="/usr/bin:/bin")
    assert done.returncode == 0, done.stderr
    said = [line for line in done.stdout.splitlines() if line.startswith("+ ")]
    landmarks = [
        "kind create cluster", "cluster-scoped-resources", "platform-agnostic", "scripts/build-images",
        "configure.py laptop", "overlays/laptop", "minio-setup", "pipelines.doctor", "pipelines.submit",
        "rollout status deployment/detection-serving", "/predict", "kind delete cluster",
    ]  # fmt: skip
    places = [next(i for i, line in enumerate(said) if landmark in line) for landmark in landmarks]
    assert places == sorted(places)
    assert sum("ref=2.17.0" in line for line in said) == 2
    assert f"--base python@sha256:{'a' * 64}" in done.stdout


def test_what_is_kept_is_not_removed_and_what_is_left_can_be() -> None:
    assert "kind delete" not in _call("--dry-run", "--keep").stdout
    removal = _call("--dry-run", "--delete", "--name", "other").stdout
    assert removal.splitlines() == ["+ kind delete cluster --name other", "+ docker rm --force other-registry"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(["--nonsense"], "--nonsense"), (["--name"], "needs a value"), (["--name", "A b; rm -rf /"], "A b; rm -rf /")],
)
def test_a_wrong_option_is_refused_before_anything_is_started(arguments: list[str], said: str) -> None:
    done = _call("--dry-run", *arguments)
    assert done.returncode == 2
    assert said in done.stderr
    assert not done.stdout


def test_missing_tools_are_named(tmp_path: Path) -> None:
    for tool in ("bash", "dirname", "git", "sed"):
        (tmp_path / tool).symlink_to(shutil.which(tool) or "/bin/false")
    done = _call(PATH=str(tmp_path))
    assert done.returncode == 2
    assert done.stderr.startswith("error: not installed: docker kind kubectl")


def test_the_help_is_the_scripts_own_head() -> None:
    assert "--dry-run" in _call("--help").stdout


@pytest.mark.slow
def test_the_commands_it_types_take_the_options_it_gives() -> None:
    said = _call("--dry-run").stdout.splitlines()
    for module in ("pipelines.submit", "pipelines.doctor"):
        line = next(line for line in said if module in line).split()
        options = {word for word in line if word.startswith("--")}
        command = [str(ROOT / ".venv" / "bin" / "python"), "-m", module, "--help"]
        if not Path(command[0]).exists():
            pytest.skip("there is no .venv")
        text = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT, timeout=120).stdout
        assert {option for option in options if option not in text} == set()


def test_shellcheck_finds_nothing_in_it() -> None:
    tool = shutil.which("shellcheck") or shutil.which(ROOT / ".venv" / "bin" / "shellcheck")
    if tool is None:
        pytest.skip("shellcheck is not installed")
    done = subprocess.run([tool, str(SCRIPT)], capture_output=True, text=True, check=False, timeout=60)
    assert done.stdout == ""
