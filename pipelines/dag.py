"""What the DAGs have in common: one pipeline parameter a field of their configuration, handed to the steps by name."""

import inspect
from collections.abc import Callable, Collection, Mapping
from typing import Any

from components.data_load.component import data_load
from components.data_prep.component import data_prep
from components.model_eval.component import model_eval
from components.model_pack.component import model_pack
from components.model_publish.component import model_publish
from components.model_test.component import model_test
from pipelines.config import TrainingConfig
from pipelines.parameters import parameter_type

Given = dict[str, Any]  # the pipeline's parameters by name, as KFP hands them to the DAG


def pipeline_of(
    body: Callable[[Given], None],
    config: type[TrainingConfig],
    *,
    kinds: Mapping[str, Any],
    without: Collection[str] = (),
) -> Callable[..., None]:
    """A function with one parameter a field of ``config``, as ``dsl.pipeline`` reads them, that calls ``body``.

    Args:
        body: builds the DAG; its docstring becomes the pipeline's.
        config: the parameters with their defaults.
        kinds: KFP's type of the parameters whose configuration has a wider one.
        without: fields that are no parameters of the DAG.
    """
    parameters = [
        inspect.Parameter(
            name,
            inspect.Parameter.POSITIONAL_OR_KEYWORD,
            default=field.get_default(call_default_factory=True),
            annotation=kinds.get(name) or parameter_type(name),
        )
        for name, field in config.model_fields.items()
        if name not in without
    ]

    def pipeline(*values: Any) -> None:  # noqa: ANN401 - one value a parameter
        body({one.name: value for one, value in zip(parameters, values, strict=True)})

    pipeline.__doc__ = body.__doc__
    pipeline.__name__ = body.__name__
    pipeline.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined] # where KFP reads them
    pipeline.__annotations__ = {one.name: one.annotation for one in parameters}
    return pipeline


def task(component: Any, given: Given, **more: Any) -> Any:  # noqa: ANN401 - kfp ships no types
    """A task of ``component`` that takes each pipeline parameter it has an input of the same name for."""
    named = {name: given[name] for name in component.component_spec.inputs if name in given}
    return component(**{**named, **more})


def prepare(given: Given) -> Any:  # noqa: ANN401 - same
    """Load the data and divide it; gives the task of data_prep."""
    loaded = task(data_load, given)
    return task(data_prep, given, dataset=loaded.outputs["dataset"])


def pack_and_publish(given: Given, prepared: Any, trained: Any) -> None:  # noqa: ANN401 - same
    """Pack, measure, prove and register what the task ``trained`` gives as ``model`` and ``start``."""
    packed = task(model_pack, given, model=trained.outputs["model"], val=prepared.outputs["val"])
    evaluated = task(
        model_eval,
        given,
        test=prepared.outputs["test"],
        archive=packed.outputs["archive"],
        start=trained.outputs["start"],
    )
    proved = task(
        model_test,
        given,
        model=trained.outputs["model"],
        archive=packed.outputs["archive"],
        val=prepared.outputs["val"],
    )
    published = task(
        model_publish,
        given,
        archive=packed.outputs["archive"],
        predictions=evaluated.outputs["predictions"],
        proof=proved.outputs["proof"],
        passed=evaluated.outputs["passed"],
    )
    published.set_caching_options(enable_caching=False)  # it moves an alias: that must happen, however often asked


KINDS: dict[str, Any] = {
    "target_classes": list[str],
    "drop_classes": list[str],
    "class_aliases": dict[str, str],
    "rules": dict[str, str],
    "hyperparameters": dict[str, str],
    "runtimes": list[str],
    "class_gates": dict[str, float],
    "slice_gates": dict[str, float],
}
"""KFP's types of the training pipeline's parameters that are lists and mappings."""
