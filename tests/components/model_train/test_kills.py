"""A training whose process is killed or told to end goes on, loses no more than it may, and ends the same.

The processes are new ones, with the real ``fsync``, whatever the suite does to its own.
"""

import json
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import fake_trainer
import psutil
import pytest
from fake_trainer import KEY, FakeTrainer, make_plan, weights_of

import components
from components.model_train.conduct import conduct
from components.shared.progress import read_progress, silent
from components.shared.store import open_store

pytestmark = pytest.mark.slow

PREEMPTED = 75
EPOCHS = 6
FINISHED = re.compile(r"epoch (\d+)/\d+ \(")
SAVED = re.compile(r"The checkpoint of epoch (\d+) is saved")
RESUMED = re.compile(r"(?:going on after|finished before, with) epoch (\d+)")


class Child:
    """A step's process that trains with the fake trainer, and what it logged so far."""

    def __init__(
        self, store: str, folder: Path, *, trainer: dict[str, Any], care: dict[str, Any], before: Sequence[str] = ()
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.result = folder / "result.json"
        command = [*before, sys.executable, fake_trainer.__file__, store, str(folder / "work"), str(self.result)]
        command += ["--trainer", json.dumps(trainer), "--care", json.dumps({"epochs": EPOCHS, **care})]
        root = str(Path(components.__file__).parent.parent)
        environment = {**os.environ, "PYTHONPATH": root, "PIPELINE_RUN_ID": "run"}
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.lines.append(line)

    def wait_for(self, text: str) -> None:
        deadline = time.monotonic() + 60
        while not any(text in line for line in self.lines):
            assert time.monotonic() < deadline, self.lines
            if self.process.poll() is not None:
                return
            time.sleep(0.01)

    def end(self, number: int) -> int:
        """Send a signal and wait; the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        code = self.process.wait(timeout=60)
        self._reader.join(timeout=60)  # until the last line is read
        return code

    def last(self, what: re.Pattern[str]) -> int:
        return max((int(found[1]) for line in self.lines if (found := what.search(line))), default=0)


@contextmanager
def child(
    store: str, folder: Path, *, trainer: dict[str, Any] | None = None, before: Sequence[str] = (), **care: Any
) -> Iterator[Child]:
    started = Child(store, folder, trainer={"seconds": 0.03, **(trainer or {})}, care=care, before=before)
    try:
        yield started
    finally:
        started.process.kill()
        started.process.wait()


def uninterrupted(tmp_path: Path) -> list[float]:
    plan = make_plan((tmp_path / "other-store").as_uri(), tmp_path / "other", epochs=EPOCHS)
    return weights_of(conduct(plan, silent, trainer=FakeTrainer()).run)


def ends_the_same(store: str, tmp_path: Path, number: int, seed: int) -> None:
    """Kill at random moments again and again until it is done, and look at what each attempt began with."""
    moments = random.Random(seed)
    saved = 0
    for attempt in range(20):
        with child(store, tmp_path / f"attempt-{attempt}") as running:
            if attempt < 3:
                running.wait_for("begins")
                time.sleep(moments.uniform(0, 0.5))
                code = running.end(number)
            else:
                code = running.process.wait(timeout=60)
                running.end(0)
            code = 0 if running.result.exists() else code  # it was on its way out
            assert code in {0, -number if number == signal.SIGKILL else PREEMPTED}
            assert running.last(RESUMED) >= saved, "what was saved is there"
            if code == 0:
                break
            if number == signal.SIGTERM and FINISHED.search("".join(running.lines)):
                finished = running.last(FINISHED)
                kept = max(running.last(SAVED), running.last(RESUMED))
                assert finished in {kept, EPOCHS}, running.lines
                saved = finished  # after the last epoch the result may be kept instead: the next attempt shows it
            saved = max(saved, running.last(SAVED), running.last(RESUMED))
    result = json.loads((tmp_path / f"attempt-{attempt}" / "result.json").read_text())
    assert result["weights"] == uninterrupted(tmp_path)
    assert [epoch["number"] for epoch in result["story"]["epochs"]] == list(range(1, EPOCHS + 1))


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=lambda number: number.name)
def test_whenever_it_is_killed_it_ends_with_the_same_weights(tmp_path: Path, number: int, seed: int) -> None:
    ends_the_same((tmp_path / "store").as_uri(), tmp_path, number, seed)


@pytest.mark.parametrize("store_uri", ["s3"], indirect=True)
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=lambda number: number.name)
def test_so_it_does_with_an_s3_store(store_uri: str, tmp_path: Path, number: int) -> None:
    ends_the_same(store_uri, tmp_path, number, 7)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_told_to_end_it_says_what_is_saved_and_exits_with_the_code_for_it(tmp_path: Path, number: int) -> None:
    store = (tmp_path / "store").as_uri()
    with child(store, tmp_path / "one", trainer={"seconds": 0.2}, checkpoint_minutes=60.0) as running:
        running.wait_for("epoch 2/6 (")
        assert running.end(number) == PREEMPTED
    sentence = r"Told to end in epoch 3 of 6 after \d+ s: saved up to epoch 2; run the same again to go on\."
    assert re.search(sentence, running.lines[-1]), running.lines
    progress = read_progress(open_store(store), "run", "model_train")
    assert progress is not None
    assert progress.state == "preempted"
    assert re.fullmatch(sentence, progress.error or "")


def test_before_the_first_epoch_there_is_nothing_to_save(tmp_path: Path) -> None:
    with child((tmp_path / "store").as_uri(), tmp_path / "one", trainer={"seconds": 0.5}) as running:
        running.wait_for("epoch 1 begins")
        assert running.end(signal.SIGTERM) == PREEMPTED
    assert "nothing to save yet; run the same again to begin anew." in running.lines[-1]


def test_deep_in_a_call_of_the_library_it_saves_and_ends_in_time(tmp_path: Path) -> None:
    store = (tmp_path / "store").as_uri()
    options = {"busy": 10**9, "seconds": 0.01}
    with child(store, tmp_path / "one", trainer=options, checkpoint_minutes=60.0, grace_seconds=6.0) as running:
        running.wait_for("epoch 1/6 (")
        time.sleep(0.5)
        told = time.monotonic()
        assert running.end(signal.SIGTERM) == PREEMPTED
        assert time.monotonic() - told < 6.0
    assert "saved up to epoch 1; run the same again to go on." in running.lines[-1]
    progress = read_progress(open_store(store), "run", "model_train")
    assert progress is not None
    assert progress.state == "preempted"
    with child(store, tmp_path / "two") as running:
        assert running.process.wait(timeout=60) == 0
    assert running.last(RESUMED) == 1


def test_after_the_last_epoch_it_saves_that_too_and_the_next_attempt_learns_nothing_more(tmp_path: Path) -> None:
    store = (tmp_path / "store").as_uri()
    options = {"finishing": 10**9, "seconds": 0.01}
    with child(store, tmp_path / "one", trainer=options, checkpoint_minutes=60.0, grace_seconds=6.0) as running:
        running.wait_for(f"epoch {EPOCHS}/{EPOCHS} (")
        assert running.end(signal.SIGTERM) == PREEMPTED
    assert f"saved up to epoch {EPOCHS}; run the same again to go on." in running.lines[-1]
    with child(store, tmp_path / "two") as running:
        assert running.process.wait(timeout=60) == 0
        running.end(0)
    assert running.last(RESUMED) == EPOCHS
    result = json.loads(running.result.read_text())
    assert (result["trained"], result["weights"]) == (0, uninterrupted(tmp_path))
    assert [epoch["number"] for epoch in result["story"]["epochs"]] == list(range(1, EPOCHS + 1))


def test_a_checkpoint_that_was_being_uploaded_when_it_was_killed_is_cleaned_up(tmp_path: Path) -> None:
    store = open_store((tmp_path / "store").as_uri())
    torn = f"checkpoints/{KEY}/000001-{'0' * 16}/files/snapshot/state.json"
    store.write(torn, b"half of it")
    os.utime(tmp_path / "store" / torn, (0, 0))
    with child(store.uri, tmp_path / "one") as running:
        assert running.process.wait(timeout=60) == 0
    assert not store.exists(torn)


def test_two_runs_of_one_training_at_once_come_to_the_same(tmp_path: Path) -> None:
    store = (tmp_path / "store").as_uri()
    with child(store, tmp_path / "one") as one, child(store, tmp_path / "two") as two:
        one.wait_for("epoch 2/6 (")
        two.wait_for("epoch 1/6 (")
        one.end(signal.SIGKILL)
        assert two.process.wait(timeout=60) == 0
    with child(store, tmp_path / "three") as three:
        assert three.process.wait(timeout=60) == 0
    results = [json.loads((tmp_path / name / "result.json").read_text()) for name in ("two", "three")]
    assert results[0]["weights"] == results[1]["weights"] == uninterrupted(tmp_path)
    assert results[1]["trained"] == 0


def test_as_the_first_process_of_a_container_it_hears_the_signal_too(tmp_path: Path) -> None:
    if subprocess.run(["unshare", "--pid", "--fork", "true"], check=False, capture_output=True).returncode:
        pytest.skip("this machine does not let a process have its own process ids")
    store = (tmp_path / "store").as_uri()
    with child(store, tmp_path / "one", before=("unshare", "--pid", "--fork"), trainer={"seconds": 0.2}) as running:
        running.wait_for("epoch 1/6 (")
        (first,) = psutil.Process(running.process.pid).children()
        first.send_signal(signal.SIGTERM)
        assert running.process.wait(timeout=60) == PREEMPTED
        running.end(0)
    assert "saved up to epoch" in running.lines[-1]
