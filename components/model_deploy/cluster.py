"""The serving Deployment in the Kubernetes API: which version it serves, how its rollout goes, and a new version."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import urllib3
from kubernetes import client, config
from kubernetes.client.exceptions import ApiException

from components.shared.errors import ClusterAccessError, ClusterError

VARIABLE = "MODEL_VERSION"  # which version a container of the Deployment serves or fetches
PORT = 3000
TRIES, PAUSE, TIMEOUT = 5, 2.0, 30.0  # of one request: attempts, seconds between two, seconds of each
_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
_REFUSED = frozenset({401, 403, 404, 422})


@dataclass(frozen=True)
class Rollout:
    """How far a Deployment is: ``ready`` of ``wanted`` pods serve the newest template; ``stuck`` says why not more."""

    wanted: int
    ready: int
    done: bool
    stuck: str = ""


class Deployment:
    """One Deployment, by name.

    Args:
        api: the Kubernetes API of Deployments.
        namespace: where it is.
        name: its name, and its Service's.
        address: where its Service answers.
    """

    def __init__(self, api: client.AppsV1Api, namespace: str, name: str, address: str = "") -> None:
        self._api = api
        self.namespace = namespace
        self.name = name
        self.address = address or f"http://{name}.{namespace}.svc:{PORT}"

    def __str__(self) -> str:
        return f"the Deployment {self.name!r} in {self.namespace!r}"

    def version(self) -> str:
        """The version that its containers name.

        Raises:
            ClusterAccessError: it is not there, may not be seen, or no container of it reads ``MODEL_VERSION``.
            ClusterError: the cluster does not answer.
        """
        named = [value for _, _, value in self._readers()]
        return named[0]

    def set_version(self, version: str) -> None:
        """Have every container that reads ``MODEL_VERSION`` read this one, by a strategic patch; raises as above."""
        parts: dict[str, list[dict[str, Any]]] = {}
        for kind, container, _ in self._readers():
            parts.setdefault(kind, []).append({"name": container, "env": [{"name": VARIABLE, "value": version}]})
        body = {"spec": {"template": {"spec": parts}}}
        self._asked(self._api.patch_namespaced_deployment, "be changed", body=body)

    def rollout(self) -> Rollout:
        """How far the newest template is rolled out; raises as above."""
        found = self._read()
        status, wanted = found.status, 1 if found.spec.replicas is None else found.spec.replicas
        seen = (status.observed_generation or 0) >= (found.metadata.generation or 0)
        updated, ready = status.updated_replicas or 0, status.available_replicas or 0
        alone = (status.replicas or 0) == updated  # no pod of an older template is left
        stuck = next((one.message or one.reason for one in status.conditions or [] if _is_stuck(one)), "")
        done = seen and alone and updated >= wanted and ready >= wanted
        return Rollout(wanted=wanted, ready=min(updated, ready), done=done, stuck=stuck if seen else "")

    def _readers(self) -> list[tuple[str, str, str]]:
        """Kind, name and version of each container that has the variable."""
        spec = self._read().spec.template.spec
        kinds = {"initContainers": spec.init_containers or [], "containers": spec.containers or []}
        found = [
            (kind, container.name, variable.value or "")
            for kind, containers in kinds.items()
            for container in containers
            for variable in container.env or []
            if variable.name == VARIABLE
        ]
        if not found:
            raise ClusterAccessError(
                f"No container of {self} has the variable {VARIABLE}: it is no Deployment of this project's serving;"
                " name another one as deploy, or none."
            )
        return found

    def _read(self) -> Any:  # noqa: ANN401 - kubernetes ships no types
        return self._asked(self._api.read_namespaced_deployment, "be read")

    def _asked(self, call: Callable[..., Any], what: str, **more: Any) -> Any:  # noqa: ANN401 - same
        """Call the API; what may pass by itself is tried again (every call here may be made twice)."""
        for attempt in range(1, TRIES + 1):
            try:
                return call(self.name, self.namespace, _request_timeout=TIMEOUT, **more)
            except ApiException as error:
                status = int(error.status or 0)
                if status in _REFUSED:
                    raise ClusterAccessError(self._refused(status, what), status=status) from error
                if attempt == TRIES:
                    raise ClusterError(f"{self} cannot {what}: the API answers {status} {error.reason}.") from error
            except (urllib3.exceptions.HTTPError, OSError) as error:
                if attempt == TRIES:
                    raise ClusterError(
                        f"{self} cannot {what}: the Kubernetes API does not answer ({error})."
                    ) from error
            time.sleep(PAUSE)
        raise AssertionError

    def _refused(self, status: int, what: str) -> str:
        if status == 404:  # noqa: PLR2004 - HTTP
            return f"{self} is not there: name another one as deploy, or install manifests/components/serving."
        if status == 422:  # noqa: PLR2004 - HTTP
            return f"{self} cannot {what}: Kubernetes says that the change is not valid."
        return (
            f"{self} may not {what} by the account of this run ({status}): bind the role 'deploy' of"
            " manifests/components/serving to it."
        )


def _is_stuck(condition: Any) -> bool:  # noqa: ANN401 - kubernetes ships no types
    late = condition.type == "Progressing" and condition.reason == "ProgressDeadlineExceeded"
    return bool(late or (condition.type == "ReplicaFailure" and condition.status == "True"))


def in_cluster(name: str) -> Deployment:
    """The Deployment of that name in the namespace of this pod.

    Raises:
        ClusterAccessError: this is no pod, or its account has no token.
    """
    try:
        config.load_incluster_config()
        namespace = _NAMESPACE.read_text(encoding="utf-8").strip()
    except (config.ConfigException, OSError) as error:
        raise ClusterAccessError(
            f"The Deployment {name!r} cannot be reached from here: deploy is for runs in a cluster; leave it empty."
        ) from error
    return Deployment(client.AppsV1Api(), namespace, name)
