"""Walk a compiled DAG as the cluster's driver does, and give each task what it would get in its pod."""

import json
import math
import re
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

BUCKET = "minio://pipelines/v2/artifacts"
MOUNT = "/minio"  # where a pod sees them
OUTPUTS = "/tmp/kfp/outputs"  # noqa: S108 - the launcher's own place
INPUT = "{{$}}"
RUN = "proof"  # what a pod is told of itself
_ALWAYS = "ALL_UPSTREAM_TASKS_COMPLETED"
_COMPARED = re.compile(r"inputs\.parameter_values\['([^']+)'\] (==|!=) (true|false|'[^']*'|-?[\d.]+)")


@dataclass(frozen=True)
class Task:
    """What runs in a pod.

    Attributes:
        name: the task's.
        image: its container's image.
        command: program and arguments, the executor's input filled in.
        environment: the container's own variables, and those the cluster takes from the pod.
        scratch: folders of the pod's own.
        output_file: where it says what it made.
    """

    name: str
    image: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    scratch: tuple[str, ...]
    output_file: str


@dataclass
class Scope:
    """What the tasks of one DAG see: its inputs, and what those before them made."""

    parameters: dict[str, Any]
    artifacts: dict[str, dict[str, Any]]
    made: dict[str, dict[str, Any]] = field(default_factory=dict)
    failed: bool = False


@dataclass
class Walk:
    """Runs the tasks of ``spec`` one by one.

    Attributes:
        spec: the compiled IR.
        execute: runs a task in its pod; gives the text it left in ``output_file``, or ``None`` when it failed.
        root: what ``MOUNT`` is on this machine.
        platform: the document of the Kubernetes settings; empty where there is none.
        skipped: names of tasks that were not run.
    """

    spec: Mapping[str, Any]
    execute: Callable[[Task], str | None]
    root: Path
    platform: Mapping[str, Any] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)

    def run(self, arguments: Mapping[str, Any]) -> Scope:
        """Run the whole pipeline; a parameter that is not given has its default."""
        declared = self.spec["root"].get("inputDefinitions", {}).get("parameters", {})
        values = {name: each["defaultValue"] for name, each in declared.items() if "defaultValue" in each}
        scope = Scope({**values, **{name: value for name, value in arguments.items() if name in declared}}, {})
        self._run_dag(self.spec["root"]["dag"], scope)
        return scope

    def _run_dag(self, dag: Mapping[str, Any], scope: Scope) -> None:
        waiting = dict(dag["tasks"])
        ended: set[str] = set()
        while waiting:
            name = next(each for each, task in waiting.items() if set(task.get("dependentTasks", ())) <= ended)
            task = waiting.pop(name)
            ended.add(name)
            policy = task.get("triggerPolicy", {})
            reachable = set(task.get("dependentTasks", ())) <= scope.made.keys() or policy.get("strategy") == _ALWAYS
            if not reachable or (scope.failed and policy.get("strategy") != _ALWAYS):
                self.skipped.append(name)
            else:
                self._run_task(name, task, scope)

    def _run_task(self, name: str, task: Mapping[str, Any], scope: Scope) -> None:
        component = self.spec["components"][task["componentRef"]["name"]]
        inputs = self._inputs(task, component, scope)
        condition = task.get("triggerPolicy", {}).get("condition", "")
        if condition and not _holds(condition, inputs.parameters):
            self.skipped.append(name)
            return
        if "dag" in component:
            self._run_dag(component["dag"], inputs)
            scope.failed = scope.failed or inputs.failed
            scope.made[name] = _surfaced(component["dag"].get("outputs", {}), inputs)
            return
        made = self._run_pod(name, component, inputs)
        scope.failed = scope.failed or made is None
        if made is not None:
            scope.made[name] = made

    def _run_pod(self, name: str, component: Mapping[str, Any], inputs: Scope) -> dict[str, Any] | None:
        label = component["executorLabel"]
        container = self.spec["deploymentSpec"]["executors"][label]["container"]
        outputs = self._outputs(name, component)
        artifacts = {key: {"artifacts": [made]} for key, made in inputs.artifacts.items()}
        given = {"inputs": {"parameterValues": inputs.parameters, "artifacts": artifacts}, "outputs": outputs}
        text = json.dumps(given)
        command = [text if part == INPUT else part for part in (*container["command"], *container.get("args", ()))]
        settings = self._settings(label)
        environment = {each["name"]: each["value"] for each in container.get("env", ())}
        environment |= {each["name"]: RUN for each in settings.get("fieldPathAsEnv", ())}
        scratch = tuple(each["mountPath"] for each in settings.get("emptyDirMounts", ()))
        said = self.execute(Task(name, container["image"], tuple(command), environment, scratch, outputs["outputFile"]))
        if said is None:
            return None
        written = json.loads(said) if said else {}
        declared = {key: each["artifacts"][0] for key, each in outputs["artifacts"].items()}
        named = {key: each["artifacts"][0] for key, each in written.get("artifacts", {}).items()}
        return {"parameters": written.get("parameterValues", {}), "artifacts": {**declared, **named}}

    def _settings(self, label: str) -> Mapping[str, Any]:
        """What Kubernetes is told about an executor."""
        settings: Mapping[str, Any] = (
            self.platform.get("platforms", {}).get("kubernetes", {}).get("deploymentSpec", {}).get("executors", {})
        )
        found: Mapping[str, Any] = settings.get(label, {})
        return found

    def _inputs(self, task: Mapping[str, Any], component: Mapping[str, Any], scope: Scope) -> Scope:
        parameters: dict[str, Any] = {}
        for name, source in task.get("inputs", {}).get("parameters", {}).items():
            if "componentInputParameter" in source:
                parameters[name] = scope.parameters.get(source["componentInputParameter"])
            elif "taskOutputParameter" in source:
                origin = source["taskOutputParameter"]
                parameters[name] = scope.made[origin["producerTask"]]["parameters"][origin["outputParameterKey"]]
            elif "taskFinalStatus" in source:
                parameters[name] = _final_status(source["taskFinalStatus"]["producerTask"], failed=scope.failed)
            else:
                parameters[name] = source["runtimeValue"]["constant"]
        declared = component.get("inputDefinitions", {}).get("parameters", {})
        for name, each in declared.items():
            if parameters.get(name) is None and "defaultValue" in each:
                parameters[name] = each["defaultValue"]
        return Scope({name: _protojson(value) for name, value in parameters.items()}, self._artifacts(task, scope))

    @staticmethod
    def _artifacts(task: Mapping[str, Any], scope: Scope) -> dict[str, dict[str, Any]]:
        found = {}
        for name, source in task.get("inputs", {}).get("artifacts", {}).items():
            if "componentInputArtifact" in source:
                if source["componentInputArtifact"] in scope.artifacts:
                    found[name] = scope.artifacts[source["componentInputArtifact"]]
                continue
            origin = source["taskOutputArtifact"]
            made = scope.made[origin["producerTask"]]["artifacts"][origin["outputArtifactKey"]]
            shape = {"name": str(uuid.uuid4().int)[:6], "type": {"instanceSchema": ""}}
            found[name] = {**made, **shape, "metadata": mangled(made.get("metadata", {}))}
        return found

    def _outputs(self, name: str, component: Mapping[str, Any]) -> dict[str, Any]:
        declared = component.get("outputDefinitions", {})
        artifacts = {}
        for key, kind in declared.get("artifacts", {}).items():
            uri = f"{BUCKET}/{name}/{uuid.uuid4()}/{key}"
            folder = (self.root / uri.removeprefix("minio://")).parent
            folder.mkdir(parents=True)
            for each in (folder, *folder.parents):
                if each.is_relative_to(self.root):
                    each.chmod(0o777)
            artifacts[key] = {"artifacts": [{"name": key, "uri": uri, "type": kind["artifactType"], "metadata": {}}]}
        parameters = {key: {"outputFile": f"{OUTPUTS}/{key}"} for key in declared.get("parameters", {})}
        return {"parameters": parameters, "artifacts": artifacts, "outputFile": f"{OUTPUTS}/executor_output.json"}


