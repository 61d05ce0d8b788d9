"""The doctor's look at a Kubeflow Pipelines and the cluster beneath it."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from functools import partial
from typing import Any

import kfp
from kubernetes import client as kubernetes_client

from components.shared.errors import PipelineError
from pipelines.backends.cluster.calls import asked
from pipelines.backends.cluster.connection import NEWEST, OLDEST, Cluster
from pipelines.doctor.findings import Check, Finding, ok, problem, run_checks, warning
from pipelines.doctor.namespace import check_accounts, check_quotas, check_rights, check_security, check_storage
from pipelines.doctor.nodes import Needs, check_nodes, check_steps
from pipelines.doctor.package import PackageNeeds
from pipelines.doctor.secrets import TRIES, check_launcher, check_secrets

_SKEW_WARNED, _SKEW_REFUSED = 30.0, 300.0  # seconds; tokens and signatures are valid for minutes
_GROUP_SHARE = 0.9  # of the time, so that the checks inside a check end before it


@dataclass(frozen=True)
class Asked:
    """What the cluster is to be good for: a package, and the training's own pod."""

    package: PackageNeeds
    training: Needs


def cluster_checks(cluster: Cluster, what: Asked, seconds: float) -> list[Check]:
    """The checks of a cluster; those of Kubernetes run side by side inside one."""
    return [
        Check("kubeflow", partial(check_kubeflow, cluster)),
        Check("kubernetes", partial(_check_kubernetes, cluster, what, seconds * _GROUP_SHARE), unable="warning"),
    ]


def check_kubeflow(cluster: Cluster) -> Iterator[Finding]:
    """The server's health, whether it knows who asks, its version and its clock.

    Raises:
        ClusterError: it is not reached, fails, or refuses.
    """
    health = cluster.health
    host = cluster.kfp.api_client.configuration.host
    namespace = cluster.api_namespace
    where: dict[str, Any] = {"namespace": namespace} if namespace else {}
    listing = cluster.kfp.pipelines.pipeline_service_list_pipelines
    asked(listing, page_size=1, what="list the pipelines", tries=TRIES, **where)
    yield ok("kubeflow", f"{host!r} is healthy and knows you{f' in {namespace!r}' if namespace else ''}")
    yield _versions(health.version, health.numbers)
    telling = cluster.kfp.api_client.call_api
    path, what = ("/apis/v2beta1/healthz", "GET"), "tell the time"
    answer = asked(telling, *path, what=what, again=True, response_type="object", auth_settings=["Bearer"])
    yield from clock("kubeflow clock", answer[2])


def clock(name: str, headers: Mapping[str, str]) -> Iterator[Finding]:
    """Compare the ``Date`` of an answer that just came with the clock here; nothing when it has none."""
    sent = {key.lower(): value for key, value in headers.items()}.get("date", "")
    try:
        skew = parsedate_to_datetime(sent).timestamp() - time.time()
    except ValueError:
        return
    text = f"the server's clock is {abs(skew):.0f} s {'ahead of' if skew > 0 else 'behind'} this machine's"
    if abs(skew) >= _SKEW_REFUSED:
        yield problem(name, text, "Set both clocks by NTP: tokens and signed requests would be refused.")
    elif abs(skew) >= _SKEW_WARNED:
        yield warning(name, text, "Set both clocks by NTP.")
    else:
        yield ok(name, "agrees with this machine's")


def _versions(version: str, numbers: tuple[int, int] | None) -> Finding:
    ours = kfp.__version__
    supported = f"{OLDEST[0]}.{OLDEST[1]} to {NEWEST[0]}.{NEWEST[1]}"
    if numbers is None:
        return warning("versions", f"the server does not tell its version; kfp here is {ours}", f"Use {supported}.")
    said = f"the server is {version}, kfp here is {ours}"
    if numbers < OLDEST:
        return problem(
            "versions", f"{said}: the server does not know all that is sent to it", f"Upgrade it: {supported}."
        )
    if numbers > NEWEST:
        return warning("versions", f"{said}: nobody tried the two together", f"Tried are {supported}.")
    return ok("versions", said)


def _check_kubernetes(cluster: Cluster, what: Asked, seconds: float) -> Iterator[Finding]:
    telling = cluster.api(kubernetes_client.VersionApi).get_code_with_http_info
    version, _, headers = asked(telling, what="tell its version", tries=TRIES)
    yield ok("kubernetes", f"{version.git_version}")
    yield from clock("kubernetes clock", headers)
    namespace, multi_user = _namespace(cluster)
    looks: dict[str, Callable[[], Iterable[Finding]]] = {
        "secrets": partial(check_secrets, cluster, namespace, what.package),
        "kfp-launcher": partial(check_launcher, cluster, namespace),
        "pod security": partial(check_security, cluster, namespace, what.package),
        "service account": partial(check_accounts, cluster, namespace, multi_user=multi_user),
        "rights": partial(check_rights, cluster, namespace),
        "quotas": partial(check_quotas, cluster, namespace, what.training),
        "nodes": partial(_nodes, cluster, what),
        "storage class": partial(check_storage, cluster),
    }
    yield from run_checks([Check(name, look, unable="warning") for name, look in looks.items()], seconds)


def _nodes(cluster: Cluster, what: Asked) -> Iterator[Finding]:
    found = asked(cluster.core().list_node, what="list the nodes", tries=TRIES).items
    yield from check_nodes(found, what.training)
    yield from check_steps(found, what.package.steps)


def _namespace(cluster: Cluster) -> tuple[str, bool]:
    """The namespace of runs and whether there are several, also when Kubeflow itself cannot be asked."""
    try:
        return cluster.namespace, cluster.health.multi_user
    except PipelineError:
        return cluster.endpoint.namespace or cluster.endpoint.kfp_namespace, bool(cluster.endpoint.namespace)
