"""The service of a packed model as BentoML starts it; it runs from inside the bento, in as many processes as fit.

The process that only starts the others imports this module, too, so the libraries are left to the ones that serve.
"""

import os
from pathlib import Path

import bentoml
from starlette.applications import Starlette

from components.model_pack.serving.sizing import DEFAULT_SECONDS, MAX_SECONDS, number, sizing_of
from components.shared import cpus
from components.shared.errors import ArchiveError

HERE = Path(__file__).resolve().parent
MANIFEST = HERE / "manifest.json"  # it comes after the build, in which nothing may depend on the machine
WORKERS = sizing_of().workers if MANIFEST.is_file() else 1
SECONDS = (number(os.environ, MAX_SECONDS) if MANIFEST.is_file() else 0) or DEFAULT_SECONDS
application = Starlette()  # its routes come with the model


@bentoml.service(
    name="detector",
    workers=WORKERS,
    traffic={"timeout": SECONDS + 5},  # the routes have their own, with a better answer
    metrics={"enabled": False},  # they count by path as it was sent, which a stranger can make grow for ever
)
@bentoml.asgi_app(application, path="/")
class DetectorService:
    """Finds objects in images with the model of this bento; the first prediction is made before it reports ready."""

    def __init__(self) -> None:
        code = Path(cpus.__file__).resolve()
        if not code.is_relative_to(HERE):
            raise ArchiveError(f"The code {str(code)!r} was not packed with the model: serve from the bento's folder.")
        from components.model_pack.serving.start import start  # noqa: PLC0415 - only where it serves

        self._started = start(HERE)
        application.router.routes[:] = self._started.routes

    @bentoml.on_shutdown  # type: ignore[untyped-decorator]
    def close(self) -> None:
        """Let the process end."""
        self._started.close()
