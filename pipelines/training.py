"""The training DAG: from annotated images to a tested, packed and registered detector."""

from functools import cache
from typing import Any

from kfp import dsl

from components.change_check.component import change_check
from components.model_train.component import model_train
from pipelines.config import TrainingConfig
from pipelines.dag import KINDS, Build, pack_and_publish, pipeline_of, prepare, recorded
from pipelines.parameters import documented
from pipelines.resources import CLUSTER

NAME = "detector-training"
STEPS: tuple[str, ...] = (
    "data_load",
    "data_prep",
    "model_train",
    "model_pack",
    "model_eval",
    "model_test",
    "model_publish",
)
RECORDED: tuple[str, ...] = (
    *STEPS[:2],
    "change_check",
    *STEPS[2:],
    "model_deploy",
)  # those that people hear of only when it matters too


def _training(build: Build) -> None:
    """Turn annotated images into a detector that is measured, proved and registered."""
    with recorded(build, NAME, RECORDED):
        prepared = prepare(build)
        splits = {name: prepared.outputs[name] for name in ("train", "val", "test")}
        checked = build.task(change_check, **splits)
        with dsl.If(checked.outputs["changed"] == True, name="changed"):  # noqa: E712 - a channel, which KFP compares
            trained = build.task(model_train, train=splits["train"], val=splits["val"], weights=build.given["model"])
            pack_and_publish(build, prepared, trained, basis=checked.outputs["basis"])


def _dag(pipeline: str = "") -> Any:  # noqa: ANN401 - kfp ships no types
    function = documented(pipeline_of(_training, TrainingConfig, kinds=KINDS, pipeline=pipeline))
    return dsl.pipeline(name=NAME, display_name="Train a detector", pipeline_config=CLUSTER if pipeline else None)(
        function
    )


training = _dag()


@cache
def training_in_cluster() -> Any:  # noqa: ANN401 - same
    """The same steps, each with what its pod needs."""
    return _dag(NAME)
