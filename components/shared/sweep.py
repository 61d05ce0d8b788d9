"""What the steps of a sweep agree on: how a setting is called, and what one leaves that could not be trained."""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from components.shared.files import write_atomically

FAILURE = "failure.json"  # in a model folder: this setting gave no model, and why
CURVE_POINTS = 64  # of a curve that travels beside a model: the facts of all models share one command-line argument
Curve = Sequence[tuple[int, float]]
_SHOWN = 60  # characters of a value in a setting's description


def plain_setting(setting: Mapping[str, object]) -> dict[str, object]:
    """A setting as it was written: KFP hands every number of a mapping on as a float."""
    return {str(name): _plain(value) for name, value in setting.items()}


def setting_id(setting: Mapping[str, object]) -> str:
    """Eight hexadecimal digits that name a setting, whatever way its numbers travelled."""
    text = json.dumps(plain_setting(setting), sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def step_name(step: str, setting: Mapping[str, object]) -> str:
    """What the step is called that works on this setting; without a setting it keeps its own name."""
    return f"{step}-{setting_id(setting)}" if setting else step


def describe_setting(setting: Mapping[str, object]) -> str:
    """A setting in words: ``lr0=0.01, imgsz=320, mosaic=0``."""
    return ", ".join(f"{name}={show_value(value)}" for name, value in flat_setting(setting).items())


def flat_setting(setting: Mapping[str, object]) -> dict[str, object]:
    """A setting with its hyperparameters after its parameters; on its way it may have lost its order."""
    flat: dict[str, object] = {}
    for name, value in sorted(plain_setting(setting).items(), key=lambda item: isinstance(item[1], Mapping)):
        flat |= {str(key): item for key, item in value.items()} if isinstance(value, Mapping) else {name: value}
    return flat


def show_value(value: object) -> str:
    """A parameter's value as a person writes it; of a long one the end."""
    plain = _plain(value)
    text = json.dumps(plain) if isinstance(plain, bool) else str(plain)
    return text if len(text) <= _SHOWN else f"…{text[1 - _SHOWN :]}"


def leave_failure(folder: Path, error: str) -> None:
    """Leave the reason why a setting gave no model where its model would have been."""
    folder.mkdir(parents=True, exist_ok=True)
    with write_atomically(folder / FAILURE) as temporary:
        temporary.write_text(json.dumps({"error": error}) + "\n", encoding="utf-8")


def read_failure(folder: Path) -> str:
    """Why there is no model in ``folder``; empty: there is one."""
    path = folder / FAILURE
    return str(json.loads(path.read_text(encoding="utf-8"))["error"]) if path.is_file() else ""


def curve_as_text(curve: Curve) -> str:
    """A score by epoch as ``1:0.1021 2:0.2``, for the facts beside a model; long ones keep every n-th and the last."""
    every = -(-len(curve) // CURVE_POINTS) or 1
    kept = [point for i, point in enumerate(curve) if i % every == 0 or i == len(curve) - 1]
    return " ".join(f"{epoch}:{score:.4g}" for epoch, score in kept if math.isfinite(score))


def curve_from_text(text: str) -> list[tuple[int, float]]:
    """What ``curve_as_text`` wrote; words that are no points are left out."""
    curve = []
    for word in text.split():
        epoch, _, score = word.partition(":")
        with suppress(ValueError):
            curve.append((int(epoch), float(score)))
    return curve


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return plain_setting(value)
    return int(value) if isinstance(value, float) and value.is_integer() else value
