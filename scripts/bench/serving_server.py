"""Starts the service of an unpacked bento with settings of its own, and watches the processes that make it up."""

import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

MIB = 1 << 20
READY_SECONDS = 300.0
LOG = "service.log"
LAUNCHER = "components.model_pack.serving.standalone"
_STOP_SECONDS = 20.0
_LOOK_SECONDS = 0.02
_OK = 200


@dataclass(frozen=True)
class Running:
    """A service that answers.

    Attributes:
        address: ``127.0.0.1:port``.
        processes: all of it, the one that starts the others first.
        start: seconds from the start of the process until it said that it is ready.
    """

    address: str
    processes: tuple[psutil.Process, ...]
    start: float

    def cpu(self) -> float:
        """Seconds of CPU that its processes have used."""
        return sum(sum(process.cpu_times()[:2]) for process in self.processes)

    def memory(self) -> float:
        """Resident memory of its processes in MiB; pages they share count for each."""
        return sum(process.memory_info().rss for process in self.processes) / MIB

    def own_memory(self) -> float:
        """The same with shared pages counted once."""
        return sum(process.memory_full_info().pss for process in self.processes) / MIB

    def is_whole(self) -> bool:
        """Whether its processes are those it started with: none has gone or was started again."""
        alive = {process.pid for process in self.processes if process.is_running()}
        first = self.processes[0]
        return first.is_running() and alive == {first.pid, *(each.pid for each in first.children(recursive=True))}


@contextmanager
def serving(bento: Path, work: Path, settings: Mapping[str, str], *, supervised: bool = False) -> Iterator[Running]:
    """Serve the bento on the CPU and a free loopback port until the block ends; its log is ``work/service.log``.

    By its own launcher, as the images do it, or ``supervised`` by ``bentoml serve``.
    """
    from components.shared.bento import bento_environment  # noqa: PLC0415 - after the caller has set the path

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    home = bento_environment(work / "bentoml-home")
    kept = {name: value for name, value in home.items() if not name.startswith("DETECTOR_")}
    surroundings = kept | {"CUDA_VISIBLE_DEVICES": "", "DETECTOR_DEVICE": "cpu", **settings}
    command = ["-m", "bentoml", "serve", str(bento)] if supervised else ["-m", LAUNCHER]
    began = time.perf_counter()
    with (work / LOG).open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, *command, "--host", "127.0.0.1", "--port", str(port)],
            env=surroundings,
            cwd=work if supervised else bento / "src",
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        address = f"127.0.0.1:{port}"
        _wait(address, process, work / LOG)
        start = time.perf_counter() - began
        _settle(psutil.Process(process.pid))
        own = psutil.Process(process.pid)
        yield Running(address, (own, *own.children(recursive=True)), start)
    finally:
        _stop(process)


def _wait(address: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    """Return once it is ready; exits where it never will be."""
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        connection = http.client.HTTPConnection(address, timeout=2)
        with suppress(OSError, http.client.HTTPException):
            connection.request("GET", "/readyz")
            if connection.getresponse().status == _OK:
                return
        connection.close()
        time.sleep(_LOOK_SECONDS)
    sys.exit(f"The service did not become ready:\n{log.read_text(errors='replace')[-3000:]}")


def _settle(process: psutil.Process, seconds: float = 30.0) -> None:
    """Wait until every worker has its model: none uses the CPU any more."""
    deadline = time.monotonic() + seconds
    before = -1.0
    while time.monotonic() < deadline:
        used = sum(sum(each.cpu_times()[:2]) for each in (process, *process.children(recursive=True)))
        if used - before < 0.02:  # noqa: PLR2004 - two ticks of the kernel's clock in half a second
            return
        before = used
        time.sleep(0.5)


def _stop(process: "subprocess.Popen[bytes]") -> None:
    """End it with all it started: politely, then for good."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        process.wait(_STOP_SECONDS)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
