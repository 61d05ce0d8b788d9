"""What Kubeflow Pipelines 2.17 compiles without a word and then breaks on, here or in a cluster."""

import re
from collections.abc import Iterator
from typing import Any

from pipelines.backends.local_conditions import _COMPARISON

PARAMETER = re.compile(r"\{\{\$\.inputs\.parameters\['(pipelinechannel--[^']+)'\]\}\}")
AMOUNTS = ("resourceCpuRequest", "resourceCpuLimit", "resourceMemoryRequest", "resourceMemoryLimit")
FOREIGN = "executor-run"  # its image is a parameter

Spec = dict[str, Any]


def dags(spec: Spec) -> Iterator[tuple[Spec, dict[str, Spec]]]:
    """Each group of tasks with the inputs it declares."""
    for one in (spec["root"], *spec["components"].values()):
        if "dag" in one:
            yield one, one["dag"]["tasks"]


def steps(spec: Spec) -> Iterator[tuple[str, Spec, Spec]]:
    """Name, task and container of each task that is a pod."""
    for _, tasks in dags(spec):
        for name, task in tasks.items():
            component = spec["components"][task["componentRef"]["name"]]
            if "executorLabel" in component:
                yield name, task, spec["deploymentSpec"]["executors"][component["executorLabel"]]["container"]


def traps(spec: Spec, platform: Spec) -> Iterator[str]:
    """A sentence for each construct that is known to break.

    Args:
        spec: the IR.
        platform: the document of Kubernetes settings, below ``platforms.kubernetes``.
    """
    for owner, tasks in dags(spec):
        yield from _in_group(owner)
        for name, task in tasks.items():
            yield from _in_control(spec, owner, name, task)
            yield from _in_handover(spec, platform, owner, name, task)
    for name, task, container in steps(spec):
        yield from _in_pod(spec, platform, name, task, container)


def _in_group(owner: Spec) -> Iterator[str]:
    inputs = owner.get("inputDefinitions", {})
    if inputs.get("artifacts") and not inputs.get("parameters"):
        yield "a group with artifacts and no parameter: kfp.local does not find them"
    for output in owner["dag"].get("outputs", {}).get("artifacts", {}).values():
        if len(output["artifactSelectors"]) > 1:
            yield "OneOf of artifacts: kfp.local refuses it"


def _in_control(spec: Spec, owner: Spec, name: str, task: Spec) -> Iterator[str]:
    policy = task.get("triggerPolicy", {})
    if "condition" in policy and not _COMPARISON.fullmatch(policy["condition"]):
        yield f"{name}: a condition that is not one value compared with a constant"
    if policy.get("strategy") and not any("taskFinalStatus" in one for one in _parameters(task).values()):
        yield f"{name}: an exit task without the final status: kfp.local runs it as any other"
    if "artifactIterator" in task:
        yield f"{name}: a loop over artifacts: the cluster has none"
    if "parameterIterator" not in task:
        return
    if owner is not spec["root"]:
        yield f"{name}: a loop inside a group: in an exit handler the cluster ends the run"
    if any("taskOutputParameter" in one for one in _parameters(task).values()):
        yield f"{name}: a loop over or with a task's output: kfp.local hands it the item instead, or does not find it"


def _in_handover(spec: Spec, platform: Spec, owner: Spec, name: str, task: Spec) -> Iterator[str]:
    known = set(owner.get("inputDefinitions", {}).get("parameters", {}))
    asked = {one["componentInputParameter"] for one in _parameters(task).values() if "componentInputParameter" in one}
    component = spec["components"][task["componentRef"]["name"]]
    if "executorLabel" in component:
        container = spec["deploymentSpec"]["executors"][component["executorLabel"]]["container"]
        asked |= set(re.findall(r"'componentInputParameter': '([^']+)'", str(_settings(platform, component))))
        for parameter in PARAMETER.findall(str(container.get("resources", {}))):
            declared = spec["root"]["inputDefinitions"]["parameters"][parameter.removeprefix("pipelinechannel--")]
            if declared["parameterType"] != "STRING":
                yield f"{name}: a resource from a parameter that is no text: the cluster reads nothing"
    for parameter in sorted(asked - known):
        yield f"{name}: {parameter} is not handed into its group"


def _in_pod(spec: Spec, platform: Spec, name: str, task: Spec, container: Spec) -> Iterator[str]:
    if "@sha256:" not in container["image"] and name != FOREIGN:
        yield f"{name}: an image by tag: the cluster's cache cannot tell one from another"
    if not set(AMOUNTS) <= set(container.get("resources", {})):
        yield f"{name}: no request or limit"
    seconds = int(_settings(platform, spec["components"][task["componentRef"]["name"]]).get("activeDeadlineSeconds", 0))
    if not seconds:
        yield f"{name}: no timeout"
    retry = task.get("retryPolicy")
    if retry is None:
        yield f"{name}: no retry of its own: a lost node ends the run"
    elif int(retry["backoffMaxDuration"].removesuffix("s")) < (retry["maxRetryCount"] + 1) * seconds:
        yield f"{name}: a window too short for its retries"


def _parameters(task: Spec) -> dict[str, Spec]:
    found: dict[str, Spec] = task.get("inputs", {}).get("parameters", {})
    return found


def _settings(platform: Spec, component: Spec) -> Spec:
    found: Spec = platform.get("deploymentSpec", {}).get("executors", {}).get(component["executorLabel"], {})
    return found
