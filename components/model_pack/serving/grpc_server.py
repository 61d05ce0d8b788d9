"""The gRPC server of a worker: the Open Inference Protocol, version 2, and the health check that orchestrators call."""

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from time import perf_counter
from typing import Any

import grpc

from components.model_pack.serving import grpc_inference_pb2 as messages
from components.model_pack.serving.grpc_start import Stop
from components.model_pack.serving.grpc_tensors import (
    INPUTS,
    OUTPUTS,
    Reader,
    answer,
    outputs_of,
    readers_of,
    wanted_of,
)
from components.model_pack.serving.lane import Lane
from components.model_pack.serving.limits import RefusedError
from components.model_pack.serving.metrics import Metrics
from components.model_pack.serving.predictor import Prediction, Predictor
from components.model_pack.serving.upload import Wanted
from components.shared.errors import ConfigError

SERVICE = "inference.GRPCInferenceService"
PLATFORM = "detector"
INFER = "ModelInfer"  # as the metrics name it
_CODES = {
    404: grpc.StatusCode.NOT_FOUND,
    413: grpc.StatusCode.RESOURCE_EXHAUSTED,
    429: grpc.StatusCode.RESOURCE_EXHAUSTED,
    503: grpc.StatusCode.UNAVAILABLE,
    504: grpc.StatusCode.DEADLINE_EXCEEDED,
}
_GRACE = 10.0  # seconds that requests in flight have when the server ends
_ENVELOPE = 1 << 20  # bytes of a request besides its images
_LEAST_THREADS = 4
_MINUTE_MS = 60_000
logger = logging.getLogger(__name__)


