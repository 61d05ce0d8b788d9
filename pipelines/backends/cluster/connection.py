"""A Kubeflow Pipelines that commands talk to: its clients, its health, and the cluster beneath it."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from kubernetes import client as kubernetes_client
from kubernetes import config as kubernetes_config
from yaml import YAMLError

from components.shared.errors import ClusterAccessError, ClusterError, ConfigError, in_one_line
from pipelines.backends.cluster.calls import asked
from pipelines.backends.cluster.client import QuietClient, make_client
from pipelines.backends.cluster.endpoint import (
    NAMESPACE,
    SERVICE_ACCOUNT,
    Endpoint,
    add_endpoint_options,
    check_named,
    endpoint_of,
    in_cluster,
    kubeconfig,
)

__all__ = ["Cluster", "Endpoint", "Health", "add_endpoint_options", "check_named", "connect", "endpoint_of"]
FIRST_TRIES = 2  # a wrong address is told soon
OLDEST = (2, 15)
NEWEST = (2, 17)
_VERSION = re.compile(r"^v?(\d+)\.(\d+)(?:\.|$|-|\+)")
UI_PORT_FORWARD = "kubectl port-forward -n {} svc/ml-pipeline-ui 8080:80"


@dataclass(frozen=True)
class Health:
    """What a server tells of itself: ``version`` is empty when it does not say; ``ui``: the UI has the same address."""

    version: str
    multi_user: bool
    ui: bool

    @property
    def numbers(self) -> tuple[int, int] | None:
        """The version's first two numbers."""
        found = _VERSION.match(self.version)
        return (int(found[1]), int(found[2])) if found else None


@dataclass
class Cluster:
    """A Kubeflow Pipelines and the cluster it runs in.

    Attributes:
        endpoint: how it is reached.
        kfp: kfp's client; its generated parts are ``kfp.runs``, ``kfp.pipelines``, ``kfp.experiments``,
            ``kfp.recurring_runs`` and more, to be called with ``asked``.
    """

    endpoint: Endpoint
    kfp: QuietClient = field(repr=False)

    @cached_property
    def health(self) -> Health:
        """The server's health, asked at first use; raises ``ClusterError``."""
        client = self.kfp.api_client
        said = asked(
            client.call_api,
            "/apis/v2beta1/healthz",
            "GET",
            response_type="object",
            auth_settings=["Bearer"],
            _return_http_data_only=True,
            what="tell its health",
            again=True,
            tries=FIRST_TRIES,
        )
        return _health(said, self.kfp.api_client.configuration.host)

    @property
    def namespace(self) -> str:
        """Where the pods of runs are: the user's namespace, or Kubeflow's own where there is one user."""
        return self.endpoint.namespace or (_own_namespace() if self.health.multi_user else self.endpoint.kfp_namespace)

    @property
    def api_namespace(self) -> str | None:
        """The namespace to name in requests: ``None`` where Kubeflow has one user.

        Raises:
            ConfigError: it has several, and nothing says which namespace is this user's.
        """
        if not self.health.multi_user:
            return None
        namespace = self.endpoint.namespace or _own_namespace()
        if not namespace:
            raise ConfigError(
                f"This Kubeflow has several users: say which namespace is yours with --namespace or {NAMESPACE}."
            )
        return namespace

    def ui_link(self, run_id: str) -> str:
        """The run's page in the UI; empty when its address is not known: see ``ui_hint``."""
        base = self.endpoint.ui_host or (self.endpoint.host if self.health.ui else "")
        return f"{base}/#/runs/details/{run_id}" if base else ""

    def ui_hint(self, run_id: str) -> str:
        """How a person gets to the run's page when there is no link."""
        forward = UI_PORT_FORWARD.format(self.endpoint.kfp_namespace)
        return f"http://localhost:8080/#/runs/details/{run_id} while this runs: {forward}"

    def core(self) -> Any:  # noqa: ANN401 - kubernetes ships no types
        """Kubernetes' ``CoreV1Api``; raises ``ClusterAccessError`` where nothing says how to reach the cluster."""
        return kubernetes_client.CoreV1Api(self._kubernetes)

    def custom(self) -> Any:  # noqa: ANN401 - same
        """Kubernetes' ``CustomObjectsApi``; raises as ``core``."""
        return kubernetes_client.CustomObjectsApi(self._kubernetes)

    def api(self, kind: Callable[[Any], Any]) -> Any:  # noqa: ANN401 - same
        """Any other of Kubernetes' APIs, such as ``kubernetes.client.AppsV1Api``; raises as ``core``."""
        return kind(self._kubernetes)

    @cached_property
    def _kubernetes(self) -> Any:  # noqa: ANN401 - same
        configuration = kubernetes_client.Configuration()
        configuration.retries = False
        try:
            if in_cluster() and not self.endpoint.kube_context:
                kubernetes_config.load_incluster_config(client_configuration=configuration)
            elif not kubeconfig():
                raise ClusterAccessError(
                    "This needs the cluster's own API, and there is no kubeconfig: set KUBECONFIG, or log in to it."
                )
            else:
                context = self.endpoint.kube_context or None
                kubernetes_config.load_kube_config(kubeconfig(), client_configuration=configuration, context=context)
        except (kubernetes_config.ConfigException, OSError, ValueError, KeyError, TypeError, YAMLError) as error:
            said = in_one_line(error, most=200)
            raise ClusterAccessError(f"The kubeconfig cannot be used ({said}): mend it, as for kubectl.") from error
        return kubernetes_client.ApiClient(configuration)


def connect(endpoint: Endpoint) -> Cluster:
    """The Kubeflow Pipelines at ``endpoint``; it is not asked anything yet.

    Raises:
        ConfigError: nothing says where it is, or a file that is named cannot be used.
        ClusterAccessError: the kubeconfig cannot be used.
    """
    return Cluster(endpoint, make_client(endpoint))


def _health(said: object, host: str) -> Health:
    if not isinstance(said, dict):
        raise ClusterError(f"Kubeflow at {host!r} does not tell its health: check the host.")
    ui = "frontendTagName" in said or "apiServerReady" in said
    if ui and said.get("apiServerReady") is False:
        raise ClusterError(
            f"The UI at {host!r} answers, but the API server behind it is not ready: look at the pods of ml-pipeline.",
            503,
        )
    version = str(said.get("apiServerTagName") or said.get("tag_name") or "")
    multi_user = bool(said.get("multi_user") or said.get("apiServerMultiUser"))
    return Health("" if version == "unknown" else version, multi_user=multi_user, ui=ui)


def _own_namespace() -> str:
    """The namespace of the pod this runs in."""
    try:
        return (SERVICE_ACCOUNT / "namespace").read_text(encoding="utf-8").strip()
    except OSError:
        return ""
