"""The S3 store survives a bad network: each request meets a scripted misfortune."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from components.shared import store_s3
from components.shared.errors import StoreError
from components.shared.store import open_store


class _Network(ThreadingHTTPServer):
    """A server that answers each request with the next of its scripted misfortunes, then as a tiny S3."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.misfortunes: list[str] = []
        self.objects: dict[str, bytes] = {}
        self.requests = 0


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Network

    def log_message(self, *_: object) -> None:
        pass

    def misfortune(self) -> str:
        self.server.requests += 1
        return self.server.misfortunes.pop(0) if self.server.misfortunes else ""

    def answer(self, status: int, body: bytes = b"", cut: int = 0) -> None:
        self.send_response(status)
        self.send_header("ETag", f'"{hash(body):x}"')
        self.send_header("Last-Modified", "Sat, 21 Nov 2026 06:00:00 GMT")
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body[: len(body) - cut])
        self.close_connection = bool(cut)

    def failed(self, misfortune: str) -> bool:
        if misfortune.isdigit():
            self.answer(int(misfortune), b"<Error><Code>SlowDown</Code></Error>")
        if misfortune == "reset":
            self.connection.close()
            self.close_connection = True
        return misfortune.isdigit() or misfortune == "reset"

    def do_GET(self) -> None:
        misfortune = self.misfortune()
        if not self.failed(misfortune):
            self.answer(200, self.server.objects[self.path], cut=3 if misfortune == "truncated" else 0)

    do_HEAD = do_GET  # noqa: N815 - what http.server calls

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        misfortune = self.misfortune()
        if self.failed(misfortune):
            return
        if self.headers.get("If-None-Match") == "*" and self.path in self.server.objects:
            self.answer(412, b"<Error><Code>PreconditionFailed</Code></Error>")
            return
        self.server.objects[self.path] = body
        if misfortune == "lost answer":
            self.connection.close()
            self.close_connection = True
        else:
            self.answer(200)


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> Iterator[_Network]:
    monkeypatch.setattr(store_s3, "_BACKOFF", 0.01)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    with _Network() as server:
        monkeypatch.setenv("S3_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield server
        server.shutdown()


@pytest.mark.parametrize("misfortune", ["500", "502", "503", "429", "reset", "truncated"])
def test_a_read_outlives_passing_trouble(network: _Network, misfortune: str) -> None:
    network.objects["/bucket/k"] = b"the whole body"
    network.misfortunes = [misfortune] * 3
    assert open_store("s3://bucket").read("k") == b"the whole body"
    assert network.requests == 4


@pytest.mark.parametrize("misfortune", ["503", "reset"])
def test_a_write_outlives_passing_trouble(network: _Network, misfortune: str) -> None:
    network.misfortunes = [misfortune] * 3
    open_store("s3://bucket").write("k", b"data")
    assert network.objects["/bucket/k"] == b"data"


@pytest.mark.parametrize("misfortune", ["503", "reset", "truncated"])
def test_lasting_trouble_ends_in_one_sentence_after_five_tries(network: _Network, misfortune: str) -> None:
    network.objects["/bucket/k"] = b"the whole body"
    network.misfortunes = [misfortune] * 50
    with pytest.raises(StoreError, match=r"Cannot read 'k'.*check that"):
        open_store("s3://bucket").read("k")
    assert network.requests == store_s3.TRIES


def test_a_create_whose_answer_was_lost_knows_it_won(network: _Network) -> None:
    network.misfortunes = ["lost answer"]
    assert open_store("s3://bucket").create("k", b"mine")


def test_a_repeated_create_does_not_claim_another_writers_object(network: _Network) -> None:
    network.objects["/bucket/k"] = b"theirs"
    network.misfortunes = ["reset"]
    assert not open_store("s3://bucket").create("k", b"mine")


def test_a_create_that_met_equal_bytes_at_once_lost(network: _Network) -> None:
    network.objects["/bucket/k"] = b"same"
    assert not open_store("s3://bucket").create("k", b"same")
