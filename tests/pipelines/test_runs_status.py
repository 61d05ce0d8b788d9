"""From facts to statuses: each of a run's states, why, and what helps."""

import time
from dataclasses import replace
from typing import Any

import pytest

from components.shared.progress import StepProgress
from pipelines.runs.model import RunFacts, StepFacts, Termination
from pipelines.runs.pods import Event, Pod
from pipelines.runs.status import run_status, step_statuses
from pipelines.runs.steps import step_status

NOW = 1_800_000_000.0
EVICTED = {"phase": "Failed", "reason": "Evicted", "message": "The node was low on resource: memory."}
NO_GPU = "0/1 nodes are available: 1 Insufficient nvidia.com/gpu."
UNSCHEDULABLE = {
    "phase": "Pending",
    "conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": NO_GPU}],
}


def pod(status: dict[str, Any], *, name: str = "p-0", driver: bool = False, made: float = NOW, turn: str = "") -> Pod:
    node = "wf.root.model-train-driver" if driver else f"wf.root{turn}.model-train.executor(0)"
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(made))
    metadata = {"name": name, "creationTimestamp": stamp, "annotations": {"workflows.argoproj.io/node-name": node}}
    return Pod.model_validate({"metadata": metadata, "spec": {"nodeName": "gpu-1"}, "status": status})


def dead(code: int, reason: str = "Error", **more: Any) -> Pod:
    state = {"terminated": {"exitCode": code, "reason": reason}}
    return pod({"phase": "Failed", "containerStatuses": [{"name": "main", "state": state}]}, **more)


def alive(**more: Any) -> Pod:
    return pod({"phase": "Running", "containerStatuses": [{"name": "main", "state": {"running": {}}}]}, **more)


def told(state: Any = "running", updated: float = NOW + 5, **facts: Any) -> StepProgress:
    return StepProgress(step="model_train", state=state, started=NOW, updated=updated, **facts)


def train(state: str = "RUNNING", **facts: Any) -> StepFacts:
    return StepFacts("model_train", state, started=NOW, **facts)


