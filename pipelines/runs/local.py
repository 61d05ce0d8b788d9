"""Runs of this machine: their folders below ``--runs``, whether they still go on, and ending them."""

import json
import os
import shutil
import signal
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from components.shared.errors import ConfigError, PipelineError, StoreError
from components.shared.files import write_atomically
from components.shared.progress import StepProgress
from pipelines.config import TrainingConfig
from pipelines.executor_config import ExecutorConfig
from pipelines.record import RECORD, RunRecord, StepRecord
from pipelines.runs.model import RunFacts, StepFacts, Termination
from pipelines.runs.processes import processes
from pipelines.runs.store import TERMINATED, RunStores, forget, who_am_i
from pipelines.sweep_config import SweepConfig

ARCHIVED = "archived"  # a file in a run's folder: it was put away
_STATES = {"running": "RUNNING", "succeeded": "SUCCEEDED", "failed": "FAILED", "terminated": "CANCELED"}
_WORKER = "pipelines.backends.local_worker"
_POLL = 0.2
_CLOCK = 2.0  # seconds by which the starts of a run and of its process may be off


@dataclass(frozen=True)
class LocalRun:
    """A run of this machine and its folder."""

    record: RunRecord
    directory: Path

    @property
    def is_archived(self) -> bool:
        """Whether it was put away."""
        return (self.directory / ARCHIVED).exists()


def local_runs(folder: Path) -> list[LocalRun]:
    """The runs of a folder, the newest first; what is no run, or one whose record cannot be read, is left out."""
    found = [run for path in folder.glob(f"*/{RECORD}") if (run := _read(path.parent))]
    return sorted(found, key=lambda run: (run.record.started, run.record.run_id), reverse=True)


def local_facts(run: LocalRun, stores: RunStores) -> RunFacts:
    """What is known of a local run."""
    record = run.record
    lost = ""
    if record.state == "running" and not is_alive(run):
        run = _read(run.directory) or run  # it may just have ended
        record = run.record
        if record.state == "running":
            lost = "Its process is gone without having ended it: killed, or the machine was restarted."
    store = stores.of(record.parameters)
    progress = stores.progress(store, record.run_id) if store and record.state == "running" else {}
    return RunFacts(
        run_id=record.run_id,
        name=name_of(run),
        pipeline=record.pipeline,
        state=_STATES[record.state],
        created=record.started,
        finished=record.finished,
        steps=tuple(_step(step, progress.get(step.name)) for step in record.steps),
        parameters=record.parameters,
        termination=_termination(run) if record.state == "terminated" else None,
        outcome="unchanged" if record.unchanged else "",
        passed=record.passed,
        metrics=record.metrics,
        message=record.error or "",
        lost=lost,
        blind=tuple(stores.blind.values()),
        link=(run.directory / "index.html").as_uri() if (run.directory / "index.html").exists() else "",
        archived=run.is_archived,
        experiment=str(run.directory),
    )


def name_of(run: LocalRun) -> str:
    """What people call a run: its data set, or else its pipeline."""
    loaded = run.record.find("data_load")
    made = loaded.metadata.get("dataset", {}).get("name") if loaded else None
    return str(run.record.parameters.get("name") or made or run.record.pipeline)


def is_alive(run: LocalRun) -> bool:
    """Whether something on this machine still works on the run."""
    if _worker(run) is not None:
        return True
    process = processes().get(run.record.process)  # before its worker begins, and while it settles the record
    return process is not None and "pipelines" in process.command and process.started < run.record.started + _CLOCK


def end_local(run: LocalRun, why: str, *, timeout: float, force: bool = False) -> bool:
    """Ask a run's own process to end it, and wait; whether it is over.

    Args:
        run: one that goes on.
        why: kept with the run.
        timeout: seconds to wait; 0: not at all.
        force: without waiting for what a training saves.

    Raises:
        ConfigError: its process is none of ours, or belongs to somebody else.
    """
    worker = _worker(run)
    if worker is None:
        raise ConfigError(
            f"The run {run.record.run_id!r} has no process on this machine: it was started on another one, or has just"
            " ended."
        )
    mark = json.dumps({"who": who_am_i(), "why": why, "at": time.time()})
    with write_atomically(run.directory / TERMINATED) as temporary:
        temporary.write_text(mark, encoding="utf-8")
    try:
        os.kill(run.record.process, signal.SIGTERM)
        if force:
            time.sleep(_POLL)
            os.kill(run.record.process, signal.SIGTERM)  # told twice, it does not wait
    except ProcessLookupError:
        pass
    except PermissionError as error:
        raise ConfigError(f"The run {run.record.run_id!r} belongs to another user: ask them, or root.") from error
    deadline = time.monotonic() + timeout
    while _is_going(run) and time.monotonic() < deadline:
        time.sleep(_POLL)
    return not _is_going(run)


