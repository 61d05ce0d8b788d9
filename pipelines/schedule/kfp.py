"""Schedules in a Kubeflow Pipelines: found, made once, enabled, disabled and deleted without ending their runs."""

import json
import secrets
from dataclasses import dataclass, replace
from typing import Any

from components.shared.errors import ClusterAccessError, ClusterError, ConfigError
from pipelines.backends.cluster.calls import asked, pause
from pipelines.backends.cluster.connection import Cluster
from pipelines.backends.cluster.upload import equals, listed
from pipelines.schedule.model import Schedule, body_of, schedule_of

TRIES = 4
RUNS_SHOWN = 5
_NOT_FOUND, _BAD_REQUEST = 404, 400
_SHORTEST = 6  # first letters of an id
_LIVE = frozenset({"PENDING", "RUNNING", "CANCELING", "PAUSED", "RUNTIME_STATE_UNSPECIFIED", ""})


@dataclass(frozen=True)
class Schedules:
    """The schedules of a Kubeflow Pipelines; methods raise ``ClusterError`` when it fails or refuses."""

    cluster: Cluster

    def all(self, name: str = "") -> list[Schedule]:
        """Those of a name, or all, by name and then the oldest first."""
        namespace = self.cluster.api_namespace
        scope: dict[str, Any] = {"namespace": namespace} if namespace else {}
        if name:
            scope["filter"] = equals("display_name", name)
        call = self._api.recurring_run_service_list_recurring_runs
        found = [schedule_of(one) for one in listed(call, "recurring_runs", what="list the schedules", **scope)]
        return sorted(found, key=lambda one: (one.name, one.created.timestamp() if one.created else 0.0))

    def find(self, text: str) -> Schedule:
        """The schedule that a person means: its name, its id, or at least six of its first letters.

        Raises:
            ConfigError: there is none, or there are several.
        """
        every = self.all()
        found = [one for one in every if one.schedule_id == text] or [one for one in every if one.name == text]
        if not found and len(text) >= _SHORTEST:
            found = [one for one in every if one.schedule_id.startswith(text)]
        if len(found) == 1:
            return found[0]
        if not found:
            names = ", ".join(sorted({repr(one.name) for one in every})) or "none at all"
            raise ConfigError(f"There is no schedule {text!r}; there is {names}.")
        if any(one.replaces in {other.schedule_id for other in found} for one in found if one.replaces):
            raise ConfigError(
                f"An update of the schedule {text!r} was not finished: run the same update again, or name one of"
                f" {_ids(found)} by its id."
            )
        raise ConfigError(f"{text!r} are several schedules: name one by its id, {_ids(found)}.")

    def create(self, schedule: Schedule) -> Schedule:
        """Make it, once, also when an answer is lost on the way."""
        marked = replace(schedule, token=secrets.token_hex(8))
        call, body = self._api.recurring_run_service_create_recurring_run, body_of(marked)
        for attempt in range(1, TRIES + 1):
            try:
                return schedule_of(asked(call, body, what=f"make the schedule {schedule.name!r}", again=False))
            except ClusterError as error:
                if isinstance(error, ClusterAccessError):
                    raise
                found = [one for one in self.all(schedule.name) if one.token == marked.token]
                if found:
                    return found[0]
                if attempt == TRIES:
                    raise
                pause(attempt)
        raise AssertionError  # the last attempt returned or raised

    def enable(self, schedule: Schedule) -> None:
        """Let it run."""
        what = f"enable the schedule {schedule.name!r}"
        asked(self._api.recurring_run_service_enable_recurring_run, schedule.schedule_id, what=what)

    def disable(self, schedule: Schedule) -> None:
        """Let it start no more runs; those that go on are left alone."""
        what = f"pause the schedule {schedule.name!r}"
        asked(self._api.recurring_run_service_disable_recurring_run, schedule.schedule_id, what=what)

    def delete(self, schedule: Schedule) -> None:
        """Remove it; fine when it is gone already.

        Kubernetes would take the runs that go on with it, for they belong to it: so it is told to leave them. A
        server that does not know that wish is asked to delete a schedule without live runs only.
        """
        call, what = self._api.recurring_run_service_delete_recurring_run, f"delete the schedule {schedule.name!r}"
        try:
            asked(call, schedule.schedule_id, propagation_policy="ORPHAN", what=what)
        except ClusterError as error:
            if error.status == _NOT_FOUND:
                return
            if error.status != _BAD_REQUEST:
                raise
            live = [run for run in self.runs(schedule) if (run.state or "") in _LIVE]
            if live:
                raise ClusterAccessError(
                    f"This Kubeflow would end the run {live[0].run_id} with the schedule {schedule.name!r}: wait for"
                    " it, or end it with 'python -m pipelines.runs abort', then delete the schedule again.",
                    error.status,
                ) from error
            asked(call, schedule.schedule_id, what=what)

    def runs(self, schedule: Schedule, count: int = RUNS_SHOWN) -> list[Any]:
        """Its latest runs, the newest first, as the API tells them."""
        key = {"operation": "EQUALS", "key": "recurring_run_id", "stringValue": schedule.schedule_id}
        answer = asked(
            self.cluster.kfp.runs.run_service_list_runs,
            experiment_id=schedule.experiment_id,
            page_size=count,
            sort_by="created_at desc",
            filter=json.dumps({"predicates": [key]}),
            what=f"list the runs of {schedule.name!r}",
        )
        return list(answer.runs or [])

    @property
    def _api(self) -> Any:  # noqa: ANN401 - generated, without types
        return self.cluster.kfp.recurring_runs


def _ids(schedules: list[Schedule]) -> str:
    return ", ".join(one.schedule_id for one in schedules)
