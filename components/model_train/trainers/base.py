"""What a training library must be able to do for this pipeline."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from components.shared.materialise import MaterialisedDataset
from components.shared.progress import Notify


@dataclass(frozen=True)
class Hyperparameters:
    """What a training is asked for, named as ultralytics names it.

    Attributes:
        model: a model YAML (train from scratch) or a weights file (transfer what it learned).
        imgsz: longest edge in pixels.
        device: ``auto``, ``cpu`` or GPU numbers.
        longest_edge: larger images are scaled down to this before the training sees them, pixels; 0: none is.
        image_format: ``keep``, ``jpeg`` or ``png``: how they are encoded for it.
    """

    model: str
    epochs: int
    batch: int
    imgsz: int
    lr0: float
    optimizer: str
    warmup_epochs: float
    close_mosaic: int
    patience: int
    freeze: int
    device: str
    seed: int
    longest_edge: int = 0
    image_format: str = "keep"


@dataclass(frozen=True)
class Epoch:
    """One finished epoch.

    Attributes:
        number: counts from 1.
        seconds: since the training began.
        values: losses (``train/...``, ``val/...``), metrics (``precision``, ``recall``, ``map50``, ``map50_95``) and
            learning rate (``lr``); the trainer's head decides which losses there are. NaN stays NaN.
    """

    number: int
    seconds: float
    values: Mapping[str, float]


@dataclass(frozen=True)
class TrainingRun:
    """What a trainer leaves.

    Attributes:
        files: path in the model folder -> file to copy there, unchanged.
        weights: which of ``files`` to serve; ``last`` which holds the last epoch's weights.
        epochs: every epoch, in order.
        best_epoch: number of the epoch whose weights are served.
        libraries: versions of what shaped the weights.
    """

    files: Mapping[str, Path]
    weights: str
    last: str
    epochs: tuple[Epoch, ...]
    best_epoch: int
    libraries: Mapping[str, str] = field(default_factory=dict)


class Trainer(Protocol):
    """A training library behind one call."""

    framework: str

    def train(
        self,
        train: MaterialisedDataset,
        val: MaterialisedDataset,
        classes: tuple[str, ...],
        parameters: Hyperparameters,
        work: Path,
        notify: Notify,
    ) -> TrainingRun:
        """Train and validate after each epoch; everything it writes lies below ``work``.

        Raises:
            ConfigError: the model or a hyperparameter cannot be used.
            TrainingError: the training cannot start or go on.
        """
