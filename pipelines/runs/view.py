"""A run as it is shown: its status, how far it is and where, for tables and as JSON-able values."""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from pipelines.runs.model import RunFacts, Status, StepFacts
from pipelines.runs.status import run_status, step_statuses

_WEIGHTS = {"model_train": 10.0, "model_eval": 2.0, "model_test": 2.0}  # how long a step takes beside others


@dataclass(frozen=True)
class RunView:
    """A run as it is shown: its facts, its status, its steps', how much is done (0..1), where it is."""

    facts: RunFacts
    status: Status
    steps: tuple[tuple[StepFacts, Status], ...]
    share: float | None
    node: str
    machine: str
    seconds: float | None

    def summary(self) -> dict[str, object]:
        """The run in a list, as JSON-able values."""
        facts, reason = self.facts, self.status.reason
        return {
            "id": facts.run_id,
            "name": facts.name,
            "pipeline": facts.pipeline,
            "status": self.status.state,
            "code": reason.code if reason else None,
            "reason": self.status.text or None,
            "remedy": self.status.remedy or None,
            "created": _iso(facts.created),
            "finished": _iso(facts.finished),
            "seconds": None if self.seconds is None else round(self.seconds, 1),
            "progress": None if self.share is None else round(self.share, 4),
            "node": self.node or None,
            "machine": self.machine or None,
            "passed": facts.passed,
            "archived": facts.archived,
            "link": facts.link or None,
        }

    def details(self) -> dict[str, object]:
        """The run by itself, as JSON-able values."""
        more = {"metrics": _numbers(self.facts.metrics), "parameters": dict(self.facts.parameters)}
        steps = [_step_data(step, status) for step, status in self.steps]
        return {**self.summary(), **more, "steps": steps, "blind": list(self.facts.blind)}


def view_of(facts: RunFacts) -> RunView:
    """How a run is shown."""
    status = run_status(facts)
    steps = tuple(step_statuses(facts))
    here = _current(steps, status)
    ended = facts.finished or (None if status.is_live else max((s.finished or 0 for s in facts.steps), default=0))
    seconds = None
    if facts.created is not None and (status.is_live or ended):
        seconds = max((ended or time.time()) - facts.created, 0.0)
    return RunView(
        facts=facts,
        status=status,
        steps=steps,
        share=_share(steps, status),
        node=here.name if here else "",
        machine=here.machine if here else "",
        seconds=seconds,
    )


def _current(steps: Sequence[tuple[StepFacts, Status]], status: Status) -> StepFacts | None:
    """The step the run is at: the one that goes on or waits, or the one that ended it."""
    order = ("In Progress", "Rerun", "Pending") if status.is_live else ("Failed", "Aborted", "Terminated")
    for state in order:
        for step, own in steps:
            if own.state == state:
                return step
    return None


def _share(steps: Sequence[tuple[StepFacts, Status]], status: Status) -> float | None:
    if status.state in {"Success", "Unchanged"}:
        return 1.0
    if not status.is_live:  # what was left out because the run ended is not done
        steps = [(step, own) for step, own in steps if own.state != "Skipped"] + [
            (step, Status("Created")) for step, own in steps if own.state == "Skipped"
        ]
    shares = [(_WEIGHTS.get(step.name.split("-")[0], 1.0), step_share(step, own) or 0.0) for step, own in steps]
    whole = sum(weight for weight, _ in shares)
    return sum(weight * share for weight, share in shares) / whole if whole else None


def step_share(step: StepFacts, status: Status) -> float | None:
    """How much of a step is done, 0..1."""
    if status.state in {"Success", "Skipped", "Unchanged"}:
        return 1.0
    if status.state in {"Created", "Pending"}:
        return 0.0
    return step.progress.share if step.progress is not None else 0.0


def step_seconds(step: StepFacts, status: Status) -> float | None:
    """How long a step took, or has taken so far."""
    if step.started is None:
        return None
    if step.finished is not None:
        return max(step.finished - step.started, 0.0)
    return time.time() - step.started if status.is_live else None


def _step_data(step: StepFacts, status: Status) -> dict[str, object]:
    progress, seconds = step.progress, step_seconds(step, status)
    return {
        "name": step.name,
        "about": step.about or None,
        "status": status.state,
        "reused": step.cached,
        "code": status.reason.code if status.reason else None,
        "reason": status.text or None,
        "remedy": status.remedy or None,
        "seconds": None if seconds is None else round(seconds, 1),
        "progress": step_share(step, status),
        "message": progress.message if progress else None,
        "metrics": _numbers(progress.metrics) if progress else {},
        "warnings": progress.warnings if progress else [],
        "machine": step.machine or None,
        "pods": [pod.name for pod in step.pods],
    }


def _numbers(values: Mapping[str, float]) -> dict[str, float | str]:
    """Numbers as JSON has them; one that is none by its name."""
    return {name: value if math.isfinite(value) else str(value) for name, value in values.items()}


def _iso(seconds: float | None) -> str | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
