"""Our hyperparameters as the training library's own arguments."""

from pathlib import Path

from components.model_train.trainers.base import LARGEST_BATCH, Hyperparameters, TrainingJob
from components.model_train.trainers.ultralytics.ranks import Group
from components.shared.cpus import usable_cpus
from components.shared.errors import ConfigError, TrainingError

CACHE_LIMIT = 2 * 1024**3  # decoded training images up to this many bytes are kept in memory
CPU_BATCH = 16
ADAM_FAMILY = frozenset({"adam", "adamax", "adamw", "nadam", "radam"})


def choose_device(device: str, local_rank: int = 0) -> str:
    """The device of one process: ``auto`` is the first GPU where there is one, else ``cpu``.

    Args:
        device: ``auto``, ``cpu`` or the number of the first GPU of the training.
        local_rank: which of this machine's processes asks, from 0.

    Raises:
        ConfigError: it is no device.
        TrainingError: a GPU was asked for that is not there.
    """
    import torch  # noqa: PLC0415 - heavy, and only needed here

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if device == "cpu" or (device == "auto" and not count):
        return "cpu"
    if device != "auto" and not (device.isascii() and device.isdigit()):
        raise ConfigError(f"device={device!r} is no device: use auto, cpu or the number of a GPU.")
    number = (0 if device == "auto" else int(device)) + local_rank
    if number >= count:
        raise TrainingError(f"device={device!r} asks for GPU {number}, this machine shows {count}: use auto or cpu.")
    return str(number)


def cpu_batch(group: Group) -> int:
    """What "as many as fit" means where there is no GPU: the same for every process, about 16 in all."""
    return max(1, CPU_BATCH // group.size) * group.size


def library_arguments(job: TrainingJob, *, data: Path, device: str, group: Group, batch: int) -> dict[str, object]:
    """Every argument of the library's trainer.

    What decides the weights comes from the job's parameters and their ``options``; what stops, saves or shows a
    training is off, because that is the watch's work.

    Args:
        job: what to train.
        data: the library's data file.
        device: what ``choose_device`` gave.
        group: the processes of this training.
        batch: images an optimiser step, over all processes, or ``LARGEST_BATCH``.

    Raises:
        ConfigError: the batch cannot be shared by the processes.
    """
    if batch != LARGEST_BATCH and batch % group.size:
        raise ConfigError(f"batch={batch} cannot be shared by gpus={group.size}: use a multiple of {group.size}.")
    usual = _usual(job.parameters, device=device, group=group, images=job.train.epoch_image_count)
    return usual | dict(job.parameters.options) | _settled(job, batch) | _ours(job, data, device)


def _usual(parameters: Hyperparameters, *, device: str, group: Group, images: int) -> dict[str, object]:
    """What ``options`` may change."""
    decoded = images * parameters.imgsz * parameters.imgsz * 3
    adam = parameters.optimizer.lower() in ADAM_FAMILY
    return {
        "momentum": 0.9 if adam else 0.937,
        "warmup_bias_lr": 0.0 if adam else 0.1,
        "deterministic": True,
        "workers": 0 if device == "cpu" else min(8, max(1, usable_cpus() // group.local_size)),
        "cache": "ram" if decoded < CACHE_LIMIT else False,
        "amp": device != "cpu",
        "rect": False,
    }


def _settled(job: TrainingJob, batch: int) -> dict[str, object]:
    """What our own parameters say; without an ``nbs`` of the user's a batch is an optimiser step."""
    parameters = job.parameters
    return {
        "epochs": parameters.epochs,
        "batch": batch,
        "nbs": parameters.options.get("nbs", max(batch, 1)),
        "imgsz": parameters.imgsz,
        "lr0": parameters.lr0,
        "optimizer": parameters.optimizer,
        "warmup_epochs": parameters.warmup_epochs,
        "close_mosaic": min(parameters.close_mosaic, max(0, parameters.epochs - 1)),
        "freeze": parameters.freeze or None,
        "seed": parameters.seed,
    }


def _ours(job: TrainingJob, data: Path, device: str) -> dict[str, object]:
    """What nobody may change."""
    return {
        "task": "detect",
        "mode": "train",
        "model": Path(job.start.architecture).name or (job.start.weights.name if job.start.weights else None),
        "data": str(data),
        "device": device,
        "patience": 0,
        "time": None,
        "resume": False,
        "val": True,
        "save": True,
        "save_period": -1,
        "plots": False,
        "verbose": False,
        "single_cls": False,  # a weights file may remember otherwise
        "project": str(job.work),
        "name": "run",
        "exist_ok": True,
    }
