"""What the demonstrations share: a small training through the real command, and a look at what it left."""

# ruff: noqa: PLC0415 - what is heavy is loaded where it is used

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
SMALL = {"sample_images": "60", "sample_edge": "128", "imgsz": "64", "batch": "8", "epochs": "8", "device": "cpu"}
WAIT = 300.0  # seconds a demonstration waits for anything
sys.path.insert(0, str(ROOT))


def say(text: str) -> None:
    """Tell the person at the terminal."""
    print(text, flush=True)


def hold(claim: str, *, true: bool) -> None:
    """Show whether a claim holds; one that does not ends the demonstration with exit code 1."""
    say(f"{'✓' if true else '✗'} {claim}")
    if not true:
        sys.exit(1)


@dataclass(frozen=True)
class Run:
    """A pipeline run on this machine: its folder of runs, and the command while it goes on."""

    runs: Path
    process: subprocess.Popen[bytes]

    @property
    def directory(self) -> Path:
        """The newest run's folder."""
        return max((path.parent for path in self.runs.glob("*/run.json")), key=lambda path: path.stat().st_mtime)

    def progress(self) -> dict[str, Any]:
        """What model_train tells of itself; empty before it begins."""
        found = sorted(self.runs.glob("store/progress/*/model_train.json"), key=lambda path: path.stat().st_mtime)
        newest = [path for path in found if path.parent.name == self.directory.name]
        try:
            return json.loads(newest[-1].read_text()) if newest else {}
        except ValueError:
            return {}

    def wait_for_epoch(self, epoch: int) -> None:
        """Return once model_train is in this epoch or a later one."""
        deadline = time.monotonic() + WAIT
        while time.monotonic() < deadline and self.process.poll() is None:
            message = str(self.progress().get("message", "")) if list(self.runs.glob("*/run.json")) else ""
            if message.startswith("epoch ") and int(message.split()[1].partition("/")[0]) >= epoch:
                return
            time.sleep(0.05)
        sys.exit(f"The training never came to epoch {epoch}: {self.progress()}")

    def wait(self) -> int:
        """The command's exit code."""
        return self.process.wait(WAIT)

    def trainers(self) -> list[int]:
        """Processes of model_train's executor."""
        mark = str(self.directory)
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                words = (entry / "cmdline").read_bytes().decode(errors="replace")
                environment = (entry / "environ").read_bytes().decode(errors="replace")
            except OSError:
                continue
            if "model_train" in words and "executor_main" in words and mark in environment + words:
                found.append(int(entry.name))
        return found

    def kill(self) -> None:
        """Kill everything of the run at once, as a power cut would."""
        for pid in self.trainers():
            os.kill(pid, signal.SIGKILL)
        self.process.kill()
        self.process.wait()

    def model(self) -> Path:
        """The model folder of a run that has ended."""
        record = json.loads((self.directory / "run.json").read_text())
        step = next(step for step in record["steps"] if step["name"] == "model_train")
        return Path(step["outputs"]["model"])

    def log(self) -> str:
        """model_train's log."""
        return (self.directory / "logs" / "model_train.log").read_text(errors="replace")


def submit(runs: Path, settings: Mapping[str, str], *options: str) -> Run:
    """Start ``python -m pipelines.submit --local`` with these settings."""
    command = [sys.executable, "-m", "pipelines.submit", "--local", "--runs", str(runs), *options]
    for name, value in {**SMALL, **settings}.items():
        command += ["--set", f"{name}={value}"]
    runs.mkdir(parents=True, exist_ok=True)
    with (runs / "submit.log").open("ab") as log:
        return Run(runs, subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT))


def finished(runs: Path, settings: Mapping[str, str], *options: str) -> Run:
    """Run it to its end; exit codes 0 and 3 (the gate) are fine."""
    run = submit(runs, settings, *options)
    if run.wait() not in {0, 3}:
        sys.exit(f"The run failed:\n{(runs / 'submit.log').read_text()[-3000:]}")
    return run


def same_weights(first: Path, second: Path) -> bool:
    """Whether the served weights of two model folders are equal, tensor by tensor, bit by bit."""
    import torch

    from components.shared.detection.ultralytics_runtime import load_state

    one, two = (load_state(folder / "weights" / "best.pt") for folder in (first, second))
    return list(one) == list(two) and all(torch.equal(one[name], two[name]) for name in one)


@contextmanager
def folder() -> Iterator[Path]:
    """A folder that goes away afterwards, unless ``--keep DIR`` names one that stays."""
    if "--keep" in sys.argv:
        path = Path(sys.argv[sys.argv.index("--keep") + 1]).resolve()
        path.mkdir(parents=True, exist_ok=True)
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="show-", ignore_cleanup_errors=True) as scratch:
        yield Path(scratch)


def prepared(work: Path, *, images: int = 60, edge: int = 128) -> tuple[Path, Path, str]:
    """The sample loaded and prepared: the folders of train and val, and the store."""
    from components.data_load.load import load
    from components.data_load.options import LoadOptions, SampleOptions
    from components.data_prep.outcome import PrepareOptions
    from components.data_prep.prepare import run

    store = (work / "store").as_uri()
    sample = SampleOptions(images=images, edge=edge)
    load(LoadOptions(source="sample://workbench", sample=sample), store, work / "set", work / "load.html")
    outputs = {split: work / split for split in ("train", "val", "test")}
    run(work / "set", store, outputs, (work / "prepare.html", work / "prepare.md"), PrepareOptions())
    return work / "train", work / "val", store
