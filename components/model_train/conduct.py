"""Take a training from its beginning or its last checkpoint to its end, in as many attempts as it needs."""

import dataclasses
import logging
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from components.model_train.plan import Outcome, Plan
from components.model_train.saving.checkpoints import Checkpoints, Found
from components.model_train.saving.results import BATCHES, read_result, result_files
from components.model_train.saving.saver import SNAPSHOT
from components.model_train.saving.spare import keep_spare, take_spare
from components.model_train.story import Story
from components.model_train.trainers.base import Trainer
from components.model_train.watching.supervisor import Supervisor
from components.model_train.watching.verdict import is_over
from components.shared.errors import (
    CheckpointError,
    ConfigError,
    DivergedError,
    OutOfMemoryError,
    PreemptedError,
    StoreError,
)
from components.shared.progress import Announce
from components.shared.store import open_store

__all__ = ["Keep", "Outcome", "Plan", "attempt", "conduct", "make_trainer"]

logger = logging.getLogger(__name__)

Keep = Callable[[Outcome], None]


@dataclass(frozen=True)
class _Beginning:
    """What an attempt begins with: its plan, the course so far and the key of the checkpoint it goes on from."""

    plan: Plan
    story: Story
    home: str = ""


def conduct(plan: Plan, notify: Announce, *, trainer: Trainer | None = None) -> Outcome:
    """Train from the newest checkpoint of the same training, or else from the beginning, to the end.

    A training that was finished before gives its result at once. What does not fit the memory is tried once more at
    half the batch, from the last epoch on. With ``resume="never"`` only what the same run and step left counts, which
    an earlier attempt of this one did; all else is replaced.

    Args:
        plan: what to do.
        notify: hears how far it is.
        trainer: the training library; when not given, the one ``plan.job.start`` is for.

    Raises:
        CheckpointError: there are checkpoints of this training, and none can be used.
        PreemptedError: it was told to end before it was done; the same again goes on.
        DivergedError: a loss is no number.
        OutOfMemoryError: half the batch does not fit either.
        StoreError: it cannot be found out whether there is a checkpoint.
        TrainingError: the training cannot start or go on.
    """
    return _Conductor(plan, notify, trainer).conduct()


def attempt(plan: Plan, story: Story, notify: Announce, trainer: Trainer | None, keep: Keep) -> Outcome:
    """One attempt in this process, looked after; so far as it got, ``story`` is brought up to date in place.

    Args:
        plan: its ``job`` is this attempt's: ``resume`` and ``batch`` too.
        story: the training's course up to the epoch it goes on from.
        notify: hears how far it is.
        trainer: the training library; ``None``: the one ``plan.job.start`` is for.
        keep: puts the outcome where it outlasts this process; a signal to end waits for it.

    Raises:
        PreemptedError: it was told to end.
        TrainingError: it cannot go on; the newest snapshot is saved first.
    """
    chosen = trainer or make_trainer(plan.job.start.framework)
    with Supervisor(plan, story, notify) as watch:
        try:
            run = chosen.train(plan.job, watch)
            story.notes += [note for note in (run.note,) if note and note not in story.notes]
        except OutOfMemoryError:
            keep_spare(plan.job.work, watch.saver.newest)
            raise
        except (PreemptedError, DivergedError):
            raise
        except Exception as error:  # a signal to the whole group ends the library's own processes first
            if watch.told_to_end:
                raise PreemptedError(watch.farewell()) from error
            raise
        outcome = Outcome(run, story, plan.job.work / BATCHES)
        watch.conclude()
        keep(outcome)
    return outcome


def make_trainer(framework: str) -> Trainer:
    """The trainer of a framework.

    Raises:
        ConfigError: there is none.
    """
    # ruff: noqa: PLC0415 - each brings its own heavy library
    if framework == "ultralytics":
        from components.model_train.trainers.ultralytics.trainer import UltralyticsTrainer

        return UltralyticsTrainer()
    if framework == "torchvision":
        from components.model_train.trainers.torchvision.trainer import TorchvisionTrainer

        return TorchvisionTrainer()
    raise ConfigError(f"There is no trainer for the framework {framework!r}: use ultralytics or torchvision.")


