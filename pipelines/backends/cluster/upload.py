"""A package as a version of a pipeline: uploaded once, found again by its name, which its content gives it."""

import json
import re
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import kfp_server_api

from components.shared.errors import ClusterError
from pipelines.backends.cluster.calls import asked
from pipelines.backends.cluster.connection import Cluster
from pipelines.packages import Package

NOT_FOUND, TAKEN = 404, 409
LARGEST_PAGE = 200


@dataclass(frozen=True)
class Uploaded:
    """A version in the server; ``new``: it was uploaded now."""

    pipeline_id: str
    version_id: str
    new: bool

    @property
    def reference(self) -> kfp_server_api.V2beta1PipelineVersionReference:
        """As runs and recurring runs name it."""
        return kfp_server_api.V2beta1PipelineVersionReference(
            pipeline_id=self.pipeline_id, pipeline_version_id=self.version_id
        )


def upload_package(cluster: Cluster, package: Package, description: str = "") -> Uploaded:
    """The package's version in the server, uploaded when no version has its name yet.

    Raises:
        ClusterError: the server failed or refused.
    """
    pipeline_id, name = _pipeline_id(cluster, package.name), version_name(package)
    found = _version_id(cluster, pipeline_id, name)
    if found:
        return Uploaded(pipeline_id, found, new=False)
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / f"{package.name}.yaml"
        path.write_text(package.text, encoding="utf-8")
        made = _unless_taken(
            cluster.kfp.pipeline_uploads.upload_pipeline_version,
            str(path),
            name=name,
            pipelineid=pipeline_id,
            description=description or f"sha256 {package.digest}",
            what=f"upload version {name!r} of {package.name!r}",
        )
    if made is not None:
        return Uploaded(pipeline_id, str(made.pipeline_version_id), new=True)
    found = _version_id(cluster, pipeline_id, name)
    if not found:
        raise ClusterError(
            f"Kubeflow says that {package.name!r} has a version {name!r} and does not list it: look at"
            " the pipeline in the UI, and whose namespace it is in.",
            TAKEN,
        )
    return Uploaded(pipeline_id, found, new=False)


def version_name(package: Package) -> str:
    """The version's name, in letters that also a Kubernetes object may have: some servers keep versions as such."""
    return re.sub(r"[^a-z0-9.-]", "-", package.version_name.lower()).strip("-.")


def experiment_id(cluster: Cluster, name: str) -> str:
    """The experiment of this name, made when there is none.

    Raises:
        ClusterError: the server failed or refused.
    """
    namespace = cluster.api_namespace
    body = kfp_server_api.V2beta1Experiment(display_name=name, namespace=namespace)
    for _ in range(2):  # somebody else may make it in between
        found = listed(
            cluster.kfp.experiments.experiment_service_list_experiments,
            "experiments",
            what="list the experiments",
            filter=equals("display_name", name),
            **({"namespace": namespace} if namespace else {}),
        )
        if found:
            return str(found[0].experiment_id)
        made = _unless_taken(
            cluster.kfp.experiments.experiment_service_create_experiment,
            body,
            what=f"create the experiment {name!r}",
        )
        if made is not None:
            return str(made.experiment_id)
    raise ClusterError(f"Kubeflow says that there is an experiment {name!r} and does not list it.", TAKEN)


def equals(key: str, value: str) -> str:
    """A filter for list requests."""
    return json.dumps({"predicates": [{"operation": "EQUALS", "key": key, "string_value": value}]})


def listed(call: Callable[..., Any], field: str, *, what: str, **named: Any) -> list[Any]:  # noqa: ANN401
    """Everything a list request gives, page after page."""
    found: list[Any] = []
    token = ""
    while True:
        page = asked(call, page_token=token, page_size=LARGEST_PAGE, what=what, **named)
        found += getattr(page, field) or []
        token = page.next_page_token or ""
        if not token:
            return found


def _pipeline_id(cluster: Cluster, name: str) -> str:
    namespace = cluster.api_namespace
    scope = {"namespace": namespace} if namespace else {}
    body = kfp_server_api.V2beta1Pipeline(name=name, display_name=name, namespace=namespace)
    for _ in range(2):  # somebody else may make it in between
        found = listed(
            cluster.kfp.pipelines.pipeline_service_list_pipelines,
            "pipelines",
            what=f"look for the pipeline {name!r}",
            filter=equals("display_name", name),
            **scope,
        )
        if found:
            return str(found[0].pipeline_id)
        made = _unless_taken(
            cluster.kfp.pipelines.pipeline_service_create_pipeline, body, what=f"create the pipeline {name!r}"
        )
        if made is not None:
            return str(made.pipeline_id)
    raise ClusterError(f"Kubeflow says that there is a pipeline {name!r} and does not list it.", TAKEN)


def _version_id(cluster: Cluster, pipeline_id: str, name: str) -> str:
    found = listed(
        cluster.kfp.pipelines.pipeline_service_list_pipeline_versions,
        "pipeline_versions",
        what="list the versions of the pipeline",
        pipeline_id=pipeline_id,
        filter=equals("display_name", name),
    )
    return str(found[0].pipeline_version_id) if found else ""


def _unless_taken(call: Callable[..., Any], *arguments: object, what: str, **named: Any) -> Any:  # noqa: ANN401
    """What a call made; ``None`` when the name was taken. Sent again when its answer was lost: the name settles it."""
    try:
        return asked(call, *arguments, what=what, again=True, **named)
    except ClusterError as error:
        if error.status != TAKEN:
            raise
        return None