def delete_local(run: LocalRun) -> None:
    """Remove a run's folder and its progress.

    Raises:
        ConfigError: it goes on, or its folder cannot be removed.
    """
    if _is_going(run):
        raise ConfigError(f"The run {run.record.run_id!r} still goes on: abort it first.")
    with suppress(PipelineError, StoreError):
        store = RunStores().of(run.record.parameters)
        if store is not None:
            forget(store, run.record.run_id)
    try:
        shutil.rmtree(run.directory)
    except OSError as error:
        raise ConfigError(f"{str(run.directory)!r} cannot be removed: {error.strerror}.") from error


def archive_local(run: LocalRun) -> None:
    """Put a run away: it is no longer listed."""
    (run.directory / ARCHIVED).touch()


def run_again(run: LocalRun, settings: list[str]) -> int:
    """Start a run with the same parameters, some of them set anew; the exit code of ``submit``.

    Raises:
        ConfigError: the run's pipeline is none of this release's.
    """
    from pipelines import submit  # noqa: PLC0415 - kfp is loaded only here
    from pipelines.catalogue import EXECUTOR, SWEEP, TRAINING  # noqa: PLC0415 - same

    pairs: list[tuple[Any, type[TrainingConfig]]] = [
        (TRAINING, TrainingConfig),
        (SWEEP, SweepConfig),
        (EXECUTOR, ExecutorConfig),
    ]
    found = next((pair for pair in pairs if pair[0].name == run.record.pipeline), None)
    if found is None:
        raise ConfigError(f"The pipeline {run.record.pipeline!r} of the run is none of this release's.")
    pipeline, config = found
    defaults = {name: field.get_default(call_default_factory=True) for name, field in config.model_fields.items()}
    changed = {
        name: value
        for name, value in run.record.parameters.items()
        if name in defaults and (name in {"store", "source"} or defaults[name] != value)
    }
    with tempfile.TemporaryDirectory(prefix="rerun-") as folder:
        path = Path(folder) / "parameters.yaml"
        path.write_text(yaml.safe_dump(changed), encoding="utf-8")
        arguments = ["--local", "--runs", str(run.directory.parent), "--config", str(path)]
        return submit.main([*arguments, *(word for one in settings for word in ("--set", one))], pipeline)


def _read(directory: Path) -> LocalRun | None:
    try:
        return LocalRun(RunRecord.model_validate_json((directory / RECORD).read_bytes()), directory.resolve())
    except (OSError, ValidationError, ValueError):
        return None


def _step(step: StepRecord, progress: StepProgress | None) -> StepFacts:
    state = "" if step.state == "pending" else step.state.upper()
    return StepFacts(
        name=step.name,
        state=state,
        started=step.started,
        finished=step.finished,
        progress=progress,
        error=step.error or "",
        cached=step.cached,
        note=step.reason,
        about=step.about,
    )


def _termination(run: LocalRun) -> Termination:
    with suppress(OSError, ValueError, TypeError):
        found = dict(json.loads((run.directory / TERMINATED).read_text(encoding="utf-8")))
        return Termination(str(found.get("who", "")), str(found.get("why", "")), time.time())
    return Termination(at=time.time())


def _is_going(run: LocalRun) -> bool:
    found = _read(run.directory)
    return found is not None and found.record.state == "running" and is_alive(found)


def _worker(run: LocalRun) -> int | None:
    """The process that works on the run, a child of the one its record names."""
    for number, process in processes().items():
        mine = process.parent == run.record.process and _WORKER in process.command
        if mine and str(run.directory) in process.command:
            return number
    return None
