"""Run a pipeline on this machine: kfp.local in a child process, watched from here."""

import json
import os
import re
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from components.shared.errors import ConfigError
from components.shared.progress import StepProgress, read_progress
from components.shared.step import LOG_DIRECTORY, RUN_ID
from components.shared.store import Store, open_store
from pipelines.backends.local_worker import ARGUMENTS, EVENTS, SPEC
from pipelines.catalogue import TRAINING, Pipeline
from pipelines.code import step_digest
from pipelines.compile import write_spec
from pipelines.config import TrainingConfig
from pipelines.display import Display
from pipelines.record import RunRecord, StepRecord, is_true, note_skipped
from pipelines.run_pages import copy_reports, write_run_index

POLL = 0.2  # seconds between two looks at the run
PROGRESS = 0.5  # seconds between two reads of the running step's progress from the store
GRACE = 35.0  # seconds a run has to end after it was told to: a training saves what it has learned
SETTLE = 5.0  # seconds a failed step has to say why: the shell around it may have ended first
_UNFINISHED = (
    "failed",
    "preempted",
    "running",
)  # states of a step after which a run cannot have succeeded, the worst first
TAIL = 2000  # characters of kfp's own log that may hold the reason of a failure

_SAID = re.compile(r"[0-9-]+ [0-9:,]+ ERROR +(.+)")


@dataclass(frozen=True)
class LocalOptions:
    """How to run: the folder that holds runs, store and cache, and whether earlier results may be reused."""

    runs: Path
    reuse: bool = True


class Stopped(BaseException):
    """A person or the system asked this command to stop."""


def run_local(
    config: TrainingConfig, options: LocalOptions, display: Display, pipeline: Pipeline[Any] = TRAINING
) -> tuple[RunRecord, Path]:
    """Run a whole pipeline and wait for it.

    Returns:
        The run's record, whose state tells how it ended, and its folder.

    Raises:
        ConfigError: the folder of runs cannot be written.
    """
    if config.deploy:
        raise ConfigError(f"deploy={config.deploy!r} rolls a Deployment of a cluster: leave it empty here.")
    run_id = f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}"
    directory = (options.runs / run_id).resolve()
    _make_folder(directory, options.runs)
    record = RunRecord(
        run_id=run_id,
        pipeline=pipeline.name,
        parameters=config.model_dump(),
        started=time.time(),
        process=os.getpid(),
        steps=[
            StepRecord(name=step.name, about=step.about, log=str(directory / "logs" / f"{step.name}.log"))
            for step in pipeline.plan(config)
        ],
    )
    record.save(directory)
    _write_inputs(pipeline, config, directory)
    watch = _Watch(record, directory, open_store(config.store), display)
    with _stop_on_signals(), tempfile.TemporaryDirectory(prefix="pipeline-", ignore_cleanup_errors=True) as scratch:
        child = _start(directory, options, scratch)
        try:
            watch.follow(child)
        except (KeyboardInterrupt, Stopped):
            _stop(child)
            watch.read_events()
            watch.stopped()
        finally:
            _end(child)
    watch.close(child.returncode)
    return record, directory


def _make_folder(directory: Path, runs: Path) -> None:
    try:
        (directory / "logs").mkdir(parents=True)
    except OSError as error:
        raise ConfigError(f"{str(runs)!r} cannot hold runs ({error.strerror}): give another folder.") from error


def _write_inputs(pipeline: Pipeline[Any], config: TrainingConfig, directory: Path) -> None:
    images = {step: f"local-python/{step}@sha256:{step_digest(step)}" for step in pipeline.kinds}
    write_spec(pipeline.compile(config, images), directory / SPEC)
    (directory / ARGUMENTS).write_text(json.dumps(pipeline.arguments(config)), encoding="utf-8")
    (directory / EVENTS).touch()


