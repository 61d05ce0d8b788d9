"""Why a pod of a run waits, failed or was stopped, read off its status and its events."""

import re
from collections.abc import Sequence

from pipelines.runs.messages import MORE_MEMORY, RAISE_LIMIT, cannot_pull, missing_object, shared_memory, why_message
from pipelines.runs.pods import MAIN, Container, Ended, Event, Pod
from pipelines.runs.unschedulable import why_unschedulable
from pipelines.runs.why import Reason, in_brief

_KILLED, _BUS_ERROR, _TERMINATED, _PREEMPTED, _INTERRUPTED = 137, 135, 143, 75, 130
_SIGNALS = {9: _KILLED, 7: _BUS_ERROR, 15: _TERMINATED, 2: _INTERRUPTED}
_PULL = {"ImagePullBackOff", "ErrImagePull", "InvalidImageName", "ErrImageNeverPull", "RegistryUnavailable"}
_FREQUENT = 2  # restarts from which a container crashes in a loop
_STARTED = {"", "ContainerCreating", "PodInitializing"}
_LOGS = "python -m pipelines.runs logs shows what it wrote."
_DISRUPTIONS = {
    "PreemptionByScheduler": "a pod of higher priority needed its place",
    "DeletionByTaintManager": "its machine was tainted, as a spot machine that is taken back or one out of order",
    "EvictionByEvictionAPI": "its machine was drained",
    "DeletionByPodGC": "its machine is gone",
    "TerminationByKubelet": "its machine ran short or was shut down",
}


def why_pending(pod: Pod, events: Sequence[Event] = ()) -> Reason | None:
    """Why a pod that has not begun yet waits; ``None``: nothing is wrong with it, or nothing tells."""
    containers = [*pod.status.init_container_statuses, *pod.status.container_statuses]
    for container in containers:
        reason = _why_waiting(container, pod)
        if reason:
            return reason
    scheduled = pod.condition("PodScheduled")
    if scheduled is not None and scheduled.status == "False":
        if scheduled.reason == "SchedulingGated":
            text = "It waits for its turn in the queue that shares out the cluster's quota."
            return Reason("Queued", text, "It starts by itself; 'kubectl get workloads' shows the queue.")
        return why_unschedulable(scheduled.message)
    return _why_by_events(events)


def why_ended(pod: Pod, events: Sequence[Event] = ()) -> Reason | None:
    """Why a pod that has ended, or is being ended, did not succeed; ``None``: its own words have to tell."""
    disrupted = pod.condition("DisruptionTarget")
    if disrupted is not None and disrupted.status == "True":
        return _disruption(pod, disrupted.reason, disrupted.message)
    found = _why_by_pod(pod)
    if found is not None:
        return found
    own = sorted(pod.status.container_statuses, key=lambda one: one.name != MAIN)  # a sidecar ends because of the step
    for container in [*pod.status.init_container_statuses, *own]:
        ended = container.state.terminated
        if ended is not None and (found := why_exited(ended, pod, container)):
            return found
    killing = [one for one in events if one.reason in {"Preempted", "Evicted", "TaintManagerEviction", "NodeNotReady"}]
    return _disruption(pod, killing[-1].reason, killing[-1].message) if killing else None


def why_exited(ended: Ended, pod: Pod, container: Container) -> Reason | None:
    """What a container's exit code and reason say; ``None`` for those that every failing step has (1 and 2)."""
    code = _SIGNALS.get(ended.signal, ended.exit_code)
    deleted = pod.metadata.deletion_timestamp is not None
    if ended.reason == "OOMKilled" or (code == _KILLED and not deleted):
        return _out_of_memory(pod, container, sure=ended.reason == "OOMKilled")
    if code == _BUS_ERROR:
        return shared_memory()
    if code == _PREEMPTED:
        text = f"It was told to end{_on(pod)} and saved what it had learned."
        return Reason("Preempted", text, "Retry the run: it goes on from the checkpoint.", unexpected=True)
    if code in {_TERMINATED, _KILLED} or (code == _INTERRUPTED and deleted):
        how = "killed at the end of its grace period" if code == _KILLED else "told to end from outside (SIGTERM)"
        text = f"The pod was {how}{_on(pod)}."
        return Reason("Stopped", text, "Retry the run: a training goes on from its checkpoint.", unexpected=True)
    if ended.reason in {"StartError", "ContainerCannotRun"}:
        text = f"The container could not be started: {in_brief(ended.message) or ended.reason}."
        return Reason("StartError", text, "The image lacks the command or the machine its runtime: check the image.")
    return None


