import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipelines.train_job import main

BASE = ["--name", "cats-2", "--train", "cats@3f2a9c", "--val", "cats@77ab01", "--image", "registry/trainer:1"]
SETTINGS = ["--set", "store=s3://bucket/prefix", "--set", "batch=64"]


def write(folder: Path, *more: str) -> dict[str, Any]:
    path = folder / "job.yaml"
    assert main([*BASE, *SETTINGS, "--nodes", "2", "--gpus", "4", *more, "-o", str(path)]) == 0
    job: dict[str, Any] = yaml.safe_load(path.read_text())
    return job


def pod_of(job: dict[str, Any]) -> dict[str, Any]:
    (patch,) = job["spec"]["runtimePatches"]
    (node,) = patch["trainingRuntimeSpec"]["template"]["spec"]["replicatedJobs"]
    pod: dict[str, Any] = node["template"]["spec"]["template"]["spec"]
    return pod


def test_the_manifest_is_what_the_apis_own_models_read_and_write(tmp_path: Path) -> None:
    models = pytest.importorskip("kubeflow_trainer_api.models", reason="needs the package kubeflow-trainer-api")
    options = ["--toleration", "spot=true:NoSchedule", "--toleration", "gpu", "--node-selector", "pool=gpu"]
    job = write(tmp_path, *options, "--secret", "AWS_ACCESS_KEY_ID=store/access", "--namespace", "team-a")

    read = models.TrainerV1alpha1TrainJob.from_dict(job)

    assert read.to_dict() == job  # a field the API does not know would be missing


def test_nodes_processes_and_gpus_are_asked_for(tmp_path: Path) -> None:
    trainer = write(tmp_path)["spec"]["trainer"]

    assert (trainer["numNodes"], trainer["numProcPerNode"], trainer["image"]) == (2, 4, "registry/trainer:1")
    assert trainer["resourcesPerNode"]["limits"]["nvidia.com/gpu"] == "4"


def test_on_the_cpu_no_gpu_is_asked_for(tmp_path: Path) -> None:
    trainer = write(tmp_path, "--set", "device=cpu")["spec"]["trainer"]

    assert "nvidia.com/gpu" not in {**trainer["resourcesPerNode"]["limits"], **trainer["resourcesPerNode"]["requests"]}


def test_what_somebody_set_for_the_training_and_nothing_else_reaches_the_worker(tmp_path: Path) -> None:
    arguments = write(tmp_path, "--set", 'hyperparameters={"mosaic": "0.5"}', "--set", "tile=64")["spec"]["trainer"][
        "args"
    ]

    assert arguments[:2] == ["-m", "components.model_train.worker"]
    assert json.loads(arguments[arguments.index("--settings") + 1]) == {
        "batch": 64,
        "hyperparameters": {"mosaic": "0.5"},
    }
    assert arguments[arguments.index("--output") + 1] == "trained/cats-2"


def test_the_launcher_takes_none_of_the_workers_options_for_its_own(tmp_path: Path) -> None:
    run = pytest.importorskip("torch.distributed.run")

    read = run.parse_args(write(tmp_path)["spec"]["trainer"]["args"])

    assert (read.module, read.training_script) == (True, "components.model_train.worker")
    assert read.training_script_args == write(tmp_path)["spec"]["trainer"]["args"][2:]


def test_secrets_stay_in_the_cluster(tmp_path: Path) -> None:
    environment = write(tmp_path, "--secret", "AWS_SECRET_ACCESS_KEY=store/secret")["spec"]["trainer"]["env"]

    assert environment[-1] == {
        "name": "AWS_SECRET_ACCESS_KEY",
        "valueFrom": {"secretKeyRef": {"name": "store", "key": "secret"}},
    }


def test_pods_have_room_to_write_and_no_more_rights_than_they_need(tmp_path: Path) -> None:
    pod = pod_of(write(tmp_path))

    (container,) = pod["containers"]
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert {mount["mountPath"] for mount in container["volumeMounts"]} == {"/scratch", "/dev/shm"}
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["terminationGracePeriodSeconds"] > 30


@pytest.mark.parametrize(
    ("text", "toleration"),
    [
        ("gpu", {"key": "gpu", "operator": "Exists"}),
        ("gpu:NoExecute", {"key": "gpu", "operator": "Exists", "effect": "NoExecute"}),
        ("spot=true", {"key": "spot", "operator": "Equal", "value": "true"}),
    ],
)
def test_tolerations_are_read_as_kubectl_writes_taints(text: str, toleration: dict[str, str], tmp_path: Path) -> None:
    assert pod_of(write(tmp_path, "--toleration", text))["tolerations"] == [toleration]


REFUSED = [
    (["--name", "Cats"], "name='Cats'"),
    (["--name", "a" * 51], "at most 50"),
    (["--train", "cats@latest"], "names no version"),
    (["--val", "cats"], "names no version"),
    (["--set", "store=file:///data"], "no place that all nodes reach"),
    (["--set", "batch=60"], "2 nodes with 4 processes each: use batch=56"),
    (["--set", "batch=-1"], "batch=-1 cannot be shared out"),
    (["--set", "start_from=/home/me/best.pt"], "start_from='/home/me/best.pt' is a file of this machine"),
    (["--set", "epochs=-1"], "epochs"),
    (["--toleration", "=x"], "--toleration needs"),
    (["--toleration", "spot:Sometimes"], "--toleration needs"),
    (["--secret", "TOKEN=hunter2"], "--secret needs"),
    (["--env", "NAME"], "--env needs"),
]


@pytest.mark.parametrize(("arguments", "message"), REFUSED)
def test_what_cannot_run_is_refused_before_anything_is_written(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "job.yaml"

    assert main([*BASE, *SETTINGS, "--nodes", "2", "--gpus", "4", *arguments, "-o", str(path)]) == 2

    told = capsys.readouterr().err
    assert message in told
    assert told.startswith("error: ")
    assert "hunter2" not in told
    assert not path.exists()
