"""From the step's plain arguments to what decides a training and how it is looked after."""

import dataclasses
from collections.abc import Mapping

from components.model_train.care import Care
from components.model_train.trainers.base import Hyperparameters
from components.shared.errors import ConfigError
from components.shared.hyperparameters import check_options
from components.shared.presets import is_torchvision, with_preset

_CARE = frozenset(field.name for field in dataclasses.fields(Care))
_ASKED = frozenset(field.name for field in dataclasses.fields(Hyperparameters)) - {"options"}


def read_settings(settings: Mapping[str, object], overrides: Mapping[str, object]) -> tuple[Hyperparameters, Care]:
    """What to train and how to look after it.

    Args:
        settings: the step's arguments by name; ``hyperparameters`` maps the library's own names to values.
        overrides: arguments that replace those; numbers may arrive as floats, and ``hyperparameters`` are added.

    Raises:
        ConfigError: an override's name is unknown, or a hyperparameter or its value cannot be used.
    """
    unknown = sorted(set(overrides) - set(settings))
    if unknown:
        raise ConfigError(f"overrides has {unknown[0]!r}, which is no parameter of model_train.")
    merged = {name: _as(value, overrides[name]) if name in overrides else value for name, value in settings.items()}
    extra = {**_mapping(settings["hyperparameters"]), **_mapping(overrides.get("hyperparameters", {}))}
    filled = with_preset(str(merged["preset"]), merged)
    if merged["start_from"] and not merged["model"]:
        filled["model"] = ""  # the weights know their architecture
    if filled["gpus"] == 0:
        filled |= {"gpus": 1, "device": "cpu"}  # one process, on CPUs
    asked = {name: value for name, value in filled.items() if name in _ASKED}
    care = {name: value for name, value in filled.items() if name in _CARE}
    trainer = "torchvision" if is_torchvision(str(filled["model"])) else "ultralytics" if filled["model"] else ""
    options = check_options(extra, trainer=trainer)
    return Hyperparameters(**asked, options=options), Care(**care)  # type: ignore[arg-type]


def _as(like: object, value: object) -> object:
    """``value`` as the kind of number ``like`` is: lists and mappings bring every number as a float."""
    if isinstance(like, bool) or not isinstance(like, int) or not isinstance(value, float | int | str):
        return value
    return int(float(value))


def _mapping(value: object) -> dict[str, object]:
    if not isinstance(value, Mapping):
        raise ConfigError(f"hyperparameters={value!r} must be a mapping of names to values.")
    return {str(name): item for name, item in value.items()}
