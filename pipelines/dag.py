"""What the DAGs have in common: one pipeline parameter a field of their configuration, handed to the steps by name."""

import inspect
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from kfp import dsl

from components.data_load.component import data_load
from components.data_prep.component import data_prep
from components.model_deploy.component import model_deploy
from components.model_eval.component import model_eval
from components.model_pack.component import model_pack
from components.model_publish.component import model_publish
from components.model_test.component import model_test
from components.run_record.component import run_record
from pipelines.config import TrainingConfig
from pipelines.parameters import parameter_type
from pipelines.resources import NEVER_HERE, STORE, settle

Given = dict[str, Any]  # the pipeline's parameters by name, as KFP hands them to the DAG
TEXTS = frozenset({"gpus", "gpu_count"})
"""Numbers that travel as text: Kubeflow's driver takes the count of a resource from no other kind of parameter."""


@dataclass(frozen=True)
class Build:
    """A DAG that is being put together.

    Attributes:
        given: the pipeline's parameters.
        pipeline: its name in a cluster, where each task is given what its pod needs; empty: for this machine, where
            kfp.local would run a failed step again and warn of each setting it ignores.
    """

    given: Given
    pipeline: str = ""

    def task(self, component: Any, **more: Any) -> Any:  # noqa: ANN401 - kfp ships no types
        """A task of ``component`` that takes each pipeline parameter it has an input of the same name for."""
        named = {name: self.given[name] for name in component.component_spec.inputs if name in self.given}
        made = component(**{**named, **more})
        step = component.component_spec.name.replace("-", "_")
        if self.pipeline:
            settle(made, step, self.given, self.pipeline)
        elif step in NEVER_HERE:
            made.set_caching_options(enable_caching=False)
        return made


def pipeline_of(
    body: Callable[[Build], None],
    config: type[TrainingConfig],
    *,
    kinds: Mapping[str, Any],
    without: Collection[str] = (),
    pipeline: str = "",
) -> Callable[..., None]:
    """A function with one parameter a field of ``config``, as ``dsl.pipeline`` reads them, that calls ``body``.

    Args:
        body: builds the DAG; its docstring becomes the pipeline's.
        config: the parameters with their defaults.
        kinds: KFP's type of the parameters whose configuration has a wider one.
        without: fields that are no parameters of the DAG.
        pipeline: as ``Build`` has it.
    """
    parameters = [
        inspect.Parameter(
            name,
            inspect.Parameter.POSITIONAL_OR_KEYWORD,
            default=default_of(name, field.get_default(call_default_factory=True), pipeline),
            annotation=kinds.get(name) or parameter_type(name),
        )
        for name, field in config.model_fields.items()
        if name not in without
    ]

    def built(*values: Any) -> None:  # noqa: ANN401 - one value a parameter
        body(Build({one.name: value for one, value in zip(parameters, values, strict=True)}, pipeline))

    built.__doc__ = body.__doc__
    built.__name__ = body.__name__
    built.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined] # where KFP reads them
    built.__annotations__ = {one.name: one.annotation for one in parameters}
    return built


def default_of(name: str, default: object, pipeline: str) -> object:
    """A parameter's default in the DAG: pods see no folder of this machine, so theirs is another store."""
    return STORE if pipeline and name == "store" else as_argument(name, default)


def as_argument(name: str, value: object) -> object:
    """A parameter's value as it travels to the DAG."""
    return str(value) if name in TEXTS else value


def as_arguments(values: Mapping[str, object]) -> dict[str, object]:
    """The values of a configuration as a DAG takes them."""
    return {name: as_argument(name, value) for name, value in values.items()}


def prepare(build: Build) -> Any:  # noqa: ANN401 - same
    """Load the data and divide it; gives the task of data_prep."""
    loaded = build.task(data_load)
    return build.task(data_prep, dataset=loaded.outputs["dataset"])


def pack_and_publish(build: Build, prepared: Any, trained: Any, **origin: Any) -> None:  # noqa: ANN401 - same
    """Pack, measure and prove what the task ``trained`` gives as ``model`` and ``start``; publish what passed.

    Args:
        build: the DAG.
        prepared: the task of data_prep.
        trained: the task with the model.
        origin: what model_publish is told besides.
    """
    packed = build.task(model_pack, model=trained.outputs["model"], val=prepared.outputs["val"])
    evaluated = build.task(
        model_eval,
        test=prepared.outputs["test"],
        archive=packed.outputs["archive"],
        start=trained.outputs["start"],
    )
    proved = build.task(
        model_test,
        model=trained.outputs["model"],
        archive=packed.outputs["archive"],
        val=prepared.outputs["val"],
    )
    with dsl.If(evaluated.outputs["passed"] == True, name="passed"):  # noqa: E712 - a channel, which KFP compares
        published = build.task(
            model_publish,
            archive=packed.outputs["archive"],
            predictions=evaluated.outputs["predictions"],
            proof=proved.outputs["proof"],
            passed=evaluated.outputs["passed"],
            **origin,
        )
        with dsl.If(build.given["deploy"] != "", name="deploy"):
            build.task(model_deploy, name=published.outputs["model"])


def recorded(build: Build, pipeline: str, steps: Collection[str]) -> dsl.ExitHandler:
    """The group of a pipeline's steps after which its record is kept, however they end.

    Args:
        build: the DAG.
        pipeline: its name.
        steps: all of its steps in order.
    """
    record = build.task(run_record, pipeline=pipeline, run=dsl.PIPELINE_JOB_NAME_PLACEHOLDER, steps=",".join(steps))
    return dsl.ExitHandler(record, name="steps")


KINDS: dict[str, Any] = {
    "target_classes": list[str],
    "drop_classes": list[str],
    "class_aliases": dict[str, str],
    "rules": dict[str, str],
    "hyperparameters": dict[str, str],
    "runtimes": list[str],
    "class_gates": dict[str, float],
    "slice_gates": dict[str, float],
    "gpus": str,
    "node_selector": dict[str, str],
    "tolerations": list[dict[str, str]],
    "affinity": dict[str, str],
}
"""KFP's types of the training pipeline's parameters that are lists and mappings."""
