"""Save checkpoints beside the training: a thread writes and uploads the newest snapshot, the training never waits."""

import logging
import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from components.model_train.saving.checkpoints import Checkpoints
from components.model_train.saving.results import BATCHES, folder_files
from components.model_train.story import End, Story
from components.model_train.trainers.base import Snapshot
from components.shared.errors import StoreError, in_one_line

SNAPSHOT = "snapshot"
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Offer:
    """What can be saved: a snapshot, and the training's course up to its epoch; from ``due``, monotonic seconds, on."""

    epoch: int
    batch: int
    snapshot: Snapshot
    story: Story
    due: float = 0.0

    def write(self, folder: Path) -> None:
        """Write the snapshot into ``folder``, replacing it."""
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        self.snapshot.write(folder)


@dataclass(frozen=True)
class Cadence:
    """How often to save: both must have passed, epochs since the last saved one and seconds since the last try."""

    epochs: int = 1
    seconds: float = 300.0


@dataclass(frozen=True)
class Folders:
    """Local folders: one to write snapshots in, and one with pictures of the first batches."""

    scratch: Path
    batches: Path


@dataclass(frozen=True)
class _Problem:
    """Why something is not saved; people are told once of each kind."""

    kind: str
    sentence: str


class Saver:
    """Saves the newest snapshot it was offered whenever the cadence allows, from a thread of its own.

    The first one is due ``Cadence.seconds`` after the start, so a kill never costs more than that, the time an upload
    takes and the epoch under way. What cannot be saved is tried again when the next one is due. At most two snapshots
    are held: the newest, and one that is being written.

    Attributes:
        saved: the last epoch that is in the store.
        problem: why what was tried last is not saved; empty when it is.
    """

    def __init__(
        self,
        checkpoints: Checkpoints,
        cadence: Cadence,
        folders: Folders,
        warn: Callable[[str], None],
        *,
        saved: int = 0,
    ) -> None:
        """Start the thread.

        Args:
            checkpoints: where to save.
            cadence: how often.
            folders: where to write, and what to save beside.
            warn: is told, from the thread, what is not saved and why: each kind of problem once.
            saved: the last epoch that is in the store already.
        """
        self.saved = saved
        self.problem = ""
        self._checkpoints = checkpoints
        self._cadence = cadence
        self._folders = folders
        self._warn = warn
        self._warned: set[str] = set()
        self._newest: Offer | None = None
        self._tried = saved
        self._began = time.monotonic()
        self._flush = self._closed = False
        self._end: End = ""
        self._wake = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="saver", daemon=True)
        self._thread.start()

    @property
    def newest(self) -> Offer | None:
        """The newest snapshot, saved or not."""
        with self._wake:
            return self._newest

    @property
    def idle(self) -> bool:
        """Whether what was requested is done, well or not."""
        return not self._flush

    def offer(self, epoch: int, snapshot: Snapshot, story: Story, batch: int, *, after: float = 0.0) -> None:
        """Take a snapshot to be saved when it is due; returns at once.

        Args:
            epoch: the one that is finished.
            snapshot: the training at its end.
            story: its course so far; it is copied.
            batch: images an optimiser step.
            after: seconds in which it is saved only when that is requested.
        """
        lists = {"epochs": [*story.epochs], "attempts": [*story.attempts], "notes": [*story.notes]}
        offer = Offer(epoch, batch, snapshot, story.model_copy(update=lists), time.monotonic() + after)
        with self._wake:
            self._newest = offer
            self._wake.notify_all()

    def request(self, end: End = "") -> None:
        """Begin to save the newest snapshot at once, whatever the cadence; returns at once.

        Args:
            end: how the attempt ends, for the story that is saved with it.
        """
        with self._wake:
            self._flush, self._end = True, end
            self._wake.notify_all()

    def flush(self, seconds: float, end: End = "") -> bool:
        """Save the newest snapshot and wait for it, but not longer than ``seconds``; False: it is not saved."""
        self.request(end)
        with self._wake:
            self._wake.wait_for(lambda: not self._flush, timeout=max(0.0, seconds))
            return not self._flush and (self._newest is None or self.saved >= self._newest.epoch)

    def close(self, seconds: float) -> None:
        """Save nothing more; wait ``seconds`` for an upload under way, which else ends with the process."""
        with self._wake:
            self._closed = True
            self._wake.notify_all()
        self._thread.join(timeout=seconds)

    def _run(self) -> None:
        while (offer := self._next()) is not None:
            problem = self._save(offer)
            self._settle(offer, problem)

    def _next(self) -> Offer | None:
        """Wait for something to save; ``None`` when closed."""
        with self._wake:
            while not self._closed:
                newest, wait = self._newest, None
                fresh = newest is not None and newest.epoch > self.saved
                if self._flush and not fresh:
                    self._flush = False
                    self._wake.notify_all()
                elif newest is not None and fresh:
                    wait = self._seconds_left(newest)
                    if self._flush or (wait is not None and wait <= 0):
                        self._began, self._tried = time.monotonic(), newest.epoch
                        return newest
                self._wake.wait(wait)
        return None

    def _seconds_left(self, newest: Offer) -> float | None:
        """Until a snapshot is due; ``None``: not before there is a newer one."""
        if newest.epoch - self.saved < self._cadence.epochs:
            return None
        if newest.epoch == self._tried and not self._cadence.seconds:
            return None
        return max(self._began + self._cadence.seconds, newest.due) - time.monotonic()

    def _save(self, offer: Offer) -> _Problem | None:
        story = offer.story
        if self._end and story.attempts:
            attempts = [*story.attempts[:-1], story.attempts[-1].model_copy(update={"end": self._end})]
            story = story.model_copy(update={"attempts": attempts})
        try:
            folder = self._folders.scratch / SNAPSHOT
            offer.write(folder)
            files = {**folder_files(folder, SNAPSHOT), **folder_files(self._folders.batches, BATCHES)}
            self._checkpoints.save(files, epoch=offer.epoch, batch=offer.batch, story=story)
        except StoreError as error:
            return _Problem("store", str(error))
        except OSError as error:
            place = str(self._folders.scratch)
            return _Problem("disk", f"{error.strerror or error}: check that {place!r} has free space.")
        except Exception as error:  # the training must not end because it cannot be saved
            logger.debug("The snapshot cannot be saved.", exc_info=True)
            name = type(error).__name__
            return _Problem(name, f"the snapshot cannot be written ({name}: {in_one_line(error, most=200)}).")
        finally:
            shutil.rmtree(self._folders.scratch, ignore_errors=True)
        return None

    def _settle(self, offer: Offer, problem: _Problem | None) -> None:
        before = self.saved
        with self._wake:
            self.problem = problem.sentence if problem else ""
            if problem:
                self._flush = self._flush and self._newest is not offer  # tried once; a newer one is tried too
            else:
                self.saved = offer.epoch
            self._wake.notify_all()
        if problem is None:
            logger.info("The checkpoint of epoch %d is saved.", offer.epoch)
            return
        sentence = f"Nothing is saved since {f'epoch {before}' if before else 'the beginning'}: {problem.sentence}"
        logger.warning("%s", sentence)
        if problem.kind not in self._warned:
            self._warned.add(problem.kind)
            self._warn(sentence)
