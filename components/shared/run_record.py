"""What a store keeps of a run: the notes its steps leave while it goes on, and the record made of them at its end.

``<store>/runs/<run>/notes/<step>.json`` holds what a step found out that the record repeats, ``record.json`` the whole.
"""

import json
import logging
from collections.abc import Mapping, Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from components.shared.errors import PipelineError, StoreError
from components.shared.progress import StepProgress, read_progress
from components.shared.step import run_name
from components.shared.store import Store, open_store

SCHEMA = 1
RECORD = "record.json"
SELF = "run_record"  # the step that writes the record is not in it
GATED = ("model_publish", "model_deploy")
UNCACHED = ("change_check", *GATED)  # what has told nothing was not run
WELL = frozenset({"SUCCEEDED", "COMPLETE", "CACHED"})  # as kfp.local and as the cluster's metadata store say it
BADLY = frozenset({"FAILED", "CANCELED", "ERROR"})

StepState = Literal["pending", "running", "succeeded", "failed", "preempted", "skipped"]
RunState = Literal["running", "succeeded", "failed", "unchanged"]
logger = logging.getLogger(__name__)


class StepOutcome(BaseModel):
    """How a step went; times are seconds since 1970, ``reason`` says why it was skipped or has none."""

    model_config = ConfigDict(frozen=True, ser_json_inf_nan="strings")

    name: str
    state: StepState
    started: float | None = None
    finished: float | None = None
    message: str = ""
    error: str | None = None
    reason: str = ""
    metrics: dict[str, float] = Field(default_factory=dict)
    warnings: list[str] = Field(default_factory=list)


class GateOutcome(BaseModel):
    """What the quality gate said."""

    model_config = ConfigDict(frozen=True)

    passed: bool
    reasons: tuple[str, ...] = ()


class RunOutcome(BaseModel):
    """A run, as far as its steps have told.

    Attributes:
        run_id: the cluster's id of it, or the name of its folder here.
        pipeline: as KFP knows it.
        name: what its person called it.
        state: ``unchanged`` is a success that had nothing to do.
        reason: why it failed, or had nothing to do, as a sentence.
        parameters: those that decide what is made, and whatever else was told.
        steps: in the order of the pipeline; what was taken from a cache has no times.
        gate: what the quality gate said; ``None``: it did not come to that, or its step came from a cache.
        metrics: of the test split.
        versions: what was made, by ``dataset``, ``train``, ``val``, ``test``, ``archive`` and ``model``.
        champion: whether the model became the champion; ``None``: nothing was published.
    """

    model_config = ConfigDict(frozen=True)

    schema_version: int = SCHEMA
    run_id: str
    pipeline: str = ""
    name: str = ""
    state: RunState
    reason: str = ""
    parameters: dict[str, object] = Field(default_factory=dict)
    started: float | None = None
    finished: float | None = None
    steps: list[StepOutcome] = Field(default_factory=list)
    gate: GateOutcome | None = None
    metrics: dict[str, float] = Field(default_factory=dict)
    versions: dict[str, str] = Field(default_factory=dict)
    champion: bool | None = None


def record_key(run: str) -> str:
    """Where a run's record lies in the store."""
    return f"runs/{run}/{RECORD}"


def note_key(run: str, step: str) -> str:
    """Where a step's note lies in the store."""
    return f"runs/{run}/notes/{step}.json"


def leave_note(store_uri: str, step: str, facts: Mapping[str, object]) -> None:
    """Keep what a step of this process's run found out; a store that takes no note costs the note, never the step."""
    try:
        open_store(store_uri).write(note_key(run_name(), step), json.dumps(dict(facts), default=str).encode())
    except (PipelineError, ValueError) as error:
        logger.warning("The run's record will lack what %s made: %s", step, error)


def read_notes(store: Store, run: str) -> dict[str, dict[str, object]]:
    """The notes of a run's steps by step; what cannot be read is left out."""
    notes = {}
    prefix = note_key(run, "").removesuffix(".json")
    for entry in store.list(prefix):
        try:
            note = json.loads(store.read(entry.key))
        except (StoreError, ValueError):
            continue
        if isinstance(note, dict):
            notes[entry.key.removeprefix(prefix).removesuffix(".json")] = note
    return notes


def read_outcome(store: Store, run: str) -> RunOutcome | None:
    """The record of a run; ``None`` when none was written (yet), or it cannot be read."""
    try:
        return RunOutcome.model_validate_json(store.read(record_key(run)))
    except (StoreError, ValidationError):
        return None


def write_outcome(store: Store, outcome: RunOutcome) -> None:
    """Keep the record of a run; a later attempt's replaces it."""
    store.write(record_key(outcome.run_id), (outcome.model_dump_json(indent=2) + "\n").encode())


