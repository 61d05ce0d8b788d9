"""The training DAG: from annotated images to a tested, packed and registered detector."""

from kfp import dsl

from components.model_train.component import model_train
from pipelines.config import TrainingConfig
from pipelines.dag import KINDS, Given, pack_and_publish, pipeline_of, prepare, task
from pipelines.parameters import documented

NAME = "detector-training"
STEPS = ("data_load", "data_prep", "model_train", "model_pack", "model_eval", "model_test", "model_publish")


def _training(given: Given) -> None:
    """Turn annotated images into a detector that is measured, proved and registered."""
    prepared = prepare(given)
    trained = task(
        model_train,
        given,
        train=prepared.outputs["train"],
        val=prepared.outputs["val"],
        weights=given["model"],
    )
    pack_and_publish(given, prepared, trained)


training = dsl.pipeline(name=NAME, display_name="Train a detector")(
    documented(pipeline_of(_training, TrainingConfig, kinds=KINDS))
)
