"""Web servers of this machine, plain and with TLS, that misbehave on demand."""

import datetime as dt
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from components.data_load import addresses, web

Route = Callable[[BaseHTTPRequestHandler], None]


@dataclass
class Site:
    """A server: paths without query -> what to do; requests that came, with their headers."""

    port: int = 0
    secure: bool = False
    routes: dict[str, Route] = field(default_factory=dict)
    requests: list[tuple[str, dict[str, str]]] = field(default_factory=list)

    def url(self, path: str, host: str = "127.0.0.1") -> str:
        return f"http{'s' if self.secure else ''}://{host}:{self.port}{path}"

    @staticmethod
    def answer(handler: BaseHTTPRequestHandler, body: bytes, status: int = 200, **headers: str) -> None:
        """Send a whole answer; ``Content_Type="..."`` names a header."""
        handler.send_response(status)
        for name, value in ({"Content_Length": str(len(body))} | headers).items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(body)

    def redirect(self, path: str, target: str) -> str:
        self.routes[path] = lambda handler: self.answer(handler, b"", 302, Location=target)
        return self.url(path)

    def say(self, path: str, body: bytes, status: int = 200, **headers: str) -> str:
        self.routes[path] = lambda handler: self.answer(handler, body, status, **headers)
        return self.url(path)

    def file(self, path: str, body: bytes, **headers: str) -> str:
        """Serve bytes with ``Range`` as a good server does."""

        self.routes[path] = lambda handler: self.serve_range(handler, body, **headers)
        return self.url(path)

    def serve_range(self, handler: BaseHTTPRequestHandler, body: bytes, **headers: str) -> None:
        wanted = handler.headers.get("Range")
        if wanted and handler.headers.get("If-Range") in {None, headers.get("ETag")}:
            start = int(wanted.removeprefix("bytes=").rstrip("-"))
            said = f"bytes {start}-{len(body) - 1}/{len(body)}"
            self.answer(handler, body[start:], 206, Content_Range=said, **headers)
        else:
            self.answer(handler, body, **headers)


def _serve(site: Site, context: ssl.SSLContext | None) -> ThreadingHTTPServer:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            site.requests.append((self.path, dict(self.headers)))
            route = site.routes.get(self.path.partition("?")[0])
            if route is None:
                site.answer(self, b"nothing here", 404)
            else:
                route(self)

        do_POST = do_GET  # noqa: N815 - the standard library's name

        def log_message(self, *_: object) -> None: ...

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: object) -> None: ...

    server = Server(("127.0.0.1", 0), Handler)
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    site.port, site.secure = server.server_address[1], context is not None
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    return server


@pytest.fixture
def site() -> Iterator[Site]:
    """A plain http:// server."""
    found = Site()
    server = _serve(found, None)
    yield found
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """(certificate, key) of a server called ``data.test``, its own authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "data.test")])
    now = dt.datetime.now(dt.UTC)
    names = [x509.DNSName("data.test"), x509.DNSName("other.test"), x509.IPAddress(ip_address("127.0.0.1"))]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    folder = tmp_path_factory.mktemp("authority")
    plain = serialization.NoEncryption()
    pem, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    (folder / "key.pem").write_bytes(key.private_bytes(pem, form, plain))
    (folder / "cert.pem").write_bytes(certificate.public_bytes(pem))
    return folder / "cert.pem", folder / "key.pem"


@pytest.fixture
def secure_site(authority: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """An https:// server whose authority this process trusts."""
    certificate, key = authority
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    found = Site()
    server = _serve(found, context)
    yield found
    server.shutdown()
    server.server_close()


@pytest.fixture
def loopback_is_public(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if 127.0.0.1, and no other address of this machine, were one of the public internet."""
    real = addresses.why_refused
    monkeypatch.setattr(addresses, "why_refused", lambda text: None if text == "127.0.0.1" else real(text))


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not wait between tries."""
    monkeypatch.setattr(web, "_BACKOFF", 0.01)
