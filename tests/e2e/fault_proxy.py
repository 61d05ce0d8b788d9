"""An HTTP proxy in front of a real S3 server that does to some requests what networks and servers do.

It hands on every header as it came, the Host above all: the client's signature covers it.
"""

import http.client
import random
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

BEFORE = ("500", "503", "hang", "reset")  # the server never hears of the request
AFTER = ("lost", "truncated", "slow")  # the server did what it was asked to
ALL = BEFORE + AFTER
HANG = 1.0  # seconds; longer than the client waits
SLOW = 0.02  # seconds between two pieces of a slow answer
_NOT_PASSED_ON = frozenset({"connection", "transfer-encoding", "content-length", "keep-alive"})


@dataclass(frozen=True)
class Request:
    """What the faults are chosen by; ``path`` has the query."""

    method: str
    path: str
    headers: dict[str, str]


class Faults:
    """Which requests meet what, by chance or by a rule; counts what it did."""

    def __init__(self) -> None:
        self.set(0.0)
        self.rule: Callable[[Request], str] = lambda _: ""
        self.done: Counter[str] = Counter()
        self.requests = 0
        self._lock = threading.Lock()

    def set(self, share: float, seed: int = 0, kinds: tuple[str, ...] = ALL) -> None:
        """Let this share of the requests meet one of these kinds."""
        self.share = share
        self.kinds = kinds
        self._random = random.Random(seed)

    def choose(self, request: Request) -> str:
        """The fault of a request, or nothing."""
        with self._lock:
            self.requests += 1
            kind = self.rule(request)
            if not kind and self._random.random() < self.share:
                kind = self._random.choice(self.kinds)
            if kind:
                self.done[kind] += 1
            return kind

    def once(self, matches: Callable[[Request], bool], kind: str) -> None:
        """Do ``kind`` to the first request that matches."""

        def rule(request: Request) -> str:
            if self.done[kind] == 0 and matches(request):
                return kind
            return ""

        self.rule = rule


@contextmanager
def faulty(upstream: str, faults: Faults) -> Iterator[str]:
    """Run a proxy in front of ``upstream``; gives its address."""
    host = urlsplit(upstream).netloc

    class Handler(_Handler):
        pass

    Handler.upstream, Handler.faults = host, faults
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    upstream = ""
    faults: Faults

    def log_message(self, *_: object) -> None:
        pass

    def handle_one_request(self) -> None:
        try:
            super().handle_one_request()
        except (ConnectionError, TimeoutError):
            self.close_connection = True

    def serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        fault = self.faults.choose(Request(self.command, self.path, dict(self.headers.items())))
        if fault.isdigit():
            self.answer(int(fault), {}, b"<Error><Code>InternalError</Code></Error>")
        elif fault == "hang":
            time.sleep(HANG)
            self.close_connection = True
        elif fault == "reset":
            self.reset()
        else:
            self.pass_on(body, fault)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = serve  # noqa: N815 - what http.server calls

    def pass_on(self, body: bytes, fault: str) -> None:
        connection = http.client.HTTPConnection(self.upstream, timeout=30)
        connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
        for name, value in self.headers.items():
            connection.putheader(name, value)
        connection.endheaders(body or None)
        response = connection.getresponse()
        data = response.read()
        headers = {name: value for name, value in response.getheaders() if name.lower() not in _NOT_PASSED_ON}
        length = len(data) if self.command != "HEAD" else int(response.headers.get("Content-Length", 0))
        connection.close()
        if fault == "lost" or (fault == "truncated" and not data):
            self.reset()
        else:
            self.answer(response.status, headers, data, length=length, fault=fault)

    def answer(
        self, status: int, headers: dict[str, str], data: bytes, length: int | None = None, fault: str = ""
    ) -> None:
        self.send_response_only(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data) if length is None else length))
        self.end_headers()
        if self.command == "HEAD":
            return
        if fault == "truncated":
            self.wfile.write(data[: len(data) // 2])
            self.close_connection = True
        elif fault == "slow":
            step = len(data) // 5 + 1
            for start in range(0, len(data), step):
                self.wfile.write(data[start : start + step])
                self.wfile.flush()
                time.sleep(SLOW)
        else:
            self.wfile.write(data)

    def reset(self) -> None:
        """End the connection with a reset rather than a good-bye."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        self.close_connection = True
        self.rfile = self.wfile = _Nowhere()  # type: ignore[assignment]


class _Nowhere:
    closed = True

    def flush(self) -> None:
        pass

    def close(self) -> None:
        pass
