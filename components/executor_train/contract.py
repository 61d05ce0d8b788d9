"""YMIR's contract with a training image, version 1.1.0: where what lies, and what its numbers mean."""

from enum import IntEnum

PROTOCOL_VERSION = "1.1.0"
IN, OUT = "/in", "/out"
START = "bash /usr/bin/start.sh"
ENV, CONFIG = "env.yaml", "config.yaml"
TRAIN_INDEX, VAL_INDEX = "train-index.tsv", "val-index.tsv"
ASSETS, ANNOTATIONS, MODELS, TENSORBOARD = "assets", "annotations", "models", "tensorboard"
RESULT, MONITOR, LOG = f"{MODELS}/result.yaml", "monitor.txt", "ymir-executor-out.log"
STAGES = "stages.json"  # our own: what result.yaml says of the stages, without times
USED_CONFIG = "executor-config.yaml"  # our own: what config.yaml held when the executor began
DETECTION = 2  # the object type of boxes

RESERVED = (
    "task_id",
    "class_names",
    "gpu_id",
    "gpu_count",
    "pretrained_model_params",
    "export_format",
    "object_type",
    "shm_size",
)
"""Keys of ``config.yaml`` that the platform decides, whatever a template or a person says."""


class State(IntEnum):
    """How far an executor says it is."""

    PENDING = 1
    RUNNING = 2
    DONE = 3
    ERROR = 4


RETURN_CODES = {
    300001: "its configuration is wrong",
    300002: "it cannot use the data set",
    300003: "it cannot read the format of an image",
    300004: "it cannot use the model it was to start from",
    300005: "it is for another kind of objects",
    300101: "CUDA failed",
    300102: "it found no GPU",
    300103: "the GPU has not enough memory",
    300201: "the loss is no number any more",
    300301: "the network failed",
    160004: "its container failed",
}
"""What an executor's return codes mean, to go on after "The executor failed as"."""

OUT_OF_MEMORY, DIVERGED, CONFIGURATION = 300103, 300201, 300001

EXIT_CODES = {
    125: "its container could not be started",
    126: "its start script may not be run",
    127: "its start script, or a command in it, was not found",
    134: "it aborted",
    137: "it was killed, for which too little memory is the usual reason",
    139: "it crashed in native code",
    143: "it was told to end",
}
"""What exit codes mean that a shell or the system gives, to go on in the same way."""
