"""``result.yaml``: the stages a training went through, as the contract's text and its SDK spell them."""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from components.executor_train.contract import OUT
from components.shared.documents import parse_yaml
from components.shared.errors import FormatError, InputError, UnsafeInputError

MOST_BYTES = 1 << 20
MOST_STAGES, MOST_FILES = 1000, 1000
DEFAULT_STAGE = "default"

_STAGE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")
_FILE = re.compile(r"[^\x00-\x1f\x7f\\]{1,255}")
_SCORES = ("mAP", "map")
_NUMBERS = {"mAR": "mar", "mar": "mar", "TP": "tp", "tp": "tp", "FP": "fp", "fp": "fp", "FN": "fn", "fn": "fn"}


@dataclass(frozen=True)
class Stage:
    """A model of a training, as it was at one time.

    Attributes:
        name: also the folder of its files, where it has one.
        files: posix paths, relative to that folder or to ``/out/models``.
        map: mean average precision as the executor measured it; NaN: unknown.
        timestamp: seconds since 1970; 0: unknown.
        numbers: its other finite numbers: ``mar``, ``tp``, ``fp``, ``fn``.
    """

    name: str
    files: tuple[str, ...]
    map: float = math.nan
    timestamp: float = 0.0
    numbers: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Result:
    """What a training came to.

    Attributes:
        stages: in the order of their timestamps.
        best: the name of the one the executor holds for its best; empty: it does not say.
        attachments: posix paths of further files, relative to ``/out/models`` or ``/out/models/attachments``.
        evaluation: how it measured, such as ``iou_thr``.
    """

    stages: tuple[Stage, ...]
    best: str = ""
    attachments: tuple[str, ...] = ()
    evaluation: Mapping[str, str] = field(default_factory=dict)


def parse_result(content: bytes) -> Result:
    """Read a ``result.yaml``: one with ``model_stages``, or of an old executor with ``model`` and ``map``.

    Raises:
        FormatError: it is no such file.
        UnsafeInputError: it names files outside of its stages' folders, or is no plain YAML.
    """
    loaded = parse_yaml(content, "result.yaml", limit=MOST_BYTES)
    if not isinstance(loaded, dict):
        raise FormatError("'result.yaml' holds no mapping.")
    listed = loaded.get("model_stages")
    if listed is None and "model" in loaded:
        listed = {str(loaded.get("stage_name") or DEFAULT_STAGE): {**loaded, "files": loaded["model"]}}
    if isinstance(listed, list):
        listed = {str(_get(item, "stage_name") or number): item for number, item in enumerate(listed)}
    if not isinstance(listed, dict) or not 0 < len(listed) <= MOST_STAGES:
        raise FormatError(f"'result.yaml' has no model_stages, or more than {MOST_STAGES}.")
    stages = [_stage(str(name), item) for name, item in listed.items()]
    best = loaded.get("best_stage_name")
    return Result(
        stages=tuple(sorted(stages, key=lambda stage: stage.timestamp)),
        best=_stage_name(str(best)) if best else "",
        attachments=_attachments(loaded.get("attachments")),
        evaluation=_evaluation(loaded.get("evaluate_config")),
    )


def describe_stages(result: Result, kept: str) -> bytes:
    """A result as JSON, without times; ``kept`` is the name of the stage whose files are kept."""
    stages = [
        {
            "name": stage.name,
            "map": stage.map if math.isfinite(stage.map) else None,
            **dict(sorted(stage.numbers.items())),
        }
        for stage in result.stages
    ]
    content = {"kept": kept, "stages": stages, "evaluated_with": dict(result.evaluation)}
    return (json.dumps(content, indent=1) + "\n").encode()


def _stage(key: str, item: object) -> Stage:
    name = _stage_name(str(_get(item, "stage_name") or key))
    if not isinstance(item, dict):
        raise FormatError(f"'result.yaml' has the stage {name!r}, which is no mapping.")
    score = next((item[spelling] for spelling in _SCORES if spelling in item), None)
    numbers = {_NUMBERS[key]: _number(value) for key, value in item.items() if key in _NUMBERS}
    timestamp = _number(item.get("timestamp"))
    return Stage(
        name=name,
        files=_files(item.get("files"), name),
        map=_number(score),
        timestamp=timestamp if math.isfinite(timestamp) else 0.0,
        numbers={key: value for key, value in numbers.items() if math.isfinite(value)},
    )


def _stage_name(name: str) -> str:
    if not _STAGE.fullmatch(name):
        raise UnsafeInputError(f"'result.yaml' has a stage called {name!r}: that is no name for a folder.")
    return name


def _files(listed: object, owner: str) -> tuple[str, ...]:
    if isinstance(listed, str):
        listed = [listed]
    if not isinstance(listed, list) or len(listed) > MOST_FILES:
        raise FormatError(f"'result.yaml' lists no files for {owner!r}, or more than {MOST_FILES}.")
    return tuple(_file(str(name), owner) for name in listed)


def _file(name: str, owner: str) -> str:
    """A path below ``/out/models``, whether it is written from there or from the root."""
    plain = name.removeprefix(f"{OUT}/models/").removeprefix("./")
    path = PurePosixPath(plain)
    if not _FILE.fullmatch(plain) or path.is_absolute() or ".." in path.parts or not path.parts:
        raise UnsafeInputError(f"'result.yaml' lists {name!r} for {owner!r}, which is outside of its folder.")
    return path.as_posix()


def _attachments(given: object) -> tuple[str, ...]:
    if not isinstance(given, dict):
        return ()
    return tuple(name for section in given.values() for name in _files(section, "attachments"))


def _evaluation(given: object) -> dict[str, str]:
    return {str(key): str(value) for key, value in given.items()} if isinstance(given, dict) else {}


def _get(item: object, key: str) -> object:
    return item.get(key) if isinstance(item, dict) else None


def _number(value: object) -> float:
    try:
        return float(str(value))
    except (ValueError, InputError):
        return math.nan
