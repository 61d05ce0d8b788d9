"""How long a training still takes, by the pace of this attempt, or at its beginning by that of earlier ones."""

import time
from collections.abc import Callable


class Pace:
    """Measures an attempt.

    Args:
        total: epochs in all.
        done: epochs that earlier attempts finished.
        seconds: they took.
        clock: seconds that never go back.
    """

    def __init__(self, total: int, done: int, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._total = total
        self._before = done
        self._spent = seconds
        self._began = self._marked = clock()
        self._done = float(done)  # epochs, the part of the current one included
        self._marked_done = float(done)

    def begin(self) -> None:
        """The first batch of this attempt is about to begin."""
        self._began = self._marked = self._clock()

    @property
    def seconds(self) -> float:
        """Spent training, earlier attempts included."""
        return self._spent + self.attempt_seconds

    @property
    def attempt_seconds(self) -> float:
        """Spent training in this attempt."""
        return self._clock() - self._began

    @property
    def share(self) -> float:
        """How much of the training is done, 0..1."""
        return min(1.0, self._done / max(self._total, 1))

    def part(self, epoch: int, share: float) -> None:
        """``share`` (0..1) of the batches of an epoch (from 1) are learned."""
        self._done = epoch - 1 + share

    def finish(self, epoch: int) -> None:
        """An epoch is learned and validated."""
        self._done = self._marked_done = float(epoch)
        self._marked = self._clock()

    def epoch_seconds(self) -> float | None:
        """What an epoch takes; ``None`` as long as nothing is known."""
        if self._marked_done > self._before:
            return (self._marked - self._began) / (self._marked_done - self._before)
        if self._before and self._spent:
            return self._spent / self._before
        if self._done > self._before:
            return self.attempt_seconds / (self._done - self._before)
        return None

    def left(self) -> float | None:
        """Seconds until the last epoch ends; ``None`` as long as nothing is known."""
        each = self.epoch_seconds()
        return None if each is None else max(0.0, self._total - self._done) * each
