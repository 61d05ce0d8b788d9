"""A Kubernetes API that lives in this process and is talked to over real HTTP, as the kubernetes client does.

    with KubeStub() as kube:
        kube.put("pods", {"metadata": {"name": "a", "labels": {"pipeline/runid": "1"}}, "status": {"phase": "Pending"}})
        kube.log("a", "first line\\n")
        config = kubernetes.client.Configuration(host=kube.url)      # or kube.kubeconfig(tmp_path / "config")

Any resource of any group works alike (``put``, ``find``, ``all``); what is special: pod logs that grow while they are
followed, pods that take their time to end, refusals (``forbid``), failures (``fail``) and access reviews.
"""

import json
import re
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

import yaml

from tests.pipelines.cluster.kube_match import (
    Failure,
    PodLog,
    Refused,
    Request,
    has_fields,
    has_labels,
    patched,
)

NAMESPACE = "kubeflow"
CLUSTER_WIDE = {
    "nodes", "namespaces", "persistentvolumes", "storageclasses", "priorityclasses", "clusterqueues", "resourceflavors",
    "customresourcedefinitions",
}  # fmt: skip
KINDS = {
    "pods": "Pod", "events": "Event", "nodes": "Node", "namespaces": "Namespace", "secrets": "Secret",
    "configmaps": "ConfigMap", "resourcequotas": "ResourceQuota", "limitranges": "LimitRange",
    "deployments": "Deployment", "workflows": "Workflow", "storageclasses": "StorageClass", "services": "Service",
    "serviceaccounts": "ServiceAccount", "persistentvolumeclaims": "PersistentVolumeClaim",
    "scheduledworkflows": "ScheduledWorkflow",
}  # fmt: skip
VERSION = dict.fromkeys(("buildDate", "compiler", "gitCommit", "gitTreeState", "goVersion", "platform"), "x") | {
    "major": "1",
    "minor": "33",
    "gitVersion": "v1.33.1",
}
_PATH = re.compile(
    r"^/(?:api/(?P<core>v1)|apis/(?P<group>[^/]+)/(?P<version>[^/]+))"
    r"(?:/namespaces/(?P<namespace>[^/]+)(?=/))?/(?P<plural>[^/]+)(?:/(?P<name>[^/]+))?(?:/(?P<sub>[^/]+))?$"
)
_REASONS = {400: "BadRequest", 401: "Unauthorized", 403: "Forbidden", 404: "NotFound", 409: "Conflict", 410: "Expired"}


