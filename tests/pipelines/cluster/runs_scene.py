"""Runs on the two stubs as a cluster leaves them: Kubeflow's rows, the pods and events, and what the store keeps."""

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import yaml
from kfp_server_api import models

from components.shared.progress import StepProgress
from components.shared.store import Store, open_store
from tests.pipelines.cluster.kfp_stub import KfpStub
from tests.pipelines.cluster.kube_stub import KubeStub

STEPS = ("data-load", "data-prep", "model-train", "model-pack", "model-eval", "model-test")
IMAGE = "registry.local/trainer-python@sha256:0123"
ZERO = datetime(1, 1, 1, tzinfo=UTC)
NO_GPU = (
    "0/5 nodes are available: 3 Insufficient nvidia.com/gpu, 2 node(s) had untolerated taint {nvidia.com/gpu: "
    "present}. preemption: 0/5 nodes are available: 5 Preemption is not helpful for scheduling."
)


def spec() -> dict[str, Any]:
    """A pipeline in the shape that the compiler gives it: a group that runs the last step, and an exit handler."""
    tasks = {
        name: {"componentRef": {"name": f"comp-{name}"}, "dependentTasks": list(STEPS[max(i - 1, 0) : i])}
        for i, name in enumerate(STEPS)
    }
    tasks["condition-passed-1"] = {"componentRef": {"name": "comp-condition-passed-1"}, "dependentTasks": [STEPS[-1]]}
    inner = {"model-publish": {"componentRef": {"name": "comp-model-publish"}}}
    group = {"exit-handler-1": {"componentRef": {"name": "comp-exit-handler-1"}}}
    group["run-record"] = {"componentRef": {"name": "comp-run-record"}, "dependentTasks": ["exit-handler-1"]}  # type: ignore[dict-item]
    leaves = {f"comp-{name}": {"executorLabel": f"exec-{name}"} for name in (*STEPS, "model-publish", "run-record")}
    parameters = {"gpus": "STRING", "epochs": "NUMBER_INTEGER", "store": "STRING", "tolerations": "LIST"}
    declared = {name: {"parameterType": kind, "isOptional": True} for name, kind in parameters.items()}
    return {
        "pipelineInfo": {"name": "detector-training"},
        "components": {
            **leaves,
            "comp-exit-handler-1": {"dag": {"tasks": tasks}},
            "comp-condition-passed-1": {"dag": {"tasks": inner}},
        },
        "root": {"dag": {"tasks": group}, "inputDefinitions": {"parameters": declared}},
        "schemaVersion": "2.1.0",
        "sdkVersion": "kfp-2.17.0",
    }


