"""The parameters of a sweep: those of the training pipeline, and what its trainings differ in."""

import difflib
import inspect
import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError, ValidationInfo, field_validator

from components.model_train.component import model_train
from components.shared.documents import parse_yaml
from components.shared.errors import ConfigError, InputError
from components.shared.hyperparameters import check_options
from components.shared.presets import with_preset
from components.shared.sweep import describe_setting
from pipelines.config import TrainingConfig
from pipelines.parameters import check, describe, parse_setting, read_config

_SHOWN = 80  # characters of a wrong value that a message repeats
_EXAMPLE = '[{"lr0": 0.01}]'
MOST_SETTINGS = 50  # their models travel to one step as one command-line argument, which is limited
NOT_COMPILED = frozenset({"parallelism", "only_if_changed"})  # a sweep is asked for by a person, to be run
_TRAINED = {"model" if name == "weights" else name for name in inspect.signature(model_train.python_func).parameters}
TUNABLE = tuple(name for name in TrainingConfig.model_fields if name in _TRAINED and name != "store")
"""The parameters that may differ from setting to setting: those of the training itself."""


class SweepConfig(TrainingConfig):
    """Parameters of the sweep; each setting is a mapping of parameters that differ from the others here."""

    settings: list[dict[str, Any]] = Field(
        default=[{"lr0": 0.001}, {"lr0": 0.004}],
        min_length=1,
        max_length=MOST_SETTINGS,
        description="What to train side by side: a JSON list of mappings of parameters that differ, such as "
        '[{"lr0": 0.01}, {"imgsz": 320, "hyperparameters": {"mosaic": "0"}}]; {} is the training as it is.',
    )
    parallelism: int = Field(
        2, ge=1, le=MOST_SETTINGS, description="Trainings at a time; on one machine at most 2, which share its CPUs."
    )

    @field_validator("settings", mode="after")
    @classmethod
    def _settings_can_be_trained(cls, settings: list[dict[str, Any]], info: ValidationInfo) -> list[dict[str, Any]]:
        base = {name: value for name, value in info.data.items() if name in TrainingConfig.model_fields}
        checked = [_check_setting(base, setting, number) for number, setting in enumerate(settings)]
        _refuse_duplicates([_effective(config) for config, _ in checked])
        return [setting for _, setting in checked]

    def arguments(self) -> dict[str, object]:
        """The values of the DAG's parameters; ``parallelism`` is compiled in."""
        return {**self.model_dump(exclude=set(NOT_COMPILED)), "gpus": str(self.gpus)}


def resolve_sweep(
    config_file: Path | None, settings: Iterable[str], overrides: Mapping[str, object]
) -> tuple[SweepConfig, set[str]]:
    """Parameters from defaults, then a YAML file, then ``name=value`` settings, then explicit overrides.

    Returns:
        The checked parameters and the names that somebody set.

    Raises:
        ConfigError: a name is unknown, or a value, or a setting of the sweep, cannot be used.
    """
    values: dict[str, object] = read_config(config_file) if config_file else {}
    for text in settings:
        name, value = _parse(text)
        values[name] = value
    values |= overrides
    return check_sweep(values), set(values)


def check_sweep(values: Mapping[str, object]) -> SweepConfig:
    """The parameters of a sweep with these values set.

    Raises:
        ConfigError: names each wrong parameter with its value and bound, and the setting it is in.
    """
    own = {name: value for name, value in values.items() if name in ("settings", "parallelism")}
    base = check({name: value for name, value in values.items() if name not in own})
    if base.only_if_changed:
        raise ConfigError("only_if_changed is for the training pipeline: a sweep is run when somebody asks for it.")
    try:
        return SweepConfig.model_validate({**base.model_dump(), **own})
    except ValidationError as error:
        raise ConfigError("; ".join(_sentence(problem) for problem in error.errors()) + ".") from error


def describe_sweep() -> list[tuple[str, str, str]]:
    """Name, default and help text of each parameter of the sweep, its own ones first."""
    fields = SweepConfig.model_fields
    own = [
        (
            "settings",
            json.dumps(fields["settings"].default),
            f"{fields['settings'].description} [1 to {MOST_SETTINGS}]",
        ),
        (
            "parallelism",
            str(fields["parallelism"].default),
            f"{fields['parallelism'].description} [1 to {MOST_SETTINGS}]",
        ),
    ]
    return own + [row for row in describe() if row[0] not in NOT_COMPILED]


