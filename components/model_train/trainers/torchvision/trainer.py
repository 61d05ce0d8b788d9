"""Train Faster R-CNN and RetinaNet models of torchvision: no code or model here is under the AGPL."""

import importlib.metadata
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from components.model_train.trainers.base import TrainingJob, TrainingRun, Watch
from components.model_train.trainers.torchvision.batch import STRIDE, Lessons
from components.model_train.trainers.torchvision.data import Examples
from components.model_train.trainers.torchvision.failures import explained
from components.model_train.trainers.torchvision.ranks import Ranks
from components.model_train.trainers.torchvision.snapshot import identify, read_snapshot
from components.model_train.trainers.torchvision.start import start_model
from components.model_train.trainers.torchvision.training import Training
from components.model_train.trainers.torchvision.validate import Validation
from components.shared.cpus import usable_cpus
from components.shared.detection.devices import resolve_device
from components.shared.detection.torchvision_runtime import TorchvisionWeights, set_threads
from components.shared.errors import CheckpointError, TrainingError, in_one_line

logger = logging.getLogger(__name__)
LIBRARIES = ("torch", "torchvision", "numpy", "opencv-python-headless")
BEST, LAST = "weights/best.pt", "weights/last.pt"
_MOST_THREADS = 8  # that prepare images for a GPU


class TorchvisionTrainer:
    """The ``Trainer`` of the architectures in ``shared.detection.torchvision_models``."""

    framework = "torchvision"

    def train(self, job: TrainingJob, watch: Watch) -> TrainingRun:
        """Train and validate after each epoch; see ``Trainer``.

        In several processes, started with ``RANK`` and so on set, each calls this with the same job; the first one
        validates with the others' help, tells its watch everything and leaves the files.
        """
        ranks = Ranks.from_environment()
        set_threads(max(1, usable_cpus() // ranks.world))
        device = _device(job.parameters.device, ranks)
        with ranks.joined(gpu=device.type == "cuda"):
            return _train(job, watch, ranks, device)


def _train(job: TrainingJob, watch: Watch, ranks: Ranks, device: Any) -> TrainingRun:  # noqa: ANN401 - torch is untyped here
    parameters = job.parameters
    _fix_algorithms(deterministic=bool(parameters.options.get("deterministic", True)))
    imgsz = -(-parameters.imgsz // STRIDE) * STRIDE
    start = start_model(job.start, job.classes, imgsz=imgsz, seed=parameters.seed)
    identity = identify(job, start.architecture, imgsz)
    alone = ranks.world == 1
    untrained = job.work / "untrained.pt"
    if ranks.first:
        TorchvisionWeights(start.architecture, job.classes, imgsz, start.model.state_dict()).save(untrained)
    with explained("the beginning", parameters.batch, alone=alone):
        training = Training(start.model.to(device), parameters, ranks, identity)
    if job.resume is not None:
        _restore(training, job.resume, identity)
    cpus = usable_cpus() // ranks.world
    threads = min(int(parameters.options.get("workers", _MOST_THREADS)), cpus) if device.type == "cuda" else 0
    lessons = Lessons(Examples(job.train, imgsz), parameters, imgsz, ranks, threads)
    validation = Validation(Examples(job.val, imgsz), len(job.classes), ranks, parameters.options)
    if not job.over:
        training.run(lessons, validation, watch)
    if not training.best and ranks.first:
        raise TrainingError("The training ended before its first epoch was done.")
    files = {BEST: (training.best, job.work / "best.pt"), LAST: (training.last, job.work / "last.pt")}
    for state, path in files.values():
        if ranks.first:
            TorchvisionWeights(start.architecture, job.classes, imgsz, state).save(path)
    return TrainingRun(
        files={name: path for name, (_, path) in files.items()},
        weights=BEST,
        last=LAST,
        best_epoch=training.best_epoch,
        libraries={name: importlib.metadata.version(name) for name in LIBRARIES},
        untrained=untrained,
        note=start.note,
    )


def _restore(training: Training, folder: Path, identity: Mapping[str, Any]) -> None:
    content = read_snapshot(folder, identity)
    try:
        training.restore(content)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        reason = in_one_line(error, most=200)
        raise CheckpointError(f"The checkpoint {str(folder)!r} does not fit this training: {reason}.") from error


def _device(device: str, ranks: Ranks) -> Any:  # noqa: ANN401 - torch is untyped here
    """The device of this process: with several, the first GPU asked for and those after it."""
    import torch  # noqa: PLC0415 - heavy

    first = resolve_device(device)
    if first.type != "cuda":
        return first
    chosen = resolve_device(str((first.index or 0) + ranks.local))
    torch.cuda.set_device(chosen)
    return chosen


def _fix_algorithms(*, deterministic: bool) -> None:
    """Choose a GPU's algorithms by rule instead of by speed; on a CPU there is one of each."""
    import cv2  # noqa: PLC0415 - heavy
    from torch.backends import cudnn  # noqa: PLC0415 - heavy

    cv2.setNumThreads(0)
    cudnn.deterministic, cudnn.benchmark = deterministic, not deterministic