def serve(predictor: Predictor, address: str, *, lane: Lane | None = None, metrics: Metrics | None = None) -> Stop:
    """Start the server on a port that other workers may share; see ``start_grpc``.

    A request's message is received by the thread that answers it, so the number of threads bounds the memory. A
    connection is renewed after some minutes, which ends uploads that never do.
    """
    limits = predictor.limits
    threads = max(_LEAST_THREADS, limits.max_buffered_bytes // limits.max_request_bytes)
    inference = Inference(predictor, lane or Lane(threads=1, waiting=limits.max_waiting), metrics or Metrics())
    server = grpc.server(
        ThreadPoolExecutor(threads, thread_name_prefix="grpc"),
        handlers=handlers_of(inference),
        maximum_concurrent_rpcs=threads + limits.max_waiting,
        options=[
            ("grpc.so_reuseport", 1),
            ("grpc.max_receive_message_length", limits.max_request_bytes + _ENVELOPE),
            ("grpc.max_send_message_length", -1),
            ("grpc.max_connection_age_ms", 10 * _MINUTE_MS),
            ("grpc.max_connection_age_grace_ms", _MINUTE_MS),
        ],
    )
    try:
        server.add_insecure_port(address)
    except RuntimeError as error:
        raise ConfigError(f"gRPC cannot listen on {address!r}: choose another DETECTOR_GRPC_PORT.") from error
    server.start()
    logger.info("gRPC listens on %s", address)

    def stop() -> None:
        server.stop(_GRACE).wait()

    return stop


class Inference:
    """The protocol's six calls; a refusal carries the sentence and, as a status, the meaning that REST gives it."""

    def __init__(self, predictor: Predictor, lane: Lane, metrics: Metrics) -> None:
        self._predictor = predictor
        self._lane = lane
        self._metrics = metrics
        self._name = predictor.manifest.name
        self._version = predictor.manifest.version

    def live(self, _: Any) -> messages.ServerLiveResponse:  # noqa: ANN401 - an empty message
        """``ServerLive``."""
        return messages.ServerLiveResponse(live=True)

    def ready(self, _: Any) -> messages.ServerReadyResponse:  # noqa: ANN401 - an empty message
        """``ServerReady``: always, for the server starts after the first prediction."""
        return messages.ServerReadyResponse(ready=True)

    def model_ready(self, request: messages.ModelReadyRequest) -> messages.ModelReadyResponse:
        """``ModelReady``: whether the model and version named are served here."""
        ready = request.name == self._name and request.version in {"", self._version}
        return messages.ModelReadyResponse(ready=ready)

    def about_server(self, _: Any) -> messages.ServerMetadataResponse:  # noqa: ANN401 - an empty message
        """``ServerMetadata``."""
        return messages.ServerMetadataResponse(name=self._name, version=self._version)

    def about_model(self, request: messages.ModelMetadataRequest) -> messages.ModelMetadataResponse:
        """``ModelMetadata``: the tensors that ``ModelInfer`` takes and gives."""
        self._check(request.name, request.version)
        tensors = messages.ModelMetadataResponse.TensorMetadata
        return messages.ModelMetadataResponse(
            name=self._name,
            versions=[self._version],
            platform=PLATFORM,
            inputs=[tensors(name=name, datatype=kind, shape=shape) for name, (kind, shape) in INPUTS.items()],
            outputs=[tensors(name=name, datatype=kind, shape=shape) for name, (kind, shape) in OUTPUTS.items()],
        )

    def infer(self, request: messages.ModelInferRequest) -> messages.ModelInferResponse:
        """``ModelInfer``."""
        started, code = perf_counter(), 500
        try:
            with self._metrics.in_progress(INFER), self._lane.admit():
                made = self._lane.submit(partial(self._infer, request)).result()
            code = 200
        except RefusedError as refusal:
            code = refusal.status
            self._metrics.rejected(refusal.reason)
            raise
        finally:
            self._metrics.answered(INFER, code, perf_counter() - started)
        return made

    def _infer(self, request: messages.ModelInferRequest) -> messages.ModelInferResponse:
        self._check(request.model_name, request.model_version)
        wanted, outputs = wanted_of(request, self._predictor.classes), outputs_of(request)
        found = [self._predict(read, wanted) for read in readers_of(request, self._predictor)]
        made = answer(found, outputs, raw=bool(request.raw_input_contents))
        made.model_name, made.model_version, made.id = self._name, self._version, request.id
        return made

    def _predict(self, read: Reader, wanted: Wanted) -> Prediction:
        with self._metrics.phase(INFER, "decode"):
            pixels = read()
        found = self._predictor.predict(
            pixels, conf=wanted.conf, iou=wanted.iou, classes=wanted.classes, tile=wanted.tile
        )
        self._metrics.took(INFER, "predict", found.seconds)
        self._metrics.predicted(found)
        return found

    def health(self, request: messages.ModelReadyRequest) -> messages.ServerLiveResponse:
        """``grpc.health.v1.Health/Check``: its messages are, byte by byte, a name and a yes of ours."""
        if request.name not in {"", SERVICE}:
            raise RefusedError(404, "service", f"There is no service {request.name!r}: ask for {SERVICE!r} or ''.")
        return messages.ServerLiveResponse(live=True)

    def _check(self, name: str, version: str) -> None:
        if name != self._name:
            raise RefusedError(404, "model", f"There is no model {name!r} here: this is {self._name!r}.")
        if version not in {"", self._version}:
            raise RefusedError(404, "model", f"There is no version {version!r} here: this is {self._version!r}.")


def handlers_of(inference: Inference) -> list[grpc.GenericRpcHandler]:
    """The calls by their names in the protocol."""
    calls = {
        "ServerLive": _handler(inference.live, messages.ServerLiveRequest),
        "ServerReady": _handler(inference.ready, messages.ServerReadyRequest),
        "ModelReady": _handler(inference.model_ready, messages.ModelReadyRequest),
        "ServerMetadata": _handler(inference.about_server, messages.ServerMetadataRequest),
        "ModelMetadata": _handler(inference.about_model, messages.ModelMetadataRequest),
        "ModelInfer": _handler(inference.infer, messages.ModelInferRequest),
    }
    health = {"Check": _handler(inference.health, messages.ModelReadyRequest)}
    return [
        grpc.method_handlers_generic_handler(SERVICE, calls),
        grpc.method_handlers_generic_handler("grpc.health.v1.Health", health),
    ]


def _handler(call: Callable[[Any], Any], request: type[Any]) -> "grpc.RpcMethodHandler[Any, Any]":
    def answered(asked: Any, context: grpc.ServicerContext) -> Any:  # noqa: ANN401 - messages of any kind
        try:
            return call(asked)
        except RefusedError as refusal:
            context.abort(_CODES.get(refusal.status, grpc.StatusCode.INVALID_ARGUMENT), str(refusal))
        except Exception:
            logger.exception("a prediction asked for by gRPC failed")
            context.abort(grpc.StatusCode.INTERNAL, "The prediction failed; the service's log says why.")

    return grpc.unary_unary_rpc_method_handler(
        answered,
        request_deserializer=request.FromString,
        response_serializer=lambda message: message.SerializeToString(),
    )