@dataclass
class KubeStub:
    """The cluster: its objects, what went over the wire, and how it misbehaves.

    Attributes:
        requests: what was asked, in order.
        version: what ``/version`` answers.
        linger: seconds a deleted pod takes to end; infinite: it never does, until it is deleted with grace 0.
        on_delete: called with a pod that is being deleted.
        token: when set, requests need it as bearer token.
    """

    requests: list[Request] = field(default_factory=list)
    version: dict[str, str] = field(default_factory=lambda: dict(VERSION))
    linger: float = 0.0
    on_delete: Callable[[dict[str, Any]], None] | None = None
    token: str = ""

    def __post_init__(self) -> None:
        self._objects: dict[tuple[str, str, str], dict[str, Any]] = {}
        self._logs: dict[tuple[str, str], PodLog] = {}
        self._forbidden: list[tuple[str, str]] = []
        self._failures: list[Failure] = []
        self._revision = 100
        self._lock = threading.RLock()
        handler = type("Handler", (_Handler,), {"stub": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def kubeconfig(self, path: Path, namespace: str = NAMESPACE, context: str = "stub") -> Path:
        """A kubeconfig file that leads here."""
        user = {"token": self.token} if self.token else {}
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "stub", "cluster": {"server": self.url}}],
            "users": [{"name": "stub", "user": user}],
            "contexts": [{"name": context, "context": {"cluster": "stub", "user": "stub", "namespace": namespace}}],
            "current-context": context,
        }
        path.write_text(yaml.safe_dump(config), encoding="utf-8")
        return path

    def put(self, plural: str, body: dict[str, Any], namespace: str = NAMESPACE) -> dict[str, Any]:
        """Add or replace an object; what every object has is filled in."""
        body = deepcopy(body)
        metadata = body.setdefault("metadata", {})
        metadata.setdefault("name", f"{metadata.get('generateName', plural)}{uuid.uuid4().hex[:8]}")
        metadata.setdefault("uid", str(uuid.uuid4()))
        metadata.setdefault("creationTimestamp", now())
        if plural not in CLUSTER_WIDE:
            metadata.setdefault("namespace", namespace)
        body.setdefault("kind", KINDS.get(plural, plural.removesuffix("s").capitalize()))
        with self._lock:
            self._revision += 1
            metadata["resourceVersion"] = str(self._revision)
            self._objects[plural, self._space(plural, metadata.get("namespace", namespace)), metadata["name"]] = body
        return body

    def event(self, pod: str, reason: str, message: str, *, kind: str = "Warning", namespace: str = NAMESPACE) -> None:
        """An event about a pod."""
        about = {"kind": "Pod", "name": pod, "namespace": namespace, "apiVersion": "v1"}
        times = {"firstTimestamp": now(), "lastTimestamp": now(), "count": 1}
        event = {"involvedObject": about, "reason": reason, "message": message, "type": kind, **times}
        self.put("events", {**event, "metadata": {"name": f"{pod}.{uuid.uuid4().hex[:12]}"}}, namespace)

    def log(
        self, pod: str, text: str, *, container: str = "main", before: str | None = None, live: bool = False
    ) -> None:
        """Append to a container's log; ``live``: who follows it waits for more, ``before``: the former instance's."""
        with self._lock:
            log = self._logs.setdefault((pod, container), PodLog())
            log.text += text
            log.open = live
            log.before = before if before is not None else log.before

    def find(self, plural: str, name: str, namespace: str = NAMESPACE) -> dict[str, Any] | None:
        """The object as it is now, or ``None``."""
        with self._lock:
            found = self._objects.get((plural, self._space(plural, namespace), name))
            return deepcopy(found)

    def all(self, plural: str, namespace: str | None = None) -> list[dict[str, Any]]:
        """The objects of a kind, by name."""
        with self._lock:
            keys = sorted(key for key in self._objects if key[0] == plural and namespace in {None, key[1]})
            return [deepcopy(self._objects[key]) for key in keys]

    def remove(self, plural: str, name: str, namespace: str = NAMESPACE) -> None:
        """Take an object away at once; fine when it is not there."""
        with self._lock:
            self._objects.pop((plural, self._space(plural, namespace), name), None)

    def forbid(self, verb: str, plural: str) -> None:
        """Answer 403 to a verb (get, list, create, update, patch, delete or ``*``) on ``plural`` (or ``*``)."""
        self._forbidden.append((verb, plural))

    def fail(self, status: int, pattern: str = ".*", *, times: int = 1, method: str = "", message: str = "") -> None:
        """Answer the next ``times`` requests whose path matches with ``status``; 0: cut the connection."""
        self._failures.append(Failure(method, re.compile(pattern), status, times, message))

    def asked(self, method: str, pattern: str = ".*") -> list[Request]:
        """The requests of a method whose path matches."""
        return [one for one in self.requests if one.method == method and re.search(pattern, one.path)]

    def failure_for(self, method: str, path: str) -> Failure | None:
        """The failure that is due for this request, counted down."""
        with self._lock:
            for failure in self._failures:
                if failure.left > 0 and failure.method in {"", method} and failure.pattern.search(path):
                    failure.left -= 1
                    return failure
        return None

    def allows(self, verb: str, plural: str) -> bool:
        """Whether nothing forbids it."""
        return not any(v in {verb, "*"} and p in {plural, "*"} for v, p in self._forbidden)

    def delete(self, plural: str, name: str, namespace: str, grace: float | None) -> dict[str, Any]:
        """End an object; a pod takes ``linger`` seconds unless its grace is 0."""
        found = self.find(plural, name, namespace)
        if found is None:
            raise Refused(404, f'{plural} "{name}" not found')
        if plural != "pods" or grace == 0 or not self.linger:
            self.remove(plural, name, namespace)
        else:
            found["metadata"]["deletionTimestamp"] = now()
            self.put(plural, found, namespace)
            if self.linger != float("inf"):
                timer = threading.Timer(self.linger, self.remove, (plural, name, namespace))
                timer.daemon = True
                timer.start()
        if plural == "pods" and self.on_delete:
            self.on_delete(found)
        return found

    def read_log(self, pod: str, query: dict[str, str]) -> Iterator[bytes]:
        """A container's log as the kubelet sends it, following it where that is asked for."""
        key = (pod, query.get("container") or "main")
        log = self._logs.get(key)
        if log is None:
            raise Refused(400, f'container "{key[1]}" in pod "{pod}" is waiting to start: PodInitializing')
        if query.get("previous", "").lower() == "true":
            if log.before is None:
                raise Refused(400, f'previous terminated container "{key[1]}" in pod "{pod}" not found')
            return iter([log.before.encode()])
        return self._follow(log, int(query.get("tailLines", 0)), follow=query.get("follow", "").lower() == "true")

    @staticmethod
    def _follow(log: PodLog, tail: int, *, follow: bool) -> Iterator[bytes]:
        text = log.text
        sent = len(text)
        yield "".join(text.splitlines(keepends=True)[-tail:] if tail else [text]).encode()
        while follow and (log.open or len(log.text) > sent):
            if len(log.text) > sent:
                more, sent = log.text[sent:], len(log.text)
                yield more.encode()
            time.sleep(0.02)

    @staticmethod
    def _space(plural: str, namespace: str) -> str:
        return "" if plural in CLUSTER_WIDE else namespace