class Scene:
    """Both servers and a store, with a pipeline that is uploaded already."""

    def __init__(self, kfp: KfpStub, kube: KubeStub, folder: Path) -> None:
        self.kfp, self.kube = kfp, kube
        self.uri = (folder / "store").as_uri()
        self.store: Store = open_store(self.uri)
        self.experiment = kfp.add_experiment("cats")
        self.pipeline = kfp.add_pipeline("detector-training")
        self.version = kfp.add_version(self.pipeline.pipeline_id, "v1", yaml.safe_dump(spec()))

    def run(self, name: str, state: str, *, done: int = 0, step: str = "", ago: float = 600.0, **facts: Any) -> str:
        """A run: ``done`` steps have succeeded, the next one is in the KFP state ``step`` (empty: none); its id."""
        created = datetime.now(UTC) - timedelta(seconds=ago)
        reference = models.V2beta1PipelineVersionReference(
            pipeline_id=self.pipeline.pipeline_id, pipeline_version_id=self.version.pipeline_version_id
        )
        states = [*(["SUCCEEDED"] * done), *([step] if step else [])]
        rows = [
            row("root", "FAILED" if state == "FAILED" else "RUNNING", created),
            row("root-driver", "SUCCEEDED", created),
        ]
        for i, (task, own) in enumerate(zip(STEPS, states, strict=False)):
            start = created + timedelta(seconds=30 * i)
            end = None if own in {"RUNNING", "PENDING"} else start + timedelta(seconds=25)
            rows += [row(f"{task}-driver", "SUCCEEDED", start, start), row(task, own, start, end)]
            rows.append(row("executor", own, ZERO if own == "PENDING" else start, end))
        found = self.kfp.add_run(
            name,
            state,
            created_at=created,
            experiment_id=self.experiment.experiment_id,
            pipeline_version_reference=reference,
            runtime_config=models.V2beta1RuntimeConfig(parameters={"store": self.uri, "gpus": "1", "epochs": 3}),
            run_details=models.V2beta1RunDetails(task_details=rows),
            **facts,
        )
        return str(found.run_id)

    def pod(self, run: str, step: str, *, attempt: int = 0, driver: bool = False, turn: str = "", **status: Any) -> str:
        """A pod of a run's step (in the ``turn`` of a loop) with this status; its name."""
        kind = "driver" if driver else "impl"
        name = f"wf-{run[:4]}-system-container-{kind}-{step}{turn}-{attempt}"
        node = (
            f"wf-{run[:4]}.root.exit-handler-1.{step}-driver" if driver else f"wf.root{turn}.{step}.executor({attempt})"
        )
        status.setdefault("phase", "Running")
        spec = {
            "nodeName": status.pop("node", ""),
            "containers": [{"name": "main", "image": IMAGE, "resources": {"limits": {"memory": "16Gi"}}}],
        }
        metadata = {"name": name, "labels": {"pipeline/runid": run}}
        metadata["annotations"] = {"workflows.argoproj.io/node-name": node}
        if deleted := status.pop("deleted", ""):
            metadata["deletionTimestamp"] = deleted
        made = datetime.now(UTC) - timedelta(seconds=60 - attempt)
        metadata["creationTimestamp"] = status.pop("made", made.strftime("%Y-%m-%dT%H:%M:%SZ"))
        self.kube.put("pods", {"metadata": metadata, "spec": spec, "status": status})
        return name

    def workflow(self, run: str, *, message: str = "", nodes: dict[str, Any] | None = None) -> str:
        """The run's Workflow; its name."""
        name = f"wf-{run[:4]}"
        metadata = {"name": name, "labels": {"pipeline/runid": run}}
        self.kube.put(
            "workflows", {"metadata": metadata, "spec": {}, "status": {"message": message, "nodes": nodes or {}}}
        )
        return name

    def progress(self, run: str, step: str, state: Any = "running", **facts: Any) -> None:
        """What a step tells."""
        now = time.time()
        facts = {"started": now - 60, "updated": now, "share": 0.5} | facts
        found = StepProgress(step=step, state=state, **facts)
        self.store.write(f"progress/{run}/{step}.json", found.model_dump_json().encode())


def row(name: str, state: str, start: datetime, end: datetime | None = None) -> Any:
    """A node of Argo as the API shows it."""
    return models.V2beta1PipelineTaskDetail(
        display_name=name, state=state, create_time=start, start_time=start, end_time=end or ZERO
    )


def terminated(code: int, reason: str = "Error") -> dict[str, Any]:
    """The status of a pod whose step ended so."""
    state = {"terminated": {"exitCode": code, "reason": reason}}
    return {"phase": "Failed", "containerStatuses": [{"name": "main", "image": IMAGE, "state": state}]}


def waiting(reason: str, message: str = "") -> dict[str, Any]:
    """The status of a pod whose step waits so."""
    state = {"waiting": {"reason": reason, "message": message}}
    return {"phase": "Pending", "containerStatuses": [{"name": "main", "image": IMAGE, "state": state}]}


def unschedulable(message: str = NO_GPU) -> dict[str, Any]:
    """The status of a pod that no machine takes."""
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
    return {"phase": "Pending", "conditions": [condition]}


def running() -> dict[str, Any]:
    """The status of a pod whose step runs."""
    return {
        "phase": "Running",
        "node": "gpu-3",
        "containerStatuses": [{"name": "main", "image": IMAGE, "state": {"running": {}}}],
    }
