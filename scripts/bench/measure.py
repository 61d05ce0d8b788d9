"""Runs one contestant in a process of its own and tells how long it took and how much memory it had."""

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread

import psutil

MIB = 1 << 20
_EVERY = 0.05  # seconds between two looks at the memory
_CONTESTANTS = Path(__file__).with_name("contestants.py")


@dataclass(frozen=True)
class Run:
    """One run: seconds without the start of the interpreter, largest resident memory in MiB, and what it counted.

    The memory is that of the process with its children, libraries and interpreter included.
    """

    seconds: float
    memory: float
    counts: Mapping[str, float]


def run(contestant: str, *arguments: object, environment: Mapping[str, str] | None = None) -> Run:
    """Run a contestant of ``contestants.py``; its last line of output is a JSON object with ``seconds``."""
    command = [sys.executable, str(_CONTESTANTS), contestant, *map(str, arguments)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, **(environment or {})})
    ended = Event()
    sampled = [0.0]
    watcher = Thread(target=_watch, args=(process.pid, ended, sampled))
    watcher.start()
    output, _ = process.communicate()
    ended.set()
    watcher.join()
    if process.returncode:
        sys.exit(f"{contestant} failed with exit code {process.returncode}.")
    counts = json.loads(output.strip().splitlines()[-1])
    return Run(counts.pop("seconds"), max(sampled[0], counts.pop("memory")), counts)


def alternate(contestants: Mapping[str, Sequence[object]], repeats: int) -> dict[str, Run]:
    """The median run of each contestant (name -> its arguments), the contestants taking turns."""
    runs: dict[str, list[Run]] = {name: [] for name in contestants}
    for _ in range(repeats):
        for name, arguments in contestants.items():
            runs[name].append(run(name, *arguments))
    return {name: _median(found) for name, found in runs.items()}


def _median(runs: Sequence[Run]) -> Run:
    seconds = statistics.median(run.seconds for run in runs)
    return Run(seconds, statistics.median(run.memory for run in runs), runs[0].counts)


def _watch(pid: int, ended: Event, largest: list[float]) -> None:
    """Sum the memory of a process and its children again and again; pages they share count for each of them."""
    while not ended.is_set():
        try:
            process = psutil.Process(pid)
            family = [process, *process.children(recursive=True)]
            largest[0] = max(largest[0], sum(each.memory_info().rss for each in family) / MIB)
        except psutil.Error:
            pass  # one of them ended in between
        time.sleep(_EVERY)
