"""``scripts/lock-images``: the hash-pinned requirements of each image, from ``pyproject.toml`` and its lock."""

import argparse
import hashlib
import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from components.shared.errors import ConfigError, PipelineError
from components.shared.files import write_atomically
from pipelines.terminal import print_error, print_line

ROOT = Path(__file__).resolve().parents[2]
LOCKS = ROOT / "images" / "locks"
CONSTRAINTS = "requirements.lock"
TORCH_BACKENDS = ("default", "cpu")
_PIN = re.compile(r"^([A-Za-z0-9][\w.-]*)==([^\s;\\]+)", re.MULTILINE)
_MADE_FROM = "# made from "
_SECONDS = 900
_TAIL = 600
_FOUND_ELSEWHERE = ("PIP_FIND_LINKS", "UV_FIND_LINKS")  # wheels of one machine have no place in a lock


@dataclass(frozen=True)
class Locked:
    """What an image's lock is made of.

    Attributes:
        project: whether it has everything the project depends on.
        extras: extras of the project it has, too.
        only: names of the project's dependencies, or of what those bring along, where it has not all of them.
        without: distributions that are left out though others ask for them.
        forbidden: distributions that must never be in it.
    """

    project: bool = False
    extras: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    forbidden: tuple[str, ...] = ()


SERVING = (
    *("bentoml", "grpcio", "numpy", "onnxruntime", "opencv-python-headless", "pillow", "prometheus-client"),
    *("protobuf", "pydantic", "python-multipart", "starlette"),
)
"""What the packer writes into an archive that ONNX serves on a CPU; a test compares the two."""

LOCKED = {
    # Triton compiles kernels for GPUs; torch loads without it.
    "steps": Locked(project=True, extras=("formats", "registry", "sql"), without=("triton",)),
    "trainer": Locked(project=True, extras=("mlflow",)),
    "serving": Locked(only=SERVING, forbidden=("kfp", "openvino", "torch", "torchvision", "triton", "ultralytics")),
    "executor": Locked(only=("numpy", "pillow", "pyyaml")),
    "build": Locked(),
}
"""The locks by name; ``build`` is what builds the project's wheel in a stage that no image keeps."""


def requirements_of(name: str, project: Mapping[str, Any]) -> tuple[str, ...]:
    """The requirements ``pyproject.toml`` states for an image, sorted.

    Args:
        name: one of ``LOCKED``.
        project: the content of ``pyproject.toml``.

    Raises:
        ConfigError: it has no extra of a name that the image needs.
    """
    if name == "build":
        return tuple(sorted(project["build-system"]["requires"]))
    locked, table = LOCKED[name], project["project"]
    known: dict[str, str] = {canonicalize_name(Requirement(text).name): text for text in table["dependencies"]}
    extras: dict[str, list[str]] = table.get("optional-dependencies", {})
    missing = [extra for extra in locked.extras if extra not in extras]
    if missing:
        raise ConfigError(f"pyproject.toml has no extra {missing[0]!r}, which the image {name!r} needs: add it.")
    wanted = [text for extra in locked.extras for text in extras[extra]]
    wanted += known.values() if locked.project else [known.get(each, each) for each in locked.only]
    return tuple(sorted(set(wanted)))


def made_from(name: str, lock_text: str, root: Path = ROOT) -> str:
    """sha256 of all that decides what the lock of an image says, but for what the package index has.

    Args:
        name: one of ``LOCKED``.
        lock_text: the lock itself: the versions of what is in it are to be the project's.
        root: where the project lies.
    """
    project = _read_project(root)
    locked = LOCKED[name]
    pins = pins_of((root / CONSTRAINTS).read_text(encoding="utf-8"))
    used = {
        "requirements": requirements_of(name, project),
        "without": locked.without,
        "overrides": sorted(project.get("tool", {}).get("uv", {}).get("override-dependencies", ())),
        "pins": {each: pins[each] for each in sorted(pins_of(lock_text)) if each in pins},
    }
    return hashlib.sha256(json.dumps(used, sort_keys=True).encode()).hexdigest()


