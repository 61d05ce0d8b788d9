"""Start the packed service as a child process, wait until it is ready, ask it, and never leave it behind."""

import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from components.shared.bento import bento_environment
from components.shared.errors import ProofError

logging.getLogger("httpx").setLevel(logging.WARNING)  # it tells of every request at the level of steps
READY_SECONDS = 90.0
STOP_SECONDS = 10.0
ANSWER_SECONDS = 60.0
LOG = "serve.log"
_TAIL = 20
_FAILED = "Application startup failed"  # it would try again for ever


@dataclass(frozen=True)
class Server:
    """A running service: its client, and how long it took to become ready."""

    client: httpx.Client
    cold_start_seconds: float

    def predict(self, image: bytes, *, conf: float | None = None) -> dict[str, object]:
        """What ``POST /predict`` answers for an encoded image; ``None`` leaves the service's own threshold.

        Raises:
            ProofError: it does not answer 200 with a JSON object.
        """
        fields = {} if conf is None else {"conf": repr(conf)}
        return self._ask("POST", "/predict", files={"image": ("image", image, "image/png")}, data=fields)

    def model(self) -> dict[str, object]:
        """What ``GET /model`` answers; raises ``ProofError`` as ``predict`` does."""
        return self._ask("GET", "/model")

    def latencies(self, image: bytes, requests: int) -> tuple[float, ...]:
        """Seconds each of so many predictions took, one after the other, seen from the client."""
        seconds = []
        for _ in range(requests):
            started = time.perf_counter()
            self.predict(image)
            seconds.append(time.perf_counter() - started)
        return tuple(seconds)

    def _ask(self, method: str, path: str, **sent: Any) -> dict[str, object]:  # noqa: ANN401 - httpx's own arguments
        try:
            reply = self.client.request(method, path, **sent)
            answer = reply.json()
        except (httpx.HTTPError, ValueError) as error:
            raise ProofError(f"The packed service did not answer {path}: {error}.") from error
        if reply.status_code != httpx.codes.OK or not isinstance(answer, dict):
            raise ProofError(f"The packed service answered {path} with {reply.status_code}: {reply.text[:300]}")
        return answer


@contextmanager
def serve(bento: Path, work: Path, *, timeout: float = READY_SECONDS) -> Iterator[Server]:
    """Serve an unpacked bento on a free loopback port, on the CPU, until the block ends; its log is ``work/serve.log``.

    Raises:
        ProofError: it ended or was not ready in time; the message ends with the end of its log.
    """
    port = _free_port()
    command = [sys.executable, "-m", "bentoml", "serve", str(bento), "--host", "127.0.0.1", "--port", str(port)]
    environment = bento_environment(work / "bentoml-home") | {"CUDA_VISIBLE_DEVICES": ""}
    with (work / LOG).open("wb") as output:
        process = subprocess.Popen(
            command,
            env=environment,
            cwd=work,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=ANSWER_SECONDS, trust_env=False) as client:
                yield Server(client, _wait(client, process, work, timeout))
        finally:
            _stop(process)


def _wait(client: httpx.Client, process: "subprocess.Popen[bytes]", work: Path, timeout: float) -> float:
    """Seconds until the service was ready."""
    started = time.monotonic()
    while (passed := time.monotonic() - started) < timeout:
        code = process.poll()
        if code is not None or _FAILED in log_tail(work):
            raise ProofError(f"The packed service failed before it was ready:\n{log_tail(work)}")
        try:
            if client.get("/readyz", timeout=2.0).status_code == httpx.codes.OK:
                return time.monotonic() - started
        except httpx.HTTPError:
            pass
        time.sleep(0.05)
    raise ProofError(f"The packed service was not ready after {passed:.0f} s:\n{log_tail(work)}")


def _stop(process: "subprocess.Popen[bytes]") -> None:
    """End the whole process group: politely, then for good."""
    _signal(process, signal.SIGTERM)
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        pass
    finally:
        _signal(process, signal.SIGKILL)
        process.wait()


def _signal(process: "subprocess.Popen[bytes]", number: signal.Signals) -> None:
    try:
        os.killpg(process.pid, number)
    except (ProcessLookupError, PermissionError):
        return


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def log_tail(work: Path) -> str:
    """The last lines of the log of the service that ran in ``work``, empty when there is none."""
    log = work / LOG
    if not log.is_file():
        return ""
    return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-_TAIL:])
