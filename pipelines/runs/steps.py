"""How a step of a run stands, from its state, its pods and what it says itself."""

import re
from collections.abc import Iterable
from dataclasses import replace

from components.shared.progress import StepProgress
from pipelines.runs.messages import MORE_MEMORY, why_logged, why_message, why_said
from pipelines.runs.model import Status, StepFacts
from pipelines.runs.pods import Pod
from pipelines.runs.reasons import why_ended, why_pending
from pipelines.runs.why import Reason, in_brief

SILENT = Reason("Unknown", "It failed, and nothing that is left says why.", "runs logs shows what it wrote.")
GOES_ON = "Retry the run: a training goes on from its checkpoint."
_SKEW = 10.0  # seconds by which clocks of a cluster may differ
_DONE, _NOT_NEEDED = {"SUCCEEDED", "CACHED"}, {"SKIPPED", "OMITTED"}
_EMPTY = re.compile(r"^(?:Error|main: Error)? ?\(exit code \d+\)$|^No more retries left$|^child .* failed$")
_ENDED = {"FAILED", "ERROR", "PREEMPTED", "SYSTEM_ERROR"}
_KILLED = Reason(
    "Killed",
    "It was killed before it could say why; lack of memory or the loss of its machine are the usual reasons.",
    f"{MORE_MEMORY} A retry goes on from the checkpoint.",
    unexpected=True,
)


def step_status(step: StepFacts) -> Status:
    """How a step stands."""
    if step.state in _DONE:
        return Status("Success", Reason("Reused", "An earlier run's result was taken.") if step.cached else None)
    if step.state in _NOT_NEEDED:
        return Status("Skipped", Reason("Skipped", step.note) if step.note else None)
    if step.state in {"TERMINATED", "CANCELED"}:
        return Status("Terminated", Reason("Terminated", "It was stopped with the run."))
    if step.state in _ENDED:
        return failed_status(step)
    if step.state or step.work_pods or (step.progress and step.progress.state == "running"):
        return _running(step)
    return Status("Pending", _stuck_driver(step)) if step.pods else Status("Created")


def failed_status(step: StepFacts) -> Status:
    """How a step stands that has not succeeded, whatever its state says."""
    reason = _why_failed(step)
    if reason.code == "Terminated":
        return Status("Terminated", reason)
    return Status("Aborted" if reason.unexpected else "Failed", reason)


def _running(step: StepFacts) -> Status:
    """How a step stands that is at work; one in a loop as the turn that goes on, of those the one with a reason."""
    if len(step.tracks) <= 1:
        return _at_work(step)
    left = [track for track in step.tracks if track[-1].status.phase != "Succeeded"]
    turns = [_at_work(replace(step, pods=track)) for track in left]
    turns.sort(key=lambda status: (status.state != "In Progress", status.reason is None))
    return turns[0] if turns else Status("In Progress")


def _at_work(step: StepFacts) -> Status:
    pods = step.work_pods
    latest = pods[-1] if pods else None
    before = _former(step, pods[:-1])
    if latest is None:
        reason = _stuck_driver(step) or (why_message(step.message) if step.message else None)
        works = _own(step) is not None or (step.state == "RUNNING" and not step.pods)  # pods may be out of sight
        return Status("In Progress") if works and not reason else Status("Pending", reason)
    if latest.metadata.deletion_timestamp is not None:
        return Status("In Progress", why_ended(latest, step.about_pod(latest)) or before)
    if latest.status.phase == "Failed":
        reason = _why_failed(step)
        text = f"{reason.text} It is tried again."
        return Status("In Progress", replace(reason, text=text, remedy=""))
    reason = why_pending(latest, step.about_pod(latest))
    if latest.status.phase in {"Pending", ""} or reason:
        return Status("Pending", reason or before)
    return Status("In Progress", before)


def _former(step: StepFacts, pods: Iterable[Pod]) -> Reason | None:
    """Why the attempts before this one ended, in one sentence."""
    ended = [pod for pod in pods if pod.status.phase != "Succeeded"]
    if not ended:
        return None
    reason = why_ended(ended[-1], step.about_pod(ended[-1]))
    why = f": {reason.text}" if reason else " failed."
    return Reason("Retried", f"Attempt {len(ended) + 1}; the one before{why}", "", unexpected=True)


def _own(step: StepFacts) -> StepProgress | None:
    """What the step tells itself, unless that is of an attempt before the latest pod."""
    if step.progress is None or not step.work_pods:
        return step.progress
    made = step.work_pods[-1].metadata.creation_timestamp
    return None if made is not None and step.progress.updated < made.timestamp() - _SKEW else step.progress


def _why_failed(step: StepFacts) -> Reason:
    own = _own(step)
    if own is not None and own.state == "failed" and own.error:
        return why_said(own.error)
    if step.error and step.state != "PREEMPTED":
        return why_said(step.error)
    latest = next((pod for pod in reversed(step.work_pods) if pod.status.phase == "Failed"), None)
    latest = latest or (step.work_pods[-1] if step.work_pods else None)
    found = _why_pod_failed(step, latest) if latest else None
    if step.state == "PREEMPTED" or (own is not None and own.state == "preempted"):
        saved = step.error or (own.error if own else "") or "It was told to end and saved what it had learned."
        return Reason("Preempted", f"{found.text} {saved}" if found else saved, GOES_ON, unexpected=True)
    return found or _why_told(step) or (_KILLED if own is not None and own.state == "running" else SILENT)


def _why_told(step: StepFacts) -> Reason | None:
    """What is left when neither the step nor its pod tells: Argo, the log, the driver."""
    known = (why_message(step.message) if step.message else None) or why_logged(step.tail)
    if known is None and not step.work_pods:
        known = _stuck_driver(step)
    said = in_brief(step.message)
    if known is None and said and not _EMPTY.search(said):
        known = Reason("Failed", f"{said}.", "runs logs shows what it wrote.")
    return known


def _why_pod_failed(step: StepFacts, pod: Pod) -> Reason | None:
    events = step.about_pod(pod)
    ended = why_ended(pod, events)
    began = pod.main is None or pod.main.state.waiting is None
    waited = None if began and pod.status.phase not in {"Pending", ""} else why_pending(pod, events)
    if waited is None:
        return ended
    return replace(waited, text=f"{waited.text} It never began.")


def _stuck_driver(step: StepFacts) -> Reason | None:
    """Why KFP's own pod before the step does not go on or has failed."""
    drivers = [pod for pod in step.pods if pod.is_driver]
    if not drivers:
        return None
    pod = drivers[-1]
    events = step.about_pod(pod)
    reason = why_ended(pod, events) if pod.status.phase == "Failed" else why_pending(pod, events)
    if reason is None and pod.status.phase == "Failed":
        said = why_logged(step.tail) or (why_message(step.message) if step.message else None)
        reason = said or Reason("Driver", "it ended with an error.", "runs logs --step shows what it wrote.")
    return replace(reason, text=f"Kubeflow's driver, which prepares the step: {reason.text}") if reason else None
