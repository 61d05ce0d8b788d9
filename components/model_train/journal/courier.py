"""Carries a training's epochs to one receiver in a thread of its own, so that a slow one holds nobody up."""

import logging
import re
import threading
from collections.abc import Callable, Sequence
from typing import Protocol

from components.model_train.story import End, Epoch
from components.shared.errors import in_one_line

PAUSE = 1.0  # seconds between two deliveries: short epochs are delivered together
RETRY = 30.0  # seconds until a receiver that failed is tried again
_LONGEST = 300  # characters of another library's error that a warning repeats
_SECRET = re.compile(r"//[^/@\s]+@")

logger = logging.getLogger(__name__)


class Receiver(Protocol):
    """Keeps epochs somewhere. Both methods may raise anything and may take their time."""

    label: str

    def write(self, epochs: Sequence[Epoch]) -> None:
        """Keep all epochs so far; what it has of them already it need not keep again. None: only get ready."""

    def close(self, end: End) -> None:
        """The training has ended; called after the last ``write``, which may have failed."""


class Courier:
    """One receiver's thread. What waits to be delivered is all epochs so far, so nothing is dropped and none grows.

    Args:
        receiver: where to.
        warn: told once, in a sentence, when the receiver fails.
    """

    def __init__(self, receiver: Receiver, warn: Callable[[str], None]) -> None:
        self.label = receiver.label
        self._receiver = receiver
        self._warn = warn
        self._epochs: Sequence[Epoch] = ()
        self._end: End = ""
        self._news = threading.Event()
        self._ending = threading.Event()
        self._failed = self._warned = self._hopeless = self._given_up = False
        self._speaking = threading.Lock()  # a warning is either said before the courier is given up, or not at all
        self._thread = threading.Thread(target=self._run, name=thread_name(self.label), daemon=True)

    def begin(self) -> None:
        """Start; where the system gives no thread, nothing is delivered."""
        try:
            self._thread.start()
        except RuntimeError as error:
            self._failure(error)

    def tell(self, epochs: Sequence[Epoch]) -> None:
        """Deliver these from now on; returns at once."""
        self._epochs = epochs
        self._news.set()

    def end(self, end: End) -> None:
        """Deliver what is left and then the end; returns at once."""
        self._end = end
        self._ending.set()
        self._news.set()

    def wait(self, seconds: float) -> bool:
        """Wait until the end is delivered or given up; False when it takes longer than ``seconds``.

        What takes longer may still arrive, but nobody is told of it any more: the caller says that it is late.
        """
        if self._thread.ident is not None:
            self._thread.join(max(0.0, seconds))
        with self._speaking:
            self._given_up = self._thread.is_alive()
            return not self._given_up

    @property
    def failing(self) -> bool:
        """Whether the receiver failed last time it was tried, which was warned of."""
        return self._failed and self._warned

    def _run(self) -> None:
        self._attempt(self._deliver)  # without an epoch, so that the receiver shows the training from its start
        while not self._ending.is_set():
            self._rest()
            if not self._ending.is_set():
                self._attempt(self._deliver)
        self._attempt(self._deliver)
        self._attempt(lambda: self._receiver.close(self._end))

    def _rest(self) -> None:
        """Wait for news; after a failure, for the time of the next attempt."""
        if self._failed:
            self._ending.wait(RETRY)
        else:
            self._ending.wait(PAUSE)
            self._news.wait()

    def _deliver(self) -> None:
        self._news.clear()
        self._receiver.write(self._epochs)
        if self._failed:
            level = logging.DEBUG if self._given_up else logging.INFO
            logger.log(level, "%s is reachable again and has everything.", self.label)
        self._failed = False

    def _attempt(self, action: Callable[[], None]) -> None:
        if self._hopeless:
            return
        try:
            action()
        except Exception as error:  # noqa: BLE001 - whatever it is, the training goes on
            self._failure(error)

    def _failure(self, error: Exception) -> None:
        logger.debug("%s failed", self.label, exc_info=error)
        self._failed = True
        self._hopeless = isinstance(error, ImportError)
        then = "" if self._hopeless else " The training goes on; it is tried again now and then."
        with self._speaking:
            if not (self._warned or self._given_up):
                self._warned = True
                self._warn(f"{self.label} is not told about this training: {_reason(error)}{then}")


def thread_name(label: str) -> str:
    """What a receiver's thread is called, in the log too."""
    return f"journal {label}"


def _reason(error: Exception) -> str:
    """The error's first words, without the credentials an address may hold."""
    words = _SECRET.sub("//***@", in_one_line(error))
    return (words if len(words) <= _LONGEST else f"{words[:_LONGEST]}…").rstrip(".") + "."