def _why_waiting(container: Container, pod: Pod) -> Reason | None:
    waiting = container.state.waiting
    if waiting is None or waiting.reason in _STARTED:
        return None
    message = in_brief(waiting.message)
    if waiting.reason in _PULL:
        return cannot_pull(container.image or _image(pod, container.name), waiting.reason, message)
    if waiting.reason == "CrashLoopBackOff":
        return _crash_loop(container, pod)
    if waiting.reason in {"CreateContainerConfigError", "CreateContainerError"}:
        return missing_object(message) or Reason(waiting.reason, f"The container cannot be made: {message}.", "")
    return Reason(waiting.reason, f"The container waits: {message or waiting.reason}.", "")


def _crash_loop(container: Container, pod: Pod) -> Reason:
    ended = container.last_state.terminated or Ended()
    known = why_exited(ended, pod, container)
    times = f"has ended {container.restart_count} times" if container.restart_count >= _FREQUENT else "has ended"
    cause = f": {known.text}" if known else f", last with exit code {ended.exit_code}."
    text = f"The container {container.name!r} {times} right after its start and is started again later{cause}"
    return Reason("CrashLoopBackOff", text, known.remedy if known else f"Add --previous: {_LOGS}")


def _why_by_events(events: Sequence[Event]) -> Reason | None:
    for event in reversed(events):
        if event.reason == "FailedScheduling":
            return why_unschedulable(event.message)
        if event.reason in {"FailedMount", "FailedAttachVolume"}:
            reason = missing_object(event.message)
            text = f"A volume cannot be mounted: {in_brief(event.message)}."
            return reason or Reason("FailedMount", text, "kubectl get pvc,pv shows the volumes.")
        if event.reason in {"Failed", "BackOff"} and "pull" in event.message.lower():
            image = re.search(r'image "([^"]+)"', event.message)
            return cannot_pull(image[1] if image else "?", "ErrImagePull", in_brief(event.message))
        if event.reason in {"FailedCreate", "FailedCreatePodSandBox"}:
            return why_message(event.message) or Reason(event.reason, f"{in_brief(event.message)}.", "")
    return None


def _why_by_pod(pod: Pod) -> Reason | None:
    reason, message = pod.status.reason, in_brief(pod.status.message)
    if reason == "Evicted":
        short = re.search(r"low on resource: ([\w.-]+)", message)
        what = f" of {short[1]}" if short else ""
        more = f": {message}" if message and not short else ""
        remedy = "Retry the run."
        if short and "storage" in short[1]:
            remedy += " Use machines with more disk, or less data at once: artifacts lie on the machine while it runs."
        elif short:
            remedy += " Ask for more memory, so that it lands on a machine that has it."
        return Reason(
            "Evicted", f"The machine{_on(pod)} ran short{what} and evicted the pod{more}.", remedy, unexpected=True
        )
    if reason == "DeadlineExceeded":
        limit = f" of {pod.spec.active_deadline_seconds} s" if pod.spec.active_deadline_seconds else ""
        return Reason("DeadlineExceeded", f"The step took longer than its limit{limit}.", RAISE_LIMIT)
    if reason in {"NodeLost", "NodeShutdown", "Shutdown", "Terminated", "NodeAffinity", "Preempting"}:
        return _disruption(pod, reason, message)
    if reason == "UnexpectedAdmissionError" or reason.startswith("OutOf"):
        text = f"The machine{_on(pod)} refused the pod ({reason}{f': {message}' if message else ''})."
        return Reason("Refused", text, "Retry the run: the machine's devices were not ready or taken.", unexpected=True)
    return None


def _disruption(pod: Pod, reason: str, message: str) -> Reason:
    why = _DISRUPTIONS.get(reason) or in_brief(message) or reason
    code = "Evicted" if reason == "EvictionByEvictionAPI" or "Evict" in reason else "Preempted"
    text = f"The pod was preempted{_on(pod)}: {why}."
    return Reason(code, text, "Retry the run: a training goes on from its checkpoint.", unexpected=True)


def _out_of_memory(pod: Pod, container: Container, *, sure: bool = True) -> Reason:
    limit = pod.limit("memory")
    name = "" if container.name in {MAIN, ""} else f" {container.name!r}"
    used = f"it used more memory than its limit {limit}" if limit else "it used more memory than it may"
    if not sure:
        used = f"out of memory is the usual reason{f', its limit is {limit}' if limit else ''}"
    text = f"The container{name} was killed{_on(pod)}: {used} ({'OOMKilled' if sure else 'exit code 137'})."
    return Reason("OOMKilled", text, MORE_MEMORY)


def _image(pod: Pod, container: str) -> str:
    return next((one.image for one in pod.spec.containers if one.name == container), "?")


def _on(pod: Pod) -> str:
    return f" on {pod.spec.node_name}" if pod.spec.node_name else ""
