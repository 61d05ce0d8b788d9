"""A Kubeflow Pipelines of 2.17 for tests: the v2beta1 API on a real socket, its state in memory.

    stub.runs[run_id].state = "SUCCEEDED"                    change what it knows; they are kfp_server_api's models
    stub.plant("/runs", status=503, times=2)                 what it does wrong, for requests whose path contains this
    stub.requests[-1].body                                   what it was asked
    stub.problems                                            requests that are not as KFP's own OpenAPI has them

A request that breaks the OpenAPI gets 400, and the fixture ``kfp`` fails its test.
"""

import email
import email.policy
import json
import ssl
import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import yaml
from kfp_server_api import models

from tests.pipelines.cluster.kfp_routes import FINISHED, Asked, RefusedError, new_id, route
from tests.pipelines.cluster.kfp_schema import LOADER, Selection, as_model, package_spec, unknown

LOGIN = "<html><body><form action='/dex/auth/local'>Log in to Your Account</form></body></html>"
_GRPC = {400: 3, 401: 16, 403: 7, 404: 5, 409: 6, 500: 13, 503: 14}


@dataclass
class Fault:
    """What goes wrong with the next ``times`` requests whose path contains ``path``.

    ``cut``: "before" closes the connection before anything is done, "after" does it and then answers nothing,
    "middle" sends half of the answer.
    """

    path: str
    method: str = ""
    status: int = 0
    body: str | bytes = ""
    content_type: str = "application/json"
    location: str = ""
    delay: float = 0.0
    cut: str = ""
    times: int = 1


class KfpStub:
    """The server and its state; see the module."""

    def __init__(self, *, prefix: str = "", tls: tuple[str, str] | None = None) -> None:
        self.prefix = prefix
        self.token = self.cookie = ""  # what a request needs, where they are not empty
        self.health: dict[str, Any] = {"commit_sha": "0", "tag_name": "2.17.0", "multi_user": False}
        self.health |= {"pipeline_store": "database"}
        self.experiments: dict[str, Any] = {}
        self.pipelines: dict[str, Any] = {}
        self.versions: dict[str, Any] = {}
        self.runs: dict[str, Any] = {}
        self.recurring_runs: dict[str, Any] = {}
        self.packages: dict[str, str] = {}  # text of a package by the id of its version
        self.requests: list[Asked] = []
        self.faults: list[Fault] = []
        self.problems: list[str] = []
        self._lock = threading.RLock()
        self._clock = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"stub": self}))
        self._server.daemon_threads = True
        scheme = "http"
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*tls)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
            scheme = "https"
        self.url = f"{scheme}://127.0.0.1:{self._server.server_port}{prefix}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def plant(self, path: str, **facts: Any) -> Fault:
        """Do something wrong; see ``Fault``."""
        self.faults.append(Fault(path, **facts))
        return self.faults[-1]

    def asked(self, method: str, path: str = "") -> list[Asked]:
        """Requests with this method whose path contains this."""
        return [one for one in self.requests if one.method == method and path in one.path]

    def now(self) -> datetime:
        """The server's time, which goes on by a second with each look at it."""
        self._clock += timedelta(seconds=1)
        return self._clock

    def add_experiment(self, name: str = "Default", **facts: Any) -> Any:
        made = models.V2beta1Experiment(display_name=name, experiment_id=new_id(), created_at=self.now(), **facts)
        made.storage_state = made.storage_state or "AVAILABLE"
        self.experiments[made.experiment_id] = made
        return made

    def add_pipeline(self, name: str, **facts: Any) -> Any:
        facts = {"display_name": name} | facts
        made = models.V2beta1Pipeline(name=name, pipeline_id=new_id(), created_at=self.now(), **facts)
        self.pipelines[made.pipeline_id] = made
        return made

    def add_version(self, pipeline_id: str, name: str, text: str, **facts: Any) -> Any:
        facts = {"display_name": name} | facts
        made = models.V2beta1PipelineVersion(
            pipeline_id=pipeline_id,
            pipeline_version_id=new_id(),
            name=name,
            created_at=self.now(),
            pipeline_spec=package_spec(text),
            **facts,
        )
        self.versions[made.pipeline_version_id] = made
        self.packages[made.pipeline_version_id] = text
        return made

    def add_run(self, name: str = "a run", state: str = "PENDING", **facts: Any) -> Any:
        facts = {"run_id": new_id(), "created_at": self.now(), "storage_state": "AVAILABLE"} | facts
        facts.setdefault("state_history", [models.V2beta1RuntimeStatus(update_time=facts["created_at"], state=state)])
        made = models.V2beta1Run(display_name=name, state=state, **facts)
        if state in FINISHED and made.finished_at is None:
            made.finished_at = self.now()
        self.runs[made.run_id] = made
        return made

    def finish_run(self, run_id: str, state: str = "SUCCEEDED") -> None:
        """Let a run end."""
        run = self.runs[run_id]
        run.state, run.finished_at = state, self.now()
        run.state_history.append(models.V2beta1RuntimeStatus(update_time=run.finished_at, state=state))

    def add_recurring_run(self, name: str = "a schedule", **facts: Any) -> Any:
        facts = {"recurring_run_id": new_id(), "created_at": self.now(), "status": "ENABLED"} | facts
        made = models.V2beta1RecurringRun(display_name=name, **facts)
        self.recurring_runs[made.recurring_run_id] = made
        return made

    def fault_of(self, method: str, path: str) -> Fault | None:
        """The fault that this request meets, its count lowered."""
        with self._lock:
            for fault in self.faults:
                if fault.path in path and fault.method in ("", method) and fault.times > 0:
                    fault.times -= 1
                    return fault
        return None

    def answer(self, one: Asked) -> Any:
        """The answer to a request, as JSON; raises ``RefusedError``."""
        with self._lock:
            action, identities = route(one)
            return action(self, one, *identities)

    def parsed(self, one: Asked, kind: str) -> Any:
        """A request's body as a model."""
        words = unknown(one.body, kind)
        self.refuse_if(words, one)
        return as_model(one.body, kind)

    def selection(self, one: Asked, keys: set[str]) -> Selection:
        made = Selection(one.query, keys)
        self.refuse_if(made.words, one)
        return made

    def refuse_if(self, words: list[str], one: Asked) -> None:
        if words:
            self.problems += [f"{one.method} {one.path}: {word}" for word in words]
            raise RefusedError(400, "; ".join(words))


