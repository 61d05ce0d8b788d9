"""Runs as Kubeflow's API gives them: listed, fetched, found by what a person types, and the steps of their pipeline."""

import difflib
import itertools
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from components.shared.errors import ClusterAccessError, ClusterError, ConfigError
from pipelines.backends.cluster.calls import asked
from pipelines.backends.cluster.connection import Cluster
from pipelines.runs.spec import pipeline_of_spec, tasks_of
from pipelines.runs.told import KfpRun, read_run

PAGE = 50
MOST_SEARCHED = 200  # runs among which a name is looked for that comes near
SHORTEST = 4  # letters of an id that may name a run
LATEST = "latest"
_NOT_FOUND = 404
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_CANDIDATES = 5


@dataclass
class KfpRuns:
    """The runs of a Kubeflow Pipelines; specs and names of pipelines are asked for once."""

    cluster: Cluster
    _specs: dict[str, dict[str, Any]] = field(default_factory=dict)
    _names: dict[str, str] = field(default_factory=dict)

    def get(self, run_id: str) -> KfpRun:
        """The run of that id; raises ``ClusterError`` with status 404 when there is none."""
        return read_run(self._ask(f"/runs/{run_id}", what=f"find the run {run_id!r}"))

    def newest(
        self, *, since: float | None = None, archived: bool | None = False, fits: Mapping[str, object] | None = None
    ) -> Iterator[KfpRun]:
        """All runs, the newest first.

        Args:
            since: seconds since 1970; none older.
            archived: those put away, or (``None``) all.
            fits: a further predicate of KFP's filters.
        """
        predicates = [dict(fits)] if fits else []
        if archived is not None:
            kept = "ARCHIVED" if archived else "AVAILABLE"
            predicates.append({"operation": "EQUALS", "key": "storage_state", "stringValue": kept})
        if since is not None:
            moment = datetime.fromtimestamp(since, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            predicates.append({"operation": "GREATER_THAN_EQUALS", "key": "created_at", "timestampValue": moment})
        token = ""
        while True:
            query = {"page_size": str(PAGE), "sort_by": "created_at desc", **self._namespace()}
            query |= {"page_token": token} if token else {}
            query |= {"filter": json.dumps({"predicates": predicates})} if predicates else {}
            answer = self._ask("/runs", query, what="list the runs")
            yield from map(read_run, answer.get("runs") or [])
            token = answer.get("next_page_token") or ""
            if not token:
                return

    def find(self, text: str) -> KfpRun:
        """The run that a person means: an id, at least four of its first letters, a name, or ``latest``.

        Raises:
            ConfigError: there is none, or there are several; those that come near are named.
        """
        if _UUID.fullmatch(text.lower()):
            try:
                return self.get(text.lower())
            except ClusterError as error:
                if error.status != _NOT_FOUND:
                    raise
        if text == LATEST:
            newest = next(self.newest(), None)
            if newest is None:
                raise ConfigError("There is no run yet.")
            return self.get(newest.run_id)
        named = {"operation": "EQUALS", "key": "display_name", "stringValue": text}
        begun = {"operation": "IS_SUBSTRING", "key": "run_id", "stringValue": text.lower()}
        for predicate in (named, begun) if len(text) >= SHORTEST else (named,):
            found = {run.run_id: run.display_name for run in self.newest(archived=None, fits=predicate)}
            if found and (predicate is named or any(run.startswith(text.lower()) for run in found)):
                return self.get(chosen(text, found))
        some = itertools.islice(self.newest(archived=None), MOST_SEARCHED)
        return self.get(chosen(text, {run.run_id: run.display_name for run in some}))

    def pipeline(self, run: KfpRun) -> str:
        """The name of the run's pipeline; empty when nothing tells."""
        if run.pipeline_spec:
            return str(pipeline_of_spec(run.pipeline_spec).get("pipelineInfo", {}).get("name", ""))
        identity = run.pipeline_version_reference.pipeline_id
        if identity and identity not in self._names:
            self._names[identity] = self._ask_name(identity)
        return self._names.get(identity, "")

    def steps(self, run: KfpRun) -> list[str]:
        """The tasks of the run's pipeline that do something, in their order; empty when its spec is gone."""
        return tasks_of(self._spec(run))

    def inputs(self, run: KfpRun) -> dict[str, Any]:
        """The parameters of the run's pipeline as its spec declares them; empty when it is gone."""
        return dict(self._spec(run).get("root", {}).get("inputDefinitions", {}).get("parameters", {}))

    def _spec(self, run: KfpRun) -> dict[str, Any]:
        if run.pipeline_spec:
            return pipeline_of_spec(run.pipeline_spec)
        reference = run.pipeline_version_reference
        version = reference.pipeline_version_id
        if version and version not in self._specs:
            api = self.cluster.kfp.pipelines
            try:
                found = asked(
                    api.pipeline_service_get_pipeline_version,
                    pipeline_id=reference.pipeline_id,
                    pipeline_version_id=version,
                    what="read the pipeline of the run",
                )
                self._specs[version] = pipeline_of_spec(found.pipeline_spec or {})
            except ClusterAccessError:
                self._specs[version] = {}  # deleted, or not ours to see: the run's own rows have to do
        return self._specs.get(version, {})

    def _ask_name(self, identity: str) -> str:
        api = self.cluster.kfp.pipelines
        try:
            found = asked(api.pipeline_service_get_pipeline, pipeline_id=identity, what="read the pipeline's name")
        except ClusterAccessError:
            return ""
        return str(getattr(found, "name", None) or found.display_name or "")

    def _ask(self, path: str, query: Mapping[str, str] | None = None, *, what: str) -> dict[str, Any]:
        """The JSON of an answer: the generated models cost seconds for a hundred runs, each with dozens of rows."""
        answer = asked(
            self.cluster.kfp.api_client.call_api,
            f"/apis/v2beta1{path}",
            "GET",
            query_params=list((query or {}).items()),
            response_type="object",
            auth_settings=["Bearer"],
            _return_http_data_only=True,
            what=what,
            again=True,
        )
        return dict(answer or {})

    def _namespace(self) -> dict[str, str]:
        namespace = self.cluster.api_namespace
        return {"namespace": namespace} if namespace else {}


def chosen(text: str, runs: Mapping[str, str]) -> str:
    """The id of the run that ``text`` means, of runs as name by id.

    Raises:
        ConfigError: there is none, or there are several.
    """
    if text in runs:
        return text
    found = [run for run, name in runs.items() if name == text]
    if not found and len(text) >= SHORTEST:
        found = [run for run in runs if run.startswith(text.lower())]
    if len(found) == 1:
        return found[0]
    if found:
        more = f" and {len(found) - _CANDIDATES} more" if len(found) > _CANDIDATES else ""
        shown = "; ".join(f"{run} ({runs[run]})" for run in found[:_CANDIDATES])
        raise ConfigError(f"{text!r} means {len(found)} runs: {shown}{more}. Give more of the id.")
    near = difflib.get_close_matches(text, [*runs, *runs.values()], n=3, cutoff=0.5)
    near = near or [name for name in dict.fromkeys(runs.values()) if text.lower() in name.lower()][:3]
    hint = f" Did you mean {' or '.join(repr(name) for name in near)}?" if near else ""
    raise ConfigError(f"There is no run {text!r}: give its name, its id or the first letters of it.{hint}")
