"""The service of a packed model as BentoML starts it; it runs from inside the bento, in as many processes as fit.

The process that only starts the others imports this module, too, so the libraries are left to the ones that serve.
"""

import logging
import os
from pathlib import Path

import bentoml
from starlette.applications import Starlette

from components.model_pack.serving.sizing import sizing_of
from components.shared import cpus
from components.shared.cpus import CPUS
from components.shared.errors import ArchiveError

HERE = Path(__file__).resolve().parent
MANIFEST = HERE / "manifest.json"  # it comes after the build, in which nothing may depend on the machine
WORKERS = sizing_of().workers if MANIFEST.is_file() else 1
TIMEOUT_SECONDS = 60
logger = logging.getLogger(__name__)
application = Starlette()  # its routes come with the model


@bentoml.service(
    name="detector",
    workers=WORKERS,
    traffic={"timeout": TIMEOUT_SECONDS},
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

        os.environ.setdefault(CPUS, str(sizing_of().threads))  # the weights' own library asks for it
        started = start(HERE)
        application.router.routes[:] = started.routes
        logger.info("%s is ready", started.predictor.manifest.tag)
