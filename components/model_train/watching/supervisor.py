"""Look after one attempt at a training: tell how it goes, save it, and end it when it must or should."""

import logging
import math
import threading
import time
from collections.abc import Mapping
from dataclasses import asdict
from types import TracebackType
from typing import Self

import numpy as np
import numpy.typing as npt

from components.model_train.journal import Journal
from components.model_train.journal.lines import epoch_line
from components.model_train.pages.pictures import FirstBatches
from components.model_train.plan import Plan
from components.model_train.saving.checkpoints import Checkpoints
from components.model_train.saving.farewell import farewell, last_good, last_words
from components.model_train.saving.preemption import Preemption
from components.model_train.saving.results import BATCHES
from components.model_train.saving.saver import Cadence, Folders, Saver
from components.model_train.story import Attempt, End, Epoch, Story
from components.model_train.trainers.base import Snapshot
from components.model_train.watching import estimate
from components.model_train.watching.pace import Pace
from components.model_train.watching.verdict import judge
from components.shared.errors import DivergedError, OutOfMemoryError, PreemptedError, StoreError
from components.shared.measures import is_loss, loss_name, span
from components.shared.progress import Announce
from components.shared.store import open_store

TOLD_EVERY = 1.0  # seconds between two words about batches
SAVING = 300.0  # seconds that saving may take when nobody is about to kill this process
FINISHING = 60.0  # seconds after the last epoch within which the result is there as a rule, and no checkpoint needed

logger = logging.getLogger(__name__)


