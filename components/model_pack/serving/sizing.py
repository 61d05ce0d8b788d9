"""Where a packed model predicts and with how many processes and threads; nothing here imports a library."""

import importlib.util
import os
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass
from pathlib import Path

from components.shared.cpus import CPUS, usable_cpus
from components.shared.errors import ConfigError

DEVICE = "DETECTOR_DEVICE"
RUNTIME = "DETECTOR_RUNTIME"
WORKERS = "DETECTOR_WORKERS"
THREADS = "DETECTOR_THREADS"
MAX_SECONDS = "DETECTOR_MAX_SECONDS"
DEFAULT_SECONDS = 60
MOST_WORKERS = 16

_NVIDIA = (Path("/dev/nvidia0"), Path("/dev/nvidiactl"), Path("/dev/dxg"))
_HIDDEN = frozenset({"", "-1", "none", "void"})


@dataclass(frozen=True)
class Sizing:
    """Processes that serve, and CPU threads of one prediction in each."""

    workers: int
    threads: int


def sizing_of(environment: Mapping[str, str] = os.environ) -> Sizing:
    """A process a CPU with one thread each, which serves the most images a second; on a GPU one process.

    ``DETECTOR_WORKERS`` and ``DETECTOR_THREADS`` set them by hand.

    Raises:
        ConfigError: one of them is no whole number above zero.
    """
    cpus = usable_cpus()
    workers = number(environment, WORKERS) or (1 if gpu_is_wanted(environment) else min(cpus, MOST_WORKERS))
    return Sizing(workers, number(environment, THREADS) or max(1, cpus // workers))


def settle(environment: MutableMapping[str, str]) -> Sizing:
    """Write the sizing down, so that whatever asks later, the weights' own library too, finds the same."""
    sizing = sizing_of(environment)
    environment.setdefault(WORKERS, str(sizing.workers))
    environment.setdefault(THREADS, str(sizing.threads))
    environment[CPUS] = str(sizing.threads)
    return sizing


def gpu_is_wanted(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether predictions will be made on a GPU: asked for, or one is there and torch is installed to use it."""
    asked = environment.get(DEVICE, "auto").strip().lower() or "auto"
    return gpu_is_visible(environment) if asked == "auto" else asked != "cpu"


def gpu_is_visible(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether this machine has an NVIDIA GPU that is not hidden from this process, and torch to use it."""
    if environment.get("CUDA_VISIBLE_DEVICES", "all").strip().lower() in _HIDDEN:
        return False
    return any(path.exists() for path in _NVIDIA) and importlib.util.find_spec("torch") is not None


def number(environment: Mapping[str, str], variable: str) -> int:
    """The whole number above 0 in a variable, 0 where it is not set; raises ``ConfigError`` for anything else."""
    text = environment.get(variable, "").strip()
    if text and (not text.isdecimal() or int(text) < 1):
        raise ConfigError(f"{variable} is {text!r}: give a whole number above 0.")
    return int(text) if text else 0
