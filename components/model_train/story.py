"""What happened in a training, from its first attempt to its end; it travels inside checkpoints."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

End = Literal["", "finished", "stopped", "preempted", "out of memory", "diverged"]  # empty: killed, or still running


class Epoch(BaseModel):
    """One finished epoch.

    Attributes:
        number: counts from 1.
        seconds: spent training up to its end, earlier attempts included.
        values: losses (``train/...``, ``val/...``; the model's head decides which), metrics (``precision``,
            ``recall``, ``map50``, ``map50_95``), ``lr``, ``images_per_second``, ``gpu_memory`` (bytes). NaN stays NaN.
    """

    model_config = ConfigDict(frozen=True, ser_json_inf_nan="strings")

    number: int
    seconds: float
    values: dict[str, float]


class Attempt(BaseModel):
    """One process's part of a training: its epochs, how it ended, and the batch it used."""

    model_config = ConfigDict(frozen=True)

    first_epoch: int
    last_epoch: int = 0
    batch: int = 0
    end: End = ""


class Estimate(BaseModel):
    """What the first batches foretold; memory is the peak so far, in bytes, of the GPU or else of this process."""

    model_config = ConfigDict(frozen=True)

    seconds_per_epoch: float
    hours: float
    memory: float
    device: str
    batches: int = Field(description="batches it was measured on")


class Overfitting(BaseModel):
    """When the validation loss turned, and what was done about it."""

    model_config = ConfigDict(frozen=True)

    best_epoch: int = Field(description="the epoch with the lowest validation loss")
    noticed_epoch: int
    reason: str
    stopped: bool


class Story(BaseModel):
    """A training's course; ``stopped`` says why it ended before its last epoch, empty when it did not."""

    epochs: list[Epoch] = Field(default_factory=list)
    attempts: list[Attempt] = Field(default_factory=list)
    estimate: Estimate | None = None
    overfitting: Overfitting | None = None
    stopped: str = ""
    notes: list[str] = Field(default_factory=list, description="sentences for the report, oldest first")
