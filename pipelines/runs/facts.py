"""Everything that is known of runs on a cluster, brought together from Kubeflow, Kubernetes and the store."""

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from components.shared.progress import StepProgress
from components.shared.run_record import RunOutcome, StepOutcome, read_outcome
from components.shared.store import Store
from pipelines.backends.cluster.connection import Cluster
from pipelines.runs.kfp import KfpRuns
from pipelines.runs.kube import Kube
from pipelines.runs.model import RunFacts, StepFacts
from pipelines.runs.pods import Event, Pod, Workflow
from pipelines.runs.spec import is_row_of_kfp
from pipelines.runs.status import FINAL
from pipelines.runs.store import RunStores
from pipelines.runs.told import KfpRun
from pipelines.runs.why import tame

_WORST = ("RUNNING", "FAILED", "PENDING", "PAUSED", "CANCELING", "CANCELED", "SUCCEEDED", "SKIPPED")
_WELL = {"SUCCEEDED", "SKIPPED"}
_AT_ONCE = 8  # runs looked at side by side
_TROUBLED = {"FAILED", "CANCELING", "CANCELED"}


@dataclass
class Collector:
    """Looks at runs; what one source does not give is told in ``RunFacts.blind``."""

    cluster: Cluster
    stores: RunStores = field(default_factory=RunStores)
    _events: dict[str, list[Event]] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        self.runs = KfpRuns(self.cluster)
        self.kube = Kube(self.cluster)

    def store_of(self, run: KfpRun) -> Store | None:
        """The store that a run uses; ``None``: it names none, or it cannot be read just now."""
        if "store" in run.parameters or self.stores.instead:
            return self.stores.of(run.parameters)
        return self.stores.of({"store": self.runs.inputs(run).get("store", {}).get("defaultValue", "")})

    def facts(self, run: KfpRun) -> RunFacts:
        """All of one run; raises ``ClusterError`` when Kubeflow does not answer."""
        pods = self.kube.watched(run.run_id)
        events = self.kube.events() if _explain(run, pods) else {}
        workflow = self.kube.workflow(run.run_id) if run.state not in _WELL else None
        facts = self._facts(run, pods, events, workflow)
        return replace(facts, steps=tuple(self._with_tail(step) for step in facts.steps))

    def many(self, runs: Sequence[KfpRun]) -> list[RunFacts]:
        """Of each run what a table needs, with few requests; events are looked at once."""
        pods = self.kube.pods([run.run_id for run in runs if run.state not in _WELL], unfinished=True)
        if self._events is None and any(_explain(run, pods.get(run.run_id, [])) for run in runs):
            self._events = self.kube.events()
        events = self._events or {}
        for run in runs:  # asked once for each pipeline, before many ask at a time
            self.runs.pipeline(run)
            self.runs.steps(run)
        with ThreadPoolExecutor(_AT_ONCE) as pool:  # each waits for a store or a server
            return list(pool.map(lambda run: self._facts(run, pods.get(run.run_id, []), events, None), runs))

    def _facts(
        self, run: KfpRun, pods: list[Pod], events: Mapping[str, list[Event]], workflow: Workflow | None
    ) -> RunFacts:
        store = self.store_of(run)
        progress = self.stores.progress(store, run.run_id) if store and run.state not in _WELL else {}
        facts = RunFacts(
            run_id=run.run_id,
            name=tame(run.display_name),
            pipeline=self.runs.pipeline(run),
            state=run.state,
            history=tuple((_seconds(one.update_time) or 0.0, one.state) for one in run.state_history),
            created=_seconds(run.created_at),
            finished=_seconds(run.finished_at) if run.state in FINAL else None,
            steps=self._steps(run, pods, events, progress, workflow),
            parameters=run.parameters,
            message=run.error.message or (workflow.status.message if workflow else ""),
            shutdown=workflow.spec.shutdown if workflow else "",
            link=self.cluster.ui_link(run.run_id),
            archived=run.is_archived,
            experiment=run.experiment_id,
        )
        facts = _with_gate(self._with_record(facts, store) if store else facts)
        return replace(facts, blind=(*filter(None, [self.kube.unseen()]), *self.stores.blind.values()))

    def _steps(
        self,
        run: KfpRun,
        pods: list[Pod],
        events: Mapping[str, list[Event]],
        progress: Mapping[str, StepProgress],
        workflow: Workflow | None,
    ) -> tuple[StepFacts, ...]:
        messages = _messages(workflow)
        rows: dict[str, list[Any]] = {}
        for task in run.run_details.task_details:
            rows.setdefault(task.display_name.replace("-", "_"), []).append(task)
        mine: dict[str, list[Pod]] = {}
        for pod in pods:
            mine.setdefault(pod.step, []).append(pod)
        steps = []
        names = self._names(run, mine, progress)
        states = {name: _combined([task.state for task in rows.get(name, [])]) for name in names}
        next_one = next((name for name in names if states[name] not in FINAL), "")
        others = [pod for step, found in mine.items() if step not in states for pod in found]
        around = [pod for pod in others if pod.is_driver and pod.status.phase != "Succeeded"]
        for name in names:
            state = states[name]
            own = tuple(mine.get(name, ())) or (tuple(around) if name == next_one else ())  # drivers of a group
            starts = [task.start_time for task in rows.get(name, []) if task.start_time]
            ends = [task.end_time for task in rows.get(name, []) if task.end_time]
            drivers = [pod for pod in own if pod.is_driver]
            steps.append(
                StepFacts(
                    name=name,
                    state=state,
                    started=_seconds(min(starts, default=None)),
                    finished=_seconds(max(ends, default=None)) if state in FINAL else None,
                    pods=own,
                    events=tuple(event for pod in own for event in events.get(pod.name, ())),
                    progress=_progress_of(name, progress),
                    message=messages.get(name, ""),
                    cached=state == "SUCCEEDED" and bool(drivers) and len(drivers) == len(own),
                )
            )
        return tuple(steps)

    def _names(self, run: KfpRun, pods: Iterable[str], progress: Mapping[str, StepProgress]) -> list[str]:
        """The steps of a run, in their order; without its pipeline, those that have shown themselves."""
        planned = [name.replace("-", "_") for name in self.runs.steps(run)]
        if planned:
            return planned
        seen = [task.display_name for task in run.run_details.task_details if not is_row_of_kfp(task.display_name)]
        begun = [name for name in pods if not is_row_of_kfp(name.replace("_", "-"))]
        every = [*(name.replace("-", "_") for name in seen), *begun, *progress]
        workflow = run.display_name.replace("-", "_")
        return list(dict.fromkeys(name for name in every if name != workflow))

    def _with_record(self, facts: RunFacts, store: Store) -> RunFacts:
        if facts.state not in FINAL and facts.state != "CANCELING":
            return facts
        termination = self.stores.termination(store, facts.run_id) if facts.state in _TROUBLED else None
        return replace(with_record(facts, read_outcome(store, facts.run_id)), termination=termination)

    def _with_tail(self, step: StepFacts) -> StepFacts:
        """The step with the end of its log, where its pod failed and it did not say why itself."""
        failed = [pod for pod in step.pods if pod.status.phase == "Failed"]
        said = step.progress is not None and bool(step.progress.error)
        return replace(step, tail=self.kube.tail(failed[-1])) if failed and not said else step