def assemble(store: Store, run: str, *, planned: Sequence[str] = (), told: str = "") -> RunOutcome:
    """What the steps of a run have told so far, put together.

    Args:
        store: where they told it.
        run: the run's id.
        planned: the steps of its pipeline in order; those of a loop are found by their beginning.
        told: how whoever runs the pipeline says that it ended (``SUCCEEDED``, ``COMPLETE``, ``FAILED``); anything else
            and the steps' own words decide: a cluster counts a group as running while a part of it was skipped.
    """
    notes = read_notes(store, run)
    progress = _progress(store, run)
    gate, why = _gate(notes.get("model_eval", {})), _unchanged(notes.get("change_check", {}))
    ended = told in WELL | BADLY
    steps = _steps(planned, progress, ended=ended, badly=told in BADLY)
    failed = next((step for step in steps if step.state in {"failed", "preempted"}), None)
    state: RunState = "failed" if failed or told in BADLY else "unchanged" if why else "succeeded"
    if not ended and not failed and any(step.state in {"pending", "running"} for step in _skip(steps, gate, why)):
        state = "running"
    times = [time for step in progress.values() for time in (step.started, step.finished) if time]
    return RunOutcome(
        run_id=run,
        state=state,
        reason=_reason(failed, why) if state != "failed" or failed else UNTOLD,
        parameters=_mapping(notes.get("change_check", {}).get("parameters")),
        started=min(times, default=None),
        finished=max(times, default=None) if state != "running" else None,
        steps=_skip(steps, gate, why) if state != "failed" else steps,
        gate=gate,
        metrics=_numbers(notes.get("model_eval", {})),
        versions=_versions(notes),
        champion=bool(notes["model_publish"].get("champion")) if "model_publish" in notes else None,
    )


UNCHANGED = "nothing has changed"  # why a step of an unchanged run was skipped
UNTOLD = "A step failed before it could say why: its pod was never started, or was ended from outside."
_KILLED = "It was ended before it could say why; out of memory and a lost node are the usual reasons."


def _progress(store: Store, run: str) -> dict[str, StepProgress]:
    prefix = f"progress/{run}/"
    files = (entry.key.removeprefix(prefix) for entry in store.list(prefix))
    names = [file.removesuffix(".json") for file in files if file.endswith(".json") and "/" not in file]
    found = {name: read_progress(store, run, name) for name in names if name != SELF}
    return {name: progress for name, progress in found.items() if progress}


def _steps(
    planned: Sequence[str], progress: Mapping[str, StepProgress], *, ended: bool, badly: bool
) -> list[StepOutcome]:
    """An outcome for each step that was planned or has told anything, in the pipeline's order."""
    order: list[str] = []
    for step in planned:
        order += sorted(name for name in progress if name == step or name.startswith(f"{step}-")) or [step]
    order += sorted(set(progress) - set(order), key=lambda name: progress[name].started)
    last = max((number for number, name in enumerate(order) if name in progress), default=-1)
    outcomes = []
    for number, name in enumerate(order):
        passed_by = number < last or (ended and not badly)
        if name in progress:
            outcomes.append(_told(progress[name], ended=ended))
        elif name in UNCACHED and passed_by:
            outcomes.append(StepOutcome(name=name, state="skipped", reason="not asked for"))
        elif passed_by:
            outcomes.append(StepOutcome(name=name, state="succeeded", reason="taken from the cache"))
        else:
            outcomes.append(StepOutcome(name=name, state="pending"))
    return outcomes


def _told(progress: StepProgress, *, ended: bool) -> StepOutcome:
    facts = progress.model_dump(include={"started", "finished", "message", "error", "metrics", "warnings"})
    if ended and progress.state == "running":
        return StepOutcome(name=progress.step, state="failed", **{**facts, "error": _KILLED})
    return StepOutcome(name=progress.step, state=progress.state, **facts)


def _skip(steps: Sequence[StepOutcome], gate: GateOutcome | None, why: str) -> list[StepOutcome]:
    """The same steps, those that were not to be run with the reason; what came from a cache may be such a one."""
    if why:
        names = [step.name for step in steps]
        left = set(names[names.index("change_check") + 1 :]) if "change_check" in names else set()
        reason = UNCHANGED
    else:
        left = set() if gate is None or gate.passed else set(GATED)
        reason = f"not published: {gate.reasons[0]}" if gate and gate.reasons else "not published"
    skipped = {"state": "skipped", "reason": reason}
    return [step.model_copy(update=skipped) if step.name in left and step.started is None else step for step in steps]


def _reason(failed: StepOutcome | None, why: str) -> str:
    return f"{failed.name}: {failed.error or 'it failed'}" if failed else why


def _gate(note: Mapping[str, object]) -> GateOutcome | None:
    if "passed" not in note:
        return None
    reasons = note.get("reasons")
    return GateOutcome(
        passed=bool(note["passed"]), reasons=tuple(map(str, reasons)) if isinstance(reasons, list) else ()
    )


def _unchanged(note: Mapping[str, object]) -> str:
    return "" if note.get("changed", True) else str(note.get("reason") or "Nothing has changed.")


def _mapping(value: object) -> dict[str, object]:
    return {str(name): item for name, item in value.items()} if isinstance(value, dict) else {}


def _numbers(note: Mapping[str, object]) -> dict[str, float]:
    found = {name: note.get(name) for name in ("map50", "map50_95")}
    return {name: float(value) for name, value in found.items() if isinstance(value, int | float)}


def _versions(notes: Mapping[str, Mapping[str, object]]) -> dict[str, str]:
    """``name@version`` of what the steps made."""
    found: dict[str, str] = {}
    for note in notes.values():
        found |= {name: str(version) for name, version in _mapping(note.get("versions")).items()}
    published = notes.get("model_publish", {})
    if published.get("version"):
        found["model"] = f"{published.get('name', '')}@{published['version']}"
    return found
