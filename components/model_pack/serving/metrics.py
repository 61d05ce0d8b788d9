"""What the service counts for Prometheus, over all of its processes."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from time import perf_counter

import numpy as np
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.multiprocess import MultiProcessCollector

from components.model_pack.serving.predictor import Prediction

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4
DIRECTORY = "PROMETHEUS_MULTIPROC_DIR"
OTHER = "other"

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_SCORES = tuple(step / 20 for step in range(1, 21))
_MEGAPIXELS = (0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 12.0, 24.0, 50.0, 100.0)


class Metrics:
    """The counters of this process; ``exposition`` adds up those of all processes of the service."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        forget_the_dead()
        self._requests = self._histogram("request_seconds", "Time of a request.", ["endpoint", "code"], _SECONDS)
        self._phases = self._histogram("phase_seconds", "Time of an image's phase.", ["endpoint", "phase"], _SECONDS)
        self._scores = self._histogram("confidence", "Scores of the boxes that were answered.", [], _SCORES)
        self._sizes = self._histogram("image_megapixels", "Sizes of the images.", [], _MEGAPIXELS)
        self._boxes = self._counter("boxes", "Boxes that were answered.", ["class"])
        self._rejected = self._counter("rejected", "Requests that were refused.", ["reason"])
        self._inside = Gauge(
            "detector_requests_in_progress",
            "Requests being served now.",
            ["endpoint"],
            registry=self._registry,
            multiprocess_mode="livesum",
        )
        self._model = Gauge(
            "detector_model_info",
            "1 for the model that is served.",
            ["tag", "runtime", "device"],
            registry=self._registry,
            multiprocess_mode="livemax",
        )

    def introduce(self, tag: str, runtime: str, device: str) -> None:
        """Tell which model is served, by which runtime and on what."""
        self._model.labels(tag, runtime, device).set(1)

    @contextmanager
    def in_progress(self, endpoint: str) -> Iterator[None]:
        """Count a request as being served while the block runs."""
        with self._inside.labels(endpoint).track_inprogress():
            yield

    def answered(self, endpoint: str, code: int | str, seconds: float) -> None:
        """A request was answered."""
        self._requests.labels(endpoint, str(code)).observe(seconds)

    def rejected(self, reason: str) -> None:
        """A request was refused; ``reason`` is one of a few words."""
        self._rejected.labels(reason).inc()

    @contextmanager
    def phase(self, endpoint: str, phase: str) -> Iterator[None]:
        """Measure a phase of an image: ``decode``, ``predict`` or ``draw``."""
        started = perf_counter()
        try:
            yield
        finally:
            self.took(endpoint, phase, perf_counter() - started)

    def took(self, endpoint: str, phase: str, seconds: float) -> None:
        """A phase took so long."""
        self._phases.labels(endpoint, phase).observe(seconds)

    def predicted(self, prediction: Prediction) -> None:
        """What was found in an image, and how large that was."""
        self._sizes.observe(prediction.width * prediction.height / 1e6)
        for score in prediction.found.scores.tolist():
            self._scores.observe(score)
        labels, counts = np.unique(prediction.found.labels, return_counts=True)
        for label, count in zip(labels.tolist(), counts.tolist(), strict=True):
            self._boxes.labels(prediction.classes[label]).inc(count)

    def exposition(self) -> bytes:
        """The numbers of all processes in Prometheus' text format."""
        if DIRECTORY not in os.environ:
            return generate_latest(self._registry)
        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        return generate_latest(registry)

    def _histogram(self, name: str, said: str, labels: list[str], buckets: tuple[float, ...]) -> Histogram:
        return Histogram(f"detector_{name}", said, labels, buckets=buckets, registry=self._registry)

    def _counter(self, name: str, said: str, labels: list[str]) -> Counter:
        return Counter(f"detector_{name}", said, labels, registry=self._registry)


def forget_the_dead() -> None:
    """Remove what processes of this service that are gone said of the present moment; their counts stay."""
    folder = os.environ.get(DIRECTORY, "")
    for file in Path(folder).glob("gauge_live*_*.db") if folder else ():
        process = file.stem.rpartition("_")[2]
        if process.isdecimal() and not Path("/proc", process).exists():
            with suppress(OSError):
                file.unlink()
