"""Who serves images in the bench of the service: the bare library in a loop, and the packed service over HTTP."""

# ruff: noqa: PLC0415 - the bare library is imported in its own process only

import http.client
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import psutil
from serving_server import MIB, Running, serving

WARM_UP = 8  # images before the clock starts
_MAIN = Path(__file__).with_name("serving.py")
_OK = 200


@dataclass(frozen=True)
class Run:
    """One way of asking, once.

    Attributes:
        images: how many were answered.
        seconds: wall time of all of them.
        p50: median seconds of an image, as its client sees it.
        p95: 95th percentile.
        cpu: seconds of CPU of all processes that serve; the client's are not in it.
        memory: their resident memory in MiB afterwards, pages they share counted for each.
        shared: the same with shared pages counted once.
        start: seconds from the start of the process until it answers; 0 where that was not measured.
    """

    images: int
    seconds: float
    p50: float
    p95: float
    cpu: float
    memory: float
    shared: float
    start: float = 0.0


class Contestant(Protocol):
    """Answers photographs."""

    def runs(self, pictures: Sequence[bytes], work: Path) -> Mapping[str, Run]:
        """One run for each way of asking, by what is added to the contestant's name."""


def measure(contestants: Mapping[str, Contestant], pictures: Sequence[bytes], work: Path) -> dict[str, Run]:
    """One round: everybody in turn."""
    found = {}
    for name, contestant in contestants.items():
        for addition, run in contestant.runs(pictures, work).items():
            found[name + addition] = run
            print(f"  {name + addition}: {run.images / run.seconds:.1f} images/s", file=sys.stderr)
    return found


@dataclass(frozen=True)
class Bare:
    """``YOLO.predict`` in a loop in a process of its own, with the library's own threads or all there are."""

    weights: Path
    all_cores: bool

    def runs(self, pictures: Sequence[bytes], work: Path) -> Mapping[str, Run]:
        """One run."""
        folder = work / "photographs"
        if not folder.is_dir():
            folder.mkdir()
            for index, picture in enumerate(pictures):
                (folder / f"{index:05}.jpg").write_bytes(picture)
        plan = json.dumps({"weights": str(self.weights), "folder": str(folder), "all_cores": self.all_cores})
        command = [sys.executable, str(_MAIN), "--bare", plan]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            sys.exit(f"The bare library failed:\n{done.stderr[-3000:]}")
        return {"": Run(**json.loads(done.stdout.strip().splitlines()[-1]))}


def bare(weights: str, folder: str, *, all_cores: bool) -> Run:
    """The loop itself, in this process: decode as the library's own loader does, predict with its defaults."""
    from components.shared.cpus import usable_cpus
    from components.shared.detection.environment import limit_threads, prepare_environment

    began = time.perf_counter()
    prepare_environment()
    import cv2
    import numpy as np
    from ultralytics import YOLO

    if all_cores:
        limit_threads(usable_cpus())
    else:
        os.environ.pop("OMP_NUM_THREADS", None)
    model = YOLO(weights)
    pictures = [path.read_bytes() for path in sorted(Path(folder).iterdir())]

    def answer(picture: bytes) -> None:
        pixels = cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_COLOR)
        model.predict(pixels, imgsz=640, verbose=False)

    answer(pictures[0])
    start = time.perf_counter() - began
    for picture in pictures[:WARM_UP]:
        answer(picture)
    cpu, wall = time.process_time(), time.perf_counter()
    seconds = [_timed(answer, picture) for picture in pictures]
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    used = psutil.Process().memory_full_info()
    return _run(seconds, wall, cpu, (used.rss / MIB, used.pss / MIB), start)


@dataclass(frozen=True)
class Served:
    """The service of an unpacked bento with one runtime, asked by one client and then by several at once."""

    bento: Path
    runtime: str
    clients: int
    supervised: bool = False

    def runs(self, pictures: Sequence[bytes], work: Path) -> Mapping[str, Run]:
        """Two runs of one server."""
        with serving(self.bento, work, {"DETECTOR_RUNTIME": self.runtime}, supervised=self.supervised) as running:
            ask(running.address, pictures[: WARM_UP * self.clients], self.clients)
            return {
                f", {clients} client{'s' * (clients > 1)}": _asked(running, pictures, clients)
                for clients in (1, self.clients)
            }


def ask(address: str, pictures: Sequence[bytes], clients: int) -> list[float]:
    """Send the pictures to ``/predict`` over as many connections; the seconds each took.

    Raises:
        RuntimeError: one was not answered with 200.
    """
    shares = [pictures[index::clients] for index in range(clients)]
    with ThreadPoolExecutor(clients) as pool:
        return [seconds for share in pool.map(lambda share: _ask(address, share), shares) for seconds in share]


def _ask(address: str, pictures: Sequence[bytes]) -> list[float]:
    connection = http.client.HTTPConnection(address, timeout=60)
    headers = {"Content-Type": "image/jpeg"}

    def post(picture: bytes) -> None:
        connection.request("POST", "/predict", picture, headers)
        answer = connection.getresponse()
        body = answer.read()
        if answer.status != _OK:
            raise RuntimeError(f"The service answered {answer.status}: {body[:300]!r}")

    try:
        return [_timed(post, picture) for picture in pictures]
    finally:
        connection.close()


def _asked(running: Running, pictures: Sequence[bytes], clients: int) -> Run:
    before, wall = running.cpu(), time.perf_counter()
    seconds = ask(running.address, pictures, clients)
    wall = time.perf_counter() - wall
    cpu = running.cpu() - before
    return _run(seconds, wall, cpu, (running.memory(), running.own_memory()), running.start)


def _run(seconds: Sequence[float], wall: float, cpu: float, memory: tuple[float, float], start: float) -> Run:
    return Run(len(seconds), wall, percentile(seconds, 50), percentile(seconds, 95), cpu, *memory, start)


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that ``share`` percent of them do not exceed; raises ``IndexError`` where there is none."""
    ordered = sorted(values)
    return ordered[max(0, -int(-len(ordered) * share // 100) - 1)]


def _timed(call: Callable[[bytes], None], picture: bytes) -> float:
    began = time.perf_counter()
    call(picture)
    return time.perf_counter() - began
