"""A file is written whole or not at all, and what a killed writer leaves is cleared away."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from components.shared import files
from components.shared.files import write_atomically

WRITER = """
import sys, time
from pathlib import Path
from components.shared.files import write_atomically
with write_atomically(Path(sys.argv[1])) as temporary:
    temporary.write_text("half")
    print("ready", flush=True)
    time.sleep(60)
"""


def start_writer(path: Path) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    process = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, env=environment)
    assert process.stdout
    assert process.stdout.readline() == b"ready\n"
    return process


def write(path: Path, text: str = "whole") -> None:
    """Write a file as the first write of a process does it."""
    files.remove_abandoned.cache_clear()
    with write_atomically(path) as temporary:
        temporary.write_text(text)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("durable", [True, False])
def test_only_a_durable_file_waits_for_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, durable: bool
) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", synced.append)
    with write_atomically(tmp_path / "a.txt", durable=durable) as temporary:
        temporary.write_text("all")
    assert ([path.name for path in tmp_path.iterdir()], len(synced)) == (["a.txt"], int(durable))


def test_a_block_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    write(tmp_path / "a.json", "old")
    with pytest.raises(UnicodeEncodeError):
        write(tmp_path / "a.json", "half a pair: \ud800")
    assert (tmp_path / "a.json").read_text() == "old"
    assert names(tmp_path) == ["a.json"]


def test_what_a_killed_writer_leaves_is_removed_by_the_next_write(tmp_path: Path) -> None:
    process = start_writer(tmp_path / "a.json")
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert [name.startswith(".a.json.") for name in names(tmp_path)] == [True]
    write(tmp_path / "a.json")
    assert names(tmp_path) == ["a.json"]


def test_a_writer_at_work_is_left_alone(tmp_path: Path) -> None:
    process = start_writer(tmp_path / "a.json")
    try:
        write(tmp_path / "a.json")
        assert len(names(tmp_path)) == 2
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize(("age", "left"), [(60.0, True), (2 * files.ABANDONED, False)])
def test_a_half_written_file_of_another_machine_is_removed_when_it_is_old(
    tmp_path: Path, age: float, *, left: bool
) -> None:
    half = tmp_path / ".b.json.0123abcd-1-89abcdef.tmp"
    half.write_text("half")
    moment = half.stat().st_mtime - age
    os.utime(half, (moment, moment))
    write(tmp_path / "a.json")
    assert half.exists() is left


def test_files_of_other_names_are_not_touched(tmp_path: Path) -> None:
    for name in (".hidden", "a.tmp", ".a.json.tmp", ".a-1-2.tmp"):
        (tmp_path / name).write_text("mine")
        os.utime(tmp_path / name, (0, 0))
    write(tmp_path / "a.json")
    assert names(tmp_path) == [".a-1-2.tmp", ".a.json.tmp", ".hidden", "a.json", "a.tmp"]
