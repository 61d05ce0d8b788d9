"""Run the compiled DAG's commands as a cluster would: its shape of executor_input, its paths and metadata."""

import json
import os
import subprocess
import sys
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


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


@dataclass
class Replay:
    """Executes the tasks of a compiled DAG one by one below ``root``, which stands for the pod's mounts."""

    spec: dict[str, Any]
    root: Path
    arguments: dict[str, Any]
    environment: dict[str, str]
    outputs: dict[str, dict[str, Any]] = field(default_factory=dict)

    def run_all(self) -> None:
        """Run every task in an order its inputs allow."""
        tasks = self.spec["root"]["dag"]["tasks"]
        while pending := [name for name in tasks if name not in self.outputs]:
            ready = [name for name in pending if set(tasks[name].get("dependentTasks", ())) <= set(self.outputs)]
            self.run_task(ready[0])

    def run_task(self, task: str) -> None:
        """Run one task's command and take in what it wrote."""
        component = self.spec["components"][self.spec["root"]["dag"]["tasks"][task]["componentRef"]["name"]]
        executor_input = {"inputs": self._inputs(task, component), "outputs": self._outputs(task, component)}
        container = self.spec["deploymentSpec"]["executors"][component["executorLabel"]]["container"]
        command = [*container["command"], *container["args"]]
        command = [json.dumps(executor_input) if part == "{{$}}" else part for part in command]
        done = subprocess.run(command, env=self._pod(), cwd=self.root, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{task} exited with {done.returncode}:\n{done.stderr[-3000:]}"
        written = json.loads(Path(executor_input["outputs"]["outputFile"]).read_text())
        self.outputs[task] = {
            "parameters": written.get("parameterValues", {}),
            "artifacts": {name: held["artifacts"][0] for name, held in written.get("artifacts", {}).items()},
        }

    def _inputs(self, task: str, component: dict[str, Any]) -> dict[str, Any]:
        given = self.spec["root"]["dag"]["tasks"][task].get("inputs", {})
        parameters, artifacts = {}, {}
        for name, source in given.get("parameters", {}).items():
            if "componentInputParameter" in source:
                parameters[name] = self.arguments[source["componentInputParameter"]]
            elif "taskOutputParameter" in source:
                origin = source["taskOutputParameter"]
                parameters[name] = self.outputs[origin["producerTask"]]["parameters"][origin["outputParameterKey"]]
            else:
                parameters[name] = source["runtimeValue"]["constant"]
        for name, declared in component.get("inputDefinitions", {}).get("parameters", {}).items():
            if name not in parameters and "defaultValue" in declared:
                parameters[name] = declared["defaultValue"]
        # protojson, which the cluster's driver writes with, prints a whole number without its ".0"
        parameters = {
            name: int(value) if isinstance(value, float) and value.is_integer() else value
            for name, value in parameters.items()
        }
        for name, source in given.get("artifacts", {}).items():
            origin = source["taskOutputArtifact"]
            made = self.outputs[origin["producerTask"]]["artifacts"][origin["outputArtifactKey"]]
            artifact = {**made, "name": str(uuid.uuid4().int)[:6], "type": {"instanceSchema": ""}}
            artifacts[name] = {"artifacts": [{**artifact, "metadata": mangled(made.get("metadata", {}))}]}
        return {"parameterValues": parameters, "artifacts": artifacts}

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

    def _pod(self) -> dict[str, str]:
        """The environment of the pod: no home to write to, the mounts below ``root`` instead of below /."""
        site = self.root / "site"
        site.mkdir(exist_ok=True)
        (site / "sitecustomize.py").write_text(
            "from kfp.dsl.types import artifact_types\n"
            f"artifact_types._MINIO_LOCAL_MOUNT_PREFIX = {str(self.root / 'minio')!r} + '/'\n"
        )
        return {
            "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
            "PYTHONPATH": f"{site}:{ROOT}",
            "HOME": "/nonexistent",
            "TMPDIR": os.environ.get("TMPDIR", "/tmp"),
            "PIPELINE_CACHE": str(self.root / "cache"),
            **self.environment,
        }
