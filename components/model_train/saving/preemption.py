"""Hear that a training must end, even while it is deep in a library, and see that it has ended in time.

A signal's Python handler runs only when the main thread comes back from a long call, a validation's last batch for
one. The byte that the interpreter writes to the wake-up descriptor comes at once, and a thread waits for it.
"""

import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any, Self

from components.shared.errors import PreemptedError

SIGNALS = (signal.SIGTERM, signal.SIGINT)
LEAVING = 5.0  # seconds the main thread has to come out once all is saved
LAST_WORDS = 1.0  # seconds for telling before the process ends
_POLL = 0.05
_TERMINATED = 128 + signal.SIGTERM  # see ``run_step``

logger = logging.getLogger(__name__)
_current: list["Preemption"] = []


def usable(grace: float) -> float:
    """Seconds of a time of grace after which this process ends itself, so that others still see how it ended."""
    return max(grace - 4.0, grace * 0.4)


@contextmanager
def exit_as_preemption() -> Iterator[None]:
    """Within the block, the exit that SIGTERM is to a step while nobody looks after it becomes a ``PreemptedError``."""
    try:
        yield
    except SystemExit as error:
        if error.code != _TERMINATED:
            raise
        text = "Told to end before the first epoch or after the last one: run the same again to go on."
        raise PreemptedError(text) from error


class Preemption:
    """Within the block, SIGTERM and SIGINT ask the training to end; see ``Supervisor`` for who asks it and when.

    When ``until`` has passed, or ``LEAVING`` seconds after ``saved()`` is true, and the block is not left, the process
    ends with the exit code of ``PreemptedError``. A second SIGINT interrupts as it does elsewhere. A process forked
    within the block gets the handlers from before. Outside of the main thread no signal is heard.

    Attributes:
        reason: why the training must end, as a sentence's beginning; empty as long as it need not.
        until: when the process ends, monotonic seconds.
    """

    def __init__(
        self, grace: float, *, told: Callable[[], None], saved: Callable[[], bool], last_words: Callable[[], None]
    ) -> None:
        """Prepare; nothing is installed yet.

        Args:
            grace: seconds from a signal until the process is killed.
            told: called from a thread as soon as a signal arrives: time to begin saving.
            saved: whether that is done.
            last_words: called from a thread just before the process ends by itself.
        """
        self.reason = ""
        self.until = float("inf")
        self._grace = grace
        self._told, self._saved, self._last_words = told, saved, last_words
        self._left = threading.Event()
        self._interrupts = 0
        self._handlers: dict[int, Any] = {}
        self._descriptor = -1
        self._reader, self._writer = socket.socketpair()
        self._writer.settimeout(0)
        self._thread = threading.Thread(target=self._watch, name="preemption", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        if threading.current_thread() is threading.main_thread():
            _current.append(self)
            self._descriptor = signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
            for number in SIGNALS:
                if signal.getsignal(number) is not signal.SIG_IGN:
                    self._handlers[number] = signal.signal(number, self._handle)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._left.set()
        if self in _current:
            _current.remove(self)
            self.restore()
        self._writer.shutdown(socket.SHUT_WR)  # forked processes may hold it open
        self._writer.close()
        self._thread.join(timeout=LAST_WORDS)
        self._reader.close()

    def restore(self) -> None:
        """Put the handlers and the wake-up descriptor from before in place again."""
        signal.set_wakeup_fd(self._descriptor)
        for number, handler in self._handlers.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)
        self._handlers = {}

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        self._interrupts += number == signal.SIGINT
        if self._interrupts > 1:
            raise KeyboardInterrupt

    def _watch(self) -> None:
        while received := self._reader.recv(64):
            if any(number in received for number in SIGNALS):
                break
        else:
            return
        self.until = time.monotonic() + usable(self._grace)
        self.reason = "Told to end"
        logger.warning("Told to end: saving what was learned.")
        self._told()
        done: float | None = None
        while time.monotonic() < min(self.until, (done or float("inf")) + LEAVING):
            if self._left.wait(_POLL):
                return
            done = (done or time.monotonic()) if self._saved() else None
        if not self._left.is_set():
            self._end()

    def _end(self) -> None:
        speaker = threading.Thread(target=self._last_words, name="last words", daemon=True)
        speaker.start()
        speaker.join(LAST_WORDS)
        os._exit(PreemptedError.exit_code)  # the main thread is in a call that does not come back in time


def _forget() -> None:
    """In a forked process: its signals are none of the training's."""
    for preemption in _current:
        preemption.restore()
    _current.clear()


os.register_at_fork(after_in_child=_forget)