def _start(directory: Path, options: LocalOptions, scratch: str) -> subprocess.Popen[bytes]:
    environment = {
        **os.environ,
        RUN_ID: directory.name,
        LOG_DIRECTORY: str(directory / "logs"),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
        "PYTHONPATH": f"{Path(__file__).parents[2]}{os.pathsep}{os.environ.get('PYTHONPATH', '')}".rstrip(os.pathsep),
        "PYTHONUNBUFFERED": "1",
        "TMPDIR": scratch,  # kfp leaves folders behind for each task, and a killed step leaves its own
    }
    command = [sys.executable, "-m", "pipelines.backends.local_worker", str(directory), str(options.runs / "cache")]
    with (directory / "logs" / "kfp.log").open("wb") as log:
        return subprocess.Popen(
            [*command, "reuse" if options.reuse else "fresh"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,  # so that one signal reaches every process of the run, and no other
        )


def _stop(child: subprocess.Popen[bytes]) -> None:
    """End every process of the run; told to stop a second time, without waiting for what they save."""
    try:
        _end(child)
    except (KeyboardInterrupt, Stopped):
        _signal_group(child, signal.SIGKILL)
        child.wait()


def _end(child: subprocess.Popen[bytes]) -> None:
    """End every process of the run: asked first, so that steps clean up behind themselves, then killed."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        deadline = time.monotonic() + GRACE
        alive = _signal_group(child, number)
        while alive and time.monotonic() < deadline:
            time.sleep(POLL)
            alive = _signal_group(child, 0)
        if not alive:
            child.wait()
            return


def _signal_group(child: subprocess.Popen[bytes], number: int) -> bool:
    """Send a signal to the run's processes; False when there is none left."""
    child.poll()  # reap it, or its group never empties
    try:
        os.killpg(child.pid, number)
    except ProcessLookupError:
        return False
    return True


class _stop_on_signals:  # noqa: N801 - used as a with statement
    """Within the block a termination signal raises ``Stopped``, as Ctrl-C raises ``KeyboardInterrupt``."""

    def __enter__(self) -> None:
        self._former = {number: signal.signal(number, self._stop) for number in (signal.SIGTERM, signal.SIGHUP)}

    def __exit__(self, *_: object) -> None:
        for number, handler in self._former.items():
            signal.signal(number, handler)

    @staticmethod
    def _stop(number: int, _frame: FrameType | None) -> None:
        raise Stopped(number)


class _Watch:
    """Turns the child's events and the steps' progress into the run's record and the display."""

    def __init__(self, record: RunRecord, directory: Path, store: Store, display: Display) -> None:
        self._record = record
        self._directory = directory
        self._store = store
        self._display = display
        self._position = 0
        self._display.begin(record)

    def follow(self, child: subprocess.Popen[bytes]) -> None:
        """Watch until the child ends."""
        looked, progress = 0.0, dict[str, StepProgress | None]()
        while child.poll() is None:
            self.read_events()
            running = [step for step in self._record.steps if step.state == "running"]
            if time.monotonic() - looked >= PROGRESS:
                progress = {step.name: self._progress(step) for step in running}
                looked = time.monotonic()
            self._display.update(self._record, *(progress.get(step.name) for step in running))
            time.sleep(POLL)
        self.read_events()

    def read_events(self) -> None:
        """Take in what the child has told since the last look."""
        for event in self._new_events():
            step = self._step(str(event["step"]), failed=event["event"] == "failed")
            if step is None:
                continue
            self._apply(step, event)
            self._record.save(self._directory)
            self._display.changed(self._record, step)

    def _step(self, name: str, *, failed: bool) -> StepRecord | None:
        """The record of a step; ``None`` for one that people are not shown, unless it failed."""
        step = self._record.find(name)
        if step is None and failed:
            step = StepRecord(name=name, log=str(self._directory / "logs" / f"{name}.log"))
            self._record.steps.append(step)
        return step

    def _new_events(self) -> Iterator[dict[str, object]]:
        with (self._directory / EVENTS).open(encoding="utf-8") as handle:
            handle.seek(self._position)
            lines = handle.read().split("\n")
        for line in lines[:-1]:  # what follows the last newline is still being written
            self._position += len(line.encode()) + 1
            yield json.loads(line)

    def _apply(self, step: StepRecord, event: dict[str, object]) -> None:
        moment = float(str(event["time"]))
        kind = event["event"]
        if kind == "started":
            step.state, step.started = "running", moment
            return
        step.finished = moment
        step.cached = kind == "cached"
        step.started = moment if step.cached else step.started
        progress = None if step.cached else self._last_progress(step, wait=SETTLE if kind == "failed" else 0.0)
        step.warnings = progress.warnings if progress else []
        step.state = "succeeded"
        if kind == "failed":
            step.state = "preempted" if progress and progress.state == "preempted" else "failed"
            step.error = f"{step.about}: {self._reason(step)}" if step.about else self._reason(step)
        outputs = event.get("outputs")
        for name, value in (outputs if isinstance(outputs, dict) else {}).items():
            artifact = isinstance(value, dict) and set(value) == {"path", "metadata"}
            step.outputs[name] = value["path"] if artifact else value
            if artifact:
                step.metadata[name] = value["metadata"]

    def _progress(self, step: StepRecord) -> StepProgress | None:
        return read_progress(self._store, self._record.run_id, step.name)

    def _last_progress(self, step: StepRecord, *, wait: float) -> StepProgress | None:
        """What the step told last; one that seems to go on has ``wait`` seconds to tell how it ended."""
        until = time.monotonic() + wait
        while (progress := self._progress(step)) and progress.state == "running" and time.monotonic() < until:
            time.sleep(POLL)
        return progress

    def _reason(self, step: StepRecord) -> str:
        progress = self._progress(step)
        if progress and progress.error:
            return progress.error
        log = (
            self._directory / "logs" / ("kfp.log" if not Path(step.log or "").is_file() else Path(step.log or "").name)
        )
        step.log = str(log)
        if progress and progress.state == "running":
            return f"{step.name} was killed before it could say why; out of memory is the usual reason."
        lines = [
            line for line in log.read_text(encoding="utf-8", errors="replace")[-TAIL:].splitlines() if line.strip()
        ]
        own = [line for line in lines if line.startswith("    ")] or lines  # kfp sets what a step says off like this
        last = own[-1].strip() if own else "its log is empty"
        said = _SAID.fullmatch(last)  # where the store takes no progress either, the log has the step's sentence
        return said[1] if said else f"{step.name} could not start: {last}"

    def stopped(self) -> None:
        """Mark the run as ended by a person."""
        self._record.state = "terminated"
        self._record.error = "The run was stopped before its end."
        for step in self._record.steps:
            if step.state == "running":
                step.state, step.finished = "terminated", time.time()

    def close(self, code: int) -> None:
        """Settle the record, gather the reports and write the index page."""
        record = self._record
        if record.state == "running":
            ended = [step for step in record.steps if step.state in _UNFINISHED]
            failed = min(ended, key=lambda step: _UNFINISHED.index(step.state), default=None)
            done = code == 0 and failed is None
            record.state = "succeeded" if done else "failed"
            if not done:
                record.error = failed.error if failed and failed.error else self._own_failure()
                if failed and failed.state == "running":
                    failed.state, failed.finished, failed.error = "failed", time.time(), record.error
        note_skipped(record)
        evaluation = record.find("model_eval") or StepRecord(name="")
        metrics = evaluation.metadata.get("metrics", {})
        record.metrics = {name: float(str(metrics[name])) for name in ("map50", "map50_95") if name in metrics}
        if "passed" in evaluation.outputs:
            record.passed = is_true(evaluation.outputs["passed"])
        record.finished = time.time()
        copy_reports(record, self._directory)
        write_run_index(record, self._directory)
        record.save(self._directory)
        self._display.end(record)

    def _own_failure(self) -> str:
        log = self._directory / "logs" / "kfp.log"
        lines = log.read_text(encoding="utf-8", errors="replace")[-TAIL:].strip().splitlines()
        return f"The local runner failed: {lines[-1] if lines else 'it said nothing'} (see {str(log)!r})"
