"""Name a training by everything that decides its weights, so that whoever wants the same one finds its checkpoints."""

import dataclasses
import hashlib
import importlib.metadata
import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import components
from components.model_train.trainers.base import Hyperparameters, Start

FORMAT = 1  # of the key itself
LIBRARIES = ("numpy", "opencv-python-headless", "torch", "torchvision", "ultralytics")
CODE = (
    "model_train/trainers/**/*.py",
    "shared/detection/environment.py",
    "shared/detection/layers.py",
    "shared/detection/torchvision_*.py",
    "shared/image_files.py",
    "shared/images.py",
    "shared/materialise.py",
)
"""The files, below ``components``, that decide what a training sees and how it learns."""

_ELSEWHERE = frozenset({"device", "model", "start_from"})  # a device's name, and words for what ``Start`` says exactly


def training_key(versions: Mapping[str, str], parameters: Hyperparameters, start: Start) -> str:
    """The training's name, 64 hex digits: sha256 over canonical JSON of all that decides the weights it ends with.

    Args:
        versions: dataset versions by split.
        parameters: all count but the device's name; what ``model`` and ``start_from`` led to is in ``start``.
        start: its framework, architecture and the digest of its weights count, not where they lie.
    """
    asked = dataclasses.asdict(parameters)
    content = {
        "format": FORMAT,
        "datasets": dict(versions),
        "parameters": {name: _plain(value) for name, value in asked.items() if name not in _ELSEWHERE},
        "start": [start.framework, Path(start.architecture).name, start.sha256],
        "code": _code_digest(),
        "libraries": {name: _version(name) for name in LIBRARIES},
    }
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _plain(value: object) -> object:
    """Equal numbers become one text: a parameter may arrive as 1 or as 1.0."""
    if isinstance(value, Mapping):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


@cache
def _code_digest() -> str:
    root = Path(components.__file__).parent
    total = hashlib.sha256()
    for path in sorted(path for pattern in CODE for path in root.glob(pattern)):
        total.update(f"{path.relative_to(root).as_posix()}\0".encode())
        total.update(hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()


def _version(library: str) -> str:
    try:
        return importlib.metadata.version(library)
    except importlib.metadata.PackageNotFoundError:
        return ""
