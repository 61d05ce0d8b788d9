"""``python -m pipelines.train_job``: write a training over several nodes as a Kubeflow Trainer ``TrainJob``.

This is the alternative to the pipeline's own train step, which trains on the GPUs of one node. Kubeflow Trainer's torch
runtime starts ``torchrun`` on each node; every process runs ``components.model_train.worker``, which reads both
datasets from the store and leaves the model there. The schema is that of Trainer 2.2 and later
(https://www.kubeflow.org/docs/components/trainer/): ``runtimePatches`` took the place of ``podTemplateOverrides``.

Proved here: the manifest has the form of the API's published models, and its command, started by ``torchrun`` in two
processes of one machine, trains and leaves the model. Not proved here: a run on a cluster, several nodes, NCCL.
"""

import argparse
import json
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from components.shared.errors import ConfigError, PipelineError
from components.shared.files import write_atomically
from components.shared.presets import with_preset
from pipelines.config import TrainingConfig
from pipelines.parameters import resolve
from pipelines.terminal import print_error, print_line

API_VERSION, KIND = "trainer.kubeflow.org/v1alpha1", "TrainJob"
MANAGER = "detection-pipeline/train-job"
TRAINED_BY = (
    "preset", "model", "start_from", "epochs", "batch", "imgsz", "lr0", "optimizer", "warmup_epochs", "close_mosaic",
    "freeze", "hyperparameters", "device", "patience", "max_hours", "attempt_hours", "resume", "checkpoint_minutes",
    "checkpoint_epochs", "overfitting", "overfit_patience", "longest_edge", "image_format", "seed",
)  # fmt: skip
"""The pipeline's parameters that reach the training."""

SCRATCH = "/scratch"
SAVING = 45  # seconds: the training's own 30 to save, and torchrun's to notice
_NAME = re.compile(r"[a-z]([-a-z0-9]{0,48}[a-z0-9])?")
_VERSION = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}@[0-9a-f]{6,64}")
_PAIR = re.compile(r"(?P<name>[^=]+)=(?P<value>.+)", re.DOTALL)
_SECRET = re.compile(r"(?P<name>[A-Za-z_][A-Za-z0-9_]*)=(?P<secret>[a-z0-9][-a-z0-9.]*)/(?P<key>[-._A-Za-z0-9]+)")
_TOLERATION = re.compile(
    r"(?P<key>[^=:]+)(=(?P<value>[^:]*))?(:(?P<effect>NoSchedule|PreferNoSchedule|NoExecute))?",
)


@dataclass(frozen=True)
class Place:
    """Where and on what a training over several nodes runs.

    Attributes:
        image: the trainer's container image.
        nodes: pods, one a node.
        gpus: processes a node, one a GPU; on the CPU: processes.
        cpus: CPU cores a node.
        memory: of a node, as Kubernetes writes it.
        namespace: empty: the one the manifest is applied to.
        runtime: name of a cluster training runtime for torch.
        node_selector: labels of the nodes to use.
        tolerations: ``key[=value][:effect]``.
        environment: variables of the containers.
        secrets: variable -> (secret, key in it).
    """

    image: str
    nodes: int = 2
    gpus: int = 1
    cpus: int = 8
    memory: str = "32Gi"
    namespace: str = ""
    runtime: str = "torch-distributed"
    node_selector: Mapping[str, str] = field(default_factory=dict)
    tolerations: Sequence[str] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, tuple[str, str]] = field(default_factory=dict)


