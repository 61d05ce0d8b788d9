"""What the stub of Kubeflow Pipelines does with each request of the v2beta1 API."""

import re
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from kfp_server_api import models

from tests.pipelines.cluster.kfp_schema import as_json, wrong_arguments

API = "/apis/v2beta1"
FINISHED = {"SUCCEEDED", "FAILED", "SKIPPED", "CANCELED"}
RUN_KEYS = {"run_id", "display_name", "name", "created_at", "finished_at", "scheduled_at", "description"}
RUN_KEYS |= {"storage_state", "state", "namespace", "experiment_id", "recurring_run_id"}
NAMED_KEYS = {"display_name", "name", "created_at", "description", "namespace", "storage_state", "status"}


class RefusedError(Exception):
    """An answer that is no success."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass
class Asked:
    """A request that came in."""

    method: str
    path: str
    query: dict[str, str]
    body: Any
    headers: dict[str, str] = field(repr=False)


def new_id() -> str:
    return str(uuid.uuid4())


def _found(items: dict[str, Any], identity: str, what: str) -> Any:
    if identity not in items:
        raise RefusedError(404, f"Failed to get {what}: ResourceNotFoundError: {what} {identity} not found.")
    return items[identity]


def _taken(items: dict[str, Any], name: str, **facts: Any) -> bool:
    return any(
        (getattr(item, "name", None) or item.display_name) == name
        and all(getattr(item, key) == value for key, value in facts.items())
        for item in items.values()
    )


def _check_namespace(stub: Any, namespace: str | None) -> None:
    if stub.health["multi_user"] and not namespace:
        raise RefusedError(400, "Invalid input error: a namespace is needed in multi-user mode")
    if not stub.health["multi_user"] and namespace:
        raise RefusedError(400, "Invalid input error: In single-user mode, a namespace must not be given")


def _listed(name: str, kind: str, keys: set[str], narrow: Callable[[Any, Asked], bool] = lambda *_: True) -> Any:
    def action(stub: Any, one: Asked, *_: str) -> Any:
        items = [item for item in getattr(stub, name).values() if narrow(item, one)]
        page, token = stub.selection(one, keys).page(items)
        made = getattr(models, kind)(total_size=len(items) or None, next_page_token=token or None)
        key = next(key for key in made.openapi_types if key not in ("total_size", "next_page_token"))
        setattr(made, key, page or None)  # the server leaves out what is empty
        return as_json(made)

    return action


def _got(name: str, what: str) -> Any:
    return lambda stub, _one, identity: as_json(_found(getattr(stub, name), identity, what))


def _removed(name: str, what: str) -> Any:
    def action(stub: Any, _one: Asked, identity: str) -> Any:
        _found(getattr(stub, name), identity, what)
        del getattr(stub, name)[identity]
        return {}

    return action


def _changed(name: str, what: str, **facts: str) -> Any:
    def action(stub: Any, _one: Asked, identity: str) -> Any:
        item = _found(getattr(stub, name), identity, what)
        for key, value in facts.items():
            setattr(item, key, value)
        return {}

    return action


def _create_experiment(stub: Any, one: Asked) -> Any:
    given = stub.parsed(one, "V2beta1Experiment")
    _check_namespace(stub, given.namespace)
    if _taken(stub.experiments, given.display_name, namespace=given.namespace):
        raise RefusedError(409, f"Already exist error: Experiment {given.display_name} already exists")
    return as_json(stub.add_experiment(given.display_name, description=given.description, namespace=given.namespace))


def _upload(stub: Any, one: Asked) -> Any:
    name, namespace = one.query.get("name") or "unnamed", one.query.get("namespace")
    if _taken(stub.pipelines, name, namespace=namespace):
        raise RefusedError(409, f"Already exist error: The pipeline name {name} already exist")
    facts = {key: one.query[key] for key in ("description", "display_name") if key in one.query}
    made = stub.add_pipeline(name, namespace=namespace, **facts)
    stub.add_version(made.pipeline_id, name, one.body)
    return as_json(made)


def _create_pipeline(stub: Any, one: Asked) -> Any:
    given = stub.parsed(one, "V2beta1Pipeline")
    name = given.name or given.display_name
    if _taken(stub.pipelines, name, namespace=given.namespace):
        raise RefusedError(409, f"Already exist error: The pipeline name {name} already exist")
    return as_json(stub.add_pipeline(name, namespace=given.namespace, description=given.description))


def _upload_version(stub: Any, one: Asked) -> Any:
    pipeline, name = one.query.get("pipelineid", ""), one.query.get("name", "")
    _found(stub.pipelines, pipeline, "pipeline")
    if _taken(stub.versions, name, pipeline_id=pipeline):
        raise RefusedError(409, f"Already exist error: The pipeline version name {name} already exist")
    facts = {key: one.query[key] for key in ("description", "display_name") if key in one.query}
    return as_json(stub.add_version(pipeline, name, one.body, **facts))


def _pipeline_by_name(stub: Any, one: Asked, name: str) -> Any:
    namespace = one.query.get("namespace")
    for item in stub.pipelines.values():
        if item.name == name and item.namespace == namespace:
            return as_json(item)
    raise RefusedError(404, f"Failed to get pipeline by name: ResourceNotFoundError: Pipeline {name} not found.")


def _version_of(stub: Any, given: Any) -> Any:
    reference = given.pipeline_version_reference
    if reference is None:
        if given.pipeline_spec is None:
            raise RefusedError(400, "Invalid input error: neither a pipeline version nor a spec is given")
        return given.pipeline_spec
    _found(stub.pipelines, reference.pipeline_id, "pipeline")
    if reference.pipeline_version_id is None:
        mine = [item for item in stub.versions.values() if item.pipeline_id == reference.pipeline_id]
        return max(mine, key=lambda item: item.created_at).pipeline_spec
    return _found(stub.versions, reference.pipeline_version_id, "pipeline version").pipeline_spec


def _check_job(stub: Any, given: Any) -> None:
    spec = _version_of(stub, given)
    words = wrong_arguments(spec, (given.runtime_config and given.runtime_config.parameters) or {})
    if words:
        raise RefusedError(400, f"Invalid input error: {'; '.join(words)}")


def _create_run(stub: Any, one: Asked) -> Any:
    given = stub.parsed(one, "V2beta1Run")
    if not given.display_name:
        raise RefusedError(400, "Invalid input error: The run name is empty")
    _check_job(stub, given)
    experiment = given.experiment_id or one.query.get("experiment_id")
    _found(stub.experiments, experiment or "", "experiment")
    facts = {name: getattr(given, name) for name in ("description", "pipeline_spec", "pipeline_version_reference")}
    facts |= {name: getattr(given, name) for name in ("runtime_config", "service_account")}
    return as_json(stub.add_run(given.display_name, experiment_id=experiment, **facts))


def _terminate(stub: Any, _one: Asked, identity: str) -> Any:
    run = _found(stub.runs, identity, "run")
    if run.state in FINISHED:
        raise RefusedError(400, f"Invalid input error: Failed to terminate run {identity}: it has finished")
    run.state = "CANCELING"
    return {}


def _retry(stub: Any, _one: Asked, identity: str) -> Any:
    run = _found(stub.runs, identity, "run")
    if run.state not in {"FAILED", "CANCELED"}:
        raise RefusedError(400, f"Bad request: Workflow must be Failed/Error to retry: run {identity} is {run.state}")
    run.state, run.finished_at = "RUNNING", None
    return {}


def _create_recurring(stub: Any, one: Asked) -> Any:
    given = stub.parsed(one, "V2beta1RecurringRun")
    _check_job(stub, given)
    if not 1 <= int(given.max_concurrency or 0) <= 10:
        raise RefusedError(400, f"Invalid input error: The max concurrency is {given.max_concurrency}: use 1 to 10")
    trigger = given.trigger
    if trigger is None or (trigger.cron_schedule is None) == (trigger.periodic_schedule is None):
        raise RefusedError(400, "Invalid input error: exactly one of cron and interval is needed")
    if given.mode is None:
        raise RefusedError(400, "Invalid input error: the mode is not given")
    _found(stub.experiments, given.experiment_id or "", "experiment")
    facts = {name: getattr(given, name) for name in given.openapi_types if getattr(given, name) is not None}
    name = facts.pop("display_name", "")
    return as_json(stub.add_recurring_run(name, **facts | {"status": f"{given.mode}D"}))


def _in_experiment(item: Any, one: Asked) -> bool:
    return one.query.get("experiment_id") in (None, "", item.experiment_id)


def _of_pipeline(item: Any, one: Asked) -> bool:
    return f"/pipelines/{item.pipeline_id}/" in one.path


def _in_namespace(item: Any, one: Asked) -> bool:
    return one.query.get("namespace") in (None, "", item.namespace)


_ONE = "/([^/:]+)"
_ROUTES: list[tuple[str, str, Callable[..., Any]]] = [
    ("GET", "/healthz", lambda stub, _one: stub.health),
    ("GET", "/experiments", _listed("experiments", "V2beta1ListExperimentsResponse", NAMED_KEYS, _in_namespace)),
    ("POST", "/experiments", _create_experiment),
    ("GET", f"/experiments{_ONE}", _got("experiments", "experiment")),
    ("DELETE", f"/experiments{_ONE}", _removed("experiments", "experiment")),
    ("POST", f"/experiments{_ONE}:archive", _changed("experiments", "experiment", storage_state="ARCHIVED")),
    ("POST", f"/experiments{_ONE}:unarchive", _changed("experiments", "experiment", storage_state="AVAILABLE")),
    ("GET", "/pipelines", _listed("pipelines", "V2beta1ListPipelinesResponse", NAMED_KEYS, _in_namespace)),
    ("POST", "/pipelines", _create_pipeline),
    ("POST", "/pipelines/upload", _upload),
    ("POST", "/pipelines/upload_version", _upload_version),
    ("GET", f"/pipelines/names{_ONE}", _pipeline_by_name),
    ("GET", f"/pipelines{_ONE}", _got("pipelines", "pipeline")),
    ("DELETE", f"/pipelines{_ONE}", _removed("pipelines", "pipeline")),
    (
        "GET",
        f"/pipelines{_ONE}/versions",
        _listed("versions", "V2beta1ListPipelineVersionsResponse", NAMED_KEYS, _of_pipeline),
    ),
    ("GET", f"/pipelines/[^/]+/versions{_ONE}", _got("versions", "pipeline version")),
    ("DELETE", f"/pipelines/[^/]+/versions{_ONE}", _removed("versions", "pipeline version")),
    ("GET", "/runs", _listed("runs", "V2beta1ListRunsResponse", RUN_KEYS, _in_experiment)),
    ("POST", "/runs", _create_run),
    ("GET", f"/runs{_ONE}", _got("runs", "run")),
    ("DELETE", f"/runs{_ONE}", _removed("runs", "run")),
    ("POST", f"/runs{_ONE}:archive", _changed("runs", "run", storage_state="ARCHIVED")),
    ("POST", f"/runs{_ONE}:unarchive", _changed("runs", "run", storage_state="AVAILABLE")),
    ("POST", f"/runs{_ONE}:terminate", _terminate),
    ("POST", f"/runs{_ONE}:retry", _retry),
    (
        "GET",
        "/recurringruns",
        _listed("recurring_runs", "V2beta1ListRecurringRunsResponse", NAMED_KEYS, _in_experiment),
    ),
    ("POST", "/recurringruns", _create_recurring),
    ("GET", f"/recurringruns{_ONE}", _got("recurring_runs", "recurring run")),
    ("DELETE", f"/recurringruns{_ONE}", _removed("recurring_runs", "recurring run")),
    ("POST", f"/recurringruns{_ONE}:enable", _changed("recurring_runs", "recurring run", status="ENABLED")),
    ("POST", f"/recurringruns{_ONE}:disable", _changed("recurring_runs", "recurring run", status="DISABLED")),
]


def route(one: Asked) -> tuple[Callable[..., Any], list[str]]:
    """What answers a request, and the names in its path."""
    for method, pattern, action in _ROUTES:
        found = re.fullmatch(API + pattern, one.path)
        if found and method == one.method:
            return action, [unquote(part) for part in found.groups()]
    raise RefusedError(404, "Not Found")
