"""Train YOLO and RT-DETR models with ultralytics: offline, quiet, repeatable, and exact to resume."""

import gc
import importlib.metadata
import logging
import re
import shutil
import traceback
from pathlib import Path

import yaml

from components.model_train.trainers.base import LARGEST_BATCH, TrainingJob, TrainingRun, Watch
from components.model_train.trainers.ultralytics.data import write_data_yaml
from components.model_train.trainers.ultralytics.loop import NothingLeft, WatchedTraining
from components.model_train.trainers.ultralytics.options import choose_device, cpu_batch, library_arguments
from components.model_train.trainers.ultralytics.ranks import Group, joined, this_group, told_by_leader, wait_for_all
from components.model_train.trainers.ultralytics.snapshot import UltralyticsSnapshot, read_snapshot
from components.model_train.trainers.ultralytics.start import begin
from components.model_train.trainers.ultralytics.weights import without_places
from components.shared.cpus import usable_cpus
from components.shared.detection.environment import limit_threads, prepare_environment
from components.shared.errors import ConfigError, OutOfMemoryError, PipelineError, TrainingError, in_one_line

logger = logging.getLogger(__name__)
LIBRARIES = ("ultralytics", "torch", "torchvision", "numpy", "opencv-python-headless")
_MEMORY = re.compile(  # what CUDA, its libraries and torch's CPU allocator say when there is no more
    r"out of memory|can't allocate memory|CUBLAS_STATUS_ALLOC_FAILED|CUDNN_STATUS_INTERNAL_ERROR|"
    r"unable to find an engine",
    re.IGNORECASE,
)


class UltralyticsTrainer:
    """The ``Trainer`` for every detection model ultralytics can build."""

    framework = "ultralytics"

    def train(self, job: TrainingJob, watch: Watch) -> TrainingRun:
        """Train and validate after each epoch; see ``Trainer``.

        An ``Epoch``'s ``seconds`` count from ``watch.begun``, and those up to the snapshot are added. A job that is
        ``over``, or whose snapshot is of its last epoch or a later one, trains nothing and gives that snapshot's files,
        without a word to the watch.

        With ``WORLD_SIZE`` over 1 in the environment this is one process of several (see ``ranks``): each
        calls it with the same job, and the one of rank 0 writes files and is watched.
        """
        prepare_environment()
        group = this_group()
        device = choose_device(job.parameters.device, group.local_rank)
        if device == "cpu":
            limit_threads(max(1, usable_cpus() // group.local_size))
        snapshot = read_snapshot(job.resume) if job.resume else None
        with joined(group, device):
            if group.leads:
                shutil.rmtree(job.work / "run", ignore_errors=True)
            wait_for_all(group)
            trainer = _prepare(job, watch, group, device, snapshot)
            _train(trainer, job)
            if group.leads:
                _finish(trainer)
            wait_for_all(group)
            best = told_by_leader(group, trainer.kept_best.epoch if trainer.kept_best else None)
            return _collect(trainer, best or trainer.epoch + 1)


def _prepare(
    job: TrainingJob, watch: Watch, group: Group, device: str, snapshot: UltralyticsSnapshot | None
) -> WatchedTraining:
    start = begin(job.start, job.classes, seed=job.parameters.seed)
    model = start.model
    data = write_data_yaml(job.work / "data.yaml", job.train, job.val, job.classes)
    batch = job.parameters.batch
    if batch == LARGEST_BATCH and (snapshot or device == "cpu"):
        batch = snapshot.state["batch"] if snapshot else cpu_batch(group)
    arguments = library_arguments(job, data=data, device=device, group=group, batch=batch)
    _silence_amp_check()
    library = model._smart_load("trainer")  # noqa: SLF001 - the one for this model: YOLO's, RT-DETR's
    try:
        trainer: WatchedTraining = type("WatchedTrainer", (WatchedTraining, library), {})(
            job=job, watch=watch, group=group, snapshot=snapshot, arguments=arguments
        )
    except (SyntaxError, TypeError, ValueError) as error:
        raise ConfigError(f"A hyperparameter cannot be used: {in_one_line(error)}.") from error
    trainer.start_note = f"Started from {job.start.origin}: {start.note}." if start.note else ""
    scratch = model.overrides.get("pretrained") is False
    trainer.model = trainer.get_model(weights=None if scratch else model.model, cfg=model.model.yaml, verbose=False)
    return trainer


def _train(trainer: WatchedTraining, job: TrainingJob) -> None:
    try:
        trainer.train()
    except NothingLeft:
        trainer.epoch = trainer.start_epoch - 1
        if trainer.group.leads:
            trainer.save_model()
    except PipelineError:
        raise
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, MemoryError) or _MEMORY.search(str(error)):
            _release(trainer, error)
            raise OutOfMemoryError(
                f"The memory does not hold batch={trainer.batch_size} at imgsz={job.parameters.imgsz}: lower batch, "
                "imgsz or the size of the model."
            ) from error
        raise _stopped(trainer, error) from error
    except (AssertionError, OSError, ValueError) as error:
        raise _stopped(trainer, error) from error


def _stopped(trainer: WatchedTraining, error: Exception) -> TrainingError:
    done = getattr(trainer, "epoch", 0)
    return TrainingError(f"The training stopped after {done} of {trainer.epochs} epochs: {in_one_line(error)}.")


def _release(trainer: WatchedTraining, error: BaseException) -> None:
    """Let go of everything large, so that another attempt in this process finds the memory free."""
    import torch  # noqa: PLC0415 - heavy

    traceback.clear_frames(error.__traceback__)
    for name in ("model", "ema", "optimizer", "scheduler", "loss", "loss_items", "tloss", "validator", "kept_best"):
        setattr(trainer, name, None)
    for name in ("train_loader", "test_loader"):
        if hasattr(trainer, name):
            getattr(trainer, name).close()
            delattr(trainer, name)
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _silence_amp_check() -> None:
    """The library's mixed-precision check downloads a model to try it on; torch knows the answer without."""
    from ultralytics.engine import trainer  # noqa: PLC0415 - heavy, and only after the environment is set

    trainer.check_amp = lambda _model: True


def _finish(trainer: WatchedTraining) -> None:
    """See that everything is on the disk."""
    problem = trainer.files.flush()
    if problem:
        raise TrainingError(
            f"The weights cannot be written to {str(trainer.wdir)!r} ({problem.strerror}): make room and run it again."
        ) from problem
    if not trainer.last.is_file():
        raise TrainingError("The training ended without writing weights; see the log for the library's own words.")
    if not trainer.best.is_file():
        shutil.copy2(trainer.last, trainer.best)  # no epoch was better than nothing: serve the last
    clean = without_places(vars(trainer.args))
    (trainer.save_dir / "args.yaml").write_text(yaml.safe_dump(clean, sort_keys=False), encoding="utf-8")


def _collect(trainer: WatchedTraining, best_epoch: int) -> TrainingRun:
    folder = Path(trainer.save_dir)
    files = {"weights/best.pt": trainer.best, "weights/last.pt": trainer.last}
    files |= {name: folder / name for name in ("results.csv", "args.yaml") if (folder / name).is_file()}
    return TrainingRun(
        files=files,
        weights="weights/best.pt",
        last="weights/last.pt",
        best_epoch=best_epoch,
        libraries={name: importlib.metadata.version(name) for name in LIBRARIES},
        untrained=trainer.untrained if trainer.untrained.is_file() else None,
        note=trainer.start_note,
    )
