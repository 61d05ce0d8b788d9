"""Build a bento offline, in a store of its own, and take from it whatever depends on the time."""

import shutil
import subprocess
import sys
from pathlib import Path

import yaml

from components.shared.archive import SOURCE
from components.shared.bento import bento_environment
from components.shared.errors import ArchiveError

BUILD_FILE = "bentofile.yaml"
EPOCH = "1980-01-01T00:00:00+00:00"
BUILD_SECONDS = 600  # it takes three; a node that is overrun takes minutes
_TAIL = 15


def build_bento(staging: Path, target: Path, *, name: str, version: str) -> None:
    """Build the bento ``name:version`` from the files in ``staging`` into the folder ``target``.

    It runs in a child process, because BentoML reads its home when it is imported; nothing is looked up or installed.

    Raises:
        ArchiveError: the build failed; the message ends with the end of its output.
    """
    home = target.with_name("bentoml-home")
    build_file = target.with_name(BUILD_FILE)
    build_file.write_text(yaml.safe_dump(_options(name), sort_keys=True), encoding="utf-8")
    command = [sys.executable, "-m", "bentoml", "build", "--version", version, "-f", str(build_file), str(staging)]
    try:
        done = subprocess.run(
            command,
            env=bento_environment(home),
            cwd=target.parent,
            capture_output=True,
            text=True,
            timeout=BUILD_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise ArchiveError(f"Building the bento {name}:{version} took longer than {BUILD_SECONDS} s.") from error
    built = home / "bentos" / name / version
    if done.returncode or not built.is_dir():
        tail = "\n".join((done.stdout + done.stderr).splitlines()[-_TAIL:])
        raise ArchiveError(f"Building the bento {name}:{version} failed with code {done.returncode}:\n{tail}")
    shutil.move(built, target)
    _normalise(target)


def _options(name: str) -> dict[str, object]:
    return {
        "service": "service:DetectorService",
        "name": name,
        "description": f"The object detector {name}: POST an image to /predict, GET /model for what it is.",
        "include": ["*"],
        "python": {"requirements_txt": "./requirements.txt", "lock_packages": False},
        "docker": {"system_packages": ["libgl1", "libglib2.0-0"]},
    }


def _normalise(bento: Path) -> None:
    """Give the bento a fixed time and drop the copy of the build file and caches, which say nothing new."""
    path = bento / "bento.yaml"
    described = yaml.safe_load(path.read_text(encoding="utf-8"))
    described["creation_time"] = EPOCH
    path.write_text(yaml.safe_dump(described, sort_keys=True), encoding="utf-8")
    (bento / SOURCE / BUILD_FILE).unlink(missing_ok=True)
    for cache in bento.rglob("__pycache__"):
        shutil.rmtree(cache)
