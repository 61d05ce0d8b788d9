"""The same service without BentoML's supervisor: run it in the bento's ``src``.

python -m components.model_pack.serving.standalone --port 3000
"""

import argparse
import logging
import os
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from uvicorn.supervisors import Multiprocess

from components.model_pack.serving.sizing import sizing_of
from components.shared.errors import ConfigError

SOURCE = Path(__file__).resolve().parents[3]
MODULE = "components.model_pack.serving.standalone"  # __name__ may be __main__
PROBES = ("/livez", "/readyz", "/healthz")
_NOT_STARTED = 3
_METRICS = "PROMETHEUS_MULTIPROC_DIR"
_SPEECHLESS_SECONDS = 60  # a process that does not answer its supervisor for so long is replaced


class Settings(uvicorn.Config):
    """The server's, with a socket that does not wait for the client's word before it sends the second packet.

    asyncio sees to that for sockets of its own making, not for one that processes share: each answer would take 40 ms
    longer, the time a client puts off its acknowledgement.
    """

    def bind_socket(self) -> socket.socket:
        """The listening socket that all processes share."""
        bound = super().bind_socket()
        bound.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # what is accepted from it has it too
        return bound


def create() -> Starlette:
    """The application; its model is loaded and has predicted before the first request is taken."""

    @asynccontextmanager
    async def lifespan(application: Starlette) -> AsyncIterator[None]:
        from components.model_pack.serving.start import start  # noqa: PLC0415 - only in the processes that serve

        started = start(SOURCE)
        probes = [Route(path, _answer) for path in PROBES]
        application.router.routes[:] = [*probes, *started.routes]
        yield
        started.close()

    return Starlette(lifespan=lifespan)


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve until told to end.

    Raises:
        ConfigError: this code does not lie in a bento, or a setting is wrong.
    """
    parser = argparse.ArgumentParser(description="Serve the packed model this code lies beside.")
    parser.add_argument("--host", default="0.0.0.0", help="address to listen on")  # noqa: S104 - as BentoML does
    parser.add_argument("--port", type=int, default=3000, help="port to listen on")
    chosen = parser.parse_args(arguments)
    if not (SOURCE / "manifest.json").is_file():
        raise ConfigError(f"There is no packed model in {str(SOURCE)!r}: run this in the 'src' folder of a bento.")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    with tempfile.TemporaryDirectory(prefix="metrics-") as folder:
        os.environ.setdefault(_METRICS, folder)
        settings = Settings(
            f"{MODULE}:create",
            factory=True,
            host=chosen.host,
            port=chosen.port,
            workers=sizing_of().workers,
            access_log=False,
            server_header=False,
            timeout_worker_healthcheck=_SPEECHLESS_SECONDS,
        )
        _serve(settings)


def _serve(settings: uvicorn.Config) -> None:
    """What ``uvicorn.run`` does, with settings of our own class; exits with 3 when the model cannot be served."""
    sockets = [settings.bind_socket()]
    if settings.workers > 1:
        Multiprocess(settings, sockets=sockets).run()
        return
    server = uvicorn.Server(settings)
    with suppress(KeyboardInterrupt):
        server.run(sockets=sockets)
    if not server.started:
        sys.exit(_NOT_STARTED)


async def _answer(request: Request) -> Response:
    del request
    return PlainTextResponse("\n")


if __name__ == "__main__":
    main()
