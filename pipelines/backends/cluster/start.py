"""A run that is started once, also when the answer to the request that started it is lost."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import kfp_server_api

from components.shared.errors import ClusterAccessError, ClusterError
from pipelines.backends.cluster.calls import asked, pause
from pipelines.backends.cluster.connection import NEWEST, OLDEST, Cluster, Health
from pipelines.backends.cluster.upload import Uploaded, equals, listed

TRIES = 4


@dataclass(frozen=True)
class Job:
    """What to start.

    Attributes:
        name: what people see.
        experiment_id: where it is listed.
        version: the pipeline.
        arguments: parameters that differ from the pipeline's defaults.
        service_account: whose rights its pods have; empty: Kubeflow's default.
    """

    name: str
    experiment_id: str
    version: Uploaded
    arguments: Mapping[str, Any]
    service_account: str = ""


def check_version(health: Health) -> str:
    """A warning about the server's version, or nothing.

    Raises:
        ClusterAccessError: it is too old for the pipelines here.
    """
    oldest, newest = (".".join(map(str, numbers)) for numbers in (OLDEST, NEWEST))
    if health.numbers is None:
        return f"Kubeflow Pipelines does not say its version; {oldest} or newer is needed."
    if health.numbers < OLDEST:
        raise ClusterAccessError(
            f"This is Kubeflow Pipelines {health.version}, and these pipelines need {oldest} or newer: upgrade it."
        )
    if health.numbers > NEWEST:
        return f"Kubeflow Pipelines {health.version} is newer than {newest}, which these pipelines were made for."
    return ""


def start_run(cluster: Cluster, job: Job) -> str:
    """Start it; returns the run's id.

    Raises:
        ClusterError: the server failed or refused.
    """
    description = f"submission {secrets.token_hex(8)}"  # by which it is found when the answer is lost
    body = kfp_server_api.V2beta1Run(
        display_name=job.name,
        description=description,
        experiment_id=job.experiment_id,
        pipeline_version_reference=job.version.reference,
        runtime_config=kfp_server_api.V2beta1RuntimeConfig(parameters=dict(job.arguments)),
        service_account=job.service_account or None,
    )
    for attempt in range(1, TRIES + 1):
        try:
            run = asked(cluster.kfp.runs.run_service_create_run, body, what=f"start the run {job.name!r}", again=False)
        except ClusterError as error:
            if isinstance(error, ClusterAccessError):
                raise
            found = _started(cluster, job, description)
            if found:
                return found
            if attempt == TRIES:
                raise
            pause(attempt)
        else:
            return str(run.run_id)
    raise AssertionError  # the last attempt returned or raised


def _started(cluster: Cluster, job: Job, description: str) -> str:
    found = listed(
        cluster.kfp.runs.run_service_list_runs,
        "runs",
        what="look for the run that was just started",
        experiment_id=job.experiment_id,
        filter=equals("display_name", job.name),
    )
    return next((str(run.run_id) for run in found if run.description == description), "")
