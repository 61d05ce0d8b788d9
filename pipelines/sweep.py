"""The sweep DAG: one dataset, a few trainings side by side, and the best of them packed, measured and published."""

import sys
from functools import cache
from typing import Any

from kfp import dsl

from components.model_train.component import model_train
from components.sweep_select.component import sweep_select
from pipelines.dag import KINDS, Build, pack_and_publish, pipeline_of, prepare, recorded
from pipelines.parameters import documented
from pipelines.resources import CLUSTER
from pipelines.sweep_config import NOT_COMPILED, SweepConfig, documented_sweep

NAME = "detector-sweep"
BEFORE = ("data_load", "data_prep")
AFTER = ("sweep_select", "model_pack", "model_eval", "model_test", "model_publish")
STEPS: tuple[str, ...] = (*BEFORE, "model_train", *AFTER)
PARALLELISM: int = SweepConfig.model_fields["parallelism"].default  # unless it is compiled for another


def _sweep(build: Build) -> None:
    """Train a few settings side by side and turn the best into a detector that is measured, proved and registered."""
    prepared = prepare(build)
    with dsl.ParallelFor(build.given["settings"], name="settings", parallelism=PARALLELISM) as setting:
        trained = build.task(
            model_train,
            train=prepared.outputs["train"],
            val=prepared.outputs["val"],
            weights=build.given["model"],
            overrides=setting,
        )
    chosen = build.task(
        sweep_select,
        models=dsl.Collected(trained.outputs["model"]),
        starts=dsl.Collected(trained.outputs["start"]),
    )
    # Not around the loop: Kubeflow ends a run with a loop in an exit handler, and what one collects cannot enter it.
    with recorded(build, NAME, (*STEPS, "model_deploy")):
        pack_and_publish(build, prepared, chosen)


_KINDS = {**KINDS, "settings": list[dict[str, str]]}


def _dag(pipeline: str = "") -> Any:  # noqa: ANN401 - kfp ships no types
    parameters = pipeline_of(_sweep, SweepConfig, kinds=_KINDS, without=NOT_COMPILED, pipeline=pipeline)
    return dsl.pipeline(
        name=NAME, display_name="Train detectors and keep the best", pipeline_config=CLUSTER if pipeline else None
    )(documented_sweep(documented(parameters)))


sweep = _dag()


@cache
def sweep_in_cluster() -> Any:  # noqa: ANN401 - same
    """The same steps, each with what its pod needs."""
    return _dag(NAME)


if __name__ == "__main__":
    from pipelines import catalogue, submit  # after the DAG, which they import from here under its own name

    sys.exit(submit.main(pipeline=catalogue.SWEEP))