def documented_sweep(pipeline: Callable[..., None]) -> Callable[..., None]:
    """Append the help text of ``settings`` to a docstring that has those of the training pipeline's parameters."""
    pipeline.__doc__ = f"{pipeline.__doc__ or ''}    settings: {SweepConfig.model_fields['settings'].description}\n"
    return pipeline


def _check_setting(
    base: Mapping[str, Any], setting: Mapping[str, Any], number: int
) -> tuple[TrainingConfig, dict[str, Any]]:
    """The whole configuration of one training, and the setting with each value as its parameter's type."""
    place = f"settings[{number}]"
    for name in setting:
        if name not in TUNABLE:
            raise ConfigError(f"{place} has {name!r}, which {_why_not(name)}")
    merged = {**base, **setting}
    extra = setting.get("hyperparameters", {})
    if not isinstance(extra, Mapping):
        raise ConfigError(f"{place} has hyperparameters={extra!r}: it must be a mapping of names to values.")
    merged["hyperparameters"] = {**base.get("hyperparameters", {}), **extra}
    try:
        config = check(merged)
        options = check_options(extra, trainer="")
    except ConfigError as error:
        raise ConfigError(f"{place} ({describe_setting(setting)}): {error}") from error
    typed = {name: getattr(config, name) for name in setting if name != "hyperparameters"}
    typed |= {"hyperparameters": options} if options else {}
    return config, typed or {"preset": config.preset}  # a name for the training as it is


def _why_not(name: str) -> str:
    if name in TrainingConfig.model_fields:
        return "all trainings of a sweep share: set it once, outside of settings."
    near = difflib.get_close_matches(name, TUNABLE, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else f"those that may differ: {', '.join(TUNABLE)}."
    return f"is no parameter of a training; {hint}"


def _effective(config: TrainingConfig) -> str:
    """What decides a training, presets filled in, as text that is equal when two trainings are."""
    filled = with_preset(config.preset, {name: getattr(config, name) for name in TUNABLE})
    filled["hyperparameters"] = check_options(config.hyperparameters, trainer="")
    return json.dumps({name: value for name, value in filled.items() if name != "preset"}, sort_keys=True)


def _refuse_duplicates(trainings: list[str]) -> None:
    for number, training in enumerate(trainings):
        first = trainings.index(training)
        if first != number:
            raise ConfigError(f"settings[{first}] and settings[{number}] are the same training: remove one of them.")


def _parse(text: str) -> tuple[str, object]:
    name, _, value = text.partition("=")
    name = name.strip()
    if name not in SweepConfig.model_fields or name in TrainingConfig.model_fields:
        return parse_setting(text)
    try:
        return name, parse_yaml(value.encode(), name, text=True)
    except InputError as error:
        raise ConfigError(f"{name}={value!r} is neither JSON nor YAML.") from error


def _sentence(problem: Any) -> str:  # noqa: ANN401 - pydantic's ErrorDetails
    place = "".join(f"[{part}]" if isinstance(part, int) else str(part) for part in problem["loc"])
    if problem["loc"][0] == "settings":
        return _about_settings(place, problem)
    text = str(problem["msg"])
    return f"{place}={_shown(problem['input'])}: {text[0].lower()}{text[1:]}"


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def _about_settings(place: str, problem: Any) -> str:  # noqa: ANN401 - same
    kind, given = problem["type"], problem["input"]
    if kind == "too_short":
        return f"{place}=[] trains nothing: name 1 to {MOST_SETTINGS} settings, {{}} for the training as it is"
    if kind == "too_long":
        return f"{place} are {len(given)} trainings: name at most {MOST_SETTINGS}"
    shown = _shown(given)
    if kind == "dict_type":
        return f"{place}={shown} must be a mapping of the parameters that differ, such as {_EXAMPLE[1:-1]}"
    if kind == "list_type":
        return f"{place}={shown} must be a list of mappings of the parameters that differ, such as {_EXAMPLE}"
    return f"{place}={shown}: {problem['msg']}"
