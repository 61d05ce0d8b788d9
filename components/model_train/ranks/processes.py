"""Run the processes of one training on this node side by side, and let none outlive the others or their parent."""

import atexit
import logging
import math
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import FrameType

SETTLE = 5.0  # seconds the others have to end by themselves after the first one ended, their last words included
_POLL = 0.05
_READ = 65536
_KEPT_LINES = 60  # a traceback and what was before it


@dataclass(frozen=True)
class Ending:
    """How a process ended.

    Attributes:
        rank: which of the processes.
        code: exit status, negative for the signal that killed it; ``None``: killed here, after another's end.
        seconds: when it was seen to have ended, since some moment before; infinite: killed here.
        last_lines: the last of what it wrote to standard error (rank 0: and to standard output).
    """

    rank: int
    code: int | None
    seconds: float
    last_lines: tuple[str, ...]


@dataclass(frozen=True)
class Endings:
    """How all processes ended, by rank; ``told``: this process was asked to end meanwhile (SIGTERM)."""

    ranks: tuple[Ending, ...]
    told: bool


class Request:
    """Whether and when (monotonic seconds) this process was asked to end."""

    def __init__(self) -> None:
        self.at: float | None = None

    def __call__(self, _number: int, _frame: FrameType | None) -> None:
        """Take the signal."""
        if self.at is None:
            self.at = time.monotonic()


@contextmanager
def termination() -> Iterator[Request]:
    """Within the block SIGTERM is only noted; outside of the main thread it is not even that."""
    request = Request()
    if threading.current_thread() is not threading.main_thread():
        yield request  # signals are the main thread's
        return
    before = signal.signal(signal.SIGTERM, request)
    try:
        yield request
    finally:
        signal.signal(signal.SIGTERM, before)


def run_processes(
    command: Sequence[str], environments: Sequence[Mapping[str, str]], grace: float, request: Request
) -> Endings:
    """Start ``command`` once for each environment, as rank 0, 1, ..., and wait until all have ended.

    The processes stay in this one's process group. A ``request`` to this process alone is handed on to rank 0, which
    then has ``grace`` seconds to end; the others are killed after it. One that fails takes the others with it after
    ``SETTLE`` seconds, so that each can say why. What rank 0 writes goes to this process's standard error as it is,
    the other ranks' standard error with the rank before each line; their standard output goes nowhere. SIGTERM is
    blocked in a new process until ``accept_termination`` there; its standard input ends when this process does.
    """
    ranks: list[_Rank] = []
    try:
        for number, environment in enumerate(environments):
            ranks.append(_Rank(number, command, environment))
        _wait(ranks, request, grace)
    finally:
        for rank in ranks:
            rank.end()
    return Endings(tuple(rank.ending() for rank in ranks), told=request.at is not None)


def accept_termination() -> None:
    """Let SIGTERM through that ``run_processes`` blocked; call it when the handler is in place."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})


def die_with_parent() -> None:
    """End this process at once when the one that called ``run_processes`` is gone, whatever ended that."""

    def watch() -> None:
        while os.read(0, _READ):
            pass
        os._exit(1)  # nobody is left to tell, and the main thread may wait for a peer that is gone as well

    threading.Thread(target=watch, name="parent", daemon=True).start()


class Departure:
    """Ends this process at its exit when it failed: at once, once all that is registered for the exit is done.

    The interpreter would put its modules away first, which lasts seconds on a busy node. Until the process is gone its
    peers wait for it, and whoever started it does not know that it failed. Make it before anything else.
    """

    def __init__(self) -> None:
        self.code = 0
        atexit.register(self)

    def __call__(self) -> None:
        """Called at the exit, as the last of what is registered."""
        if not self.code:
            return
        for child in multiprocessing.active_children():
            child.kill()
        logging.shutdown()
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):
                stream.flush()
        os._exit(self.code)


class _Rank:
    """One process and what it wrote last."""

    def __init__(self, number: int, command: Sequence[str], environment: Mapping[str, str]) -> None:
        self.number = number
        self.killed = False
        self.ended = math.inf
        self._lines: deque[str] = deque(maxlen=_KEPT_LINES)
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        try:
            self.process = subprocess.Popen(
                list(command),
                env=dict(environment),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE if number == 0 else subprocess.DEVNULL,
                stderr=subprocess.STDOUT if number == 0 else subprocess.PIPE,
            )
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        self._reader = threading.Thread(target=self._read, name=f"log of rank {number}", daemon=True)
        self._reader.start()

    def end(self) -> None:
        """Kill it when it still runs, and take leave of it."""
        if self.poll() is None:
            self.killed = True
            self.process.kill()
        self.process.wait()
        self._reader.join(timeout=1.0)  # a process of its own may hold the pipe a little longer
        if self.process.stdin:
            self.process.stdin.close()

    def poll(self) -> int | None:
        code = self.process.poll()
        if code is not None and self.ended == math.inf:
            self.ended = time.monotonic()
        return code

    def ending(self) -> Ending:
        return Ending(self.number, None if self.killed else self.process.returncode, self.ended, tuple(self._lines))

    def _read(self) -> None:
        stream = self.process.stdout or self.process.stderr
        if stream is None:
            return
        rest = b""
        with stream:
            while chunk := os.read(stream.fileno(), _READ):
                if self.number == 0:
                    _write(chunk)
                *lines, rest = (rest + chunk).replace(b"\r", b"\n").split(b"\n")
                self._keep(lines)
            self._keep([rest])

    def _keep(self, lines: Sequence[bytes]) -> None:
        for line in lines:
            if line.strip():
                self._lines.append(line.decode(errors="replace").strip())
                if self.number:
                    _write(b"rank %d: %s\n" % (self.number, line))


def _write(data: bytes) -> None:
    """To the descriptor, not to ``sys.stderr``: a step's log replaces the descriptor."""
    with suppress(OSError):  # a log that is gone must not stop the reader, and with it the training
        while data:
            data = data[os.write(2, data) :]


def _wait(ranks: Sequence[_Rank], request: Request, grace: float) -> None:
    """Until all have ended or the time of those that have not is over."""
    first_end: float | None = None
    handed_on = False
    while True:
        codes = [rank.poll() for rank in ranks]
        if None not in codes or (request.at is not None and codes[0] is not None):
            return  # those that were told to end wait only for rank 0
        now = time.monotonic()
        if request.at is not None and not handed_on:
            handed_on = True
            ranks[0].process.send_signal(signal.SIGTERM)
        leaving = codes[0] is not None or (request.at is None and any(codes[1:]))
        if leaving and first_end is None:
            first_end = now
        if first_end is not None and now > first_end + SETTLE:
            return
        if request.at is not None and now > request.at + _until_killed(grace):
            return
        time.sleep(_POLL)


def _until_killed(grace: float) -> float:
    """Part of the time of grace that rank 0 may use; in the rest this process says how it ended."""
    return max(grace - 2.0, grace / 2)
