"""What is known of a run, from whatever tells it, and what that comes to."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from components.shared.progress import StepProgress
from pipelines.runs.pods import Event, Pod
from pipelines.runs.why import Reason

State = Literal[
    "Created", "Pending", "In Progress", "Rerun", "Success", "Failed", "Aborted", "Terminated", "Skipped", "Unchanged"
]
STATES: tuple[State, ...] = (
    "Created",
    "Pending",
    "In Progress",
    "Rerun",
    "Success",
    "Failed",
    "Aborted",
    "Terminated",
    "Skipped",
    "Unchanged",
)
LIVE: frozenset[State] = frozenset({"Created", "Pending", "In Progress", "Rerun"})
BAD: frozenset[State] = frozenset({"Failed", "Aborted", "Terminated"})


@dataclass(frozen=True)
class Status:
    """How something stands: its state, why, and the step that the reason is about (of a run)."""

    state: State
    reason: Reason | None = None
    step: str = ""

    @property
    def is_live(self) -> bool:
        """Whether it is not over."""
        return self.state in LIVE

    @property
    def text(self) -> str:
        """The reason as a sentence, after the step it is about; empty: there is none."""
        if self.reason is None:
            return ""
        return f"{self.step}: {self.reason.text}" if self.step else self.reason.text

    @property
    def remedy(self) -> str:
        """What helps; empty: nothing to say."""
        return self.reason.remedy if self.reason else ""


@dataclass(frozen=True)
class Termination:
    """That a person ended the run: who, why, and when (seconds since 1970)."""

    who: str = ""
    why: str = ""
    at: float = 0.0


@dataclass(frozen=True)
class StepFacts:
    """What is known of a step.

    Attributes:
        name: as the step is called, such as ``model_train``.
        state: as KFP, Argo or the run's record gives it, in capitals; empty: it has not begun.
        started: seconds since 1970, as ``finished``.
        pods: those of this step, KFP's drivers among them, the oldest first.
        events: about its pods, the oldest first.
        progress: what it tells itself.
        error: its sentence as a record keeps it.
        message: what Argo says of it.
        note: why it was not to be run.
        tail: the end of what it wrote.
        cached: whether an earlier run's result was taken.
        about: what tells it from others of its kind.
    """

    name: str
    state: str = ""
    started: float | None = None
    finished: float | None = None
    pods: tuple[Pod, ...] = ()
    events: tuple[Event, ...] = ()
    progress: StepProgress | None = None
    error: str = ""
    message: str = ""
    note: str = ""
    tail: tuple[str, ...] = ()
    cached: bool = False
    about: str = ""

    @property
    def work_pods(self) -> tuple[Pod, ...]:
        """The pods that run the step itself, one an attempt."""
        return tuple(pod for pod in self.pods if not pod.is_driver)

    @property
    def tracks(self) -> tuple[tuple[Pod, ...], ...]:
        """The same pods, those of each turn of a loop by themselves: one an attempt."""
        found: dict[str, list[Pod]] = {}
        for pod in self.work_pods:
            found.setdefault(pod.track, []).append(pod)
        return tuple(map(tuple, found.values()))

    @property
    def machine(self) -> str:
        """The machine of its latest pod."""
        return next((pod.spec.node_name for pod in reversed(self.work_pods) if pod.spec.node_name), "")

    def about_pod(self, pod: Pod) -> tuple[Event, ...]:
        """The events of one of its pods."""
        return tuple(event for event in self.events if event.involved_object.name == pod.name)


@dataclass(frozen=True)
class RunFacts:
    """What is known of a run.

    Attributes:
        run_id: its id.
        name: as people called it.
        pipeline: the pipeline's name; empty: not known.
        state: KFP's, or the local record's in KFP's words.
        history: when it came into which state, the oldest first.
        created: seconds since 1970, as ``finished``.
        steps: in the order of the DAG.
        parameters: those it was started with.
        termination: that a person ended it.
        outcome: the final state that its own record names, such as ``unchanged``.
        passed: whether the quality gate was met.
        metrics: of the evaluation.
        message: what Argo or KFP says of the whole.
        shutdown: how Argo was told to end it; empty: it was not.
        lost: why nothing runs it any more although nobody ended it.
        blind: what could not be looked at, a sentence each.
        link: where a browser shows it.
        archived: whether it was put away.
        experiment: the experiment's id; of a local run the folder.
    """

    run_id: str
    name: str = ""
    pipeline: str = ""
    state: str = ""
    history: tuple[tuple[float, str], ...] = ()
    created: float | None = None
    finished: float | None = None
    steps: tuple[StepFacts, ...] = ()
    parameters: Mapping[str, object] = field(default_factory=dict)
    termination: Termination | None = None
    outcome: str = ""
    passed: bool | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    message: str = ""
    shutdown: str = ""
    lost: str = ""
    blind: tuple[str, ...] = ()
    link: str = ""
    archived: bool = False
    experiment: str = ""