def with_record(facts: RunFacts, record: RunOutcome | None) -> RunFacts:
    """The facts with what the run wrote about itself at its end."""
    if record is None:
        return facts
    told = {step.name: step for step in record.steps}
    return replace(
        facts,
        steps=tuple(_with_told(step, told[step.name]) if step.name in told else step for step in facts.steps),
        outcome=record.state,
        passed=record.gate.passed if record.gate else facts.passed,
        metrics=record.metrics,
        message=facts.message or record.reason,
    )


def _with_told(step: StepFacts, told: StepOutcome) -> StepFacts:
    """A step with what the record says of it: an error only where nothing nearer tells."""
    alone = not step.pods and step.progress is None
    return replace(step, error=step.error or (told.error or "" if alone else ""), note=told.reason)


def _with_gate(facts: RunFacts) -> RunFacts:
    """The facts with the gate's verdict where only the pipeline shows it: what passed is published."""
    states = {step.name: step.state for step in facts.steps}
    if facts.passed is not None or facts.state != "SUCCEEDED" or "model_publish" not in states:
        return facts
    measured, published = states.get("model_eval") == "SUCCEEDED", states["model_publish"] == "SUCCEEDED"
    return replace(facts, passed=published) if measured else facts


def _explain(run: KfpRun, pods: Sequence[Pod]) -> bool:
    """Whether events may tell more: something waits, has failed or is gone."""
    if run.state in _WELL:
        return False
    return not pods or any(pod.status.phase in {"Pending", "Failed", ""} for pod in pods)


def _messages(workflow: Workflow | None) -> dict[str, str]:
    """What Argo says of each step, the most telling first: that of a pod before that of what is around it."""
    found: dict[str, str] = {}
    nodes = sorted(workflow.status.nodes.values(), key=lambda node: node.type != "Pod") if workflow else []
    for node in nodes:
        if node.message and node.phase in {"Failed", "Error", "Pending"}:
            pod = Pod.model_validate(
                {"metadata": {"name": node.id, "annotations": {"workflows.argoproj.io/node-name": node.name}}}
            )
            found.setdefault(pod.step, node.message)
    return found


def _combined(states: Sequence[str]) -> str:
    """The state of a step that runs several times, as in a loop."""
    return min(states, key=lambda state: _WORST.index(state) if state in _WORST else len(_WORST), default="")


def _progress_of(step: str, progress: Mapping[str, StepProgress]) -> StepProgress | None:
    """A step's progress; of one that works on several settings that of the one that goes on, or of the worst."""
    if step in progress:
        return progress[step]
    order = ("running", "failed", "preempted", "succeeded")
    several = [found for name, found in progress.items() if name.startswith(f"{step}-")]
    first = min(several, key=lambda found: order.index(found.state), default=None)
    if first is None or first.state != "running":
        return first
    return first.model_copy(update={"share": sum(found.share for found in several) / len(several)})


def _seconds(moment: datetime | None) -> float | None:
    return moment.timestamp() if moment else None
