"""The sweep DAG: one dataset, a few trainings side by side, and the best of them packed, measured and published."""

import inspect
import sys
from typing import Any

from kfp import dsl

from components.data_load.component import data_load
from components.data_prep.component import data_prep
from components.model_eval.component import model_eval
from components.model_pack.component import model_pack
from components.model_publish.component import model_publish
from components.model_test.component import model_test
from components.model_train.component import model_train
from components.sweep_select.component import sweep_select
from pipelines.config import documented, parameter_type
from pipelines.sweep_config import SweepConfig, documented_sweep

NAME = "detector-sweep"
BEFORE = ("data_load", "data_prep")
AFTER = ("sweep_select", "model_pack", "model_eval", "model_test", "model_publish")
STEPS = (*BEFORE, "model_train", *AFTER)
PARALLELISM = SweepConfig.model_fields["parallelism"].default  # of the compiled DAG, unless it is compiled for another


def _signature() -> inspect.Signature:
    """One pipeline parameter a field of the configuration; ``parallelism`` is no parameter, it is compiled in."""
    kinds: dict[str, Any] = {"settings": list[dict[str, str]]}
    return inspect.Signature(
        [
            inspect.Parameter(
                name,
                inspect.Parameter.POSITIONAL_OR_KEYWORD,
                default=field.get_default(call_default_factory=True),
                annotation=kinds.get(name) or parameter_type(name),
            )
            for name, field in SweepConfig.model_fields.items()
            if name != "parallelism"
        ]
    )


def _call(component: Any, given: dict[str, Any], **more: Any) -> Any:  # noqa: ANN401 - kfp ships no types
    """A task of ``component`` that takes each pipeline parameter it has an input of the same name for."""
    named = {name: given[name] for name in component.component_spec.inputs if name in given}
    return component(**{**named, **more})


def _sweep(*values: Any) -> None:  # noqa: ANN401 - one value a parameter of the signature
    """Train a few settings side by side and turn the best into a detector that is measured, proved and registered."""
    given = dict(zip(_signature().parameters, values, strict=True))
    loaded = _call(data_load, given)
    prepared = _call(data_prep, given, dataset=loaded.outputs["dataset"])
    with dsl.ParallelFor(given["settings"], name="settings", parallelism=PARALLELISM) as setting:
        trained = _call(
            model_train,
            given,
            train=prepared.outputs["train"],
            val=prepared.outputs["val"],
            weights=given["model"],
            overrides=setting,
        )
    chosen = _call(
        sweep_select,
        given,
        models=dsl.Collected(trained.outputs["model"]),
        starts=dsl.Collected(trained.outputs["start"]),
    )
    packed = _call(model_pack, given, model=chosen.outputs["model"], val=prepared.outputs["val"])
    evaluated = _call(
        model_eval,
        given,
        test=prepared.outputs["test"],
        archive=packed.outputs["archive"],
        start=chosen.outputs["start"],
    )
    proved = _call(
        model_test,
        given,
        model=chosen.outputs["model"],
        archive=packed.outputs["archive"],
        val=prepared.outputs["val"],
    )
    published = _call(
        model_publish,
        given,
        archive=packed.outputs["archive"],
        predictions=evaluated.outputs["predictions"],
        proof=proved.outputs["proof"],
        passed=evaluated.outputs["passed"],
    )
    published.set_caching_options(enable_caching=False)  # it moves an alias: that must happen, however often asked


_sweep.__signature__ = _signature()  # type: ignore[attr-defined] # where KFP reads the parameters from
_sweep.__annotations__ = {name: one.annotation for name, one in _signature().parameters.items()}
sweep = dsl.pipeline(name=NAME, display_name="Train detectors and keep the best")(documented_sweep(documented(_sweep)))


if __name__ == "__main__":
    from pipelines import catalogue, submit  # after the DAG, which they import from here under its own name

    sys.exit(submit.main(pipeline=catalogue.SWEEP))
