"""Which of an executor's models to keep, and which of its files can be loaded elsewhere."""

import math
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from components.executor_train.outcome import Leftovers
from components.executor_train.result import Result, Stage
from components.shared.errors import TrainingError

_WEIGHTS = (".pt", ".pth", ".params", ".weights", ".onnx", ".safetensors", ".npz", ".pdparams", ".h5", ".bin")
_LIBRARY = b"ultralytics.nn"  # how a pickled ultralytics model names its classes; nothing is unpickled here
_PICKLE_LIMIT = 64 << 20


@dataclass(frozen=True)
class Choice:
    """The stage to keep.

    Attributes:
        stage: the best one that is complete.
        members: where each of its files is in the tar.
        warnings: sentences on what was not as it should be.
    """

    stage: Stage
    members: dict[str, str]
    warnings: tuple[str, ...]


def choose_stage(result: Result, left: Leftovers) -> Choice:
    """The stage the executor holds for its best, else the one of the highest mAP, the latest among equals.

    Raises:
        TrainingError: no stage has a finite mAP and all of its files.
    """
    found = {stage.name: left.find(stage) for stage in result.stages}
    problems = {stage.name: _problem(stage, found[stage.name]) for stage in result.stages}
    usable = [stage for stage in result.stages if not problems[stage.name]]
    if not usable:
        reasons = "; ".join(f"{name} {problem}" for name, problem in list(problems.items())[:3])
        raise TrainingError(f"The executor left no model that can be kept: {reasons}.")
    warnings = [f"The stage {name} {problem}." for name, problem in problems.items() if problem]
    highest = max(usable, key=lambda stage: (stage.map, stage.timestamp))
    named = next((stage for stage in usable if _plain(stage.name) == _plain(result.best)), None)
    if result.best and named is None:
        warnings.append(f"The executor's best stage {result.best} cannot be kept; {highest.name} is taken instead.")
    if named is not None and named.map < highest.map:
        warnings.append(
            f"The executor holds {named.name} (mAP {named.map:.3f}) for its best, though {highest.name} has"
            f" {highest.map:.3f}: it is kept as it says."
        )
    stage = named or highest
    if stage.map > 1:
        warnings.append(f"The mAP {stage.map:g} is above 1: the executor may count in per cent.")
    return Choice(stage, found[stage.name], tuple(warnings))


def _problem(stage: Stage, found: dict[str, str]) -> str:
    missing = [name for name in stage.files if name not in found]
    if not stage.files:
        return "lists no files"
    if missing:
        return f"lacks its file {missing[0]!r}"
    return "" if math.isfinite(stage.map) else "has no mAP that is a number"


def _plain(name: str) -> str:
    """The SDK writes ``_`` where somebody says ``-``, not everywhere."""
    return name.replace("-", "_")


def main_file(files: Sequence[str], sizes: dict[str, int]) -> str:
    """The file most likely to hold the weights: the largest of those with such a suffix, else the largest of all."""
    weights = [name for name in files if name.lower().endswith(_WEIGHTS)]
    return max(weights or files, key=lambda name: (sizes[name], name))


def is_ultralytics(path: Path) -> bool:
    """Whether a ``.pt`` looks like one that ``start_from`` takes; it is read, never unpickled."""
    try:
        with zipfile.ZipFile(path) as archive:
            pickles = [info for info in archive.infolist() if info.filename.endswith("data.pkl")]
            return any(info.file_size <= _PICKLE_LIMIT and _LIBRARY in archive.read(info) for info in pickles)
    except (OSError, zipfile.BadZipFile, NotImplementedError, RuntimeError):
        return False
