"""What the processes of one training attempt are told, and what they leave, as files in a folder they share."""

import importlib
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from components.model_train.conduct import make_trainer
from components.model_train.plan import Outcome, Plan
from components.model_train.story import Story
from components.model_train.trainers.base import Trainer
from components.shared.errors import TrainingError
from components.shared.files import write_atomically
from components.shared.progress import StepProgress


@dataclass(frozen=True)
class Assignment:
    """What all processes of an attempt are told.

    Attributes:
        plan: the training; its ``job`` is this attempt's.
        story: how it went so far.
        trainer: ``module:class``; empty: the one of ``plan.job.start.framework``.
        folder: where they leave what the parent reads.
    """

    plan: Plan
    story: Story
    trainer: str
    folder: Path

    @property
    def outcome(self) -> Path:
        """Rank 0's ``Outcome``; there when the training is done."""
        return self.folder / "outcome.json"

    @property
    def story_file(self) -> Path:
        """Rank 0's story, however it ended."""
        return self.folder / "story.json"

    @property
    def progress(self) -> Path:
        """What rank 0 told last."""
        return self.folder / "progress.json"

    def save(self) -> Path:
        """Write it for the processes, and give the file."""
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / "assignment.json"
        _write(path, _ASSIGNMENT.dump_json(self))
        return path

    def save_outcome(self, outcome: Outcome) -> None:
        """Leave the result for the parent."""
        _write(self.outcome, _OUTCOME.dump_json(outcome))

    def save_course(self, progress: StepProgress) -> None:
        """Leave the story as it is now, and what was told last."""
        _write(self.story_file, self.story.model_dump_json().encode())
        _write(self.progress, progress.model_dump_json().encode())


_ASSIGNMENT = TypeAdapter(Assignment)
_OUTCOME = TypeAdapter(Outcome)


def read_assignment(path: Path) -> Assignment:
    """What ``Assignment.save`` wrote.

    Raises:
        TrainingError: it cannot be read.
    """
    try:
        return _ASSIGNMENT.validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise TrainingError(f"{str(path)!r} does not say what to train: {error}.") from error


def read_outcome(assignment: Assignment) -> Outcome | None:
    """What rank 0 left, or ``None`` when it did not come to its end."""
    try:
        return _OUTCOME.validate_json(assignment.outcome.read_bytes())
    except (OSError, ValidationError):
        return None


def trainer_of(assignment: Assignment) -> Trainer:
    """The trainer that was asked for, or else the framework's."""
    if not assignment.trainer:
        return make_trainer(assignment.plan.job.start.framework)
    module, _, name = assignment.trainer.partition(":")
    trainer: Trainer = getattr(importlib.import_module(module), name)()
    return trainer


def _write(path: Path, data: bytes) -> None:
    with write_atomically(path) as temporary:
        temporary.write_bytes(data)
