"""An HTTP client that connects to checked addresses only, and follows redirects no further than it trusts them."""

import logging
import os
import random
import ssl
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus
from typing import TypeVar

import certifi
import httpcore
import httpx

from components.data_load.addresses import HostNotFoundError, Resolver, checked_addresses, resolve
from components.shared.errors import NotFoundError, SourceError, UnsafeInputError
from components.shared.source_addresses import check_url, redacted

TRIES = 5
REDIRECTS = 5
CONNECTIONS = 16
TIMEOUT = httpx.Timeout(30, connect=10)  # seconds, each for one wait on the network
RETRIED = frozenset({408, 425, 429, 500, 502, 503, 504})
_BACKOFF = 0.5  # seconds before the second try, doubling from there
_LONGEST_WAIT = 8.0
_HEADERS = {"User-Agent": "kubeflow-detection-pipeline", "Accept": "*/*", "Accept-Encoding": "identity"}
_SocketOption = tuple[int, int, int] | tuple[int, int, bytes | bytearray] | tuple[int, int, None, int]

logger = logging.getLogger(__name__)
T = TypeVar("T")


class BrokenOffError(Exception):
    """A transfer that failed in a way that may pass: worth another try."""


class RangeRefusedError(BrokenOffError):
    """The server does not go on from where a transfer broke off: begin again."""


