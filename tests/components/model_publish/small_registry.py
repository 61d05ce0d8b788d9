"""A Kubeflow Model Registry as far as publishing needs it: the REST paths of its OpenAPI document, over real HTTP.

The real one needs a database and a cluster. This one keeps its records in memory, refuses what the document refuses
(a name twice, an unknown parent) and can be told to fail.
"""

import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from urllib.parse import parse_qsl, urlsplit

ROOTS = ("/api/model_registry/v1/", "/api/model_registry/v1alpha3/")


class SmallRegistry:
    """Serves on a free port from ``start`` to ``stop``; ``fail_on`` names the kind of record whose making fails."""

    def __init__(self) -> None:
        self.models: list[dict[str, object]] = []
        self.versions: list[dict[str, object]] = []
        self.artifacts: list[dict[str, object]] = []
        self.requests: list[tuple[str, str]] = []
        self.tokens: set[str | None] = set()
        self.fail_on = ""
        self.lock = Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"registry": self}))
        self.address = f"http://127.0.0.1:{self._server.server_port}"

    def start(self) -> None:
        Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer(  # noqa: PLR0911 - one a path
        self, method: str, path: str, query: dict[str, str], body: dict[str, object]
    ) -> tuple[int, object]:
        parts = path.split("/")
        match method, parts:
            case "GET", ["registered_model"]:
                return _first(self.models, name=query.get("name"))
            case "GET", ["model_version"]:
                return _first(self.versions, name=query.get("name"), registeredModelId=query.get("parentResourceId"))
            case "GET", ["model_versions", parent, "artifacts"]:
                return 200, _page([one for one in self.artifacts if one["modelVersionId"] == parent])
            case "POST", ["registered_models"]:
                return self._make("model", self.models, body, ("name",))
            case "POST", ["model_versions"]:
                if not any(one["id"] == body.get("registeredModelId") for one in self.models):
                    return 400, {"code": "", "message": "no such registered model"}
                return self._make("version", self.versions, body, ("name", "registeredModelId"))
            case "POST", ["model_versions", parent, "artifacts"]:
                return self._make(
                    "artifact", self.artifacts, {**body, "modelVersionId": parent}, ("name", "modelVersionId")
                )
        return 404, {"code": "", "message": f"no {method} {path}"}

    def _make(
        self, kind: str, table: list[dict[str, object]], body: dict[str, object], key: tuple[str, ...]
    ) -> tuple[int, object]:
        if kind == self.fail_on:
            return 500, {"code": "", "message": "the database is gone"}
        if any(all(one.get(name) == body.get(name) for name in key) for one in table):
            return 409, {"code": "", "message": "it exists"}
        made = {"state": "LIVE", **{name: value for name, value in body.items() if value is not None}}
        made["id"] = str(len(self.models) + len(self.versions) + len(self.artifacts) + 1)
        table.append(made)
        return 201, made


def _first(table: list[dict[str, object]], **wanted: str | None) -> tuple[int, object]:
    for one in table:
        if all(one.get(name) == value for name, value in wanted.items()):
            return 200, one
    return 404, {"code": "", "message": "not found"}


def _page(items: list[dict[str, object]]) -> dict[str, object]:
    return {"items": items, "nextPageToken": "", "pageSize": len(items), "size": len(items)}


class _Handler(BaseHTTPRequestHandler):
    registry: SmallRegistry

    def do_GET(self) -> None:
        self._handle()

    def do_POST(self) -> None:
        self._handle()

    def log_message(self, *_: object) -> None:
        """Keep the test's output clean."""

    def _handle(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        url = urlsplit(self.path)
        root = next((root for root in ROOTS if url.path.startswith(root)), "/")
        path = url.path.removeprefix(root)
        with self.registry.lock:
            self.registry.requests.append((self.command, path))
            self.registry.tokens.add(self.headers.get("Authorization"))
            status, answer = self.registry.answer(
                self.command, path, dict(parse_qsl(url.query)), json.loads(body) if body else {}
            )
        data = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