def train_job(
    name: str, config: TrainingConfig, chosen: set[str], train: str, val: str, place: Place
) -> dict[str, Any]:
    """The TrainJob as a mapping.

    Args:
        name: of the job; its model lies under ``trained/<name>/`` in the store.
        config: the pipeline's parameters; those of ``TRAINED_BY`` and the store are used.
        chosen: names of parameters that somebody set; only these are written down.
        train: reference of the dataset version to train on, such as ``cats@3f2a9c``.
        val: the same to validate on.
        place: where it runs.

    Raises:
        ConfigError: the name cannot be a job's, a reference names no version, pods cannot reach the store or the
            model, or the batch cannot be shared out.
    """
    _check(name, config, place)
    for option, reference in (("--train", train), ("--val", val)):
        if not _VERSION.fullmatch(reference):
            raise ConfigError(
                f"{option} {reference!r} names no version: an alias may move while the job runs, so write NAME@ and the"
                " first digits of a version (`python -m pipelines.datasets list` shows them)."
            )
    settings = {key: getattr(config, key) for key in TRAINED_BY if key in chosen}
    arguments = [
        *("--train", train, "--val", val, "--store", config.store, "--output", f"trained/{name}"),
        *("--run-id", name, "--settings", json.dumps(settings, sort_keys=True)),
    ]
    trainer = {
        "image": place.image,
        "command": ["torchrun"],  # number of nodes, processes and the meeting point are in PET_* variables
        "args": ["-m", "components.model_train.worker", *arguments],
        "env": _environment(place),
        "numNodes": place.nodes,
        "numProcPerNode": place.gpus,
        "resourcesPerNode": _resources(place, on_cpu=config.device == "cpu"),
    }
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": _metadata(name, place),
        "spec": {
            "runtimeRef": {"apiGroup": "trainer.kubeflow.org", "kind": "ClusterTrainingRuntime", "name": place.runtime},
            "trainer": trainer,
            "runtimePatches": [_patch(place)],
        },
    }


def _check(name: str, config: TrainingConfig, place: Place) -> None:
    if not _NAME.fullmatch(name):
        raise ConfigError(f"name={name!r} must be at most 50 of a-z, 0-9 and '-', beginning with a letter.")
    if not config.store.startswith("s3://"):
        raise ConfigError(f"store={config.store!r} is no place that all nodes reach: use s3://bucket/prefix.")
    for parameter, value in (("model", config.model), ("start_from", config.start_from)):
        if value and not value.startswith("s3://") and (Path(value).name != value or Path(value).is_file()):
            raise ConfigError(
                f"{parameter}={value!r} is a file of this machine, which the nodes do not see: use s3://."
            )
    asked = {key: getattr(config, key) for key in TRAINED_BY}
    batch, ranks = int(str(with_preset(config.preset, asked)["batch"])), place.nodes * place.gpus
    if batch < 1 or batch % ranks:
        near = max(batch // ranks, 1) * ranks
        raise ConfigError(
            f"batch={batch} cannot be shared out evenly over {place.nodes} nodes with {place.gpus} processes each:"
            f" use batch={near} or another multiple of {ranks}."
        )


def _metadata(name: str, place: Place) -> dict[str, Any]:
    labels = {
        "app.kubernetes.io/name": "detector-training",
        "app.kubernetes.io/component": "model-train",
        "app.kubernetes.io/part-of": "detection-pipeline",
        "app.kubernetes.io/managed-by": "pipelines.train_job",
    }
    return {"name": name, **({"namespace": place.namespace} if place.namespace else {}), "labels": labels}


def _environment(place: Place) -> list[dict[str, Any]]:
    """Variables of the container; everything the training writes lies in its scratch volume."""
    own = {"HOME": SCRATCH, "TMPDIR": SCRATCH, "PIPELINE_CACHE": f"{SCRATCH}/cache", **place.environment}
    plain: list[dict[str, Any]] = [{"name": name, "value": value} for name, value in own.items()]
    secret = [
        {"name": name, "valueFrom": {"secretKeyRef": {"name": secret, "key": key}}}
        for name, (secret, key) in place.secrets.items()
    ]
    return plain + secret


def _resources(place: Place, *, on_cpu: bool) -> dict[str, dict[str, str]]:
    asked = {"cpu": str(place.cpus), "memory": place.memory}
    gpus = {} if on_cpu else {"nvidia.com/gpu": str(place.gpus)}
    return {"requests": asked | gpus, "limits": {"memory": place.memory} | gpus}


def _patch(place: Place) -> dict[str, Any]:
    """What the runtime's pods need besides: where to run, room to write, and no more rights than that."""
    container = {
        "name": "node",
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        },
        "volumeMounts": [{"name": "scratch", "mountPath": SCRATCH}, {"name": "shm", "mountPath": "/dev/shm"}],  # noqa: S108 - the pod's own
    }
    pod: dict[str, Any] = {
        "containers": [container],
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "terminationGracePeriodSeconds": SAVING,
        "volumes": [{"name": "scratch", "emptyDir": {}}, {"name": "shm", "emptyDir": {"medium": "Memory"}}],
    }
    if place.node_selector:
        pod["nodeSelector"] = dict(place.node_selector)
    if place.tolerations:
        pod["tolerations"] = [_toleration(text) for text in place.tolerations]
    job = {"name": "node", "template": {"spec": {"template": {"spec": pod}}}}
    return {"manager": MANAGER, "trainingRuntimeSpec": {"template": {"spec": {"replicatedJobs": [job]}}}}