class Supervisor:
    """The ``Watch`` of one attempt, used as a with statement around the training.

    Attributes:
        story: the training's course, earlier attempts included.
        saver: saves checkpoints.
    """

    def __init__(self, plan: Plan, story: Story, notify: Announce) -> None:
        """Begin to look after ``plan.job``.

        Args:
            plan: what is trained; ``plan.job.resume`` tells whether it goes on.
            story: what happened before; it is brought up to date in place.
            notify: hears how far it is.
        """
        self.story = story
        self._plan = plan
        self._store = open_store(plan.store)
        self._total = plan.job.parameters.epochs
        self._notify = notify
        self._lock = threading.RLock()  # the saver's thread tells things too
        done = self.story.epochs[-1] if self.story.epochs else Epoch(number=0, seconds=0.0, values={})
        self._pace = Pace(self._total, done.number, done.seconds)
        self._first = done.number
        self._batch = self._batches = 0
        self._epoch = done.number + 1
        self._told = 0.0
        self._concluded = False
        self._calibration = estimate.Calibration(self._total)
        self._pictures = FirstBatches(plan.job.work / BATCHES, plan.job.classes)
        self.saver = self._start_saver(done.number)
        self._preemption = Preemption(
            plan.care.grace_seconds,
            told=lambda: self.saver.request("preempted"),
            saved=lambda: self.saver.idle,
            last_words=self._last_words,
        )
        self._journal = Journal(
            self._store,
            plan.run_id,
            plan.step,
            name=plan.name,
            parameters={**asdict(plan.job.parameters), "datasets": dict(plan.versions)},
            total_epochs=self._total,
            folder=plan.job.work / "journal",
        )

    def _start_saver(self, saved: int) -> Saver:
        plan, care = self._plan, self._plan.care
        checkpoints = Checkpoints(self._store, plan.key, plan.owner, plan.maker)
        if care.resume == "never":
            try:
                checkpoints.replace()
            except StoreError as error:
                self.warn(f"Earlier checkpoints may stay beside this training's: {error}")
        folders = Folders(plan.job.work / "saving", plan.job.work / BATCHES)
        cadence = Cadence(care.checkpoint_epochs, 60.0 * care.checkpoint_minutes)
        return Saver(checkpoints, cadence, folders, self.warn, saved=saved)

    def __enter__(self) -> Self:
        self._preemption.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.conclude(error)
        self._preemption.__exit__(kind, error, trace)

    def conclude(self, error: BaseException | None = None) -> None:
        """Nothing more is learned: save what must be, and complete the story; when the block is left, if not before.

        Args:
            error: why the attempt ends before the training does.
        """
        if self._concluded:
            return
        self._concluded = True
        if error is None and self.told_to_end:
            self.saver.flush(self._patience(), "preempted")  # the result may not be kept in time
        elif error is not None and not isinstance(error, PreemptedError | DivergedError | OutOfMemoryError):
            self.saver.flush(self._patience())  # whatever it is, the next attempt goes on from here
        self.saver.close(self._patience())
        end = self._end_of(error)
        self._set_attempt(end=end)
        self._journal.close(end)
        self.story.notes += [note for note in self._journal.warnings if note not in self.story.notes]

    @property
    def told_to_end(self) -> bool:
        """Whether this process was asked to end."""
        return bool(self._preemption.reason)

    def begun(self, *, images: int, batch: int, batches: int, first_epoch: int) -> None:
        """The first epoch is about to begin; see ``Watch``."""
        self._batch, self._batches = batch, batches
        self.story.epochs = [epoch for epoch in self.story.epochs if epoch.number < first_epoch]
        self.story.attempts.append(Attempt(first_epoch=first_epoch, last_epoch=first_epoch - 1, batch=batch))
        self._epoch = first_epoch
        for earlier in self.story.epochs:  # maybe another run's, which this one's journal lacks
            self._journal.epoch(earlier)
        self._pace.begin()
        self._calibration.begun(images, batch, batches, first_epoch)
        logger.info("%d images in %d batches of %d; epoch %d begins", images, batches, batch, first_epoch)
        self._tell(f"epoch {first_epoch}/{self._total}")
        self._end_if_told()

    def batch_seen(
        self,
        images: npt.NDArray[np.uint8],
        boxes: list[npt.NDArray[np.float64]],
        labels: list[npt.NDArray[np.int64]],
    ) -> None:
        """Keep pictures of the first batches."""
        self._pictures.add(images, boxes, labels)

    def batch_done(self, epoch: int, batch: int, losses: Mapping[str, float], *, memory: float = 0.0) -> None:
        """A batch is learned; see ``Watch``."""
        self._epoch = epoch
        self._check_losses(losses, f"epoch {epoch}, batch {batch}")
        self._pace.part(epoch, min(1.0, batch / max(self._batches, 1)))
        self._calibrate(epoch, batch, memory)
        if time.monotonic() - self._told >= TOLD_EVERY:
            self._tell(f"epoch {epoch}/{self._total}, batch {batch}/{self._batches}")
        self._end_if_told()

    def epoch_done(self, epoch: Epoch, snapshot: Snapshot) -> bool:
        """An epoch is learned and validated; see ``Watch``."""
        self._check_losses({n: v for n, v in epoch.values.items() if is_loss(n, "train")}, f"epoch {epoch.number}")
        self._pace.finish(epoch.number)
        epoch = epoch.model_copy(update={"seconds": self._pace.seconds})
        self.story.epochs.append(epoch)
        self._set_attempt(last_epoch=epoch.number)
        logger.info("%s", epoch_line(epoch, self._total, self._pace.left()))
        self._journal.epoch(epoch)
        stop = self._should_stop()
        self._epoch = min(epoch.number + 1, self._total)
        score = epoch.values.get("map50", math.nan)
        shown = f", mAP50 {score:.3f}" if math.isfinite(score) else ""
        self._tell(f"epoch {epoch.number}/{self._total}{shown}", epoch.values)
        over = stop or epoch.number >= self._total
        self.saver.offer(epoch.number, snapshot, self.story, self._batch, after=FINISHING if over else 0.0)
        if not over:
            self._end_if_told(after=epoch.number)
        elif self.told_to_end:
            self.saver.request("preempted")
        return stop

    def farewell(self) -> str:
        """The sentence that says why this attempt ends before the training does, and what is saved.

        Waits until the newest snapshot is saved, or for as long as there is time.
        """
        self.saver.flush(self._patience(), "preempted")
        return self._farewell(self._preemption.reason)

    def warn(self, sentence: str) -> None:
        """Tell a person, once; it stays in the story."""
        with self._lock:
            if sentence not in self.story.notes:
                self.story.notes.append(sentence)
                self._notify(self._pace.share, "training", eta=self._pace.left(), warning=sentence)

    def _tell(self, message: str, metrics: Mapping[str, float] | None = None) -> None:
        self._told = time.monotonic()
        with self._lock:
            self._notify(self._pace.share, message, metrics=metrics, eta=self._pace.left())

    def _set_attempt(self, **changes: object) -> None:
        if self._batch:  # this attempt has begun, so the last one is this one
            self.story.attempts[-1] = self.story.attempts[-1].model_copy(update=changes)

    def _end_of(self, error: BaseException | None) -> End:
        if isinstance(error, PreemptedError):
            return "preempted"
        if isinstance(error, OutOfMemoryError):
            return "out of memory"
        if isinstance(error, DivergedError):
            return "diverged"
        if error is not None:
            return ""
        return "stopped" if self.story.stopped else "finished"

    def _calibrate(self, epoch: int, batch: int, memory: float) -> None:
        found = self._calibration.batch_done(epoch, batch, memory)
        if found is None:
            return
        self.story.estimate = found
        text = f"{span(found.seconds_per_epoch)} an epoch, {found.hours:.2g} h in all, {found.memory / 1e9:.1f} GB"
        logger.info("estimate from %d batches: %s of memory on %s", found.batches, text, found.device)
        self._tell(f"about {text}")
        used = self.story.epochs[-1].seconds if self.story.epochs else 0.0
        too_long = estimate.compare(found, self._plan.care, used)
        if too_long:
            logger.warning("%s", too_long)
            self.warn(too_long)

    def _should_stop(self) -> bool:
        care, story = self._plan.care, self.story
        known = story.overfitting
        stop = judge(care, story, self._total)
        if story.overfitting and known is None:
            logger.warning("%s", story.overfitting.reason)
            with self._lock:
                self._notify(self._pace.share, "training", eta=self._pace.left(), warning=story.overfitting.reason)
        if stop:
            logger.info("The training stops here: %s.", story.stopped.rstrip("."))
        return stop

    def _check_losses(self, losses: Mapping[str, float], where: str) -> None:
        bad = {loss_name(name): value for name, value in losses.items() if not math.isfinite(value)}
        if not bad:
            return
        self.saver.flush(self._patience(), "diverged")
        name, value = next(iter(bad.items()))
        asked = self._plan.job.parameters
        raise DivergedError(
            f"The loss is no number ({name} {value}) in {where}: {last_good(self.saver)}; "
            f"lower lr0 (now {asked.lr0:g}), or let it rise more slowly (warmup_epochs, now {asked.warmup_epochs:g})."
        )

    def _patience(self) -> float:
        """Seconds that saving may take now."""
        return max(0.0, min(SAVING, self._preemption.until - time.monotonic()))

    def _end_if_told(self, after: int = 0) -> None:
        """Raise when the attempt must end now; ``after``: the epoch that has just ended, where one has."""
        if self._preemption.reason:
            raise PreemptedError(self.farewell())
        limit = self._plan.care.attempt_hours * 3600.0
        known = self.story.attempts[-1].last_epoch >= self.story.attempts[-1].first_epoch if self._batch else False
        if not limit or not known:  # each attempt learns an epoch at least, or no number of them would ever end
            return
        ahead = (self._pace.epoch_seconds() or 0.0) if after else 0.0  # an epoch that will not be over in time
        if self._pace.attempt_seconds + ahead >= limit:
            self.saver.flush(self._patience(), "preempted")
            raise PreemptedError(self._farewell(f"attempt_hours={self._plan.care.attempt_hours:g} ended this attempt"))

    def _farewell(self, reason: str) -> str:
        where = f"{reason} in epoch {self._epoch} of {self._total}"
        return farewell(where, self._pace.attempt_seconds, self.saver)

    def _last_words(self) -> None:
        """Tell how it ended when the main thread cannot: it is in a call that lasts longer than there is time."""
        message = self._farewell(self._preemption.reason)
        last_words(self._store, self._plan.run_id, self._plan.step, message)
