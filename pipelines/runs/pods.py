"""What Kubernetes and Argo tell of a run: pods, events and the Workflow, in the few fields that explain something."""

import base64
import json
import re
import zlib
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic.alias_generators import to_camel

RUN_LABEL = "pipeline/runid"  # KFP puts it on the Workflow and on each pod
STEP_LABEL = "detection.pipeline/step"  # our own, on the pods that run a step
NODE_NAME = "workflows.argoproj.io/node-name"
MAIN = "main"  # the container that runs a step; Argo's own are "wait" and "init"
_MOST_NODES = 64 << 20  # bytes of a Workflow's nodes
_ATTEMPT = re.compile(r"\(\d+(?::[^)]*)?\)$")
_DRIVER = "-driver"
_EXECUTOR = "executor"


class Seen(BaseModel):
    """An object of the API: what is not asked for is left out, an explicit null counts as absent."""

    model_config = ConfigDict(frozen=True, extra="ignore", alias_generator=to_camel, populate_by_name=True)

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, value: Any) -> Any:  # noqa: ANN401 - whatever came
        return {k: v for k, v in value.items() if v is not None} if isinstance(value, Mapping) else value


class Waiting(Seen):
    """Why a container does not run yet."""

    reason: str = ""
    message: str = ""


class Ended(Seen):
    """How a container ended."""

    exit_code: int = 0
    signal: int = 0
    reason: str = ""
    message: str = ""
    finished_at: datetime | None = None


class ContainerState(Seen):
    """One of three."""

    waiting: Waiting | None = None
    terminated: Ended | None = None
    running: dict[str, Any] | None = None


class Container(Seen):
    """A container's status; ``last_state`` is of the instance before this one."""

    name: str = ""
    image: str = ""
    state: ContainerState = Field(default_factory=ContainerState)
    last_state: ContainerState = Field(default_factory=ContainerState)
    restart_count: int = 0


class Condition(Seen):
    """Such as PodScheduled or DisruptionTarget."""

    type: str = ""
    status: str = ""
    reason: str = ""
    message: str = ""


class PodStatus(Seen):
    """Where a pod stands."""

    phase: str = ""
    reason: str = ""
    message: str = ""
    conditions: list[Condition] = Field(default_factory=list)
    init_container_statuses: list[Container] = Field(default_factory=list)
    container_statuses: list[Container] = Field(default_factory=list)
    start_time: datetime | None = None


class Resources(Seen):
    """What a container may use."""

    limits: dict[str, str | int | float] = Field(default_factory=dict)
    requests: dict[str, str | int | float] = Field(default_factory=dict)


class ContainerSpec(Seen):
    """What a container was asked to be."""

    name: str = ""
    image: str = ""
    resources: Resources = Field(default_factory=Resources)


class PodSpec(Seen):
    """What a pod was asked to be."""

    node_name: str = ""
    containers: list[ContainerSpec] = Field(default_factory=list)
    active_deadline_seconds: int | None = None


class Metadata(Seen):
    """Who an object is."""

    name: str = ""
    labels: dict[str, str] = Field(default_factory=dict)
    annotations: dict[str, str] = Field(default_factory=dict)
    creation_timestamp: datetime | None = None
    deletion_timestamp: datetime | None = None


class Pod(Seen):
    """A pod of a run."""

    metadata: Metadata = Field(default_factory=Metadata)
    spec: PodSpec = Field(default_factory=PodSpec)
    status: PodStatus = Field(default_factory=PodStatus)

    @property
    def name(self) -> str:
        """Its name."""
        return self.metadata.name

    @property
    def run_id(self) -> str:
        """The run it belongs to."""
        return self.metadata.labels.get(RUN_LABEL, "")

    @property
    def step(self) -> str:
        """The step it works for, as steps are called: ``model_train``; empty when nothing tells."""
        labelled = self.metadata.labels.get(STEP_LABEL)
        return labelled or step_of(self.metadata.annotations.get(NODE_NAME, ""))

    @property
    def track(self) -> str:
        """What all attempts at the same work have in common; each turn of a loop is a work of its own."""
        return _ATTEMPT.sub("", self.metadata.annotations.get(NODE_NAME, ""))

    @property
    def is_driver(self) -> bool:
        """Whether it is one of KFP's own pods, which prepares a step instead of running it."""
        last = self.metadata.annotations.get(NODE_NAME, self.name).split(".")[-1]
        return _ATTEMPT.sub("", last).endswith(_DRIVER) or "-driver-" in self.name

    @property
    def main(self) -> Container | None:
        """The status of the container that runs the step."""
        return next((one for one in self.status.container_statuses if one.name == MAIN), None)

    @property
    def is_over(self) -> bool:
        """Whether nothing of it runs any more."""
        return self.status.phase in {"Succeeded", "Failed"}

    def condition(self, kind: str) -> Condition | None:
        """The condition of that type."""
        return next((one for one in self.status.conditions if one.type == kind), None)

    def limit(self, resource: str) -> str:
        """The limit of the step's container, such as ``8Gi``; empty: none is known."""
        found = [one.resources for one in self.spec.containers if one.name in {MAIN, ""}]
        return next((str(one.limits[resource]) for one in found if resource in one.limits), "")


class About(Seen):
    """Whom an event is about."""

    kind: str = ""
    name: str = ""


class Event(Seen):
    """An event of the namespace."""

    involved_object: About = Field(default_factory=About)
    reason: str = ""
    message: str = ""
    type: str = ""
    count: int = 1
    last_timestamp: datetime | None = None
    event_time: datetime | None = None


class Node(Seen):
    """A node of the Workflow: what Argo knows of a task or a pod of it."""

    id: str = ""
    display_name: str = ""
    name: str = ""
    type: str = ""
    phase: str = ""
    message: str = ""


class WorkflowSpec(Seen):
    """What was asked of Argo."""

    shutdown: str = ""


class WorkflowStatus(Seen):
    """How Argo sees the run."""

    phase: str = ""
    message: str = ""
    nodes: dict[str, Node] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _unpacked(cls, value: Any) -> Any:  # noqa: ANN401 - whatever came
        """The status with its nodes, which Argo packs when they are many."""
        packed = value.get("compressedNodes") if isinstance(value, Mapping) else None
        if not packed:
            return value
        try:
            unpacker = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)  # gzip
            text = unpacker.decompress(base64.b64decode(packed), _MOST_NODES)
            return {**value, "nodes": json.loads(text)}
        except (ValueError, zlib.error):
            return value


class Workflow(Seen):
    """The custom object a run is while Argo keeps it."""

    metadata: Metadata = Field(default_factory=Metadata)
    spec: WorkflowSpec = Field(default_factory=WorkflowSpec)
    status: WorkflowStatus = Field(default_factory=WorkflowStatus)


def step_of(node_name: str) -> str:
    """The step behind an Argo node's name.

    Example:
        >>> step_of("detector-training-x7k2p.root.model-train.executor(0)")
        'model_train'
        >>> step_of("detector-training-x7k2p.root.for-loop-1.iteration-item(1:0).iteration-1.model-train-driver")
        'model_train'
    """
    parts = [_ATTEMPT.sub("", part) for part in node_name.split(".")]
    if parts and parts[-1] == _EXECUTOR:
        parts.pop()
    last = parts[-1].removesuffix(_DRIVER) if parts else ""
    return "" if last in {"", "root"} else last.replace("-", "_")
