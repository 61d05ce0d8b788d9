import os
import signal
import subprocess
import time
import zipfile
from pathlib import Path

import pytest
from commands import ROOT, TINY, command, submit

from components.shared.run_record import RECORD

pytestmark = pytest.mark.e2e


def broken_sources(folder: Path) -> dict[str, Path]:
    texts, empty = folder / "texts", folder / "empty"
    texts.mkdir()
    empty.mkdir()
    for number in range(3):
        (texts / f"note{number}.txt").write_text("buy milk\n")
    whole = folder / "whole.zip"
    with zipfile.ZipFile(whole, "w") as archive:
        archive.writestr("images/a.jpg", os.urandom(20_000))
    (folder / "cut.zip").write_bytes(whole.read_bytes()[:9000])
    return {"texts": texts, "empty": empty, "missing": folder / "missing", "cut": folder / "cut.zip"}


@pytest.mark.parametrize("kind", ["texts", "empty", "missing", "cut"])
def test_a_source_that_cannot_be_loaded_gets_one_sentence_and_leaves_no_dataset(tmp_path: Path, kind: str) -> None:
    source = broken_sources(tmp_path)[kind]
    finished = submit("--data", source, "--runs", tmp_path / "runs")
    assert finished.code in (1, 2)
    error = finished.summary["error"]
    assert error.endswith(".")
    assert "Traceback" not in finished.err
    assert source.name in error or str(source) in error or kind == "texts"
    left = [path for path in (tmp_path / "runs").rglob("*") if path.is_file() and "/store/" in str(path)]
    assert not [path for path in left if not {"progress", ".locks"} & set(path.parts) and path.name != RECORD], left


@pytest.mark.parametrize("setting", ["epoch=3", "epochs=-1", "model=nowhere/best.pt"])
def test_a_bad_parameter_is_refused_before_anything_starts(tmp_path: Path, setting: str) -> None:
    finished = submit("--runs", tmp_path / "runs", settings=(setting,))
    assert finished.code == 2
    assert finished.summary["state"] == "refused"
    assert not (tmp_path / "runs").exists()


def test_ctrl_c_ends_every_process_and_marks_the_run_terminated(tmp_path: Path) -> None:
    arguments = command("--runs", tmp_path / "runs", settings=(*TINY, "sample_images=2000"))
    child = subprocess.Popen(arguments, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    deadline = time.monotonic() + 60
    while not list((tmp_path / "runs").glob("*/logs/data_load.log")) and time.monotonic() < deadline:
        time.sleep(0.2)
    child.send_signal(signal.SIGINT)
    out, _ = child.communicate(timeout=40)
    assert child.returncode == 130
    assert '"state": "terminated"' in out
    (record,) = (tmp_path / "runs").glob("*/run.json")
    assert '"state": "terminated"' in record.read_text()
    time.sleep(0.5)
    running = subprocess.run(["pgrep", "-f", str(tmp_path)], capture_output=True, text=True, check=False).stdout
    assert not running.strip()