def mangled(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Metadata as it comes back from the cluster's metadata store.

    Raises:
        ValueError: it would be refused there.
    """
    result: dict[str, Any] = {"display_name": "x", "store_session_info": '{"Provider":"minio"}'}
    for name, value in metadata.items():
        if value is None or (isinstance(value, float) and not math.isfinite(value)):
            raise ValueError(f"The metadata {name!r} is {value!r}: the cluster refuses it.")
        wrapped = {"list": value} if isinstance(value, list) else {"struct": value}
        plain = float(value) if isinstance(value, bool | int | float) else value
        result[name] = wrapped if isinstance(value, list | dict) else plain
    return result


def _protojson(value: object) -> object:
    """A whole number is printed without its ``.0``."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _holds(condition: str, parameters: Mapping[str, Any]) -> bool:
    """A condition of ``==`` and ``!=`` that are all to hold.

    Raises:
        ValueError: it is of another kind.
    """
    parts = condition.split(" && ")
    found = [_COMPARED.fullmatch(part.strip("() ")) for part in parts]
    if not all(found):
        raise ValueError(f"The condition {condition!r} is of a kind that is not known here.")
    results = []
    for each in filter(None, found):
        expected = each[3].strip("'") if each[3].startswith("'") else json.loads(each[3])
        results.append((parameters[each[1]] == expected) == (each[2] == "=="))
    return all(results)


def _final_status(task: str, *, failed: bool) -> dict[str, Any]:
    """What an exit handler is told: the state of the metadata store, and no error."""
    state = "FAILED" if failed else "COMPLETE"
    return {"state": state, "pipelineJobResourceName": "proof", "pipelineTaskName": task, "error": {}}


def _surfaced(outputs: Mapping[str, Any], scope: Scope) -> dict[str, Any]:
    """What a DAG hands out of what its tasks made."""
    found: dict[str, Any] = {"parameters": {}, "artifacts": {}}
    for name, source in outputs.get("parameters", {}).items():
        origin = source.get("valueFromParameter")
        if origin and origin["producerSubtask"] in scope.made:
            found["parameters"][name] = scope.made[origin["producerSubtask"]]["parameters"][
                origin["outputParameterKey"]
            ]
    for name, source in outputs.get("artifacts", {}).items():
        for origin in source.get("artifactSelectors", ()):
            if origin["producerSubtask"] in scope.made:
                found["artifacts"][name] = scope.made[origin["producerSubtask"]]["artifacts"][
                    origin["outputArtifactKey"]
                ]
    return found
