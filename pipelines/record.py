"""What is kept of a run: ``run.json`` in its folder, and the summary a program reads."""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, Field

from components.shared.files import write_atomically
from components.shared.run_record import UNCHANGED

RECORD = "run.json"
StepState = Literal["pending", "running", "succeeded", "failed", "terminated", "preempted", "skipped"]


class StepRecord(BaseModel):
    """One step of a run; ``outputs`` maps an artifact's name to its path and a parameter's to its value.

    ``about`` tells in words what a step of several of its kind works on. A ``preempted`` one was told to end and saved
    what it had: it goes on when the same is run again. A ``skipped`` one was not to be run, for its ``reason``.
    """

    name: str
    about: str = ""
    state: StepState = "pending"
    cached: bool = False
    started: float | None = None
    finished: float | None = None
    outputs: dict[str, object] = Field(default_factory=dict)
    metadata: dict[str, dict[str, object]] = Field(default_factory=dict)
    error: str | None = None
    reason: str = ""
    warnings: list[str] = Field(default_factory=list)
    log: str | None = None
    report: str | None = None

    @property
    def seconds(self) -> float | None:
        """How long it took, or has taken."""
        if self.started is None or self.finished is None:
            return None
        return round(self.finished - self.started, 2)


class RunRecord(BaseModel):
    """A run as ``run.json`` keeps it; times are seconds since 1970, paths relative to the run's folder or absolute."""

    run_id: str
    pipeline: str
    state: Literal["running", "succeeded", "failed", "terminated"] = "running"
    parameters: dict[str, object]
    started: float
    finished: float | None = None
    process: int
    steps: list[StepRecord]
    metrics: dict[str, float] = Field(default_factory=dict)
    passed: bool | None = None
    gate: str | None = None
    unchanged: bool = False
    error: str | None = None

    @property
    def seconds(self) -> float | None:
        """How long the whole run took."""
        return None if self.finished is None else round(self.finished - self.started, 2)

    def step(self, name: str) -> StepRecord:
        """The step of that name."""
        return next(step for step in self.steps if step.name == name)

    def find(self, name: str) -> StepRecord | None:
        """Likewise; ``None``: the pipeline has none."""
        return next((step for step in self.steps if step.name == name), None)

    def save(self, directory: Path) -> None:
        """Write ``run.json``, atomically."""
        with write_atomically(directory / RECORD) as temporary:
            temporary.write_text(self.model_dump_json(indent=2) + "\n", encoding="utf-8")

    def summary(self) -> dict[str, object]:
        """The object ``--json`` prints."""
        return {
            "run_id": self.run_id,
            "state": self.state,
            "seconds": self.seconds,
            "steps": [
                {"name": step.name, "state": step.state, "seconds": step.seconds, "cached": step.cached}
                for step in self.steps
            ],
            "metrics": self.metrics,
            "passed": self.passed,
            "artifacts": {
                f"{step.name}.{name}": path
                for step in self.steps
                for name, path in step.outputs.items()
                if name in step.metadata
            },
            "reports": [step.report for step in self.steps if step.report],
            "error": self.error,
        }


def is_true(value: object) -> bool:
    """Whether a step's output says yes, in whichever of KFP's forms."""
    return value in (True, 1.0, "true", "True")


def note_skipped(record: RunRecord) -> None:
    """Say of each step of a run that has succeeded, and that was not to be run, why not."""
    if record.state != "succeeded":
        return
    checked, evaluated = record.find("change_check"), record.find("model_eval")
    reason = ""
    if checked and "changed" in checked.outputs and not is_true(checked.outputs["changed"]):
        record.unchanged, reason = True, UNCHANGED
    elif evaluated and "passed" in evaluated.outputs and not is_true(evaluated.outputs["passed"]):
        said = str(evaluated.outputs.get("reasons") or "the quality gate was not met").splitlines()
        reason = f"not published: {said[0]}"
    for step in record.steps:
        if step.state == "pending" and reason:
            step.state, step.reason = "skipped", reason
        elif step.state == "pending":
            record.state, record.error = "failed", f"{step.name} was never run, though every step before it succeeded."
