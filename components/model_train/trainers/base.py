"""What a training library must be able to do for this pipeline, and what it is told and asked while it trains."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from components.model_train.story import Epoch
from components.shared.materialise import MaterialisedDataset

LARGEST_BATCH = -1  # as ``Hyperparameters.batch``: as many images as fit the GPU


@dataclass(frozen=True)
class Hyperparameters:
    """What decides the weights a training ends with, named as ultralytics names it.

    Attributes:
        model: an architecture (``yolo11n.yaml``, ``fasterrcnn_resnet50_fpn``) or weights (``yolo11n.pt``, a path).
        batch: images an optimiser step, over all GPUs; ``LARGEST_BATCH``: as many as fit.
        imgsz: longest edge in pixels.
        freeze: how many of the first layers stay as they are.
        device: ``auto``, ``cpu`` or the number of the first GPU.
        gpus: processes to train in, one a GPU (on ``cpu``: that many processes).
        longest_edge: larger images are scaled down to this before the training sees them, pixels; 0: none is.
        image_format: ``keep``, ``jpeg`` or ``png``: how they are encoded for it.
        options: the library's other hyperparameters by its own names, checked by ``shared.hyperparameters``.
        start_from: where the weights to start from are, as the user said it; see ``Start``.
    """

    model: str
    epochs: int
    batch: int
    imgsz: int
    lr0: float
    optimizer: str
    warmup_epochs: float
    close_mosaic: int
    freeze: int
    device: str
    seed: int
    gpus: int = 1
    longest_edge: int = 0
    image_format: str = "keep"
    start_from: str = ""
    options: Mapping[str, bool | int | float | str] = field(default_factory=dict)


@dataclass(frozen=True)
class Start:
    """What a training starts from, found and fetched.

    Attributes:
        framework: the trainer it is for: ``ultralytics`` or ``torchvision``.
        architecture: a model YAML's name or path, or the name of a torchvision model; empty: the weights' own.
        weights: a local weights file; ``None``: from scratch.
        origin: the weights in words a person knows (``official yolo11n.pt``, ``champion 3f2a… of cats``); or empty.
        sha256: of the weights file, or of a YAML file of the user's own; empty when there is none.
        classes: what the weights can tell apart, where that is known.
    """

    framework: str
    architecture: str
    weights: Path | None = None
    origin: str = ""
    sha256: str = ""
    classes: tuple[str, ...] = ()


@dataclass(frozen=True)
class TrainingJob:
    """One attempt at a training.

    Attributes:
        train: images and labels to train on.
        val: images and labels to validate on after each epoch.
        classes: class names; the index is the class id.
        parameters: what is asked for; ``batch`` is the one this attempt uses.
        start: what to start from.
        work: everything the trainer writes lies below this folder.
        resume: a folder as this trainer's ``Snapshot.write`` left it, to go on from; ``None``: begin.
        over: nothing is to be learned after ``resume``: its files are the result, and the watch is told nothing.
    """

    train: MaterialisedDataset
    val: MaterialisedDataset
    classes: tuple[str, ...]
    parameters: Hyperparameters
    start: Start
    work: Path
    resume: Path | None = None
    over: bool = False


class Snapshot(Protocol):
    """Everything a training goes on from, as it was at the end of an epoch, held in memory."""

    def write(self, folder: Path) -> None:
        """Write it into an empty folder; called from another thread, at any later time, any number of times."""


class Watch(Protocol):
    """Who looks after a training: it is told everything and may end it."""

    def begun(self, *, images: int, batch: int, batches: int, first_epoch: int) -> None:
        """The first epoch is about to begin: images and batches an epoch, images a batch, the epoch (from 1)."""

    def batch_seen(
        self,
        images: npt.NDArray[np.uint8],
        boxes: list[npt.NDArray[np.float64]],
        labels: list[npt.NDArray[np.int64]],
    ) -> None:
        """One of the first batches as the model sees it, augmented.

        Args:
            images: RGB ``(N, height, width, 3)``.
            boxes: one an image: ``(M, 4)`` left, top, width, height in pixels.
            labels: one an image: ``(M,)`` class ids.
        """

    def batch_done(self, epoch: int, batch: int, losses: Mapping[str, float], *, memory: float = 0.0) -> None:
        """A batch is learned; ``epoch`` and ``batch`` count from 1, ``losses`` are this batch's or the running means.

        ``memory``: GPU memory in use, in bytes. The trainer must not catch what this raises.

        Raises:
            DivergedError: a loss is no number.
            PreemptedError: the training must end now.
        """

    def epoch_done(self, epoch: Epoch, snapshot: Snapshot) -> bool:
        """An epoch is learned and validated; True: stop here, as if it had been the last one.

        Raises:
            DivergedError: a training loss is no number.
            PreemptedError: the training must end now.
        """


@dataclass(frozen=True)
class TrainingRun:
    """What a trainer leaves.

    Attributes:
        files: name in the model folder -> file, all below the job's ``work``.
        weights: the file to serve (the best epoch's weights).
        last: the last epoch's weights.
        best_epoch: number of the epoch ``weights`` are from (best ``map50_95``; of equal ones, the last).
        libraries: versions of the libraries that matter for the weights.
        untrained: a weights file like ``weights``, of the model before its first step; not in the model folder.
        note: what was taken over from the weights it started from, in a sentence for the report; may be empty.
    """

    files: Mapping[str, Path]
    weights: str
    last: str
    best_epoch: int
    libraries: Mapping[str, str] = field(default_factory=dict)
    untrained: Path | None = None
    note: str = ""


class Trainer(Protocol):
    """A training library behind one call."""

    framework: str

    def train(self, job: TrainingJob, watch: Watch) -> TrainingRun:
        """Train and validate after each epoch.

        A job with ``resume`` ends, on a CPU with the same threads, with the weights bit for bit that the training
        would have had without the interruption.

        Raises:
            ConfigError: the model or a hyperparameter cannot be used.
            CheckpointError: ``resume`` is no snapshot of this trainer and model.
            OutOfMemoryError: the batch does not fit.
            TrainingError: the training cannot start or go on.
        """
