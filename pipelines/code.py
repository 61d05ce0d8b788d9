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
CODE_SUFFIXES = frozenset({".py", ".j2"})


@cache
def step_digest(step: str) -> str:
    """sha256 of everything that decides what a step makes: its own files, the shared ones and the libraries."""
    root = Path(components.__file__).parent
    files = [root / "artifacts.py", *_code(root / step), *_code(root / "shared")]
    total = hashlib.sha256()
    for path in files:
        total.update(f"{path.relative_to(root).as_posix()}\0".encode())
        total.update(hashlib.sha256(path.read_bytes()).digest())
    for library in LIBRARIES:
        total.update(f"{library}=={importlib.metadata.version(library)}\n".encode())
    return total.hexdigest()


def _code(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.suffix in CODE_SUFFIXES)
