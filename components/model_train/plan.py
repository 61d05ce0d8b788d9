"""What a training is asked for as a whole, and what it comes to."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from components.model_train.care import Care
from components.model_train.saving.files import Maker
from components.model_train.story import Story
from components.model_train.trainers.base import TrainingJob, TrainingRun


@dataclass(frozen=True)
class Plan:
    """Everything a training is: what to learn from what, how to look after it, and where to tell and keep things.

    Attributes:
        job: the first attempt's job; ``resume`` and ``batch`` may change from attempt to attempt.
        care: limits, checkpoints and warnings.
        store: URI of the store that keeps checkpoints and progress.
        key: names this training among all; the same key ends with the same weights.
        run_id: the pipeline run, for progress and tracking.
        step: this step's name in the run.
        name: the model's name, for tracking.
        versions: dataset versions by split, for tracking.
    """

    job: TrainingJob
    care: Care
    store: str
    key: str
    run_id: str
    step: str = "model_train"
    name: str = "detector"
    versions: Mapping[str, str] = field(default_factory=dict)

    @property
    def maker(self) -> Maker:
        """Who makes this training's checkpoints; the same again when the step is retried."""
        return Maker(self.run_id, self.step)

    @property
    def owner(self) -> str:
        """Tells this run from others of the same training; the same in all its processes."""
        return f"{os.uname().nodename}:{self.job.work}"


@dataclass(frozen=True)
class Outcome:
    """What a training came to.

    Attributes:
        run: the trainer's files.
        story: how it went.
        batches: folder with the first batches' pictures (see ``pictures.FirstBatches``); it may be empty.
    """

    run: TrainingRun
    story: Story
    batches: Path