class _CheckedBackend(httpcore.NetworkBackend):
    """Opens connections to the very addresses that were checked: no second look-up that may answer otherwise."""

    def __init__(self, resolver: Resolver) -> None:
        self._resolver = resolver
        self._plain = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[_SocketOption] | None = None,
    ) -> httpcore.NetworkStream:
        """A connection to the host; raises ``UnsafeInputError`` when one of its addresses is not public."""
        last: Exception = httpcore.ConnectError(f"{host!r} has no address")
        try:
            addresses = checked_addresses(host, port, self._resolver)
        except HostNotFoundError as error:
            raise httpcore.ConnectError(str(error)) from error
        for address in addresses:
            try:
                return self._plain.connect_tcp(address, port, timeout, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                last = error
        raise last


class _CheckedTransport(httpx.HTTPTransport):
    """httpx's transport on checked connections; TLS still verifies the certificate against the host's name."""

    def __init__(self, context: ssl.SSLContext, resolver: Resolver) -> None:
        super().__init__(verify=context)
        self._pool = httpcore.ConnectionPool(
            ssl_context=context,
            max_connections=CONNECTIONS,
            max_keepalive_connections=CONNECTIONS,
            keepalive_expiry=30,
            network_backend=_CheckedBackend(resolver),
        )


class Web:
    """Fetches ``https://`` addresses; safe to use from several threads.

    Without ``allow_private`` only public addresses are connected to and proxy variables do not hold, because behind a
    proxy the connected address cannot be checked. With it, ``http://``, every address and the proxy variables
    (``HTTPS_PROXY``, ``NO_PROXY``, ...) may be used.
    """

    def __init__(self, *, allow_private: bool, resolver: Resolver = resolve, timeout: httpx.Timeout = TIMEOUT) -> None:
        self._allow_private = allow_private
        context = _trust()
        if allow_private:
            limits = httpx.Limits(max_connections=CONNECTIONS, max_keepalive_connections=CONNECTIONS)
            self._client = httpx.Client(verify=context, timeout=timeout, limits=limits, headers=_HEADERS)
        else:
            transport = _CheckedTransport(context, resolver)
            self._client = httpx.Client(transport=transport, trust_env=False, timeout=timeout, headers=_HEADERS)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    @contextmanager
    def open(self, url: str, headers: Mapping[str, str] | None = None) -> Iterator[httpx.Response]:
        """The answer (200 or 206) at ``url``, its body still to be read; at most ``REDIRECTS`` redirects are followed.

        Raises:
            BrokenOffError: the server or the network failed in a way that may pass.
            NotFoundError: the server has no such file.
            UnsafeInputError: the host, or one that a redirect names, lies on an address that is not public.
            SourceError: the address is malformed, or the server does not give the file.
        """
        here, sent = url, dict(headers or {})
        for _ in range(REDIRECTS + 1):
            check_url(here, plain_http=self._allow_private)
            with self._sent(here, sent) as response:
                if not response.has_redirect_location:
                    _check_status(response, here)
                    yield response
                    return
                there = _target(response, here)
            if _origin(there) != _origin(here):
                sent.pop("Authorization", None)
            here = there
        raise SourceError(f"{redacted(url)!r} redirects more than {REDIRECTS} times: give the final address.")

    def read(self, url: str, *, max_bytes: int, headers: Mapping[str, str] | None = None) -> bytes:
        """The bytes at ``url``, at most ``max_bytes``; tried again when it breaks off.

        Raises:
            NotFoundError, UnsafeInputError, SourceError: see ``open``; also when there are more bytes.
        """

        def once() -> bytes:
            with self.open(url, headers) as response:
                return b"".join(bounded(response, url, max_bytes))

        return persistently(once, url)

    def post_json(self, url: str, content: Mapping[str, str]) -> bytes:
        """The answer to a small JSON document; redirects are not followed, so that it goes nowhere else."""
        check_url(url, plain_http=self._allow_private)

        def once() -> bytes:
            with _explained(url):
                response = self._client.post(url, json=dict(content))
            _check_status(response, url)
            return response.content

        return persistently(once, url)

    @contextmanager
    def _sent(self, url: str, headers: Mapping[str, str]) -> Iterator[httpx.Response]:
        with _explained(url), self._client.stream("GET", url, headers=dict(headers)) as response:
            yield response


def bounded(response: httpx.Response, url: str, max_bytes: int) -> Iterator[bytes]:
    """The body in pieces, as the server sends it.

    Raises:
        UnsafeInputError: it is larger than ``max_bytes``.
    """
    declared = response.headers.get("Content-Length", "")
    total = int(declared) if declared.isdecimal() else 0
    for piece in response.iter_raw():
        total = max(total, response.num_bytes_downloaded)
        if total > max_bytes:
            break
        yield piece
    if total > max_bytes:
        raise UnsafeInputError(f"{redacted(url)!r} has more than the {max_bytes} bytes allowed for such a file.")


def persistently(once: Callable[[], T], url: str) -> T:
    """Do something up to ``TRIES`` times, with growing, jittered waits between, while it breaks off.

    Raises:
        SourceError: the last try broke off, too.
    """
    for attempt in range(TRIES):
        try:
            return once()
        except BrokenOffError as error:
            if attempt == TRIES - 1:
                raise gave_up(url, error) from error
            logger.warning("Reading %r broke off (%s); trying again.", redacted(url), error)
            pause(attempt)
    raise AssertionError  # the last attempt returned or raised


def gave_up(url: str, error: Exception) -> SourceError:
    """The one sentence after the last try."""
    proxy = any(os.environ.get(name) for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"))
    hint = " (proxies are used only with allow_private_addresses=true)" if proxy else ""
    return SourceError(
        f"{redacted(url)!r} cannot be read ({error}): check that the server is up and reachable from here{hint}."
    )


def pause(attempt: int) -> None:
    """Wait before the try after ``attempt`` (from 0)."""
    time.sleep(min(_LONGEST_WAIT, _BACKOFF * 2**attempt) * random.uniform(0.5, 1.0))  # noqa: S311 - no secret


def _trust() -> ssl.SSLContext:
    folder = os.environ.get("SSL_CERT_DIR") or None
    file = os.environ.get("SSL_CERT_FILE") or (None if folder else certifi.where())
    return ssl.create_default_context(cafile=file, capath=folder)


def _target(response: httpx.Response, here: str) -> str:
    location = response.headers["Location"]
    try:
        there = str(httpx.URL(here).join(location))
    except (httpx.InvalidURL, ValueError) as error:
        raise SourceError(f"{redacted(here)!r} redirects to {location[:200]!r}, which is no address.") from error
    if here.startswith("https://") and not there.startswith("https://"):
        raise UnsafeInputError(
            f"{redacted(here)!r} redirects to {redacted(there)!r}, which is not https://: give the final address."
        )
    return there


def _origin(url: str) -> tuple[str, str, int | None]:
    parts = httpx.URL(url)
    return parts.scheme, parts.host, parts.port


def _check_status(response: httpx.Response, url: str) -> None:
    status, shown = response.status_code, redacted(url)
    if status in {HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT, HTTPStatus.CREATED}:
        return
    said = f"status {status} {response.reason_phrase}".rstrip()
    if status in RETRIED:
        raise BrokenOffError(said)
    if status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
        raise RangeRefusedError(said)
    if status in {HTTPStatus.NOT_FOUND, HTTPStatus.GONE}:
        raise NotFoundError(f"There is nothing at {shown!r} ({said}): check the address.")
    if status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
        raise SourceError(f"The server does not give {shown!r} to us ({said}): check the right to it.")
    raise SourceError(f"The server answers {said} for {shown!r}: check the address.")


@contextmanager
def _explained(url: str) -> Iterator[None]:
    try:
        yield
    except httpx.InvalidURL as error:
        raise SourceError(f"{redacted(url)!r} is no address ({error}).") from error
    except httpx.TransportError as error:
        if cause := _certificate(error):
            raise SourceError(
                f"The certificate of {redacted(url)!r} is not valid here ({cause.verify_message}): name the authority's"
                " file in SSL_CERT_FILE when it is one of your own."
            ) from error
        if isinstance(error.__context__, httpx.InvalidURL):
            raise SourceError(f"{redacted(url)!r} redirects to what is no address ({error.__context__}).") from error
        raise BrokenOffError(f"{type(error).__name__}: {error}".rstrip(": ")) from error


def _certificate(error: BaseException) -> ssl.SSLCertVerificationError | None:
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, ssl.SSLCertVerificationError):
            return seen
        seen = seen.__cause__ or seen.__context__
    return None
