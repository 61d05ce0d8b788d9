"""The sweep DAG: one dataset, a few trainings side by side, and the best of them packed, measured and published."""

import sys

from kfp import dsl

from components.model_train.component import model_train
from components.sweep_select.component import sweep_select
from pipelines.dag import KINDS, Given, pack_and_publish, pipeline_of, prepare, task
from pipelines.parameters import documented
from pipelines.sweep_config import SweepConfig, documented_sweep

NAME = "detector-sweep"
BEFORE = ("data_load", "data_prep")
AFTER = ("sweep_select", "model_pack", "model_eval", "model_test", "model_publish")
STEPS = (*BEFORE, "model_train", *AFTER)
PARALLELISM = SweepConfig.model_fields["parallelism"].default  # of the compiled DAG, unless it is compiled for another


def _sweep(given: Given) -> None:
    """Train a few settings side by side and turn the best into a detector that is measured, proved and registered."""
    prepared = prepare(given)
    with dsl.ParallelFor(given["settings"], name="settings", parallelism=PARALLELISM) as setting:
        trained = task(
            model_train,
            given,
            train=prepared.outputs["train"],
            val=prepared.outputs["val"],
            weights=given["model"],
            overrides=setting,
        )
    chosen = task(
        sweep_select,
        given,
        models=dsl.Collected(trained.outputs["model"]),
        starts=dsl.Collected(trained.outputs["start"]),
    )
    pack_and_publish(given, prepared, chosen)


_parameters = pipeline_of(
    _sweep, SweepConfig, kinds={**KINDS, "settings": list[dict[str, str]]}, without={"parallelism"}
)
sweep = dsl.pipeline(name=NAME, display_name="Train detectors and keep the best")(
    documented_sweep(documented(_parameters))
)


if __name__ == "__main__":
    from pipelines import catalogue, submit  # after the DAG, which they import from here under its own name

    sys.exit(submit.main(pipeline=catalogue.SWEEP))
