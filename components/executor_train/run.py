"""Run an executor on this machine: the script that runs it in a cluster, watched from here."""

import logging
import os
import shlex
import shutil
import subprocess
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from components.executor_train.contract import MONITOR, START
from components.executor_train.monitor import read_monitor
from components.executor_train.script import SCRIPT
from components.shared.errors import ConfigError, TrainingError
from components.shared.progress import Announce, silent

POLL = 0.2  # seconds between two looks at the executor
LOOK = 1.0  # seconds between two looks at its monitor.txt
GRACE = 10.0  # seconds it has to end after it was told to
ENGINES = ("docker", "podman")

PRIVATE = r"""
# the folder with in and out, then a command: run it where these are /in and /out, for nobody else to see
set -e
home=$1 new=$1/root
shift
mkdir -p "$home/in" "$home/out" "$new"
mount -t tmpfs none "$new"
for each in /* /.[!.]*; do
  name=${each#/}
  if [ "$name" = in ] || [ "$name" = out ] || [ ! -e "$each" ]; then continue; fi
  if [ -L "$each" ]; then
    ln -s "$(readlink "$each")" "$new/$name"
  elif [ -d "$each" ]; then
    mkdir "$new/$name"
    mount --rbind "$each" "$new/$name"
  else
    : > "$new/$name"
    mount --bind "$each" "$new/$name"
  fi
done
mkdir "$new/in" "$new/out"
mount --bind "$home/in" "$new/in"
mount --bind "$home/out" "$new/out"
here=$PWD
exec chroot "$new" bash -c 'cd "$1" && shift && exec "$@"' bash "$here" "$@"
"""
_UNSHARE = ("unshare", "--user", "--map-root-user", "--mount")

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Machine:
    """How an executor is run here.

    Attributes:
        image: the image that docker or podman run, when there is no ``command``.
        command: what starts the executor without a container.
        gpu_count: GPUs a container sees; 0: none.
        shm_size: shared memory a container gets.
    """

    image: str = ""
    command: str = ""
    gpu_count: int = 0
    shm_size: str = "16G"


def run_executor(staged: Path, result: Path, exit_code: Path, machine: Machine, *, notify: Announce = silent) -> int:
    """Run the executor to its end and keep what it leaves, whether it failed or not.

    With a command, ``/in`` and ``/out`` are private mounts where the kernel lets this user make them; elsewhere the
    executor finds the two folders in the environment variables ``YMIR_IN`` and ``YMIR_OUT``, if it looks there.

    Args:
        staged: the tar of ``stage_data``.
        result: receives the tar of what the executor left.
        exit_code: receives its exit code, as text.
        machine: how to run it.
        notify: hears what the executor writes to ``monitor.txt``.

    Returns:
        The executor's exit code.

    Raises:
        ConfigError: there is neither a command nor an image that could be run here.
        TrainingError: it could not be run, or what it left could not be packed.
    """
    for path in (result, exit_code):
        path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="executor-run-", ignore_cleanup_errors=True) as scratch:
        home = Path(scratch).resolve()
        prefix, variables, command = _how(machine, home)
        places = [str(path.resolve()) for path in (staged, result, exit_code)]
        complaints = home / "complaints"
        with complaints.open("wb") as errors:
            process = subprocess.Popen(
                [*prefix, "bash", "-c", SCRIPT, "executor", *places, command],
                stdin=subprocess.DEVNULL,
                stderr=errors,
                env={**os.environ, **variables},
            )
            try:
                _watch(process, home / "out" / MONITOR, notify)
            finally:
                _end(process)
        said = complaints.read_text(encoding="utf-8", errors="replace").strip()
    if said:
        logger.warning("%s", said)
    if process.returncode != 0:
        raise TrainingError(
            said.splitlines()[-1] if said else f"The executor's script ended with {process.returncode}."
        )
    return int(exit_code.read_text(encoding="ascii"))


def _how(machine: Machine, home: Path) -> tuple[list[str], dict[str, str], str]:
    """What to put before the script, the environment it needs, and the command it starts the executor with."""
    if machine.command:
        if can_mount():
            for name in ("in", "out"):
                (home / name).mkdir()
            return [*_UNSHARE, "bash", "-c", PRIVATE, "private", str(home)], {}, machine.command
        logger.warning("No private /in and /out can be made here: the executor must honour YMIR_IN and YMIR_OUT.")
        return [], {"YMIR_ROOT": str(home)}, machine.command
    if not machine.image:
        raise ConfigError("Neither image nor command says which executor to run: give one of them.")
    engine = find_engine()
    _fetch_template(engine, machine.image, home)
    return [], {"YMIR_ROOT": str(home)}, container_command(engine, machine, home)


@cache
def can_mount() -> bool:
    """Whether this user may make mounts that only his own processes see."""
    if shutil.which("unshare") is None:
        return False
    with tempfile.TemporaryDirectory(prefix="executor-mount-") as folder:
        test = [*_UNSHARE, "bash", "-c", PRIVATE, "private", folder, "test", "-d", "/in"]
        try:
            return subprocess.run(test, capture_output=True, check=False, timeout=30).returncode == 0
        except (OSError, subprocess.TimeoutExpired):
            return False


def find_engine() -> str:
    """The program that runs containers here.

    Raises:
        ConfigError: there is none.
    """
    for engine in ENGINES:
        if shutil.which(engine):
            return engine
    raise ConfigError(
        f"Neither {' nor '.join(ENGINES)} is installed, so no image can be run here: give the command that starts the"
        " executor on this machine, or run the pipeline on a cluster."
    )


def container_command(engine: str, machine: Machine, home: Path) -> str:
    """The command, for a shell, that runs the image as the contract wants it."""
    gpus = ["--gpus", str(machine.gpu_count)] if machine.gpu_count else []
    volumes = ["--volume", f"{home}/in:/in:ro", "--volume", f"{home}/out:/out"]
    parts = [engine, "run", "--rm", "--shm-size", machine.shm_size, *gpus, *volumes, machine.image]
    return f"exec {shlex.join(parts)} {START}"


def _fetch_template(engine: str, image: str, home: Path) -> None:
    """The image's own defaults, where the script looks for them; an image without any has none."""
    command = [engine, "run", "--rm", image, "cat", "/img-man/training-template.yaml"]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    if done.returncode == 0:
        (home / "img-man").mkdir()
        (home / "img-man" / "training-template.yaml").write_bytes(done.stdout)


def _watch(process: "subprocess.Popen[bytes]", monitor: Path, notify: Announce) -> None:
    looked = 0.0
    while process.poll() is None:
        if time.monotonic() - looked >= LOOK:
            looked = time.monotonic()
            record = read_monitor(monitor)
            if record is not None and record.percent is not None:
                notify(record.percent, record.last_words or "the executor is training")
        with suppress(subprocess.TimeoutExpired):
            process.wait(POLL)


def _end(process: "subprocess.Popen[bytes]") -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(GRACE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
