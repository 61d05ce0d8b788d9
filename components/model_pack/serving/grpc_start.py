"""Whether the service also answers gRPC: where ``DETECTOR_GRPC_PORT`` is set; nothing of gRPC is imported otherwise."""

import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from components.shared.errors import ConfigError

if TYPE_CHECKING:
    from components.model_pack.serving.lane import Lane
    from components.model_pack.serving.metrics import Metrics
    from components.model_pack.serving.predictor import Predictor

HOST = "DETECTOR_GRPC_HOST"
PORT = "DETECTOR_GRPC_PORT"
EVERYWHERE = "0.0.0.0"  # noqa: S104 - as REST does in a container; DETECTOR_GRPC_HOST narrows it
_LAST_PORT = 65535

Stop = Callable[[], None]


def start_grpc(
    predictor: "Predictor",
    lane: "Lane | None" = None,
    metrics: "Metrics | None" = None,
    environment: Mapping[str, str] = os.environ,
) -> Stop | None:
    """Answer the Open Inference Protocol on ``DETECTOR_GRPC_PORT``, in threads of this process.

    Workers share the port. ``DETECTOR_GRPC_HOST`` is the address it listens on, every one by default.

    Args:
        predictor: ready to predict.
        lane: where the predictions of this process queue, REST's among them; ``None`` for one of its own.
        metrics: what is told of them; ``None`` for none that is ever read.
        environment: where the settings are read.

    Returns:
        What ends it, once requests in flight are answered; ``None`` where the variable is not set.

    Raises:
        ConfigError: the port is none, taken by another program, or grpcio is not installed.
    """
    text = environment.get(PORT, "").strip()
    if not text:
        return None
    if not text.isdecimal() or not 0 < int(text) <= _LAST_PORT:
        raise ConfigError(f"{PORT} is {text!r}: give a port from 1 to {_LAST_PORT}, or leave it out for no gRPC.")
    try:
        from components.model_pack.serving.grpc_server import serve  # noqa: PLC0415 - costs 0.2 s, only where asked for
    except ImportError as error:
        raise ConfigError(f"{PORT} is {text!r}, but gRPC cannot be imported ({error}): install grpcio.") from error
    address = f"{environment.get(HOST, '').strip() or EVERYWHERE}:{int(text)}"
    return serve(predictor, address, lane=lane, metrics=metrics)