STEPS: dict[str, tuple[StepFacts, str, str, str]] = {
    "not begun": (train(""), "Created", "", ""),
    "only its driver has begun": (train("", pods=(pod({"phase": "Running"}, driver=True),)), "Pending", "", ""),
    "its pod runs": (train(pods=(alive(),)), "In Progress", "", ""),
    "runs where pods cannot be seen": (train(progress=told()), "In Progress", "", ""),
    "no machine for it": (train("PENDING", pods=(pod(UNSCHEDULABLE),)), "Pending", "Unschedulable", "nvidia.com/gpu"),
    "done": (train("SUCCEEDED"), "Success", "", ""),
    "reused": (train("SUCCEEDED", cached=True), "Success", "Reused", "earlier run"),
    "not needed": (train("SKIPPED", note="not published: mAP50 too low"), "Skipped", "Skipped", "mAP50 too low"),
    "its own sentence": (
        train("FAILED", pods=(dead(1),), progress=told("failed", error="38 of 100 images had to be rejected.")),
        "Failed", "Failed", "38 of 100",
    ),
    "out of memory, of which the step itself knows nothing": (
        train("FAILED", pods=(dead(137, "OOMKilled"),), progress=told()), "Failed", "OOMKilled", "used more memory",
    ),
    "evicted": (train("FAILED", pods=(pod(EVICTED),)), "Aborted", "Evicted", "ran short of memory"),
    "told to end, and what it saved": (
        train("FAILED", pods=(dead(75),), progress=told("preempted", error="It was told to end in epoch 3.")),
        "Aborted", "Preempted", "in epoch 3",
    ),
    "a sentence of the attempt before is no reason for this one": (
        train("FAILED", pods=(dead(137, "OOMKilled"),), progress=told("failed", NOW - 60, error="old")),
        "Failed", "OOMKilled", "used more memory",
    ),
    "its image never came": (
        train(
            "FAILED",
            pods=(
                pod({
                    "phase": "Failed", "reason": "DeadlineExceeded",
                    "containerStatuses": [{"name": "main", "state": {"waiting": {"reason": "ImagePullBackOff"}}}],
                }),
            ),
        ),
        "Failed", "ImagePullBackOff", "It never began",
    ),
    "Argo remembers": (train("FAILED", message="OOMKilled (exit code 137)"), "Failed", "OOMKilled", ""),
    "the pod is gone, the step was cut off": (train("FAILED", progress=told()), "Aborted", "Killed", "killed before"),
    "the log knows": (
        train("FAILED", pods=(dead(1),), tail=("2026-11-21 10:00:00,1 ERROR   The class 'a' is unknown.",)),
        "Failed", "Failed", "The class 'a' is unknown.",
    ),
    "nothing knows": (train("FAILED", message="Error (exit code 1)"), "Failed", "Unknown", "nothing that is left"),
    "the driver cannot be scheduled": (
        train("PENDING", pods=(pod(UNSCHEDULABLE, driver=True),)), "Pending", "Unschedulable", "Kubeflow's driver",
    ),
    "quota refuses its pod": (
        train("PENDING", message='pods "x" is forbidden: exceeded quota: gpus, requested: g=2, used: g=3, limited: 4'),
        "Pending", "Quota", "'gpus' is used up",
    ),
    "a loop of which one turn goes on": (
        train(pods=(dead(1, turn=".i-0"), alive(turn=".i-1"), pod(UNSCHEDULABLE, turn=".i-2"))),
        "In Progress", "Unknown", "tried again",
    ),
    "a loop whose turns all wait or are done": (
        train(pods=(pod({"phase": "Succeeded"}, turn=".i-1"), pod(UNSCHEDULABLE, turn=".i-2"))),
        "Pending", "Unschedulable", "nvidia.com/gpu",
    ),
    "a loop of which one turn failed": (
        train("FAILED", pods=(dead(137, "OOMKilled", turn=".i-0"), pod({"phase": "Succeeded"}, turn=".i-1"))),
        "Failed", "OOMKilled", "more memory",
    ),
    "a retry that runs": (
        train(pods=(dead(137, "OOMKilled"), alive(name="p-1", made=NOW + 9))), "In Progress", "Retried", "Attempt 2",
    ),
    "a pod that failed and will be tried again": (
        train(pods=(pod(EVICTED),)), "In Progress", "Evicted", "tried again",
    ),
    "stopped by Argo for a person": (
        train("FAILED", message="Stopped with strategy 'Terminate'"), "Terminated", "Terminated", "by a person",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("step", "state", "code", "said"), STEPS.values(), ids=STEPS)
def test_a_step_has_a_status_and_a_reason(step: StepFacts, state: str, code: str, said: str) -> None:
    status = step_status(step)
    assert status.state == state
    assert (status.reason.code if status.reason else "") == code
    assert said in status.text


def test_an_event_explains_a_step_whose_pod_only_waits() -> None:
    about = {"involvedObject": {"kind": "Pod", "name": "p-0"}, "reason": "FailedMount"}
    event = Event.model_validate({**about, "message": 'secret "store-tls" not found'})
    status = step_status(train("PENDING", pods=(pod({"phase": "Pending"}),), events=(event,)))
    assert status.reason is not None
    assert status.reason.code == "MissingSecret"


OOM = train("FAILED", pods=(dead(137, "OOMKilled"),))
DONE = StepFacts("data_load", "SUCCEEDED", started=NOW, finished=NOW + 5)


def run(state: str, *steps: StepFacts, **facts: Any) -> RunFacts:
    return RunFacts("r1", "cats", state=state, steps=steps or (DONE,), created=NOW, **facts)


def history(*states: str) -> tuple[tuple[float, str], ...]:
    return tuple((NOW + i, state) for i, state in enumerate(states))


RUNS: dict[str, tuple[RunFacts, str, str]] = {
    "has no state yet": (run("", StepFacts("data_load")), "Created", ""),
    "nothing of it has begun": (run("PENDING", StepFacts("data_load")), "Created", ""),
    "waits for a machine": (run("RUNNING", DONE, train("PENDING", pods=(pod(UNSCHEDULABLE),))), "Pending", "gpu"),
    "runs": (run("RUNNING", DONE, train(pods=(alive(),))), "In Progress", ""),
    "runs without a look at pods": (run("RUNNING", DONE, StepFacts("model_train")), "In Progress", ""),
    "runs again after it had failed": (
        run("RUNNING", DONE, train(pods=(alive(),)), history=history("RUNNING", "FAILED", "RUNNING")), "Rerun", "",
    ),
    "a step failed, the exit handler goes on": (
        run("RUNNING", DONE, OOM, StepFacts("run_record", "RUNNING", pods=(alive(),))), "In Progress", "more memory",
    ),
    "cannot begin for lack of quota": (
        run("RUNNING", StepFacts("a"), message="exceeded quota: gpus"), "Pending", "'gpus' is used up",
    ),
    "is being ended": (run("CANCELING", train(pods=(alive(),))), "In Progress", "being stopped"),
    "is paused": (run("PAUSED"), "Pending", "paused"),
    "went well": (run("SUCCEEDED", passed=True), "Success", ""),
    "went well but for the gate": (run("SUCCEEDED", passed=False), "Success", "the champion stays"),
    "had nothing to do": (
        run("SUCCEEDED", outcome="unchanged", message="Nothing has changed."), "Unchanged", "Nothing has changed.",
    ),
    "was skipped": (run("SKIPPED"), "Skipped", ""),
    "failed by itself": (run("FAILED", DONE, OOM), "Failed", "model_train: The container was killed"),
    "was stopped from outside": (run("FAILED", DONE, train("FAILED", pods=(pod(EVICTED),))), "Aborted", "evicted"),
    "was cut off while its step seemed to go on": (
        run("FAILED", DONE, train("RUNNING", progress=told())), "Aborted", "killed before it could say why",
    ),
    "was ended in the UI": (
        run("FAILED", DONE, OOM, history=history("RUNNING", "CANCELING", "FAILED")), "Terminated", "A person ended it",
    ),
    "was ended with our command": (
        run("FAILED", DONE, OOM, termination=Termination("ann@desk", "wrong data", NOW)),
        "Terminated", "A person (ann@desk) ended it: wrong data.",
    ),
    "was ended once, then retried, then failed": (
        run(
            "FAILED", DONE, OOM, termination=Termination("ann@desk", "", NOW + 1),
            history=history("RUNNING", "CANCELING", "FAILED", "RUNNING", "FAILED"),
        ),
        "Failed", "more memory",
    ),
    "was shut down in Argo": (run("FAILED", DONE, shutdown="Terminate"), "Terminated", "A person"),
    "is of an older Kubeflow": (run("CANCELED"), "Terminated", "A person"),
    "took too long as a whole": (
        run("FAILED", DONE, message="Workflow exceeded its deadline"), "Failed", "longer than it may",
    ),
    "failed, and nothing says why": (run("FAILED", DONE), "Failed", "nothing that is left"),
    "lost its process": (run("RUNNING", train(), lost="Its process is gone."), "Aborted", "process is gone"),
}  # fmt: skip


@pytest.mark.parametrize(("facts", "state", "said"), RUNS.values(), ids=RUNS)
def test_a_run_has_a_status_and_a_reason(facts: RunFacts, state: str, said: str) -> None:
    status = run_status(facts)
    assert status.state == state
    assert said in status.text
    if not said:
        assert status.reason is None


def test_in_a_run_that_is_over_no_step_goes_on() -> None:
    facts = run("FAILED", DONE, train("RUNNING", progress=told()), StepFacts("model_eval"))
    assert [status.state for _, status in step_statuses(facts)] == ["Success", "Aborted", "Skipped"]
    ended = replace(facts, termination=Termination(at=NOW))
    assert [status.state for _, status in step_statuses(ended)] == ["Success", "Terminated", "Skipped"]


def test_the_step_that_failed_wins_over_those_that_were_stopped_with_it() -> None:
    facts = run("FAILED", train("FAILED", pods=(pod(EVICTED),)), replace(OOM, name="model_eval"))
    assert (run_status(facts).state, run_status(facts).step) == ("Failed", "model_eval")