class _Conductor:
    """One call of ``conduct``."""

    def __init__(self, plan: Plan, notify: Announce, trainer: Trainer | None) -> None:
        self._plan = plan
        self._notify = notify
        self._trainer = trainer
        self._work = plan.job.work
        self._checkpoints = Checkpoints(open_store(plan.store), plan.key, plan.owner, plan.maker)
        self._never = plan.care.resume == "never"
        self._refused: dict[str, str] = {}  # keys of checkpoints that turned out to be of no use, and why

    def conduct(self) -> Outcome:
        """Do what ``conduct`` promises."""
        if self._never:
            self._replace()
        while True:
            begin = self._begin_again() if self._never else self._from_store()
            if isinstance(begin, Outcome):
                return begin
            try:
                return self._train(begin)
            except CheckpointError as error:
                if not begin.home:
                    raise
                self._refused[begin.home] = str(error).rstrip(".")

    def _replace(self) -> None:
        try:
            self._checkpoints.replace()
        except StoreError as error:
            logger.warning("Earlier checkpoints of this training may stay: %s", error)

    def _begin_again(self) -> _Beginning | Outcome:
        """What an earlier attempt of this very run left, or else the beginning."""
        if not self._plan.maker.known:
            return _Beginning(self._plan, Story())
        try:
            return self._from_store()
        except CheckpointError as error:
            story = Story()
            self._warn(story, f"What an earlier attempt of this run learned is lost: {error}")
            return _Beginning(self._plan, story)

    def _from_store(self) -> _Beginning | Outcome:
        """What the store's newest usable checkpoint gives: a result, or something to go on from."""
        self._notify(0.0, "looking for a checkpoint")
        while (found := self._newest()) is not None:
            story = found.checkpoint.story
            for warning in found.warnings:
                self._warn(story, warning)
            self._take_batches(found)
            if not found.checkpoint.finished:
                return self._resumed(found)
            try:
                run = read_result(found.folder)
            except CheckpointError as error:
                self._refused[found.home] = str(error)
                continue
            note = (
                f"This training was finished before, with epoch {found.checkpoint.epoch}: its result is taken as it is."
            )
            logger.info("%s", note)
            story.notes.append(note)
            return Outcome(run, story, self._work / BATCHES)
        logger.info("no checkpoint of this training, by data, parameters, start and code: begins at its first epoch")
        return _Beginning(self._plan, Story())

    def _newest(self) -> Found | None:
        return self._checkpoints.newest(self._work / "checkpoint", self._refused, own=self._never)

    def _take_batches(self, found: Found) -> None:
        kept = found.folder / BATCHES
        if kept.is_dir():
            shutil.copytree(kept, self._work / BATCHES, dirs_exist_ok=True)

    def _resumed(self, found: Found) -> _Beginning:
        """What goes on from a checkpoint; where the training was to stop there, it only gives its result."""
        made = found.checkpoint
        over = is_over(self._plan.care, made.story, self._plan.job.parameters.epochs)
        if made.story.stopped:
            logger.info("The training was to stop after epoch %d: %s", made.epoch, made.story.stopped)
        logger.info("going on after epoch %d of %d from %s", made.epoch, self._plan.job.parameters.epochs, found.home)
        return _Beginning(_with(self._plan, found.folder / SNAPSHOT, made.batch, over=over), made.story, found.home)

    def _train(self, begin: _Beginning) -> Outcome:
        before = begin.story.model_copy(deep=True)
        try:
            return self._attempt(begin)
        except OutOfMemoryError as error:
            again = self._smaller(begin, before, error)
        return self._attempt(again)

    def _attempt(self, begin: _Beginning) -> Outcome:
        if begin.plan.job.parameters.gpus == 1:
            return attempt(begin.plan, begin.story, self._notify, self._trainer, self._keep)
        from components.model_train.ranks.distributed import run_ranks  # its processes import this module

        kind = type(self._trainer)
        name = f"{kind.__module__}:{kind.__qualname__}" if self._trainer else ""
        return run_ranks(begin.plan, begin.story, self._notify, self._keep, trainer=name)

    def _smaller(self, failed: _Beginning, before: Story, error: OutOfMemoryError) -> _Beginning:
        """The same at half the batch, from the newest snapshot on; the failed attempt stays in the course."""
        attempts = failed.story.attempts
        begun = len(attempts) > len(before.attempts)
        gpus, used = failed.plan.job.parameters.gpus, failed.plan.job.parameters.batch
        used = attempts[-1].batch if begun else used
        half = used // 2 // gpus * gpus
        if half < 1:
            raise error
        spare = take_spare(self._work)
        story, resume = (spare.story, spare.snapshot) if spare else (before, failed.plan.job.resume)
        story.attempts, story.notes = attempts, failed.story.notes
        reached = story.epochs[-1].number if story.epochs else 0
        goes_on = f"went on after epoch {reached}" if reached else "began again"
        lost = f" in epoch {attempts[-1].last_epoch + 1}" if begun else ""
        self._warn(story, f"Out of memory with batch {used}{lost}: {goes_on} with batch {half}.")
        over = is_over(self._plan.care, story, self._plan.job.parameters.epochs)
        return _Beginning(_with(self._plan, resume, half, over=over), story, failed.home)

    def _keep(self, outcome: Outcome) -> None:
        """Store the result, so that this step, run once more, need not train."""
        story = outcome.story
        epoch = story.epochs[-1].number if story.epochs else 0
        batch = story.attempts[-1].batch if story.attempts else self._plan.job.parameters.batch
        try:
            files = result_files(outcome.run, outcome.batches, self._work / "result")
            self._checkpoints.save(files, epoch=epoch, batch=batch, story=story, finished=True)
        except (StoreError, OSError) as error:
            self._warn(
                story, f"The result is not kept, so this step would go on from a checkpoint if run again: {error}"
            )

    def _warn(self, story: Story, sentence: str) -> None:
        logger.warning("%s", sentence)
        story.notes.append(sentence)
        done = story.epochs[-1].number if story.epochs else 0
        self._notify(done / max(1, self._plan.job.parameters.epochs), "training", warning=sentence)


def _with(plan: Plan, resume: Path | None, batch: int, *, over: bool = False) -> Plan:
    parameters = dataclasses.replace(plan.job.parameters, batch=batch)
    return dataclasses.replace(plan, job=dataclasses.replace(plan.job, resume=resume, parameters=parameters, over=over))
