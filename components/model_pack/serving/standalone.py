"""The same service without BentoML's supervisor: run it in the bento's ``src``.

python -m components.model_pack.serving.standalone --port 3000
"""

import argparse
import logging
import os
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from components.model_pack.serving.sizing import sizing_of
from components.shared.errors import ConfigError

SOURCE = Path(__file__).resolve().parents[3]
MODULE = "components.model_pack.serving.standalone"  # __name__ may be __main__
PROBES = ("/livez", "/readyz", "/healthz")
_METRICS = "PROMETHEUS_MULTIPROC_DIR"
_SPEECHLESS_SECONDS = 60  # a process that does not answer its supervisor for so long is replaced


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
        uvicorn.run(
            f"{MODULE}:create",
            factory=True,
            host=chosen.host,
            port=chosen.port,
            workers=sizing_of().workers,
            access_log=False,
            server_header=False,
            timeout_worker_healthcheck=_SPEECHLESS_SECONDS,
        )


async def _answer(request: Request) -> Response:
    del request
    return PlainTextResponse("\n")


if __name__ == "__main__":
    main()
