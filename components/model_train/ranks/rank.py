"""One process of a training that several learn in step: it does its rank's part and says how it went.

It may be started by ``distributed.run_ranks`` or by ``torchrun``: ``RANK`` and ``WORLD_SIZE`` say which one it is.
"""

import logging
import math
import os
import signal
import sys
import threading
import traceback
from collections.abc import Mapping
from pathlib import Path
from types import FrameType

import numpy as np
import numpy.typing as npt

from components.model_train.conduct import attempt
from components.model_train.plan import Outcome
from components.model_train.ranks.assignment import Assignment, read_assignment, trainer_of
from components.model_train.ranks.failure import Failure
from components.model_train.ranks.processes import accept_termination, die_with_parent
from components.model_train.story import Epoch
from components.model_train.trainers.base import Snapshot
from components.shared.errors import ConfigError, DivergedError, PipelineError, PreemptedError
from components.shared.progress import Reporter, read_progress
from components.shared.store import open_store

logger = logging.getLogger(__name__)


def follow_parent() -> None:
    """End when the process that started this one ends, and leave Ctrl-C to it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    die_with_parent()


def work(path: Path) -> int:
    """Do this process's part of the assignment in ``path``; the exit code of its error, or 0."""
    rank = _own_rank()
    logging.basicConfig(
        level=logging.WARNING if rank else logging.INFO,
        format="%(asctime)s %(levelname)-7s %(message)s",
        stream=sys.stderr,
        force=True,
    )
    told = Told(raising=rank == 0)
    signal.signal(signal.SIGTERM, told)
    try:
        accept_termination()
        assignment = read_assignment(path)
        if rank:
            follow(assignment)
        else:
            _lead(assignment, told)
    except Exception as error:  # noqa: BLE001 - the process's outermost edge
        return _failed(error, rank, path.parent, told)
    return 0


def _own_rank() -> int:
    try:
        rank, ranks = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    except (KeyError, ValueError) as error:
        raise ConfigError(
            "RANK and WORLD_SIZE do not say which process of a training this is: start it with torchrun."
        ) from error
    if not 0 <= rank < ranks:
        raise ConfigError(f"RANK={rank} must be below WORLD_SIZE={ranks}.")
    return rank


class Told:
    """The answer to SIGTERM outside of a supervised attempt: rank 0 ends, the others wait for it.

    Attributes:
        at_all: whether SIGTERM came.
        raising: whether it ends what is going on.
    """

    def __init__(self, *, raising: bool) -> None:
        self.at_all = False
        self.raising = raising

    def __call__(self, _number: int, _frame: FrameType | None) -> None:
        """Take the signal."""
        self.at_all = True
        if self.raising:
            raise PreemptedError("The training was told to end before it began: run the step again.")

    def hold(self, seconds: float | None = None) -> None:
        """After an error: when SIGTERM came, stay (as long as given, or until the parent ends this process).

        A peer that goes would stop rank 0 from saving.
        """
        if self.at_all:
            threading.Event().wait(seconds)


def follow(assignment: Assignment) -> None:
    """Do the part of a rank that is not the first."""
    trainer_of(assignment).train(assignment.plan.job, Quiet())


def _lead(assignment: Assignment, told: Told) -> None:
    plan, story = assignment.plan, assignment.story
    reporter = Reporter(open_store(plan.store), plan.run_id, plan.step)
    before = read_progress(open_store(plan.store), plan.run_id, plan.step)
    if before is not None and before.state == "running":  # as whoever started this process left it
        reporter.current = before

    def keep(outcome: Outcome) -> None:
        assignment.save_outcome(outcome)
        told.raising = False  # what is done needs no saving

    try:
        attempt(plan, story, reporter.notify, trainer_of(assignment), keep)
    finally:
        assignment.save_course(reporter.current)


def _failed(error: Exception, rank: int, folder: Path, told: Told) -> int:
    failure = Failure(rank=rank, kind=type(error).__name__, message=str(error))
    failure.save(folder)
    if rank:
        told.hold()
    if isinstance(error, PipelineError):
        return error.exit_code
    if failure.peer_gone:  # whoever went first says why
        return 1
    logger.error("%s", "".join(traceback.format_exception(error)).rstrip())
    return 1


class Quiet:
    """The ``Watch`` of all ranks but the first: it only sees that numbers stay numbers."""

    def begun(self, *, images: int, batch: int, batches: int, first_epoch: int) -> None:
        """Nothing to do."""

    def batch_seen(
        self,
        images: npt.NDArray[np.uint8],
        boxes: list[npt.NDArray[np.float64]],
        labels: list[npt.NDArray[np.int64]],
    ) -> None:
        """Nothing to do."""

    def batch_done(self, epoch: int, batch: int, losses: Mapping[str, float], *, memory: float = 0.0) -> None:
        """Refuse a loss that is no number."""
        del memory
        _check_numbers(losses, f"epoch {epoch}, batch {batch}")

    def epoch_done(self, epoch: Epoch, snapshot: Snapshot) -> bool:
        """Refuse a training loss that is no number; rank 0 decides when to stop."""
        del snapshot
        losses = {name: value for name, value in epoch.values.items() if name.startswith("train/")}
        _check_numbers(losses, f"epoch {epoch.number}")
        return False


def _check_numbers(losses: Mapping[str, float], where: str) -> None:
    for name, value in losses.items():
        if not math.isfinite(value):
            raise DivergedError(f"The loss {name} is {value} in {where}: lower lr0 or look at the data.")
