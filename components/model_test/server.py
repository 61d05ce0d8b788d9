"""Start the packed service as a child process, wait until it is ready, ask it, and never leave it behind."""

import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from components.model_test import guard
from components.shared.bento import bento_environment
from components.shared.cpus import usable_cpus
from components.shared.errors import ProofError

logging.getLogger("httpx").setLevel(logging.WARNING)  # it tells of every request at the level of steps
READY_SECONDS = 180.0
STOP_SECONDS = 10.0
ANSWER_SECONDS = 60.0
LOG = "serve.log"
_TAIL = 20
_FAILED = "Application startup failed"  # it would try again for ever
_SETTINGS = "DETECTOR_"  # variables that would have the service do something else than the archive says

Answer = Mapping[str, object]


@dataclass(frozen=True)
class Server:
    """A running service: its client, and how long it took to become ready."""

    client: httpx.Client
    cold_start_seconds: float

    def predict(self, image: bytes, *, conf: float | None = None) -> Answer:
        """What ``POST /predict`` answers for an encoded image; ``None`` leaves the service's own thresholds.

        Raises:
            ProofError: it does not answer 200 with a JSON object.
        """
        answer = self._predict([image], conf)
        if not isinstance(answer, dict):
            raise ProofError(f"The packed service answered one image with {str(answer)[:200]}, not with a JSON object.")
        return answer

    def predict_together(self, images: Sequence[bytes], *, conf: float | None = None) -> list[Answer]:
        """What it answers for several images in one request, two or more; raises ``ProofError`` as ``predict`` does."""
        whole = self._predict(images, conf)
        answers = whole.get("predictions") if isinstance(whole, dict) else whole
        if not isinstance(answers, list) or not all(isinstance(answer, dict) for answer in answers):
            raise ProofError(
                f"The packed service answered {len(images)} images in one request with {str(whole)[:200]}."
            )
        if len(answers) != len(images):
            raise ProofError(f"The packed service answered {len(images)} images with {len(answers)} predictions.")
        return answers

    def model(self) -> Answer:
        """What ``GET /model`` answers; raises ``ProofError`` as ``predict`` does."""
        answer = self._ask("GET", "/model")
        if not isinstance(answer, dict):
            raise ProofError(f"The packed service answered /model with {str(answer)[:200]}, not with a JSON object.")
        return answer

    def _predict(self, images: Sequence[bytes], conf: float | None) -> Any:  # noqa: ANN401 - any JSON
        fields = {} if conf is None else {"conf": repr(conf)}
        files = [("image", (f"image-{place}", image, "image/png")) for place, image in enumerate(images)]
        return self._ask("POST", "/predict", files=files, data=fields)

    def _ask(self, method: str, path: str, **sent: Any) -> Any:  # noqa: ANN401 - httpx's own arguments, any JSON
        try:
            reply = self.client.request(method, path, **sent)
            answer = reply.json()
        except (httpx.HTTPError, ValueError) as error:
            reason = str(error) or type(error).__name__
            raise ProofError(f"The packed service did not answer {path}: {reason}.") from error
        if reply.status_code != httpx.codes.OK:
            raise ProofError(f"The packed service answered {path} with {reply.status_code}: {reply.text[:300]}")
        return answer


@contextmanager
def serve(bento: Path, work: Path, *, timeout: float = READY_SECONDS) -> Iterator[Server]:
    """Serve an unpacked bento on a free loopback port, on the CPU, until the block ends; its log is ``work/serve.log``.

    It ends when this process does, too, even where that is killed.

    Raises:
        ProofError: it ended or was not ready in time; the message ends with the end of its log.
    """
    port = _free_port()
    service = [sys.executable, "-m", "bentoml", "serve", str(bento), "--host", "127.0.0.1", "--port", str(port)]
    with (work / LOG).open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", guard.__file__, *service],
            env=_environment(work),
            cwd=work,
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
            address = f"http://127.0.0.1:{port}"
            with httpx.Client(base_url=address, timeout=ANSWER_SECONDS, trust_env=False, limits=limits) as client:
                yield Server(client, _wait(client, process, work, timeout))
        finally:
            _stop(process)


def workers() -> int:
    """How many processes a service has on this machine."""
    return usable_cpus()


def _environment(work: Path) -> dict[str, str]:
    """The surroundings of a service that does what its archive says, on the CPU."""
    inherited = bento_environment(work / "bentoml-home")
    kept = {name: value for name, value in inherited.items() if not name.startswith(_SETTINGS)}
    return kept | {"CUDA_VISIBLE_DEVICES": "", f"{_SETTINGS}DEVICE": "cpu"}


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
        if process.stdin:
            process.stdin.close()


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
