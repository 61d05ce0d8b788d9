"""From what is known of a run to its status, with the reason and what helps."""

from collections.abc import Collection
from dataclasses import replace

from pipelines.runs.messages import why_message, why_said
from pipelines.runs.model import BAD, RunFacts, State, Status, StepFacts
from pipelines.runs.steps import GOES_ON, SILENT, failed_status, step_status
from pipelines.runs.why import Reason, in_brief

FINAL = frozenset({"SUCCEEDED", "FAILED", "SKIPPED", "CANCELED"})
_ENDING = "CANCELING"
_GATE = Reason("GateNotMet", "The quality gate was not met: the champion stays.", "The report of model_eval says why.")
_STOPPED = Reason("Terminated", "It was stopped with the run.")


def run_status(run: RunFacts) -> Status:
    """How a run stands; ``Aborted``: stopped by something from outside, ``Terminated``: by a person."""
    if run.lost:
        return Status("Aborted", Reason("Lost", run.lost, GOES_ON, unexpected=True))
    if run.state in {"SUCCEEDED", "SKIPPED"}:
        return _succeeded(run)
    if run.state in {"FAILED", "CANCELED"}:
        return _over(run)
    if run.state == _ENDING:
        return Status("In Progress", Reason("Ending", "A person has ended it; its pods are being stopped."))
    if run.state == "PAUSED":
        return Status("Pending", Reason("Paused", "It is paused.", "Resume it in Kubeflow's UI."))
    return _live(run)


def step_statuses(run: RunFacts) -> list[tuple[StepFacts, Status]]:
    """Each step with its status; in a run that is over none goes on."""
    over = run.state in FINAL or bool(run.lost)
    shown = []
    for step in run.steps:
        status = step_status(step)
        if over and status.is_live:
            skipped = step_status(replace(step, state="SKIPPED"))
            status = skipped if status.state == "Created" else _cut_off(run, step, status)
        shown.append((step, status))
    return shown


def _cut_off(run: RunFacts, step: StepFacts, status: Status) -> Status:
    if _ended_by_person(run):
        return Status("Terminated", status.reason or _STOPPED)
    if run.lost:
        return Status("Aborted", Reason("Lost", "It ended with the run.", unexpected=True))
    return Status("Success") if run.state == "SUCCEEDED" else failed_status(step)


def _succeeded(run: RunFacts) -> Status:
    said = f"{in_brief(run.message)}." if run.message else ""
    if run.outcome.lower() == "unchanged":
        text = said or "Data, parameters and code equal the champion's: nothing was trained."
        return Status("Unchanged", Reason("Unchanged", text))
    if run.state == "SKIPPED":
        return Status("Skipped", Reason("Skipped", said) if said else None)
    return Status("Success", _GATE if run.passed is False else None)


def _live(run: RunFacts) -> Status:
    going: State = "Rerun" if any(state in FINAL for _, state in run.history) else "In Progress"
    statuses = [(step.name, step_status(step)) for step in run.steps]
    shown = (
        _first(statuses, BAD, going)
        or _first(statuses, {"In Progress"}, going)
        or _first(statuses, {"Pending"}, "Pending")
    )
    if shown is not None:
        return shown
    begun = any(status.state != "Created" for _, status in statuses)
    if run.message and not begun:
        return Status("Pending", why_message(run.message) or Reason("Waiting", f"{in_brief(run.message)}."))
    if going == "Rerun" or begun or run.state == "RUNNING":
        return Status(going)
    return Status("Created")


def _first(statuses: list[tuple[str, Status]], among: Collection[str], state: State) -> Status | None:
    """The status of a run whose steps stand so: that of the first of them with a reason, or of the first."""
    found = [(name, status) for name, status in statuses if status.state in among]
    if not found:
        return None
    name, status = next(((n, s) for n, s in found if s.reason), found[0])
    return Status(state, status.reason, name if status.reason else "")


def _over(run: RunFacts) -> Status:
    if run.state == "CANCELED" or _ended_by_person(run):
        return Status("Terminated", _by_person(run))
    bad = [(step, status) for step, status in step_statuses(run) if status.state in BAD and status.reason]
    bad.sort(key=lambda one: (one[1].state == "Terminated", one[1].state != "Failed", one[1].reason is SILENT))
    if bad:
        step, status = bad[0]
        return (
            Status("Terminated", _by_person(run)) if status.state == "Terminated" else replace(status, step=step.name)
        )
    said = (why_message(run.message) or why_said(run.message)) if run.message else SILENT
    if said.code == "Terminated":
        return Status("Terminated", said)
    return Status("Aborted" if said.unexpected else "Failed", said)


def _ended_by_person(run: RunFacts) -> bool:
    """Whether a person ended it, since it was last set going."""
    going = [moment for moment, state in run.history if state in {"RUNNING", "PENDING"}]
    last = max(going, default=0.0)
    if run.termination is not None and run.termination.at >= last:
        return True
    return any(state == _ENDING and moment >= last for moment, state in run.history) or bool(run.shutdown)


def _by_person(run: RunFacts) -> Reason:
    found = run.termination
    if found is None or not (found.who or found.why):
        return Reason("Terminated", "A person ended it.")
    who = f" ({found.who})" if found.who else ""
    return Reason("Terminated", f"A person{who} ended it{f': {in_brief(found.why)}' if found.why else ''}.")