def _toleration(text: str) -> dict[str, str]:
    found = _TOLERATION.fullmatch(text)
    if found is None:
        raise ConfigError(f"--toleration needs KEY[=VALUE][:EFFECT], got {text!r}.")
    value = found["value"]
    toleration = {"key": found["key"], "operator": "Exists" if value is None else "Equal"}
    if value is not None:
        toleration["value"] = value
    return {**toleration, "effect": found["effect"]} if found["effect"] else toleration


def main(arguments: Sequence[str] | None = None) -> int:
    """The command: 0 written, 2 bad input."""
    options = _parser().parse_args(arguments)
    try:
        config, chosen = resolve(options.config, options.set, {})
        place = Place(
            image=options.image,
            nodes=options.nodes,
            gpus=options.gpus,
            cpus=options.cpus,
            memory=options.memory,
            namespace=options.namespace,
            runtime=options.runtime,
            node_selector=dict(_pair("--node-selector", text) for text in options.node_selector),
            tolerations=options.toleration,
            environment=dict(_pair("--env", text) for text in options.env),
            secrets=dict(_secret(text) for text in options.secret),
        )
        _write(train_job(options.name, config, chosen, options.train, options.val, place), options.output)
    except PipelineError as error:
        print_error(error)
        return error.exit_code
    except OSError as error:
        print_error(f"{str(options.output)!r} cannot be written: {error.strerror}.")
        return 2
    print_line(str(options.output))
    return 0


def _write(manifest: Mapping[str, Any], path: Path) -> None:
    with write_atomically(path) as temporary:
        temporary.write_text(yaml.safe_dump(dict(manifest), sort_keys=False, width=120), encoding="utf-8")


def _pair(option: str, text: str) -> tuple[str, str]:
    found = _PAIR.fullmatch(text)
    if found is None:
        raise ConfigError(f"{option} needs NAME=VALUE, got {text!r}.")
    return found["name"], found["value"]


def _secret(text: str) -> tuple[str, tuple[str, str]]:
    found = _SECRET.fullmatch(text)
    if found is None:
        raise ConfigError(f"--secret needs VARIABLE=SECRET/KEY, got {text.partition('=')[0]!r} and something else.")
    return found["name"], (found["secret"], found["key"])


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of 1 or more")
    return int(text)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m pipelines.train_job",
        description="Write a training over several nodes as a Kubeflow Trainer TrainJob (Trainer 2.2 or later).",
    )
    add = parser.add_argument
    add("--name", required=True, help="name of the job; the model is left under trained/NAME/ in the store")
    add("--train", required=True, metavar="REFERENCE", help="dataset version to train on, such as cats@3f2a9c")
    add("--val", required=True, metavar="REFERENCE", help="dataset version to validate on")
    add("--image", required=True, help="the trainer's container image")
    add("--nodes", type=_count, default=2, help="nodes (default: 2)")
    add("--gpus", type=_count, default=1, help="processes a node, one a GPU (default: 1)")
    add("--cpus", type=_count, default=8, help="CPU cores a node (default: 8)")
    add("--memory", default="32Gi", help="memory of a node (default: 32Gi)")
    add("--namespace", default="", help="namespace (default: the one the manifest is applied to)")
    add("--runtime", default="torch-distributed", help="cluster training runtime (default: torch-distributed)")
    repeated: dict[str, Any] = {"action": "append", "default": []}
    add("--node-selector", **repeated, metavar="LABEL=VALUE", help="run on nodes with this label")
    add("--toleration", **repeated, metavar="KEY[=VALUE][:EFFECT]", help="run on nodes with this taint too")
    add("--env", **repeated, metavar="NAME=VALUE", help="variable of the containers, such as S3_ENDPOINT_URL")
    add("--secret", **repeated, metavar="NAME=SECRET/KEY", help="variable whose value is in a Kubernetes secret")
    add("--config", type=Path, metavar="FILE", help="YAML file with the pipeline's parameters")
    add("--set", **repeated, metavar="NAME=VALUE", help="set one parameter; wins over --config")
    add("-o", "--output", type=Path, default=Path("train-job.yaml"), help="file to write (default: train-job.yaml)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
