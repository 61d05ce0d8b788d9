import os
import subprocess
import sys
import textwrap
from pathlib import Path

from components.shared.progress import read_progress
from components.shared.store import open_store


def run_step_in_a_process(tmp_path: Path, body: str) -> subprocess.CompletedProcess[str]:
    script = "from components.shared.step import run_step\nfrom components.shared import errors\n"
    script += textwrap.dedent(body) + f"\nprint('returned', run_step('data_load', 'file://{tmp_path}/store', work))"
    return subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PIPELINE_RUN_ID": "r1"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_step_returns_what_its_work_returns_and_its_progress_says_succeeded(tmp_path: Path) -> None:
    done = run_step_in_a_process(tmp_path, "def work(notify):\n    notify(0.5, 'half')\n    return 42")
    assert (done.returncode, done.stdout.strip()) == (0, "returned 42")
    progress = read_progress(open_store(f"file://{tmp_path}/store"), "r1", "data_load")
    assert progress is not None
    assert (progress.state, progress.share) == ("succeeded", 1.0)


def test_an_expected_error_is_one_last_sentence_and_its_exit_code(tmp_path: Path) -> None:
    done = run_step_in_a_process(tmp_path, "def work(notify):\n    raise errors.SourceError('There is nothing.')")
    assert done.returncode == 2
    assert done.stderr.strip().endswith("There is nothing.")
    assert "Traceback" not in done.stderr
    progress = read_progress(open_store(f"file://{tmp_path}/store"), "r1", "data_load")
    assert progress is not None
    assert (progress.state, progress.error) == ("failed", "There is nothing.")


def test_a_defect_keeps_its_traceback(tmp_path: Path) -> None:
    done = run_step_in_a_process(tmp_path, "def work(notify):\n    return 1 / 0")
    assert done.returncode == 1
    assert "ZeroDivisionError" in done.stderr


def test_a_terminated_step_still_cleans_up(tmp_path: Path) -> None:
    body = f"""
    import os, signal, pathlib
    def work(notify):
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            signal.pause()
        finally:
            pathlib.Path({str(tmp_path / "cleaned")!r}).touch()
    """
    done = run_step_in_a_process(tmp_path, body)
    assert done.returncode == 143
    assert (tmp_path / "cleaned").exists()


def test_a_store_that_cannot_be_reached_costs_the_progress_only(tmp_path: Path) -> None:
    (tmp_path / "store").write_text("a file where the folder should be")
    done = run_step_in_a_process(tmp_path, "def work(notify):\n    return 42")
    assert (done.returncode, done.stdout.strip()) == (0, "returned 42")
