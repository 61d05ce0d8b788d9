"""The doctor's look at this machine: what a run with ``--local`` needs of it."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from functools import partial
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

from components.shared.cpus import usable_cpus
from components.shared.presets import PRESETS
from pipelines.config import TrainingConfig
from pipelines.doctor.findings import Check, Finding, ok, problem, warning
from pipelines.doctor.store import check_store

DISTRIBUTION = "kubeflow-detection-pipeline"
SHOWN = ("kfp", "torch", "ultralytics", "bentoml")
OLDEST, NEWEST = (3, 11), (3, 13)
_GB = 1e9
_DISK_WARNED, _DISK_REFUSED = 10.0, 1.0  # GB; a run keeps shards, checkpoints and an archive
_MEMORY_WARNED, _MEMORY_REFUSED = 8.0, 2.0  # GB
_SHM_WARNED = 0.25  # GB; what workers hand images over in
_DRIVER_SECONDS = 10.0
_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def local_checks(config: TrainingConfig, runs: Path, store: str) -> list[Check]:
    """The checks of this machine.

    Args:
        config: the training's parameters.
        runs: the folder runs are kept in.
        store: the store's address.
    """
    return [
        Check("python", check_python),
        Check("libraries", check_libraries),
        Check("runs folder", partial(check_folder, runs)),
        Check("memory", check_memory),
        Check("gpu", partial(check_gpu, config)),
        Check("store", partial(check_store, store)),
        Check("weights", partial(check_weights, config)),
    ]


def check_python() -> Iterator[Finding]:
    """The interpreter's version."""
    found = sys.version_info[:2]
    said = f"{sys.version.split()[0]} on {usable_cpus()} CPUs"
    if OLDEST <= found <= NEWEST:
        yield ok("python", said)
    else:
        yield problem("python", said, f"Use Python {OLDEST[0]}.{OLDEST[1]} to {NEWEST[0]}.{NEWEST[1]}: scripts/setup.")


def check_libraries() -> Iterator[Finding]:
    """The libraries this project asks for, against what is installed."""
    try:
        asked = metadata.requires(DISTRIBUTION) or []
    except metadata.PackageNotFoundError:
        yield problem("libraries", f"{DISTRIBUTION} is not installed", "Run scripts/setup.")
        return
    wrong = [found for found in map(_unmet, map(Requirement, asked)) if found]
    if wrong:
        yield problem("libraries", ", ".join(wrong), "Run scripts/setup.")
        return
    yield ok("libraries", ", ".join(f"{name} {metadata.version(name)}" for name in SHOWN))


def _unmet(requirement: Requirement) -> str:
    if requirement.marker and not requirement.marker.evaluate({"extra": ""}):
        return ""
    try:
        version = metadata.version(requirement.name)
    except metadata.PackageNotFoundError:
        return f"{requirement.name} is missing"
    met = requirement.specifier.contains(version, prereleases=True)
    return "" if met else f"{requirement.name} is {version}, not {requirement.specifier}"


def check_folder(runs: Path) -> Iterator[Finding]:
    """Whether the folder of runs can be written, and how much is free there."""
    place = next((folder for folder in (runs, *runs.parents) if folder.exists()), Path("/"))
    try:
        with tempfile.NamedTemporaryFile(dir=place) as scratch:
            scratch.write(b"1")
            scratch.flush()
    except OSError as error:
        fix = "Give another folder with --runs, or the right to write it."
        yield problem("runs folder", f"{str(place)!r} cannot be written ({error.strerror})", fix)
        return
    free = shutil.disk_usage(place).free / _GB
    said = f"{str(runs)!r} can be written, {free:.1f} GB free"
    fix = "Free some: python -m pipelines.datasets gc, or --runs on another disk."
    yield _judged("runs folder", said, fix, free, (_DISK_WARNED, _DISK_REFUSED))


def check_memory() -> Iterator[Finding]:
    """What this process may take of the memory, and the memory that workers share."""
    limit = _memory()
    said = f"{limit / _GB:.1f} GB"
    fix = "Lower batch, imgsz or the preset, or give the container more."
    yield _judged("memory", said, fix, limit / _GB, (_MEMORY_WARNED, _MEMORY_REFUSED))
    shared = Path("/dev/shm")  # noqa: S108 - looked at, not written
    if shared.is_dir() and shutil.disk_usage(shared).total / _GB < _SHM_WARNED:
        size = shutil.disk_usage(shared).total / 1e6
        fix = "Start the container with --shm-size=2g or --ipc=host."
        yield warning("shared memory", f"{shared} has only {size:.0f} MB: workers that load images may die", fix)


def _memory() -> float:
    """Bytes: the machine's, or the container's limit where that is lower."""
    whole = float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    for path in map(Path, _LIMITS):
        text = path.read_text(encoding="ascii").strip() if path.is_file() else ""
        if text.isdecimal():
            return min(whole, float(text))
    return whole


def check_gpu(config: TrainingConfig) -> Iterator[Finding]:
    """The GPU, its driver, and whether torch sees it."""
    driver = _driver()
    import torch  # noqa: PLC0415 - heavy

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if count:
        names = ", ".join(sorted({torch.cuda.get_device_name(number) for number in range(count)}))
        yield ok("gpu", f"{count}: {names} (CUDA {torch.version.cuda}; driver {driver or 'unknown'})")
    elif driver:
        said = f"there is a driver ({driver}), but torch {torch.__version__} sees no GPU"
        yield warning("gpu", said, "Install a build of torch for this driver's CUDA; until then it trains on the CPU.")
    elif config.device.isdigit():
        said = f"device={config.device} is asked for, and there is no GPU here"
        yield problem("gpu", said, "Use --set device=auto or cpu.")
    else:
        yield ok("gpu", "none, it trains on the CPU: the preset 'quick' is made for that")


def _driver() -> str:
    """The driver's version; empty without one."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return ""
    command = [program, "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_DRIVER_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    lines = done.stdout.split()
    return lines[0] if done.returncode == 0 and lines else ""


def check_weights(config: TrainingConfig) -> Iterator[Finding]:
    """Whether the weights that a training begins with are here, for a machine without a network."""
    asked = config.start_from or config.model or str(PRESETS[config.preset]["model"])
    if not asked.endswith(".pt"):
        yield ok("weights", f"{asked!r} needs none from the network")
        return
    cache = Path(os.environ.get("PIPELINE_CACHE", Path.home() / ".cache" / "detection-pipeline")) / "weights"
    found = [path for path in (Path(asked).expanduser(), cache / asked) if path.is_file()]
    if found:
        yield ok("weights", f"{str(found[0])!r} is here")
    else:
        fix = f"Nothing with a network; without one put the file at {str(cache / asked)!r}."
        yield warning("weights", f"{asked!r} is not here: the training downloads it", fix)


def _judged(name: str, said: str, fix: str, amount: float, bounds: tuple[float, float]) -> Finding:
    warned, refused = bounds
    if amount < refused:
        return problem(name, f"{said}, which is too little", fix)
    return warning(name, f"{said}, which may be too little", fix) if amount < warned else ok(name, said)
