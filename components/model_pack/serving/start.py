"""Bring a packed model into service: open it, make a first prediction, and set up what leads to it."""

import logging
import os
from dataclasses import dataclass
from pathlib import Path

from starlette.routing import BaseRoute

from components.model_pack.serving.app import Application
from components.model_pack.serving.grpc_start import Stop, start_grpc
from components.model_pack.serving.lane import Lane
from components.model_pack.serving.metrics import Metrics
from components.model_pack.serving.predictor import Predictor
from components.model_pack.serving.sizing import settle
from components.shared.cpus import usable_cpus

_MOST_DECODERS = 8
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Started:
    """A model in service.

    Attributes:
        predictor: the model, warmed up.
        lane: where predictions are made.
        metrics: what counts them.
        routes: what answers over HTTP.
        stop_grpc: ends what answers over gRPC; ``None`` where nothing does.
    """

    predictor: Predictor
    lane: Lane
    metrics: Metrics
    routes: list[BaseRoute]
    stop_grpc: Stop | None

    def close(self) -> None:
        """Let go of what holds the process: gRPC's port and the lane's threads."""
        if self.stop_grpc:
            self.stop_grpc()
        self.lane.close()


def start(source: Path) -> Started:
    """Open the model of the bento whose source folder this is; raises as ``Predictor`` does."""
    settle(os.environ)
    predictor = Predictor(source)
    lane = Lane(threads=_lanes(predictor), waiting=predictor.limits.max_waiting)
    metrics = Metrics()
    seconds = predictor.warm_up()
    metrics.introduce(predictor.manifest.tag, predictor.runtime, predictor.device)
    logger.info(
        "%s predicts with %s on %s, %d threads; its first prediction took %.3f s",
        *(predictor.manifest.tag, predictor.runtime, predictor.device, predictor.threads, seconds),
    )
    routes = Application(predictor, lane, metrics).routes()
    return Started(predictor, lane, metrics, routes, start_grpc(predictor, lane, metrics))


def _lanes(predictor: Predictor) -> int:
    """Images worked on at once: while one is predicted, others are decoded where there are CPUs left for it."""
    if predictor.device == "cpu":
        return min(2, predictor.threads)
    return min(_MOST_DECODERS, usable_cpus())
