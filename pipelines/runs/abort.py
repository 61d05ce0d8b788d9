"""End a run on a cluster, also one that retries or whose pods cannot be started, and see to its end."""

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from components.shared.errors import ClusterError, PipelineError, in_one_line
from pipelines.backends.cluster.calls import asked
from pipelines.runs.facts import Collector
from pipelines.runs.kube import GROUP, VERSION, WORKFLOWS
from pipelines.runs.pods import Pod
from pipelines.runs.status import FINAL
from pipelines.runs.store import mark_terminated
from pipelines.runs.told import KfpRun

PATIENCE = 10.0  # seconds Argo has to end the pods before they are deleted
GRACE = 60  # seconds a deleted pod has to save what it has learned
POLL = 1.0
Say = Callable[[str], None]
_REFUSED = 400


@dataclass(frozen=True)
class AbortWish:
    """How to end a run: why (kept with it), how long to wait (0: not at all), and whether pods get no time."""

    why: str = ""
    timeout: float = 300.0
    force: bool = False


@dataclass(frozen=True)
class AbortOutcome:
    """Whether it is over (or was ``already``), how Kubeflow calls its state, and what still runs."""

    over: bool
    state: str
    left: tuple[str, ...] = ()
    already: bool = False


def abort(collector: Collector, run: KfpRun, wish: AbortWish, say: Say) -> AbortOutcome:
    """End a run, also one that retries or whose pods cannot be started.

    Kubeflow is told first, so that nothing new is begun. Pods that are still there ``PATIENCE`` seconds later are
    deleted with grace, and last the Workflow itself is told to shut down.

    Raises:
        ClusterError: Kubeflow refused or failed.
    """
    if run.state in FINAL:
        if not _left(collector, run):
            return AbortOutcome(over=True, state=run.state, already=True)
        return _see_to_the_end(collector, run, wish, say)  # pods that have outlived it
    try:
        asked(
            collector.cluster.kfp.runs.run_service_terminate_run,
            run_id=run.run_id,
            what=f"end the run {run.run_id!r}",
            again=True,
        )
    except ClusterError as error:
        run = collector.runs.get(run.run_id)
        if error.status != _REFUSED or run.state not in FINAL:
            raise
        return AbortOutcome(over=True, state=run.state, already=True)  # by itself, in this moment
    _mark(collector, run, wish.why, say)
    say("Kubeflow was told to end the run.")
    return _see_to_the_end(collector, run, wish, say)


def _see_to_the_end(collector: Collector, run: KfpRun, wish: AbortWish, say: Say) -> AbortOutcome:
    began = time.monotonic()
    patience = 0.0 if wish.force else PATIENCE
    deleted: set[str] = set()
    shut, said = False, ""
    while True:
        run = collector.runs.get(run.run_id)
        left = _left(collector, run)
        passed = time.monotonic() - began
        if run.state in FINAL and not left:
            return AbortOutcome(over=True, state=run.state)
        if passed >= patience:
            for pod in left:
                if pod.name not in deleted and (wish.force or pod.metadata.deletion_timestamp is None):
                    deleted.add(pod.name)
                    _delete(collector, pod, 0 if wish.force else GRACE, say)
        if passed >= 2 * patience and run.state not in FINAL and not shut:
            shut = True
            _shut_down(collector, run, say)
        if passed >= wish.timeout:
            return AbortOutcome(over=False, state=run.state, left=tuple(map(_described, left)))
        now = f"{len(left)} pod{'s' if len(left) != 1 else ''} still to end: {', '.join(map(_described, left))}"
        if left and now != said:
            said = now
            say(now)
        time.sleep(POLL)


def _left(collector: Collector, run: KfpRun) -> list[Pod]:
    """The pods of a run that are not over."""
    return [pod for pod in collector.kube.pods([run.run_id], unfinished=True).get(run.run_id, []) if not pod.is_over]


def _delete(collector: Collector, pod: Pod, grace: int, say: Say) -> None:
    say(f"deleting the pod {_described(pod)}" + (f", which has {grace} s to save what it has" if grace else " at once"))
    try:
        asked(
            collector.cluster.core().delete_namespaced_pod,
            pod.name,
            collector.cluster.namespace,
            grace_period_seconds=grace,
            what=f"delete the pod {pod.name!r}",
        )
    except ClusterError as error:
        if error.status != 404:  # noqa: PLR2004 - it has gone by itself
            say(in_one_line(error))


def _shut_down(collector: Collector, run: KfpRun, say: Say) -> None:
    """Tell Argo itself, which ends retries too."""
    workflow = collector.kube.workflow(run.run_id)
    if workflow is None or workflow.spec.shutdown == "Terminate":
        return
    say(f"telling Argo to shut down the Workflow {workflow.metadata.name!r}")
    with suppress(ClusterError):
        asked(
            collector.cluster.custom().patch_namespaced_custom_object,
            GROUP,
            VERSION,
            collector.cluster.namespace,
            WORKFLOWS,
            workflow.metadata.name,
            {"spec": {"shutdown": "Terminate"}},
            what=f"shut down the Workflow {workflow.metadata.name!r}",
            again=True,
        )


def _mark(collector: Collector, run: KfpRun, why: str, say: Say) -> None:
    store = collector.store_of(run)
    if store is None:
        say("note: who ended the run is not kept, for its store cannot be reached from here.")
        return
    try:
        mark_terminated(store, run.run_id, why)
    except PipelineError as error:
        say(f"note: who ended the run could not be kept in its store ({in_one_line(error)}).")


def _described(pod: Pod) -> str:
    how = "is ending" if pod.metadata.deletion_timestamp else pod.status.phase.lower() or "unknown"
    return f"{pod.name} ({how}{f' on {pod.spec.node_name}' if pod.spec.node_name else ''})"