class _Handler(BaseHTTPRequestHandler):
    stub: KubeStub
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def do_PUT(self) -> None:
        self._answer()

    def do_PATCH(self) -> None:
        self._answer()

    def do_DELETE(self) -> None:
        self._answer()

    def log_message(self, *_: object) -> None:
        """Keep silent."""

    def _answer(self) -> None:
        parts = urlsplit(self.path)
        query = {name: values[-1] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = json.loads(raw) if raw else None
        authorization = self.headers.get("Authorization", "")
        self.stub.requests.append(Request(self.command, parts.path, query, body, authorization))
        try:
            self._serve(parts.path, query, body, authorization)
        except Refused as refused:
            self._refuse(refused.status, str(refused))
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def _serve(self, path: str, query: dict[str, str], body: Any, authorization: str) -> None:
        failure = self.stub.failure_for(self.command, path)
        if failure is not None and failure.status == 0:
            self.close_connection = True
            self.connection.close()
            return
        if failure is not None:
            raise Refused(failure.status, failure.message or "the server has failed on purpose")
        if self.stub.token and authorization != f"Bearer {self.stub.token}":
            raise Refused(401, "Unauthorized")
        if path.rstrip("/") == "/version":
            self._send(200, self.stub.version)
            return
        found = _PATH.match(path)
        if found is None:
            raise Refused(404, "the server could not find the requested resource")
        if found["plural"] == "selfsubjectaccessreviews":
            attributes = body["spec"]["resourceAttributes"]
            allowed = self.stub.allows(attributes.get("verb", ""), attributes.get("resource", ""))
            self._send(201, {**body, "status": {"allowed": allowed}})
            return
        self._check_rights(found)
        self._resource(found, query, body)

    def _check_rights(self, found: re.Match[str]) -> None:
        read = "get" if found["name"] else "list"
        verb = {"GET": read, "POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}[self.command]
        plural = f"{found['plural']}/{found['sub']}" if found["sub"] == "log" else found["plural"]
        if not self.stub.allows(verb, plural):
            who = "system:serviceaccount:kubeflow:somebody"
            raise Refused(403, f'{plural} is forbidden: User "{who}" cannot {verb} resource "{plural}"')

    def _resource(self, found: re.Match[str], query: dict[str, str], body: Any) -> None:
        plural, name, space = found["plural"], found["name"], found["namespace"] or ""
        if self.command == "POST":
            wanted = (body or {}).get("metadata", {}).get("name", "")
            if wanted and self.stub.find(plural, wanted, space):
                raise Refused(409, f'{plural} "{wanted}" already exists')
            self._send(201, self.stub.put(plural, body, space))
        elif name is None:
            self._list(found, query)
        elif found["sub"] == "log":
            self._log(name, space, query)
        elif self.command == "DELETE":
            grace = query.get("gracePeriodSeconds") or (body or {}).get("gracePeriodSeconds")
            self._send(200, self.stub.delete(plural, name, space, None if grace is None else float(grace)))
        else:
            self._send(200, self._changed(plural, name, space, body))

    def _changed(self, plural: str, name: str, space: str, body: Any) -> dict[str, Any]:
        old = self.stub.find(plural, name, space)
        if old is None:
            raise Refused(404, f'{plural} "{name}" not found')
        if self.command == "GET":
            return old
        version = (body.get("metadata") or {}).get("resourceVersion") if isinstance(body, dict) else None
        if version and version != old["metadata"]["resourceVersion"]:
            raise Refused(409, f'Operation cannot be fulfilled on {plural} "{name}": the object has been modified')
        new = body if self.command == "PUT" else patched(old, body)
        return self.stub.put(plural, new, space)

    def _list(self, found: re.Match[str], query: dict[str, str]) -> None:
        every = self.stub.all(found["plural"], None if found["plural"] in CLUSTER_WIDE else found["namespace"])
        chosen = [
            one
            for one in every
            if has_labels(one, query.get("labelSelector", "")) and has_fields(one, query.get("fieldSelector", ""))
        ]
        start, limit = int(query.get("continue") or 0), int(query.get("limit") or 0) or len(chosen)
        metadata = {"resourceVersion": "1"} | ({"continue": str(start + limit)} if start + limit < len(chosen) else {})
        version = "v1" if found["core"] else f"{found['group']}/{found['version']}"
        kind = f"{KINDS.get(found['plural'], 'Object')}List"
        items = chosen[start : start + limit]
        self._send(200, {"apiVersion": version, "kind": kind, "metadata": metadata, "items": items})

    def _log(self, pod: str, space: str, query: dict[str, str]) -> None:
        if self.stub.find("pods", pod, space) is None:
            raise Refused(404, f'pods "{pod}" not found')
        chunks = self.stub.read_log(pod, query)
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for chunk in chunks:
            if chunk:
                self.wfile.write(f"{len(chunk):x}\r\n".encode() + chunk + b"\r\n")
                self.wfile.flush()
        self.wfile.write(b"0\r\n\r\n")

    def _refuse(self, status: int, message: str) -> None:
        reason = _REASONS.get(status, "InternalError")
        answer = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": message, "reason": reason}
        with suppress(BrokenPipeError, ConnectionResetError):
            self._send(status, {**answer, "code": status})

    def _send(self, status: int, answer: Any) -> None:
        data = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


def now() -> str:
    """The time as Kubernetes writes it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
