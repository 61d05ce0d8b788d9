"""Run a task inside its image as a pod does: user 10001 of group 0, code it cannot write, no home of its own."""

import os
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from cluster_inputs import MOUNT, OUTPUTS, Task

USER = "10001:0"
SECONDS = 1800
WRITABLE = ("/dev", "/minio", "/proc", "/run", "/scratch", "/sys", "/tmp", "/var/tmp")  # noqa: S108 - a pod may
MADE_BY_THE_TOOL = {"/etc/hostname", "/etc/hosts", "/etc/mtab", "/etc/resolv.conf"}
_TIMED_OUT = 124
_TAIL = 2500


@dataclass(frozen=True)
class Ran:
    """How a task went.

    Attributes:
        task: its name.
        image: the image it ran in.
        seconds: how long it took.
        code: what it exited with.
        said: the end of its log.
        strayed: files it wrote where a pod with a read-only root could not.
    """

    task: str
    image: str
    seconds: float
    code: int
    said: str
    strayed: tuple[str, ...]


@dataclass
class Pods:
    """Runs tasks in containers that buildah makes, one each, gone afterwards.

    Attributes:
        root: what is at ``/minio`` in each.
        environment: variables of every pod: the store's address and credentials.
        ran: what was run.
    """

    root: Path
    environment: Mapping[str, str]
    ran: list[Ran] = field(default_factory=list)

    def execute(self, task: Task) -> str | None:
        """Run a task; gives the text it left in its output file, or ``None`` when it failed."""
        with tempfile.TemporaryDirectory(prefix="pod-") as folder, container(task.image) as name:
            scratch = Path(folder) / "tmp"
            scratch.mkdir()
            scratch.chmod(0o1777)
            left = _beside(scratch, OUTPUTS)
            left.mkdir(parents=True)
            for each in (left, left.parent):
                each.chmod(0o777)
            began, started = time.time(), time.monotonic()
            mounts = {self.root: MOUNT, scratch: "/tmp"}  # noqa: S108 - a pod has its own
            for number, target in enumerate(sorted({*task.scratch} - {"/tmp", "/dev/shm"})):  # noqa: S108 - same
                origin = Path(folder) / f"scratch-{number}"
                origin.mkdir()
                origin.chmod(0o1777)
                mounts[origin] = target
            done = run_in(name, task.command, {**task.environment, **self.environment}, mounts)
            seconds = time.monotonic() - started
            strayed = changed(name, began)
            self.ran.append(
                Ran(task.name, task.image, seconds, done.returncode, (done.stdout + done.stderr)[-_TAIL:], strayed)
            )
            file = _beside(scratch, task.output_file)
            if done.returncode:
                return None
            return file.read_text(encoding="utf-8") if file.is_file() else ""


@contextmanager
def container(image: str) -> Iterator[str]:
    """A working container of an image in buildah's own store."""
    name = buildah("from", "--pull-never", image).strip()
    try:
        yield name
    finally:
        buildah("rm", name)


def run_in(
    name: str, command: tuple[str, ...], environment: Mapping[str, str], mounts: Mapping[Path, str]
) -> subprocess.CompletedProcess[str]:
    """Run a command in a container; it has this machine's network, for the store is there."""
    words = run_command(name, command, environment, mounts)
    try:
        return subprocess.run(
            words,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=SECONDS,
            check=False,
            env=isolated(),
        )
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(words, _TIMED_OUT, "", f"It did not end within {SECONDS} s.")


def run_command(
    name: str, command: tuple[str, ...], environment: Mapping[str, str], mounts: Mapping[Path, str]
) -> list[str]:
    """The words that run a command in a container as a pod would."""
    words = ["buildah", "run", "--user", USER]
    words += [f"--env={key}={value}" for key, value in environment.items()]
    words += [f"--volume={origin}:{target}" for origin, target in mounts.items()]
    return [*words, name, "--", *command]


def buildah(*words: str) -> str:
    """What a command of buildah's prints."""
    command = ("buildah", *words)
    return subprocess.run(command, env=isolated(), capture_output=True, text=True, check=True).stdout


def isolated() -> dict[str, str]:
    """The environment buildah runs in; without other isolation a chroot, which needs no privileges of a kernel."""
    return {"BUILDAH_ISOLATION": "chroot", **os.environ}


def changed(name: str, since: float) -> tuple[str, ...]:
    """Files of a container that are newer than that moment, but for those where a pod may write."""
    top = Path(buildah("mount", name).strip())
    try:
        newer = [path for path in _files(top) if path.lstat().st_ctime >= since]
    finally:
        buildah("umount", name)
    return tuple(sorted({f"/{path.relative_to(top)}" for path in newer} - MADE_BY_THE_TOOL))


def _files(top: Path) -> Iterator[Path]:
    for folder, names, files in os.walk(top):
        here = Path(folder)
        inside = f"/{here.relative_to(top)}"
        names[:] = [each for each in names if f"{inside.rstrip('/.')}/{each}" not in WRITABLE]
        yield from (here / each for each in files)


def _beside(scratch: Path, path: str) -> Path:
    return scratch / Path(path).relative_to("/tmp")  # noqa: S108 - where scratch is mounted
