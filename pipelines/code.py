"""Digests of the code behind each step, so that nothing made by other code is taken for its result."""

import hashlib
import importlib.metadata
from functools import cache
from pathlib import Path

import components

LIBRARIES = (
    "bentoml",
    "kfp",
    "numpy",
    "opencv-python-headless",
    "pillow",
    "polars",
    "pycocotools",
    "torch",
    "ultralytics",
)
PACKAGES = dict.fromkeys(("executor_stage", "executor_run_here", "executor_collect"), "executor_train")
CODE_SUFFIXES = frozenset({".py", ".j2"})


@cache
def step_digest(step: str) -> str:
    """sha256 of everything that decides what a step makes here: its own files, the shared ones and the libraries."""
    versions = "".join(f"{library}=={importlib.metadata.version(library)}\n" for library in LIBRARIES)
    return hashlib.sha256(f"{code_digest(step)}\n{versions}".encode()).hexdigest()


def code_digest(step: str) -> str:
    """sha256 of a step's own files and the shared ones; its libraries are its image's affair."""
    root = Path(components.__file__).parent
    total = hashlib.sha256()
    for path in (root / "artifacts.py", *_code(root / PACKAGES.get(step, step)), *_code(root / "shared")):
        total.update(f"{path.relative_to(root).as_posix()}\0".encode())
        total.update(hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()


def _code(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.suffix in CODE_SUFFIXES)
