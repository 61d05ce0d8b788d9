"""One running service for the tests of its routes and of its page: starting it costs seconds."""

import runpy
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from components.shared.archive import OpenArchive
from components.shared.bento import bento_environment
from components.shared.detection.inference import Inference

HERE = Path(__file__).parent
STANDALONE = "components.model_pack.serving.standalone"
SETTINGS = {
    "CUDA_VISIBLE_DEVICES": "",
    "DETECTOR_WORKERS": "2",
    "DETECTOR_MAX_FILES": "4",
    "DETECTOR_MAX_BYTES": "20000000",
    "DETECTOR_MAX_REQUEST_BYTES": "30000000",
}
READY_SECONDS = 300.0


@dataclass(frozen=True)
class Service:
    """A bento that is served, a client of it, and the process to end."""

    opened: OpenArchive
    client: httpx.Client
    process: "subprocess.Popen[bytes]"


@contextmanager
def serving(opened: OpenArchive, *, standalone: bool = False, **settings: str) -> Iterator[Service]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        place = ["--host", "127.0.0.1", "--port", str(probe.getsockname()[1])]
    source, work = opened.bento / "src", opened.bento.parent
    command = ["-m", STANDALONE] if standalone else ["-m", "bentoml", "serve", str(opened.bento)]
    with (work / "service.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, *command, *place],
            env=bento_environment(work / "home") | SETTINGS | settings,
            cwd=source if standalone else work,
            stdout=log,
            stderr=log,
        )
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{place[-1]}", timeout=60, trust_env=False) as client:
            wait(client, process, work / "service.log")
            yield Service(opened, client, process)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


def wait(client: httpx.Client, process: "subprocess.Popen[bytes]", log: Path) -> None:
    ends = time.monotonic() + READY_SECONDS
    while time.monotonic() < ends:
        assert process.poll() is None, log.read_text()[-2000:]
        try:
            if client.get("/readyz").status_code == 200:
                return
        except httpx.HTTPError:
            time.sleep(0.1)
    raise AssertionError(log.read_text()[-2000:])


@pytest.fixture(scope="session")
def packed(tmp_path_factory: pytest.TempPathFactory) -> OpenArchive:
    folder = tmp_path_factory.mktemp("service")
    tiny = runpy.run_path(str(HERE / "tiny_model.py"))
    make = runpy.run_path(str(HERE / "onnx_bento.py"))["make_onnx_bento"]
    inference = Inference(confidence=0.25, class_confidence={"star": 0.4}, max_det=100)
    made: OpenArchive = make(tiny["make_tiny_model"](folder / "model"), folder, inference=inference)
    return made


@pytest.fixture(scope="session")
def service(packed: OpenArchive) -> Iterator[Service]:
    with serving(packed) as running:
        yield running


@pytest.fixture(scope="session")
def standalone(packed: OpenArchive) -> Iterator[Service]:
    with serving(packed, standalone=True, DETECTOR_WORKERS="1", DETECTOR_MAX_WAITING="1") as running:
        yield running