def pins_of(lock: str) -> dict[str, str]:
    """Version by canonical name of each distribution in a lock, without a local part such as ``+cpu``."""
    return {canonicalize_name(name): version.partition("+")[0] for name, version in _PIN.findall(lock)}


def is_in_step(name: str, root: Path = ROOT) -> bool:
    """Whether the lock of an image was made from what ``pyproject.toml`` and the project's lock say now."""
    path = root / "images" / "locks" / f"{name}.lock"
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    return f"{_MADE_FROM}{made_from(name, text, root)}\n" in text


def lock(name: str, *, torch: str = "default") -> Path:
    """Resolve the requirements of an image anew and write its lock; gives its path.

    Args:
        name: one of ``LOCKED``.
        torch: ``cpu`` for the builds without CUDA that PyTorch's own index has, ``default`` for the package index's.

    Raises:
        PipelineError: they cannot be resolved; the message ends with what uv said.
    """
    path = LOCKS / f"{name}.lock"
    text = _resolve(name, torch if name == "steps" else TORCH_BACKENDS[0])
    head = f"# What the image has: scripts/lock-images wrote this file.\n{_MADE_FROM}{made_from(name, text)}\n"
    with write_atomically(path) as temporary:
        temporary.write_text(head + text, encoding="utf-8")
    return path


def _resolve(name: str, torch: str) -> str:
    command = [str(Path(sys.executable).with_name("uv")), "pip", "compile", "-", "--quiet", "-c", CONSTRAINTS]
    command += ["--universal", "--python-version", "3.11", "--generate-hashes", "--no-annotate", "--no-header"]
    command += [part for left_out in LOCKED[name].without for part in ("--no-emit-package", left_out)]
    command += ["--torch-backend", "cpu", "--emit-index-url"] if torch == "cpu" else []
    environment = {key: value for key, value in os.environ.items() if key not in _FOUND_ELSEWHERE}
    done = subprocess.run(
        command,
        input="\n".join(requirements_of(name, _read_project(ROOT))),
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=_SECONDS,
        check=False,
    )
    if done.returncode:
        tail = " ".join(done.stderr.split())[-_TAIL:]
        raise PipelineError(f"The requirements of the image {name!r} cannot be resolved: {tail}")
    return done.stdout


def _read_project(root: Path) -> dict[str, Any]:
    return tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))


def main(arguments: Sequence[str] | None = None) -> int:
    """The command: 0 success, 1 a lock is stale or cannot be made, 2 bad input."""
    parser = argparse.ArgumentParser(prog="scripts/lock-images", description="Write images/locks/*.lock anew.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"{', '.join(LOCKED)} (default: all)")
    parser.add_argument("--check", action="store_true", help="write nothing; say which are not in step (no network)")
    parser.add_argument(
        "--torch",
        choices=TORCH_BACKENDS,
        default=TORCH_BACKENDS[0],
        help="cpu: the steps' image gets PyTorch's build without CUDA, from PyTorch's own index (some 3 GB less)",
    )
    options = parser.parse_args(arguments)
    try:
        return _work(tuple(options.names or LOCKED), check=options.check, torch=options.torch)
    except PipelineError as error:
        print_error(error)
        return error.exit_code


def _work(names: Sequence[str], *, check: bool, torch: str) -> int:
    unknown = [name for name in names if name not in LOCKED]
    if unknown:
        raise ConfigError(f"There is no lock {unknown[0]!r}: choose of {', '.join(LOCKED)}.")
    if check:
        stale = [name for name in names if not is_in_step(name)]
        if stale:
            raise PipelineError(f"Not in step with pyproject.toml: {', '.join(stale)}; run scripts/lock-images.")
        return 0
    for name in names:
        path = lock(name, torch=torch)
        print_line(f"{path.relative_to(ROOT)}: {len(pins_of(path.read_text(encoding='utf-8')))} distributions")
    return 0


if __name__ == "__main__":
    sys.exit(main())
