"""The pipelines that can be run: what each is called, what it takes, and the steps a run of it has."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from components.shared.cpus import usable_cpus
from components.shared.sweep import describe_setting, step_name
from pipelines import executor, sweep, training
from pipelines.compile import compile_sweep, compile_training
from pipelines.config import TrainingConfig
from pipelines.dag import as_arguments
from pipelines.executor_config import ExecutorConfig, describe_executor, resolve_here
from pipelines.parameters import describe, resolve
from pipelines.sweep_config import SweepConfig, describe_sweep, resolve_sweep

AT_ONCE = 2  # kfp.local runs no more iterations of a loop at a time
Config = TypeVar("Config", bound=TrainingConfig)
Resolve = Callable[[Path | None, Iterable[str], Mapping[str, object]], tuple[Config, set[str]]]


@dataclass(frozen=True)
class PlannedStep:
    """A step of a run: its name, and in words what tells it from others of its kind."""

    name: str
    about: str = ""


@dataclass(frozen=True)
class Pipeline(Generic[Config]):
    """A DAG and its parameters.

    Attributes:
        name: as KFP knows it.
        command: the module that runs it.
        purpose: one sentence for ``--help``.
        kinds: the steps it is made of, one a component.
        resolve: from a file, ``name=value`` settings and overrides to checked parameters and the names that were set.
        describe: name, default and help of each parameter.
        plan: the steps a run with these parameters has.
        arguments: the values of the DAG's parameters.
        compile: the DAG's IR for a run on this machine, with these images.
    """

    name: str
    command: str
    purpose: str
    kinds: tuple[str, ...]
    resolve: Resolve[Config]
    describe: Callable[[], list[tuple[str, str, str]]]
    plan: Callable[[Config], list[PlannedStep]]
    arguments: Callable[[Config], dict[str, object]]
    compile: Callable[[Config, Mapping[str, str]], dict[str, Any]]


def _training_steps(config: TrainingConfig) -> list[PlannedStep]:
    asked = {"change_check": config.only_if_changed, "model_deploy": bool(config.deploy)}
    return [PlannedStep(step) for step in training.RECORDED if asked.get(step, True)]


def _sweep_steps(config: SweepConfig) -> list[PlannedStep]:
    trainings = [
        PlannedStep(step_name("model_train", setting), describe_setting(setting)) for setting in config.settings
    ]
    return [*map(PlannedStep, sweep.BEFORE), *trainings, *map(PlannedStep, sweep.AFTER)]


def _cpus_each(config: SweepConfig) -> int:
    """A fair share of this machine for each training that runs at a time."""
    return max(1, usable_cpus() // min(config.parallelism, len(config.settings), AT_ONCE))


TRAINING: Pipeline[TrainingConfig] = Pipeline(
    name=training.NAME,
    command="pipelines.submit",
    purpose="Run the training pipeline: images in, a tested and packed detector out.",
    kinds=training.STEPS,
    resolve=resolve,
    describe=describe,
    plan=_training_steps,
    arguments=lambda config: as_arguments(config.model_dump()),
    compile=lambda _config, images: compile_training(images),
)

SWEEP: Pipeline[SweepConfig] = Pipeline(
    name=sweep.NAME,
    command="pipelines.sweep",
    purpose="Train a few settings side by side; the best by validation mAP50-95 is packed, measured and published.",
    kinds=sweep.STEPS,
    resolve=resolve_sweep,
    describe=describe_sweep,
    plan=_sweep_steps,
    arguments=SweepConfig.arguments,
    compile=lambda config, images: compile_sweep(images, parallelism=config.parallelism, cpus=_cpus_each(config)),
)

EXECUTOR: Pipeline[ExecutorConfig] = Pipeline(
    name=executor.NAME,
    command="pipelines.executor run",
    purpose="Train with a foreign executor that keeps YMIR's contract: --command COMMAND or --image IMAGE says which,\n"
    "--template FILE is its training-template.yaml.",
    kinds=executor.STEPS_HERE,
    resolve=resolve_here,
    describe=describe_executor,
    plan=lambda _config: [PlannedStep(step) for step in executor.STEPS_HERE],
    arguments=ExecutorConfig.arguments,
    compile=lambda _config, images: executor.compile_here(images),
)
