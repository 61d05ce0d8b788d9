"""What can be seen of runs in Kubernetes; what may not be seen costs the reasons, never the command."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pydantic import ValidationError

from components.shared.errors import ClusterError, in_one_line
from pipelines.backends.cluster.calls import asked
from pipelines.backends.cluster.connection import Cluster
from pipelines.runs.pods import RUN_LABEL, Event, Pod, Seen, Workflow

PAGE = 500
GROUP, VERSION, WORKFLOWS = "argoproj.io", "v1alpha1", "workflows"
_TAIL = 40  # lines of a log that may hold the reason of a failure
_FIRST_TRIES = 2
Object = TypeVar("Object", bound=Seen)


@dataclass
class Kube:
    """Pods, events and Workflows of runs.

    Attributes:
        cluster: where they are.
        blind: why a kind of object could not be looked at, by kind.
    """

    cluster: Cluster
    blind: dict[str, str] = field(default_factory=dict)
    _refused: dict[str, str] = field(default_factory=dict)
    _ended: dict[str, dict[str, Pod]] = field(default_factory=dict, repr=False)
    _open: dict[str, set[str]] = field(default_factory=dict, repr=False)

    def unseen(self) -> str:
        """What could not be looked at and why, as a sentence; empty: all could."""
        if not self.blind:
            return ""
        *kinds, last = self.blind
        what = f"{', '.join(kinds)} and {last}" if kinds else last
        return f"The {what} of runs cannot be seen: {next(iter(self.blind.values()))}."

    def pods(self, runs: Sequence[str], *, unfinished: bool = False) -> dict[str, list[Pod]]:
        """The pods of runs, by run, the oldest first.

        Args:
            runs: their ids; a few dozen at most.
            unfinished: without those that ended well, which are many and large, and explain nothing.
        """
        found: dict[str, list[Pod]] = {}
        if not runs:
            return found
        fields = {"fieldSelector": "status.phase!=Succeeded"} if unfinished else {}
        for pod in self._read(Pod, "pods", labelSelector=f"{RUN_LABEL} in ({','.join(runs)})", **fields):
            found.setdefault(pod.run_id, []).append(pod)
        for pods in found.values():
            pods.sort(key=_age)
        return found

    def watched(self, run: str) -> list[Pod]:
        """All pods of a run that is looked at again and again: those that have ended are fetched once."""
        known = self._ended.get(run)
        now = self.pods([run], unfinished=known is not None).get(run, [])
        known = known or {}
        here = {pod.name for pod in now}
        for name in self._open.get(run, set()) - here:
            pod = self._pod(name)
            if pod is not None:
                now.append(pod)
        known |= {pod.name: pod for pod in now if pod.status.phase == "Succeeded"}
        going = [pod for pod in now if pod.status.phase != "Succeeded"]
        self._ended[run], self._open[run] = known, {pod.name for pod in going}
        return sorted([*known.values(), *going], key=_age)

    def _pod(self, name: str) -> Pod | None:
        """One pod; ``None``: it is gone, or cannot be seen."""
        try:
            client = self.cluster.core().api_client
            return Pod.model_validate(_ask(client, f"/api/v1/namespaces/{self.cluster.namespace}/pods/{name}"))
        except (ClusterError, ValidationError):
            return None

    def events(self) -> dict[str, list[Event]]:
        """What went wrong with pods, by pod, the oldest first."""
        found: dict[str, list[Event]] = {}
        for event in self._read(Event, "events", fieldSelector="involvedObject.kind=Pod,type=Warning"):
            found.setdefault(event.involved_object.name, []).append(event)
        for events in found.values():
            events.sort(key=_moment)
        return found

    def workflow(self, run_id: str) -> Workflow | None:
        """The run's Workflow, while Argo keeps it."""
        path = f"/apis/{GROUP}/{VERSION}/namespaces/{{namespace}}/{WORKFLOWS}"
        found = self._read(Workflow, WORKFLOWS, path, labelSelector=f"{RUN_LABEL}={run_id}")
        return found[0] if found else None

    def tail(self, pod: Pod) -> tuple[str, ...]:
        """The last lines that the step's container wrote; none when they are not to be had."""
        try:
            text = asked(
                self.cluster.core().read_namespaced_pod_log,
                pod.name,
                self.cluster.namespace,
                container="main",
                tail_lines=_TAIL,
                what=f"read the log of the pod {pod.name!r}",
                tries=1,
            )
        except ClusterError:
            return ()
        return tuple(str(text).splitlines())

    def _read(self, kind: type[Object], plural: str, path: str = "", **query: str) -> list[Object]:
        found = []
        for one in self._listed(plural, path, **query):
            try:
                found.append(kind.model_validate(one))
            except ValidationError as error:
                where = ".".join(map(str, error.errors()[0]["loc"]))
                self.blind[plural] = f"one of them cannot be read (at {where!r})"
        return found

    def _listed(self, plural: str, path: str = "", **query: str) -> list[Mapping[str, Any]]:
        if plural in self._refused:
            self.blind[plural] = self._refused[plural]
            return []
        try:
            return self._pages(plural, path or f"/api/v1/namespaces/{{namespace}}/{plural}", query)
        except ClusterError as error:
            said = in_one_line(error)
            self.blind[plural] = said
            if error.exit_code == 2 and error.status not in {404, 401}:  # noqa: PLR2004 - it will not be told more later
                self._refused[plural] = said
            return []

    def _pages(self, plural: str, path: str, query: Mapping[str, str]) -> list[Mapping[str, Any]]:
        client = self.cluster.core().api_client
        place = path.format(namespace=self.cluster.namespace)
        items: list[Mapping[str, Any]] = []
        follow = ""
        while True:
            more = {"limit": str(PAGE), **({"continue": follow} if follow else {})}
            answer = _ask(client, place, {**query, **more})
            items += answer.get("items") or []
            follow = (answer.get("metadata") or {}).get("continue") or ""
            if not follow:
                self.blind.pop(plural, None)
                return items


def _ask(client: Any, path: str, query: Mapping[str, str] | None = None) -> dict[str, Any]:  # noqa: ANN401 - untyped
    """An answer as JSON: the generated models refuse objects that lack what they hold to be needed."""
    answer = asked(
        client.call_api,
        path,
        "GET",
        query_params=list((query or {}).items()),
        header_params={"Accept": "application/json"},
        response_type="object",
        auth_settings=["BearerToken"],
        _return_http_data_only=True,
        what=f"read {path.rpartition('/namespaces/')[2]!r}",
        again=True,
        tries=_FIRST_TRIES,
    )
    return dict(answer or {})


def _age(pod: Pod) -> tuple[float, str]:
    made = pod.metadata.creation_timestamp
    return (made.timestamp() if made else 0.0, pod.name)


def _moment(event: Event) -> float:
    moment = event.last_timestamp or event.event_time
    return moment.timestamp() if moment else 0.0
