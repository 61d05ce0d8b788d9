"""What changes runs on a cluster: retry, run again, put away and delete."""

import difflib
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import kfp_server_api

from components.shared.errors import ConfigError, PipelineError, in_one_line
from pipelines.backends.cluster.calls import asked
from pipelines.backends.cluster.start import Job, start_run
from pipelines.backends.cluster.upload import Uploaded
from pipelines.runs.facts import Collector
from pipelines.runs.status import FINAL
from pipelines.runs.store import forget, unmark_terminated
from pipelines.runs.told import KfpRun

Say = Callable[[str], None]


def retry(collector: Collector, run: KfpRun) -> None:
    """Let a failed run go on with the step that failed; its id stays.

    Raises:
        ConfigError: it has not failed.
        ClusterError: Kubeflow refused or failed.
    """
    if run.state not in {"FAILED", "CANCELED"}:
        helps = "abort it first" if run.state not in FINAL else "'rerun' starts it anew"
        raise ConfigError(
            f"The run {run.run_id!r} is {run.state or 'not begun'}, and only a failed one is retried: {helps}."
        )
    api = collector.cluster.kfp.runs
    asked(api.run_service_retry_run, run_id=run.run_id, what=f"retry the run {run.run_id!r}", again=False)
    store = collector.store_of(run)
    with suppress(PipelineError):
        if store is not None:
            unmark_terminated(store, run.run_id)


def rerun(collector: Collector, run: KfpRun, settings: Sequence[str], name: str = "") -> str:
    """Start a run of the same pipeline version with the same parameters, some set anew; the new run's id.

    Raises:
        ConfigError: a setting names no parameter of the pipeline, or its value is none.
        ClusterError: Kubeflow refused or failed.
    """
    parameters = {**run.parameters, **parsed_settings(settings, collector.runs.inputs(run))}
    name = name or f"{run.display_name} (rerun)"
    reference = run.pipeline_version_reference
    if reference.pipeline_version_id:
        version = Uploaded(reference.pipeline_id, reference.pipeline_version_id, new=False)
        return start_run(collector.cluster, Job(name, run.experiment_id, version, parameters, run.service_account))
    body = kfp_server_api.V2beta1Run(  # made from a file, without a version
        display_name=name,
        experiment_id=run.experiment_id,
        pipeline_spec=run.pipeline_spec,
        runtime_config=kfp_server_api.V2beta1RuntimeConfig(parameters=parameters),
        service_account=run.service_account or None,
    )
    api = collector.cluster.kfp.runs
    made = asked(api.run_service_create_run, body, what=f"start {run.display_name!r} again", again=False)
    return str(made.run_id)


def parsed_settings(settings: Sequence[str], inputs: Mapping[str, Any]) -> dict[str, object]:
    """``name=value`` settings as values of a pipeline's parameters, by the types that its spec gives.

    Raises:
        ConfigError: the name or the value is wrong.
    """
    values: dict[str, object] = {}
    for setting in settings:
        name, equals, text = setting.partition("=")
        if not equals:
            raise ConfigError(f"--set {setting!r}: write NAME=VALUE.")
        if inputs and name not in inputs:
            near = difflib.get_close_matches(name, list(inputs), n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise ConfigError(f"The run's pipeline has no parameter {name!r}.{hint}")
        kind = str(inputs.get(name, {}).get("parameterType", "STRING"))
        values[name] = _value(name, text, kind)
    return values


def _value(name: str, text: str, kind: str) -> object:
    read, wanted = _KINDS.get(kind, (str, ""))
    try:
        return read(text)
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{name}={text!r} must be {wanted}.") from error


def _boolean(text: str) -> bool:
    return {"true": True, "false": False}[text.lower()]


def _list(text: str) -> list[object]:
    found = json.loads(text)
    if not isinstance(found, list):
        raise TypeError(text)
    return found


def _mapping(text: str) -> dict[str, object]:
    found = json.loads(text)
    if not isinstance(found, dict):
        raise TypeError(text)
    return found


_KINDS: dict[str, tuple[Callable[[str], object], str]] = {
    "NUMBER_INTEGER": (int, "a whole number"),
    "NUMBER_DOUBLE": (float, "a number"),
    "BOOLEAN": (_boolean, "true or false"),
    "LIST": (_list, "a JSON list"),
    "STRUCT": (_mapping, "a JSON object"),
}


def archive(collector: Collector, run: KfpRun) -> None:
    """Put a run away; raises ``ClusterError``."""
    api = collector.cluster.kfp.runs
    asked(api.run_service_archive_run, run_id=run.run_id, what=f"archive the run {run.run_id!r}", again=True)


def delete(collector: Collector, run: KfpRun, say: Say) -> None:
    """Remove a run that is over, and what its store keeps of it; models and data sets stay.

    Raises:
        ConfigError: it goes on.
        ClusterError: Kubeflow refused or failed.
    """
    if run.state not in FINAL:
        raise ConfigError(f"The run {run.run_id!r} still goes on: abort it first.")
    api = collector.cluster.kfp.runs
    asked(api.run_service_delete_run, run_id=run.run_id, what=f"delete the run {run.run_id!r}")
    store = collector.store_of(run)
    try:
        if store is not None:
            forget(store, run.run_id)
    except PipelineError as error:
        say(f"note: its progress and record stay in the store ({in_one_line(error)}).")
