"""Ask the running service from several clients at once, as long as it was asked to, and see how it bears it."""

import threading
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np

from components.model_test.evidence import Check
from components.model_test.samples import MADE, Sample
from components.model_test.server import Server, workers
from components.shared.errors import ProofError, in_one_line

SINGLE = 10  # requests one after the other
_SHOWN = 3
_UP_TO = 4  # requests of each client before the clock starts


@dataclass(frozen=True)
class Load:
    """What clients saw.

    Attributes:
        clients: how many asked at once.
        seconds: from the first request to the last answer.
        latencies: milliseconds of each answer, in the order they came.
        moments: seconds after the start at which each came.
        failures: how often each reason for no answer was seen.
    """

    clients: int
    seconds: float
    latencies: tuple[float, ...]
    moments: tuple[float, ...]
    failures: dict[str, int] = field(default_factory=dict)

    @property
    def p50(self) -> float:
        """Median latency in milliseconds; 0 without answers."""
        return percentile(self.latencies, 50)

    @property
    def p95(self) -> float:
        """95th percentile of the latency in milliseconds; 0 without answers."""
        return percentile(self.latencies, 95)

    @property
    def failed(self) -> int:
        """Requests without an answer."""
        return sum(self.failures.values())

    @property
    def per_second(self) -> float:
        """Answers a second."""
        return len(self.latencies) / self.seconds if self.seconds else 0.0


def percentile(latencies: Sequence[float], share: float) -> float:
    """A percentile of the latencies; 0 without any."""
    return float(np.percentile(latencies, share)) if latencies else 0.0


def one_by_one(server: Server, samples: Sequence[Sample]) -> Load:
    """A few requests, one after the other, each with the next photograph; raises ``ProofError`` as the server does."""
    return _press(server, _photographs(samples), clients=1, requests=SINGLE, seconds=0.0)


def under_load(server: Server, samples: Sequence[Sample], seconds: float) -> Load:
    """Photographs from twice as many clients as the service has processes, for so many seconds."""
    photographs, clients = _photographs(samples), 2 * workers()
    _press(server, photographs, clients=clients, requests=_UP_TO, seconds=0.0)  # every process has seen some
    return _press(server, photographs, clients=clients, requests=0, seconds=seconds)


def judge_load(single: Load, load: Load | None, max_latency_ms: float) -> Check:
    """The measurements, and as differences: requests without an answer, and a latency above what was asked for."""
    measured = load or single
    differences = [
        f"{count} of {count + len(measured.latencies)} requests to the service had no answer: {reason}"
        for reason, count in list(measured.failures.items())[:_SHOWN]
    ]
    if 0 < max_latency_ms < measured.p95:
        differences.append(
            f"the service's answers took up to {measured.p95:.0f} ms in 95 of 100 cases ({measured.clients} clients at "
            f"once), max_latency_ms is {max_latency_ms:g}: serve a faster runtime, or allow more"
        )
    numbers = {"latency_p50_ms": single.p50, "latency_p95_ms": single.p95}
    if load:
        numbers |= {
            "load_clients": load.clients,
            "load_requests": len(load.latencies) + load.failed,
            "load_failures": load.failed,
            "load_per_second": load.per_second,
            "load_p50_ms": load.p50,
            "load_p95_ms": load.p95,
        }
    said = f"{len(measured.latencies):,} answers to {measured.clients} client{'s' if measured.clients > 1 else ''}"
    return Check("Service, speed", said, tuple(differences), numbers)


def _photographs(samples: Sequence[Sample]) -> list[bytes]:
    return [sample.encoded for sample in samples if sample.name not in MADE]


def _press(server: Server, images: Sequence[bytes], *, clients: int, requests: int, seconds: float) -> Load:
    """Each client sends one image after the other: ``requests`` of them, or until the seconds are over."""
    answers: list[tuple[float, float]] = []
    failures: Counter[str] = Counter()
    noting = threading.Lock()
    started = time.perf_counter()

    def client(number: int) -> None:
        sent = 0
        while sent < requests or time.perf_counter() - started < seconds:
            asked = time.perf_counter()
            try:
                server.predict(images[(number + sent * clients) % len(images)])
            except ProofError as error:
                with noting:
                    failures[in_one_line(error, most=200)] += 1
            else:
                answered = time.perf_counter()
                with noting:
                    answers.append((answered - started, 1000 * (answered - asked)))
            sent += 1

    with ThreadPoolExecutor(clients) as pool:
        for done in [pool.submit(client, number) for number in range(clients)]:
            done.result()
    moments, latencies = zip(*answers, strict=True) if answers else ((), ())
    return Load(clients, time.perf_counter() - started, latencies, moments, dict(failures))
