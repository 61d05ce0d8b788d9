"""The parameters of the executor pipeline: those that load and prepare data, and what a foreign executor is told."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Self

from pydantic import Field, SerializerFunctionWrapHandler, ValidationError, field_validator, model_serializer
from pydantic import model_validator as validator

from components.data_load.component import data_load
from components.data_prep.component import data_prep
from components.executor_train.component import executor_stage
from components.shared.documents import parse_yaml
from components.shared.errors import ConfigError, InputError
from pipelines.config import TrainingConfig
from pipelines.dag import as_arguments
from pipelines.parameters import check, describe, parse_setting, read_config

_FED = {name for each in (data_load, data_prep, executor_stage) for name in each.component_spec.inputs}
SHARED = tuple(name for name in TrainingConfig.model_fields if name in _FED)
"""The parameters of the training pipeline that this one has too, meaning the same."""


class ExecutorConfig(TrainingConfig):
    """Parameters of the executor pipeline; those of this project's own trainers are inherited but not used."""

    image: str = Field(
        "",
        pattern=r"^(\S{1,500})?$",
        description="The YMIR training image to run, such as registry/ymir-executor:tag; by digest it is the same"
        " forever.",
    )
    command: str = Field(
        "",
        max_length=4000,
        description="What starts the executor; empty: bash /usr/bin/start.sh in its image. With --local it runs on"
        " this machine, without a container.",
    )
    executor_config: str = Field(
        "",
        description="Values for the executor's config.yaml that win over its template's, as YAML: {\"epochs\": 30}.",
    )
    executor_template: str = Field(
        "",
        description="Values of the image's training-template.yaml, as YAML; empty: the image fills its own ones in.",
    )
    export_format: str = Field(
        "",
        pattern=r"^((det-)?(ark|voc|coco):raw)?$",
        description="How the executor reads annotations: ark:raw, voc:raw or coco:raw, also with det- before it, as"
        " its template says; empty: as executor_template says, else ark:raw.",
    )
    pretrained: str = Field(
        "",
        description="Weights the executor starts from: a file, a folder, s3://bucket/key or s3://bucket/prefix/;"
        " several as a JSON list.",
    )
    gpu_count: int = Field(0, ge=0, le=64, description="GPUs the executor is told to use; 0: it trains on CPUs.")
    shm_size: str = Field(
        "16G", pattern=r"^[1-9][0-9]*[kKmMgG]?$", description="Shared memory the executor is told it has."
    )

    @field_validator("executor_config", "executor_template", mode="before")
    @classmethod
    def _mapping_is_text(cls, value: object) -> object:
        """A mapping written in a configuration file becomes the text that travels; its scalars came as text."""
        if not isinstance(value, dict):
            return value
        return "".join(f"{name}: {_inline(item)}\n" for name, item in value.items())

    @validator(mode="after")
    def _settings_can_be_staged(self) -> Self:
        """What executor_stage would refuse after the data is prepared."""
        for name in ("executor_config", "executor_template"):
            text = getattr(self, name)
            try:
                content = parse_yaml(text.encode(), name) if text.strip() else {}
            except InputError as error:
                raise ValueError(str(error)) from error
            if content is not None and not isinstance(content, dict):
                raise ValueError(f'{name} must be a mapping of names to values, such as {{"epochs": 30}}')
        return self

    @model_serializer(mode="wrap")
    def _own_parameters(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        values = handler(self)
        return {name: values[name] for name in names()}

    def arguments(self) -> dict[str, object]:
        """The values of the DAG's parameters."""
        return as_arguments(self.model_dump())


def names() -> tuple[str, ...]:
    """The pipeline's parameters, its own ones first."""
    own = [name for name in ExecutorConfig.model_fields if name not in TrainingConfig.model_fields]
    return (*own, *SHARED)


def resolve_executor(
    config_file: Path | None, settings: Iterable[str], overrides: Mapping[str, object]
) -> tuple[ExecutorConfig, set[str]]:
    """Parameters from defaults, then a YAML file, then ``name=value`` settings, then explicit overrides.

    Returns:
        The checked parameters and the names that somebody set.

    Raises:
        ConfigError: a name is unknown, belongs to this project's own trainers, or a value cannot be used.
    """
    values: dict[str, object] = read_config(config_file) if config_file else {}
    for text in settings:
        name, separator, value = text.partition("=")
        own = separator and name.strip() in ExecutorConfig.model_fields and name.strip() not in SHARED
        name, parsed = (name.strip(), value) if own else parse_setting(text)
        values[name] = parsed
    values |= overrides
    return check_executor(values), set(values)


def resolve_here(
    config_file: Path | None, settings: Iterable[str], overrides: Mapping[str, object]
) -> tuple[ExecutorConfig, set[str]]:
    """``resolve_executor`` for a run on this machine: paths as they are from anywhere.

    Raises:
        ConfigError: also when nothing says what to run.
    """
    config, chosen = resolve_executor(config_file, settings, overrides)
    if not config.image and not config.command:
        raise ConfigError("Nothing says which executor to run: give --command COMMAND, or --image IMAGE.")
    path = Path(config.pretrained).expanduser()
    found = bool(config.pretrained) and path.exists()
    return (config.model_copy(update={"pretrained": str(path.resolve())}) if found else config), chosen


def check_executor(values: Mapping[str, object]) -> ExecutorConfig:
    """The parameters of the executor pipeline with these values set.

    Raises:
        ConfigError: names each wrong parameter with its value.
    """
    known = names()
    for name in values:
        if name in TrainingConfig.model_fields and name not in known:
            raise ConfigError(
                f"{name!r} is for this project's own trainers; what an executor understands goes into its"
                f" executor_config, such as executor_config='{{\"{name}\": ...}}'."
            )
    own = {name: value for name, value in values.items() if name in known and name not in SHARED}
    base = check({name: value for name, value in values.items() if name not in own})
    try:
        return ExecutorConfig.model_validate({**{name: getattr(base, name) for name in SHARED}, **own})
    except ValidationError as error:
        raise ConfigError("; ".join(_sentence(problem) for problem in error.errors()) + ".") from error


def describe_executor() -> list[tuple[str, str, str]]:
    """Name, default and help text of each parameter, its own ones first."""
    shared = {name: (name, default, text) for name, default, text in describe()}
    fields = ExecutorConfig.model_fields
    own = [(name, str(fields[name].default), str(fields[name].description)) for name in names() if name not in SHARED]
    return [*own, *(shared[name] for name in SHARED)]


def _inline(value: object) -> str:
    """A value of a file read as text: ``30`` means a number again."""
    if isinstance(value, list):
        return f"[{', '.join(_inline(item) for item in value)}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name}: {_inline(item)}" for name, item in value.items()) + "}"
    return str(value)


def _sentence(problem: Any) -> str:  # noqa: ANN401 - pydantic's ErrorDetails
    text = str(problem["msg"]).removeprefix("Value error, ")
    if not problem["loc"]:
        return text
    return f"{problem['loc'][0]}={problem['input']!r}: {text[0].lower()}{text[1:]}"
