"""Values for the pipeline's parameters, from files, command lines and callers, and what to tell people about them."""

import difflib
import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic import ValidationError

from components.shared.documents import parse_yaml
from components.shared.errors import ConfigError, InputError
from components.shared.presets import TORCHVISION_MODELS
from pipelines.config import TrainingConfig

SHAPES = {  # in words, what the parameters with a pattern look like
    "name": "at most 63 of a-z, 0-9, '.', '_' and '-', beginning with a letter or digit",
    "model": f"a file or model name that ends in .yaml, .yml or .pt, or one of {', '.join(TORCHVISION_MODELS)}",
    "device": "auto, cpu, or the number of one GPU, such as 0",
    "deploy": "the name of a Deployment: at most 63 of a-z, 0-9 and '-'",
    "train_cpu": "a number of CPUs, such as 4 or 500m",
    "train_memory": "an amount of memory, such as 16Gi",
    "accelerator": "a resource of nodes, such as nvidia.com/gpu",
    "model_registry": "an address such as https://registry.example:8080, without a user or password",
}


def resolve(
    config_file: Path | None, settings: Iterable[str], overrides: Mapping[str, object]
) -> tuple[TrainingConfig, set[str]]:
    """Parameters from defaults, then a YAML file, then ``name=value`` settings, then explicit overrides.

    Returns:
        The checked parameters and the names that somebody set.

    Raises:
        ConfigError: a name is unknown (the near one is suggested) or a value is out of bounds.
    """
    values: dict[str, object] = {}
    if config_file is not None:
        values |= read_config(config_file)
    for setting in settings:
        name, value = parse_setting(setting)
        values[name] = value
    values |= overrides
    return check(values), set(values)


def check(values: Mapping[str, object]) -> TrainingConfig:
    """The parameters with these values set.

    Raises:
        ConfigError: names each wrong parameter with its value and bound.
    """
    for name in values:
        if name not in TrainingConfig.model_fields:
            raise ConfigError(_unknown(name))
    source = values.get("source")
    if isinstance(source, list):  # several sources travel as the text of a JSON list
        values = {**values, "source": json.dumps([str(item) for item in source])}
    try:
        return TrainingConfig.model_validate(dict(values))
    except ValidationError as error:
        sentences = dict.fromkeys(_sentence(problem) for problem in error.errors())  # one, not one a type of a union
        raise ConfigError("; ".join(sentences) + ".") from error


def read_config(path: Path) -> dict[str, object]:
    """Parameters of a YAML file: one mapping of names to values.

    Raises:
        ConfigError: the file is missing or no such mapping.
    """
    try:
        # As text, or a class called no would be False and epochs: yes would be 1.
        loaded = parse_yaml(path.read_bytes(), str(path), text=True)
    except OSError as error:
        raise ConfigError(f"The configuration {str(path)!r} cannot be read: {error.strerror}.") from error
    except InputError as error:
        raise ConfigError(f"The configuration cannot be used: {error}") from error
    if loaded is None:
        return {}
    if not isinstance(loaded, dict) or not all(isinstance(name, str) for name in loaded):
        raise ConfigError(f"The configuration {str(path)!r} must be a mapping of parameter names to values.")
    return loaded


def parse_setting(setting: str) -> tuple[str, object]:
    """``name=value`` as a name and a value of the parameter's type; lists and mappings are written as JSON or YAML."""
    name, separator, text = setting.partition("=")
    name = name.strip()
    if not separator:
        raise ConfigError(f"--set needs name=value, got {setting!r}.")
    if name not in TrainingConfig.model_fields:
        raise ConfigError(_unknown(name))
    kind = parameter_type(name)
    if kind is list and not text.strip().startswith("["):
        return name, [part.strip() for part in text.split(",") if part.strip()]
    if kind in (list, dict):
        try:
            return name, parse_yaml(text.encode(), name, text=True)
        except InputError as error:
            raise ConfigError(f"{name}={text!r} is neither JSON nor YAML.") from error
    return name, text


def parameter_type(name: str) -> type:
    """The Python type KFP sees for a parameter: ``str``, ``int``, ``float``, ``list`` or ``dict``."""
    annotation: Any = TrainingConfig.model_fields[name].annotation
    origin = get_origin(annotation)
    if origin is Literal:
        return type(get_args(annotation)[0])
    kind: type = origin or annotation
    return kind


def documented(pipeline: Callable[..., None]) -> Callable[..., None]:
    """Append every parameter's help text to a pipeline's docstring, where KFP's UI takes it from.

    The UI lists them by name: the IR keeps parameters in a map, and a map in a protobuf has no other order.
    """
    rows = [f"    {name}: {text}" for name, _, text in describe()]
    pipeline.__doc__ = f"{(pipeline.__doc__ or '').strip()}\n\nArgs:\n" + "\n".join(rows) + "\n"
    return pipeline


def describe() -> list[tuple[str, str, str]]:
    """Name, default and help text of each parameter, bounds included, in order."""
    rows = []
    for name, field in TrainingConfig.model_fields.items():
        default = field.get_default(call_default_factory=True)
        limits = _limits(name)
        rows.append((name, str(default), f"{field.description}{f' [{limits}]' if limits else ''}"))
    return rows


def _limits(name: str) -> str:
    field = TrainingConfig.model_fields[name]
    if get_origin(field.annotation) is Literal:
        return ", ".join(get_args(field.annotation))
    signs = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<"}
    found = {sign: getattr(rule, sign) for rule in field.metadata for sign in signs if hasattr(rule, sign)}
    return ", ".join(f"{signs[sign]} {bound}" for sign, bound in found.items())


def _unknown(name: str) -> str:
    near = difflib.get_close_matches(name, TrainingConfig.model_fields, n=1, cutoff=0.5)
    hint = f" Did you mean {near[0]!r}?" if near else " See --help for the names."
    return f"There is no parameter {name!r}.{hint}"


def _sentence(problem: Any) -> str:  # noqa: ANN401 - pydantic's ErrorDetails
    if not problem["loc"]:
        return str(problem["msg"]).removeprefix("Value error, ")
    name = str(problem["loc"][0])
    if problem["type"] == "dict_type":
        return f'{name}={problem["input"]!r}: must be a mapping, such as {{"name": "value"}}'
    if name == "hyperparameters":
        return f"{name} has {problem['loc'][1]}={problem['input']!r}: must be one number, one word, true or false"
    place = ".".join(str(part) for part in problem["loc"])
    limits = _limits(name)
    bound = f" (allowed: {limits})" if limits else ""
    text = str(problem["msg"]).removeprefix("Value error, ")
    if problem["type"] == "string_pattern_mismatch":
        text = f"must be {SHAPES[name]}"
    return f"{place}={problem['input']!r}: {text[0].lower()}{text[1:]}{bound}"
