"""Reasons read off pods, events and messages, in the shapes that Kubernetes and Argo really give them."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from pipelines.runs.messages import why_logged, why_message, why_said
from pipelines.runs.pods import Event, Pod, step_of
from pipelines.runs.reasons import why_ended, why_pending
from pipelines.runs.unschedulable import why_unschedulable

IMAGE = "registry.local/steps-python@sha256:0123"


def pod(*containers: dict[str, Any], phase: str = "Pending", deleted: bool = False, **status: Any) -> Pod:
    metadata: dict[str, Any] = {"name": "run-system-container-impl-1", "labels": {"pipeline/runid": "r1"}}
    metadata |= {"annotations": {"workflows.argoproj.io/node-name": "run.root.model-train.executor(0)"}}
    metadata |= {"deletionTimestamp": "2026-11-21T10:00:00Z" if deleted else None}
    spec = {"nodeName": "gpu-3", "containers": [{"name": "wait"}, {"name": "main", "image": IMAGE}]}
    spec["containers"][1]["resources"] = {"limits": {"memory": "8Gi"}}  # type: ignore[index]
    shown = {"phase": phase, "containerStatuses": list(containers), **status}
    return Pod.model_validate({"metadata": metadata, "spec": spec, "status": shown})


def waits(reason: str, message: str = "", name: str = "main", **more: Any) -> dict[str, Any]:
    waiting = {"reason": reason, "message": message} if message else {"reason": reason}
    return {"name": name, "image": IMAGE, "ready": False, "state": {"waiting": waiting}, "restartCount": 0, **more}


def ended(code: int, reason: str = "Error", name: str = "main", **more: Any) -> dict[str, Any]:
    state = {"terminated": {"exitCode": code, "reason": reason, **more}}
    return {"name": name, "image": IMAGE, "ready": False, "state": state, "restartCount": 0}


def unschedulable(message: str) -> dict[str, Any]:
    return {"conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}]}


PENDING: dict[str, tuple[Pod, str, str, str]] = {
    "an image that is not there": (
        pod(waits("ImagePullBackOff", f'Back-off pulling image "{IMAGE}": ErrImagePull: manifest unknown: not found')),
        "ImagePullBackOff", IMAGE, "push it",
    ),
    "a registry that wants a login": (
        pod(waits("ErrImagePull", "failed to authorize: 401 Unauthorized")),
        "ImagePullBackOff", "401 Unauthorized", "pull secret",
    ),
    "a name that is none": (
        pod(waits("InvalidImageName", "couldn't parse image reference")),
        "ImagePullBackOff", "InvalidImageName", "no such image",
    ),
    "an image of the init container": (
        pod(initContainerStatuses=[waits("ImagePullBackOff", name="kfp-launcher")]),
        "ImagePullBackOff", "ImagePullBackOff", "reach the registry",
    ),
    "a secret that is missing": (
        pod(waits("CreateContainerConfigError", 'secret "store-credentials" not found')),
        "MissingSecret", "There is no secret 'store-credentials'", "kubectl get secret store-credentials",
    ),
    "a key that its secret lacks": (
        pod(waits("CreateContainerConfigError", "couldn't find key accesskey in Secret kubeflow/store-credentials")),
        "MissingSecret", "The secret 'store-credentials' has no key 'accesskey'", "Create it",
    ),
    "a ConfigMap that is missing": (
        pod(waits("CreateContainerConfigError", 'configmap "kfp-launcher" not found')),
        "MissingConfigMap", "There is no configmap 'kfp-launcher'", "Create it",
    ),
    "a container that crashes again and again": (
        pod(
            waits("CrashLoopBackOff", "back-off 40s restarting", lastState=ended(1)["state"], restartCount=4),
            phase="Running",
        ),
        "CrashLoopBackOff", "has ended 4 times", "--previous",
    ),
    "a container that is killed again and again": (
        pod(waits("CrashLoopBackOff", lastState=ended(137, "OOMKilled")["state"], restartCount=3), phase="Running"),
        "CrashLoopBackOff", "its limit 8Gi", "more memory",
    ),
    "no GPU": (
        pod(
            **unschedulable(
                "0/5 nodes are available: 3 Insufficient nvidia.com/gpu, 2 node(s) had untolerated taint "
                "{nvidia.com/gpu: present}. preemption: 0/5 nodes are available: 5 Preemption is not helpful."
            )
        ),
        "Unschedulable", "3 of 5 have too little nvidia.com/gpu free; 2 of 5 are tainted nvidia.com/gpu: present",
        "gpus=0",
    ),
    "a queue": (
        pod(conditions=[{"type": "PodScheduled", "status": "False", "reason": "SchedulingGated", "message": "gated"}]),
        "Queued", "waits for its turn", "kubectl get workloads",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("waiting", "code", "said", "helps"), PENDING.values(), ids=PENDING)
def test_a_waiting_pod_says_for_what(waiting: Pod, code: str, said: str, helps: str) -> None:
    reason = why_pending(waiting)
    assert reason is not None
    assert reason.code == code
    assert said in reason.text
    assert helps in reason.remedy


@pytest.mark.parametrize("state", ["ContainerCreating", "PodInitializing"])
def test_a_pod_that_is_being_started_needs_no_reason(state: str) -> None:
    assert why_pending(pod(waits(state))) is None


@pytest.mark.parametrize(
    ("reason", "message", "code", "said"),
    [
        ("FailedScheduling", "0/2 nodes are available: 2 Insufficient memory.", "Unschedulable", "too little memory"),
        ("FailedMount", 'MountVolume.SetUp failed for volume "s": secret "tls" not found', "MissingSecret", "'tls'"),
        ("FailedAttachVolume", "Multi-Attach error for volume pvc-1", "FailedMount", "Multi-Attach error"),
        ("Failed", 'Failed to pull image "a/b": not found', "ImagePullBackOff", "'a/b'"),
    ],
)
def test_an_event_tells_where_the_pod_is_silent(reason: str, message: str, code: str, said: str) -> None:
    event = Event.model_validate({"reason": reason, "message": message, "type": "Warning"})
    found = why_pending(pod(waits("ContainerCreating")), [event])
    assert found is not None
    assert (found.code, said in found.text) == (code, True)


def disrupted(reason: str, message: str = "") -> dict[str, Any]:
    return {"conditions": [{"type": "DisruptionTarget", "status": "True", "reason": reason, "message": message}]}


ENDED: dict[str, tuple[Pod, str, str, bool]] = {
    "out of memory": (pod(ended(137, "OOMKilled"), phase="Failed"), "OOMKilled", "its limit 8Gi (OOMKilled)", False),
    "killed without a word": (pod(ended(137), phase="Failed"), "OOMKilled", "usual reason", False),
    "killed after its grace": (pod(ended(137), phase="Failed", deleted=True), "Stopped", "grace period", True),
    "told to end": (pod(ended(143), phase="Failed"), "Stopped", "SIGTERM", True),
    "bus error": (pod(ended(135), phase="Failed"), "SharedMemory", "/dev/shm", False),
    "bus error by signal": (pod(ended(0, signal=7), phase="Failed"), "SharedMemory", "/dev/shm", False),
    "saved and left": (pod(ended(75), phase="Failed"), "Preempted", "saved what it had learned", True),
    "no such command": (
        pod(ended(128, "StartError", message='exec: "python3": not found'), phase="Failed"),
        "StartError", 'exec: "python3": not found', False,
    ),
    "a machine out of disk": (
        pod(reason="Evicted", message="The node was low on resource: ephemeral-storage. Threshold", phase="Failed"),
        "Evicted", "ran short of ephemeral-storage", True,
    ),
    "a limit of time": (
        pod(reason="DeadlineExceeded", message="Pod was active on the node longer than...", phase="Failed"),
        "DeadlineExceeded", "longer than its limit", False,
    ),
    "a device that is not ready": (
        pod(reason="UnexpectedAdmissionError", message="Allocate failed due to no healthy devices", phase="Failed"),
        "Refused", "no healthy devices", True,
    ),
    "a more important pod": (
        pod(ended(143), phase="Failed", **disrupted("PreemptionByScheduler", "preempting to accommodate")),
        "Preempted", "on gpu-3: a pod of higher priority", True,
    ),
    "a spot machine taken back": (
        pod(ended(143), phase="Failed", **disrupted("DeletionByTaintManager")), "Preempted", "spot machine", True,
    ),
    "a drained machine": (
        pod(ended(143), phase="Failed", **disrupted("EvictionByEvictionAPI")), "Evicted", "drained", True,
    ),
    "a sidecar that ends because of the step": (
        pod(ended(143, name="wait"), ended(137, "OOMKilled"), phase="Failed"), "OOMKilled", "8Gi", False,
    ),
}  # fmt: skip


@pytest.mark.parametrize(("dead", "code", "said", "unexpected"), ENDED.values(), ids=ENDED)
def test_a_dead_pod_says_of_what(dead: Pod, code: str, said: str, unexpected: bool) -> None:
    reason = why_ended(dead)
    assert reason is not None
    assert (reason.code, reason.unexpected) == (code, unexpected)
    assert said in reason.text
    assert reason.remedy


@pytest.mark.parametrize("code", [1, 2])
def test_a_step_that_fails_by_itself_has_to_say_why_itself(code: int) -> None:
    assert why_ended(pod(ended(code), phase="Failed")) is None


SCHEDULER = {
    "0/0 nodes are available: .": "The cluster has no machine.",
    "0/1 nodes are available: 1 Insufficient cpu.": "1 of 1 have too little cpu free.",
    "0/3 nodes are available: 1 Insufficient cpu, 2 Too many pods.": "1 of 3 have too little cpu free; 2 of 3 have as",
    "0/4 nodes are available: 4 node(s) didn't match Pod's node affinity/selector.": "do not have the labels",
    "0/4 nodes are available: 4 node(s) had untolerated taint {node.kubernetes.io/not-ready: }.": "tainted node.kub",
    "0/2 nodes are available: 2 node(s) had volume node affinity conflict.": "the volume's zone",
    "0/2 nodes are available: pod has unbound immediate PersistentVolumeClaims.": "unbound immediate",
    "0/2 nodes are available: 1 node(s) were unschedulable, 1 Insufficient amd.com/gpu.": "little amd.com/gpu free; 1",
    "no nodes available to schedule pods": "no nodes available to schedule pods",
    "": "does not say why",
}


@pytest.mark.parametrize(("message", "said"), SCHEDULER.items())
def test_the_scheduler_is_understood(message: str, said: str) -> None:
    assert said in why_unschedulable(message).text


def test_a_toleration_is_offered_ready_to_be_typed() -> None:
    remedy = why_unschedulable("0/1 nodes are available: 1 node(s) had untolerated taint {dedicated: gpu}.").remedy
    assert """--set 'tolerations=[{"key": "dedicated", "operator": "Exists"}]'""" in remedy


MESSAGES = {
    'pods "x" is forbidden: exceeded quota: gpu-quota, requested: requests.nvidia.com/gpu=2, used: '
    "requests.nvidia.com/gpu=3, limited: requests.nvidia.com/gpu=4": ("Quota", "asked for requests.nvidia.com/gpu=2"),
    'pods "x" is forbidden: violates PodSecurity "restricted:latest": allowPrivilegeEscalation': (
        "PodSecurity", "restricted:latest",
    ),
    "OOMKilled (exit code 137)": ("OOMKilled", "more memory"),
    "Error (exit code 137)": ("OOMKilled", "usual reason"),
    "Error (exit code 143)": ("Stopped", "SIGTERM"),
    "pod deleted": ("Stopped", "deleted while it ran"),
    "Step exceeded its deadline": ("DeadlineExceeded", "longer than it may"),
    "Max duration limit exceeded": ("DeadlineExceeded", "all attempts"),
    "Stopped with strategy 'Terminate'": ("Terminated", "by a person"),
    "The node was low on resource: memory.": ("Evicted", "low on resource: memory"),
    'ImagePullBackOff: Back-off pulling image "a/b:c"': ("ImagePullBackOff", "'a/b:c'"),
}  # fmt: skip


@pytest.mark.parametrize(("message", "expected"), MESSAGES.items())
def test_what_argo_says_is_understood(message: str, expected: tuple[str, str]) -> None:
    reason = why_message(message)
    assert reason is not None
    assert reason.code == expected[0]
    assert expected[1] in reason.text


@pytest.mark.parametrize("message", ["Error (exit code 1)", "", "child 'x' failed"])
def test_a_message_that_says_nothing_is_no_reason(message: str) -> None:
    assert why_message(message) is None


SAID = {
    "The loss is no number (train/box_loss nan) in epoch 3: no checkpoint is good; lower lr0 (now 5).": "NaNLoss",
    "The memory does not hold batch=64 at imgsz=640: lower batch, imgsz or the size of the model.": "GPUMemory",
    "Told to end in epoch 3 of 10; what it learned is saved.": "Preempted",
    "38 of 100 images had to be rejected, more than max_rejected_share=0.2.": "Failed",
    "[Errno 28] No space left on device: '/tmp/x'": "DiskFull",
    "RuntimeError: DataLoader worker (pid 7) is killed by signal: Bus error.": "SharedMemory",
}


@pytest.mark.parametrize(("sentence", "code"), SAID.items())
def test_a_step_s_own_sentence_is_kept_as_it_is(sentence: str, code: str) -> None:
    reason = why_said(sentence)
    assert (reason.code, reason.text) == (code, sentence)


def test_the_end_of_a_log_has_the_sentence() -> None:
    lines = ["2026-11-21 10:00:00,123 INFO    epoch 1", "2026-11-21 10:00:01,123 ERROR   The class 'a' is unknown.", ""]
    found = why_logged(lines)
    assert found is not None
    assert found.text == "The class 'a' is unknown."


def test_a_traceback_gives_its_last_line() -> None:
    found = why_logged(["Traceback (most recent call last):", "  File x", "ValueError: no such thing"])
    assert found is not None
    assert found.text == "ValueError: no such thing"


def test_a_log_without_errors_gives_none() -> None:
    assert why_logged(["epoch 1", "epoch 2"]) is None


@pytest.mark.parametrize(
    ("name", "step"),
    [
        ("wf.root.data-load-driver", "data_load"),
        ("wf.root.data-load.executor", "data_load"),
        ("wf.root.model-train.executor(2)", "model_train"),
        ("wf.root.for-loop-2.iteration-item(0:0).iteration-0.model-train.executor(0)", "model_train"),
        ("wf.root.exit-handler-1.onExit.run-record.executor", "run_record"),
        ("wf.root-driver", ""),
        ("", ""),
    ],
)
def test_a_pod_belongs_to_the_step_that_its_node_names(name: str, step: str) -> None:
    assert step_of(name) == step


WORDS = st.sampled_from([
    "0/5 nodes are available:", "3 Insufficient", "nvidia.com/gpu", "node(s) had untolerated taint {", "}", ",", ".",
    "exceeded quota:", "secret", "not found", "pulling image", '"', "couldn't find key", "preemption:", "{a: b}", "(",
    "Bus error", "low on resource:", "deadline", "exit code 137", "\n", "\x1b[2J", "loss", "NaN",
    "2026-11-21 10:00:00,1 ERROR",
])  # fmt: skip
TEXTS = st.one_of(st.text(max_size=80), st.lists(WORDS, max_size=12).map(" ".join))


@given(text=TEXTS)
def test_whatever_is_said_a_reason_is_one_printable_line(text: str) -> None:
    found = [why_message(text), why_said(text), why_unschedulable(text), why_logged([text])]
    for reason in filter(None, found):
        assert reason.code
        assert reason.text.isprintable()
        assert reason.remedy.isprintable()


NESTED = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
STATE = st.fixed_dictionaries(
    {}, optional={
        "waiting": st.fixed_dictionaries({}, optional={"reason": TEXTS, "message": TEXTS}),
        "terminated": st.fixed_dictionaries({}, optional={"exitCode": st.integers(0, 255), "reason": TEXTS}),
        "running": st.dictionaries(st.text(max_size=3), NESTED, max_size=2),
    },
)  # fmt: skip
CONTAINER = st.fixed_dictionaries(
    {}, optional={"name": st.sampled_from(["main", "wait", ""]), "state": STATE, "lastState": STATE, "image": TEXTS}
)
CONDITION = st.fixed_dictionaries(
    {"type": st.sampled_from(["PodScheduled", "DisruptionTarget"]), "status": st.sampled_from(["True", "False"])},
    optional={"reason": TEXTS, "message": TEXTS},
)
STATUS = st.fixed_dictionaries(
    {}, optional={
        "phase": st.sampled_from(["Pending", "Running", "Failed", ""]),
        "reason": st.sampled_from(["Evicted", "DeadlineExceeded", "NodeLost", "OutOfcpu", "x"]),
        "message": TEXTS,
        "conditions": st.lists(CONDITION, max_size=2),
        "containerStatuses": st.lists(CONTAINER, max_size=2),
        "initContainerStatuses": st.lists(CONTAINER, max_size=1),
    },
)  # fmt: skip


@given(status=STATUS, metadata=NESTED)
def test_whatever_a_pod_is_like_it_is_read_or_refused(status: dict[str, Any], metadata: Any) -> None:
    try:
        found = Pod.model_validate({"metadata": metadata, "status": status})
    except ValidationError:
        found = Pod.model_validate({"status": status})
    for reason in filter(None, [why_pending(found), why_ended(found)]):
        assert reason.text