class _Handler(BaseHTTPRequestHandler):
    stub: KfpStub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def _handle(self) -> None:
        parts = urlsplit(self.path)
        data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path, query = parts.path, dict(parse_qsl(parts.query))
        if path.startswith("/dex/"):
            self._send(200, "text/html; charset=utf-8", LOGIN)
            return
        if not path.startswith(self.stub.prefix + "/apis/"):
            self._send(404 if self.stub.prefix else 200, "text/html", "<html>a page of another server</html>")
            return
        headers = {name.title(): value for name, value in self.headers.items()}
        one = Asked(self.command, path.removeprefix(self.stub.prefix), query, None, headers)
        fault = self.stub.fault_of(one.method, one.path)
        if fault and fault.delay:
            time.sleep(fault.delay)
        if fault and fault.cut == "before":
            self.close_connection = True
            return
        if fault and fault.status:
            self.stub.requests.append(one)
            body = fault.body or _error(fault.status, "planted")
            self._send(fault.status, fault.content_type, body, location=fault.location)
            return
        self._answer(one, data, fault.cut if fault else "")

    do_GET = do_POST = do_DELETE = do_PATCH = _handle  # noqa: N815 - as http.server wants them

    def _answer(self, one: Asked, data: bytes, cut: str) -> None:
        if self.stub.cookie and self.stub.cookie not in self.headers.get("Cookie", ""):
            self._send(302, "text/html", "", location="/dex/auth?state=x")
            return
        try:
            self._admit()
            one.body = self._body(data)
            self.stub.requests.append(one)
            status, text = 200, json.dumps(self.stub.answer(one))
        except RefusedError as error:
            status, text = error.status, _error(error.status, str(error), upload="/upload" in one.path)
        if cut == "after":
            self.close_connection = True
            return
        self._send(status, "application/json", text, half=cut == "middle")

    def _admit(self) -> None:
        if self.stub.token and self.headers.get("Authorization") != f"Bearer {self.stub.token}":
            raise RefusedError(401, "Request header error: there is no user identity header.")

    def _body(self, data: bytes) -> Any:
        kind = self.headers.get("Content-Type", "")
        if not data:
            return None
        if not kind.startswith("multipart/form-data"):
            return json.loads(data)
        message = email.message_from_bytes(f"Content-Type: {kind}\r\n\r\n".encode() + data, policy=email.policy.HTTP)
        (part,) = message.iter_parts()
        text = part.get_payload(decode=True).decode()
        if part.get_param("name", header="content-disposition") != "uploadfile":
            raise RefusedError(400, "Failed to read the pipeline spec file: there is no part 'uploadfile'")
        try:
            list(yaml.load_all(text, Loader=LOADER))
        except yaml.YAMLError as error:
            raise RefusedError(400, f"Failed to parse the pipeline spec: {error}") from error
        return text

    def _send(self, status: int, kind: str, text: str | bytes, *, half: bool = False, location: str = "") -> None:
        data = text if isinstance(text, bytes) else text.encode()
        try:
            self.send_response(status)
            if location:
                self.send_header("Location", location)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data[: len(data) // 2] if half else data)
        except OSError:  # the client went away
            self.close_connection = True
        if half:
            self.close_connection = True


def _error(status: int, message: str, *, upload: bool = False) -> str:
    if upload:  # this part of the API server is no gRPC gateway
        return json.dumps({"error_message": message, "error_details": f"{message}\nat api_server.go:1"})
    return json.dumps({"error": message, "code": _GRPC.get(status, 2), "message": message, "details": []})
