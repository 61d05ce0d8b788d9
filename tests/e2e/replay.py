"""Run the compiled DAG's commands as a cluster would: in its groups, with its executor_input, paths and metadata."""

import json
import os
import subprocess
import sys
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipelines.backends.local_conditions import _COMPARISON

ROOT = Path(__file__).parents[2]
Given = dict[str, dict[str, Any]]  # parameters and artifacts by name


def mangled(metadata: dict[str, Any]) -> dict[str, Any]:
    """Metadata as it comes back from the cluster's metadata store; None and NaN make the task fail there."""
    result: dict[str, Any] = {"display_name": "x", "store_session_info": '{"Provider":"minio"}'}
    for name, value in metadata.items():
        assert value is not None, f"{name} is None: the cluster refuses it"
        if isinstance(value, bool | int | float):
            assert float(value) == float(value), f"{name} is NaN: the cluster refuses it"
            result[name] = float(value)
        elif isinstance(value, list):
            result[name] = {"list": value}
        elif isinstance(value, dict):
            result[name] = {"struct": value}
        else:
            result[name] = value
    return result


def shown(value: Any) -> Any:
    """A number as protojson prints it, which the cluster's driver writes with: a whole one without its ``.0``."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


@dataclass
class Replay:
    """Executes the tasks of a compiled DAG one by one below ``root``, which stands for the pod's mounts.

    ``fails`` names tasks that fail as if their pod had never started; what they hold up is left out.
    """

    spec: dict[str, Any]
    root: Path
    arguments: dict[str, Any]
    environment: dict[str, str]
    fails: tuple[str, ...] = ()
    outputs: dict[str, Given] = field(default_factory=dict)
    skipped: set[str] = field(default_factory=set)

    def run_all(self) -> None:
        """Run every task in an order its inputs allow, groups and exit handlers as a cluster does."""
        declared = self.spec["root"]["inputDefinitions"]["parameters"]
        defaults = {name: one["defaultValue"] for name, one in declared.items() if "defaultValue" in one}
        self._run_group(self.spec["root"], {"parameters": {**defaults, **self.arguments}, "artifacts": {}})

    def _run_group(self, owner: dict[str, Any], given: Given) -> bool:
        """Run the tasks of a group; False when one failed."""
        tasks = owner["dag"]["tasks"]
        last = {name for name, task in tasks.items() if task.get("triggerPolicy", {}).get("strategy")}
        done, well = set[str](), True
        while pending := [name for name in tasks if name not in done and name not in last]:
            ready = [name for name in pending if set(tasks[name].get("dependentTasks", ())) <= done]
            if not ready:
                break  # a task that failed holds the rest up
            if self._run(ready[0], tasks[ready[0]], given):
                done.add(ready[0])
            else:
                well, tasks = False, {name: task for name, task in tasks.items() if name != ready[0]}
        for name in last:
            assert self._run(name, tasks[name], given, state="COMPLETE" if well else "FAILED")
        return well

    def _run(self, name: str, task: dict[str, Any], given: Given, state: str = "") -> bool:
        component = self.spec["components"][task["componentRef"]["name"]]
        inputs = self._inputs(task, component, given, state)
        condition = task.get("triggerPolicy", {}).get("condition")
        if condition and not holds(condition, inputs["parameters"]):
            self.skipped.add(name)
            return True
        if name in self.fails:
            return False
        if "dag" in component:
            return self._run_group(component, inputs)
        self._execute(name, component, inputs)
        return True

    def _execute(self, task: str, component: dict[str, Any], inputs: Given) -> None:
        """Run one task's command and take in what it wrote."""
        artifacts = {name: {"artifacts": [self._arriving(one)]} for name, one in inputs["artifacts"].items()}
        executor_input = {
            "inputs": {"parameterValues": inputs["parameters"], "artifacts": artifacts},
            "outputs": self._outputs(task, component),
        }
        container = self.spec["deploymentSpec"]["executors"][component["executorLabel"]]["container"]
        command = [*container["command"], *container["args"]]
        command = [json.dumps(executor_input) if part == "{{$}}" else part for part in command]
        done = subprocess.run(
            command, env=self._pod(container), cwd=self.root, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{task} exited with {done.returncode}:\n{done.stderr[-3000:]}"
        path = Path(executor_input["outputs"]["outputFile"])
        written = json.loads(path.read_text()) if path.is_file() else {}
        self.outputs[task] = {
            "parameters": written.get("parameterValues", {}),
            "artifacts": {name: held["artifacts"][0] for name, held in written.get("artifacts", {}).items()},
        }

    def _inputs(self, task: dict[str, Any], component: dict[str, Any], given: Given, state: str) -> Given:
        wanted = task.get("inputs", {})
        parameters, artifacts = {}, {}
        for name, source in wanted.get("parameters", {}).items():
            if "componentInputParameter" in source:
                parameters[name] = given["parameters"][source["componentInputParameter"]]
            elif "taskOutputParameter" in source:
                origin = source["taskOutputParameter"]
                parameters[name] = self.outputs[origin["producerTask"]]["parameters"][origin["outputParameterKey"]]
            elif "taskFinalStatus" in source:
                parameters[name] = {
                    "state": state,
                    "pipelineTaskName": "x",
                    "pipelineJobResourceName": "y",
                    "error": {},
                }
            else:
                parameters[name] = source["runtimeValue"]["constant"]
        for name, declared in component.get("inputDefinitions", {}).get("parameters", {}).items():
            if name not in parameters and "defaultValue" in declared:
                parameters[name] = declared["defaultValue"]
        for name, source in wanted.get("artifacts", {}).items():
            if "componentInputArtifact" in source:
                artifacts[name] = given["artifacts"][source["componentInputArtifact"]]
            else:
                origin = source["taskOutputArtifact"]
                artifacts[name] = self.outputs[origin["producerTask"]]["artifacts"][origin["outputArtifactKey"]]
        return {"parameters": {name: shown(value) for name, value in parameters.items()}, "artifacts": artifacts}

    def _arriving(self, made: dict[str, Any]) -> dict[str, Any]:
        """An artifact as the next task is given it."""
        known = {**made, "name": str(uuid.uuid4().int)[:6], "type": {"instanceSchema": ""}}
        return {**known, "metadata": mangled(made.get("metadata", {}))}

    def _outputs(self, task: str, component: dict[str, Any]) -> dict[str, Any]:
        declared = component.get("outputDefinitions", {})
        folder = self.root / "kfp_outputs" / task
        folder.mkdir(parents=True)
        artifacts = {}
        for name, kind in declared.get("artifacts", {}).items():
            uri = f"minio://bucket/v2/artifacts/{task}/{uuid.uuid4()}/{name}"
            Path(str(self.root / "minio") + uri.removeprefix("minio:/")).parent.mkdir(parents=True)
            artifacts[name] = {
                "artifacts": [{"name": name, "uri": uri, "type": kind["artifactType"], "metadata": {}}],
            }
        parameters = {name: {"outputFile": str(folder / name)} for name in declared.get("parameters", {})}
        return {"parameters": parameters, "artifacts": artifacts, "outputFile": str(folder / "executor_output.json")}

    def _pod(self, container: dict[str, Any]) -> dict[str, str]:
        """The environment of the pod: no home to write to, the mounts below ``root`` instead of below /."""
        site = self.root / "site"
        site.mkdir(exist_ok=True)
        (site / "sitecustomize.py").write_text(
            "from kfp.dsl.types import artifact_types\n"
            f"artifact_types._MINIO_LOCAL_MOUNT_PREFIX = {str(self.root / 'minio')!r} + '/'\n"
        )
        (self.root / "scratch").mkdir(exist_ok=True)
        compiled = {one["name"]: one["value"] for one in container.get("env", [])}
        mounted = {
            name: f"{self.root}{value}" if value.startswith("/scratch") else value for name, value in compiled.items()
        }
        return {
            "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
            "PYTHONPATH": f"{site}:{ROOT}",
            "HOME": "/nonexistent",
            "TMPDIR": os.environ.get("TMPDIR", "/tmp"),
            "PIPELINE_CACHE": str(self.root / "cache"),
            **mounted,
            **self.environment,
        }


def holds(condition: str, parameters: dict[str, Any]) -> bool:
    """Whether a group's condition holds."""
    compared = _COMPARISON.fullmatch(condition)
    assert compared, condition
    name, sign, constant = compared.groups()
    wanted = constant[1:-1] if constant.startswith("'") else json.loads(constant)
    return bool((parameters[name] == wanted) == (sign == "=="))
