"""A cluster with one Deployment and its Service behind one address: it rolls out what it is told, well or badly."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

PATH = "/apis/apps/v1/namespaces/here/deployments/serving"
BY_NAME = ("initContainers", "containers", "env")  # lists that a strategic patch merges by name


@dataclass
class SmallCluster:
    """What the server knows.

    Attributes:
        deployment: as the API shows it.
        looks: how often the Deployment is read before a new template is rolled out.
        stuck: versions whose pods never become ready.
        broken: versions whose service answers every prediction with an error.
        tags: what a version answers as.
        failures: statuses that the next requests to the API get instead of an answer.
        versions: every version it was told, in order.
    """

    deployment: dict[str, Any]
    looks: int = 1
    stuck: set[str] = field(default_factory=set)
    broken: set[str] = field(default_factory=set)
    tags: dict[str, str] = field(default_factory=dict)
    failures: list[int] = field(default_factory=list)
    versions: list[str] = field(default_factory=list)
    address: str = ""
    _seen: int = 0

    @property
    def version(self) -> str:
        """What the containers name."""
        (variable,) = self.deployment["spec"]["template"]["spec"]["initContainers"][0]["env"][:1]
        return str(variable["value"])

    def read(self) -> dict[str, Any]:
        """The Deployment, as far as it is."""
        self._seen += 1
        status = self.deployment["status"]
        if status["observedGeneration"] < self.deployment["metadata"]["generation"] and self._seen > self.looks:
            self._roll(status)
        return self.deployment

    def _roll(self, status: dict[str, Any]) -> None:
        wanted = self.deployment["spec"]["replicas"]
        well = self.version not in self.stuck
        status["observedGeneration"] = self.deployment["metadata"]["generation"]
        status.update(replicas=wanted + (not well), updatedReplicas=wanted if well else 1, availableReplicas=wanted)
        late = {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded", "message": "timed out"}
        status["conditions"] = [] if well else [late]

    def patch(self, body: dict[str, Any]) -> dict[str, Any]:
        """Take in a strategic patch."""
        self.deployment = merged(self.deployment, body)
        self.deployment["metadata"]["generation"] += 1
        self.versions.append(self.version)
        self._seen = 0
        return self.deployment

    def predict(self) -> tuple[int, dict[str, Any]]:
        """What the Service answers."""
        if self.version in self.broken:
            return 503, {"error": "The model did not load."}
        return 200, {"model": self.tags.get(self.version, "?"), "width": 160, "height": 120, "boxes": []}


def merged(old: Any, patch: Any, name: str = "") -> Any:
    """A strategic merge patch: mappings are merged, lists of named things by their names."""
    if isinstance(patch, dict) and isinstance(old, dict):
        return old | {key: merged(old.get(key), value, key) for key, value in patch.items()}
    if name in BY_NAME and isinstance(old, list):
        new = {one["name"]: one for one in deepcopy(old)}
        for one in patch:
            new[one["name"]] = merged(new.get(one["name"]), one)
        return list(new.values())
    return patch


def serving(version: str, *, replicas: int = 2, variable: str = "MODEL_VERSION") -> dict[str, Any]:
    """The Deployment as manifests/components/serving has it, in short."""
    fetch = {"name": "model", "image": "i", "env": [{"name": variable, "value": version}, {"name": "HOME"}]}
    serve = {"name": "serving", "image": "i", "env": [{"name": "HOME", "value": "/tmp"}]}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "serving", "generation": 1},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"a": "b"}},
            "template": {"metadata": {}, "spec": {"initContainers": [fetch], "containers": [serve]}},
        },
        "status": {
            "observedGeneration": 1,
            "replicas": replicas,
            "updatedReplicas": replicas,
            "availableReplicas": replicas,
        },
    }


@contextmanager
def served(cluster: SmallCluster) -> Iterator[SmallCluster]:
    """Serve a cluster at ``cluster.address``."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._api(cluster.read)

        def do_PATCH(self) -> None:
            kind = self.headers["Content-Type"]
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            self._api(lambda: cluster.patch(body)) if "strategic" in kind else self._answer(415, {})

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self._answer(*cluster.predict())

        def _api(self, work: Any) -> None:
            if cluster.failures:
                status = cluster.failures.pop(0)
                self._answer(status, {"kind": "Status", "code": status})
            elif self.path.partition("?")[0] != PATH:
                self._answer(404, {"kind": "Status", "code": 404})
            else:
                self._answer(200, work())

        def _answer(self, status: int, body: dict[str, Any]) -> None:
            data = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    cluster.address = f"http://127.0.0.1:{server.server_port}"
    try:
        yield cluster
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
