"""A trainer that learns nothing in no time, and fails where its options say so; it runs in processes of its own."""

import json
import logging
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

from components.model_train.story import Epoch
from components.model_train.trainers.base import TrainingJob, TrainingRun, Watch
from components.shared import errors

logger = logging.getLogger(__name__)


class Learned:
    """A snapshot: the epoch's number."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch

    def write(self, folder: Path) -> None:
        (folder / "epoch").write_text(str(self.epoch))


class StandIn:
    """Options: ``fail_rank``, ``fail_epoch`` and ``fail`` (what happens there), ``seconds`` an epoch.

    The ranks begin together, as those of a real training do, however late one of them comes.
    """

    framework = "ultralytics"

    def train(self, job: TrainingJob, watch: Watch) -> TrainingRun:
        rank, options = int(os.environ.get("RANK", "0")), job.parameters.options
        begin = int((job.resume / "epoch").read_text()) if job.resume else 0
        seen = {name: os.environ.get(name) for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "OMP_NUM_THREADS")}
        (job.work / f"seen-{rank}.json").write_text(json.dumps(seen))
        _meet(job.work / "ranks", rank)
        logger.info("rank %d begins", rank)
        logger.warning("rank %d warns", rank)
        watch.begun(images=8, batch=job.parameters.batch, batches=1, first_epoch=begin + 1)
        for number in range(begin + 1, job.parameters.epochs + 1):
            (job.work / f"epoch-{rank}-{number}").touch()
            if (rank, number) == (options.get("fail_rank"), options.get("fail_epoch")):
                FAILURES[str(options["fail"])](job)
            time.sleep(float(options.get("seconds", 0)))
            watch.batch_done(number, 1, {"train/box_loss": 1 / number})
            values = {"train/box_loss": 1 / number, "map50": 0.5, "map50_95": 0.1 * number}
            if rank == 0 and watch.epoch_done(Epoch(number=number, seconds=0, values=values), Learned(number)):
                break
        weights = job.work / "best.pt"
        weights.write_text("weights")
        files = {"weights/best.pt": weights}
        return TrainingRun(files, "weights/best.pt", "weights/best.pt", best_epoch=job.parameters.epochs)


def _meet(folder: Path, rank: int) -> None:
    if not folder.is_dir():
        return
    (folder / f"here-{rank}").touch()
    everyone = [folder / f"here-{other}" for other in range(int(os.environ.get("WORLD_SIZE", "1")))]
    deadline = time.monotonic() + 600
    while not all(path.exists() for path in everyone) and time.monotonic() < deadline:
        time.sleep(0.02)


def _raise(kind: type[Exception], message: str) -> Callable[[TrainingJob], None]:
    def fail(_job: TrainingJob) -> None:
        raise kind(message)

    return fail


def _refuse_large_batches(job: TrainingJob) -> None:
    if job.parameters.batch > 2:
        raise errors.OutOfMemoryError(f"batch={job.parameters.batch} does not fit.")


def _port_taken_once(job: TrainingJob) -> None:
    mark = job.work / "taken"
    if not mark.exists():
        mark.touch()
        raise RuntimeError("failed to listen: EADDRINUSE, address already in use")


FAILURES: dict[str, Callable[[TrainingJob], None]] = {
    "kill": lambda _job: os.kill(os.getpid(), signal.SIGKILL),
    "defect": _raise(ValueError, "no such tensor"),
    "diverged": _raise(errors.DivergedError, "The loss is no number."),
    "checkpoint": _raise(errors.CheckpointError, "It is another training's."),
    "config": _raise(errors.ConfigError, "lr0 cannot be used."),
    "batch": _refuse_large_batches,
    "port": _port_taken_once,
    "term": lambda _job: os.kill(os.getpid(), signal.SIGTERM),
    "nothing": lambda _job: os._exit(0),
}
