"""The routes of the service: they read, predict in the model's lane, answer, and count what happened."""

import asyncio
import importlib.util
import logging
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from components.model_pack.serving.about import describe
from components.model_pack.serving.draw import choose_kind, draw, encode
from components.model_pack.serving.lane import Budget, Lane, busy
from components.model_pack.serving.limits import RefusedError
from components.model_pack.serving.metrics import CONTENT_TYPE, OTHER, Metrics
from components.model_pack.serving.openapi import openapi_document
from components.model_pack.serving.page import docs_page, index_page
from components.model_pack.serving.predictor import Pixels, Prediction, Predictor
from components.model_pack.serving.schema import ImagePrediction, Predictions, answer_of
from components.model_pack.serving.upload import Upload, Wanted, read_upload, read_wanted

Handler = Callable[[Request], Awaitable[Response]]
JSON = "application/json"
PREDICT, DRAW = "/predict", "/predict/image"
_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
_SWAGGER = Path("_internal", "server", "static_content")  # in BentoML, which need not be imported for it
logger = logging.getLogger(__name__)


class Application:
    """What answers for one predictor.

    Args:
        predictor: the model.
        lane: where it predicts.
        metrics: where it is counted.
    """

    def __init__(self, predictor: Predictor, lane: Lane, metrics: Metrics) -> None:
        self._predictor = predictor
        self._lane = lane
        self._metrics = metrics
        self._budget = Budget(predictor.limits.max_buffered_bytes)

    def routes(self) -> list[BaseRoute]:
        """Every route but the probes, which are BentoML's own."""
        document = JSONResponse(openapi_document(self._predictor.manifest, self._predictor.limits))
        routes: list[BaseRoute] = [
            self._route(PREDICT, self._predict, "POST"),
            self._route(DRAW, self._draw, "POST"),
            self._route("/model", _constant(JSONResponse(describe(self._predictor)))),
            self._route("/openapi.json", _constant(document)),
            self._route("/docs.json", _constant(document)),  # where BentoML has its own, which knows none of these
            self._route("/docs", _constant(docs_page())),
            self._route("/", _constant(index_page())),
            Route("/metrics", self._tell_metrics),
        ]
        routes += [Mount("/static_content", StaticFiles(directory=folder)) for folder in _swagger()]
        known = {route.path: route.methods or set() for route in routes if isinstance(route, Route)}
        lost = partial(_refuse_path, known)
        return [*routes, self._route("/{path:path}", lost, *_METHODS, endpoint=OTHER)]

    async def _predict(self, request: Request) -> Response:
        if self._lane.is_full:
            raise busy("its queue is full")
        answers: list[ImagePrediction] = []
        with self._budget.hold() as count:
            upload, wanted = await self._read(request, count)
            with self._lane.admit():
                for index in range(len(upload.images)):
                    answer = await self._in_lane(PREDICT, self._answer, upload, index, wanted)
                    answers.append(answer)
        if len(answers) == 1:
            return Response(answers[0].model_dump_json(), media_type=JSON)
        several = Predictions(model=self._predictor.manifest.tag, predictions=answers)
        return Response(several.model_dump_json(), media_type=JSON)

    async def _draw(self, request: Request) -> Response:
        kind = choose_kind(request.headers.get("accept", ""))
        if self._lane.is_full:
            raise busy("its queue is full")
        with self._budget.hold() as count:
            upload, wanted = await self._read(request, count)
            if len(upload.images) != 1:
                raise RefusedError(400, "files", f"One image is drawn at a time, but {len(upload.images)} were sent.")
            with self._lane.admit():
                body = await self._in_lane(DRAW, self._drawn, upload, wanted, kind)
        return Response(body, media_type=kind)

    async def _tell_metrics(self, request: Request) -> Response:
        del request
        text = await asyncio.get_running_loop().run_in_executor(None, self._metrics.exposition)
        return Response(text, media_type=CONTENT_TYPE)

    async def _read(self, request: Request, count: Callable[[int], None]) -> tuple[Upload, Wanted]:
        upload = await read_upload(request, self._predictor.limits, count)
        wanted = read_wanted(upload.fields, self._predictor.classes)
        self._predictor.check(**asdict(wanted))
        return upload, wanted

    async def _in_lane(self, endpoint: str, work: Callable[..., Any], *arguments: Any) -> Any:  # noqa: ANN401 - the work's own
        """Do the work when a thread is free, and measure how long it waited."""
        asked = perf_counter()

        def begin() -> Any:  # noqa: ANN401 - same
            self._metrics.took(endpoint, "wait", perf_counter() - asked)
            return work(*arguments)

        return await self._lane.run(begin)

    def _answer(self, upload: Upload, index: int, wanted: Wanted) -> ImagePrediction:
        try:
            _, prediction = self._find(PREDICT, upload.images[index], wanted)
        except RefusedError as error:
            if len(upload.images) == 1:
                raise
            place = f"Image {index + 1} of {len(upload.images)}: {error}"
            raise RefusedError(error.status, error.reason, place) from error
        return answer_of(prediction, self._predictor.manifest.tag)

    def _drawn(self, upload: Upload, wanted: Wanted, kind: str) -> bytes:
        pixels, prediction = self._find(DRAW, upload.images[0], wanted)
        with self._metrics.phase(DRAW, "draw"):
            return encode(draw(pixels, prediction), kind)

    def _find(self, endpoint: str, image: bytes, wanted: Wanted) -> tuple[Pixels, Prediction]:
        """Decode an image and predict on it, in a thread of the lane."""
        with self._metrics.phase(endpoint, "decode"):
            pixels = self._predictor.read(image)
        prediction = self._predictor.predict(pixels, **asdict(wanted))
        self._metrics.took(endpoint, "predict", prediction.seconds)
        self._metrics.predicted(prediction)
        return pixels, prediction

    def _route(self, path: str, handler: Handler, *methods: str, endpoint: str = "") -> Route:
        """A route that answers refusals in one sentence and counts every answer."""
        name = endpoint or path

        async def handle(request: Request) -> Response:
            started = perf_counter()
            with self._metrics.in_progress(name):
                response = await self._guarded(handler, request)
            self._metrics.answered(name, response.status_code, perf_counter() - started)
            return response

        return Route(path, handle, methods=list(methods) or ["GET"])

    async def _guarded(self, handler: Handler, request: Request) -> Response:
        seconds = self._predictor.limits.max_seconds
        try:
            async with asyncio.timeout(seconds):
                return await handler(request)
        except TimeoutError:
            self._metrics.rejected("timeout")
            message = f"The request was not served within {seconds} seconds: send a smaller image, or try again later."
            return JSONResponse({"error": message}, status_code=504)
        except RefusedError as error:
            self._metrics.rejected(error.reason)
            return JSONResponse(error.body, status_code=error.status, headers=error.headers)
        except Exception:
            logger.exception("%s failed", request.url.path)
            self._metrics.rejected("failure")
            return JSONResponse({"error": "The service failed; its log says why."}, status_code=500)


def _swagger() -> list[Path]:
    found = importlib.util.find_spec("bentoml")
    folders = found.submodule_search_locations if found else None
    return [folder for place in folders or () if (folder := Path(place) / _SWAGGER).is_dir()]


def _constant(response: Response) -> Handler:
    async def answer(request: Request) -> Response:
        del request
        return response

    return answer


async def _refuse_path(known: dict[str, set[str]], request: Request) -> Response:
    """What is at no route: 405 where only the method is wrong, else 404."""
    path = request.url.path
    if path in known:
        allowed = ", ".join(sorted(known[path]))
        message = f"{request.method} is not for {path}: use {allowed}."
        raise RefusedError(405, "method", message, headers={"Allow": allowed})
    raise RefusedError(404, "path", f"There is nothing at {path[:80]!r}: use {', '.join(sorted(known))}.")
