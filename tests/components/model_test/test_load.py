"""Load: answers are counted and timed, failures and slowness fail the proof with a sentence."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import numpy as np
import pytest

from components.model_test.load import Load, judge_load, one_by_one, under_load
from components.model_test.samples import EMPTY, Sample
from components.model_test.server import Server
from components.shared.errors import ProofError

pytestmark = pytest.mark.slow

PIXELS = np.zeros((4, 4, 3), dtype=np.uint8)
SAMPLES = [Sample("test image", b"first", PIXELS), Sample("image 1", b"second", PIXELS), Sample(EMPTY, b"none", PIXELS)]


@contextmanager
def answering(answer: Callable[[bytes], tuple[int, object]]) -> Iterator[Server]:
    """A server that answers each request's body with a status and JSON."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            status, said = answer(self.rfile.read(int(self.headers["content-length"])))
            body = json.dumps(said).encode()
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{server.server_port}", trust_env=False) as client:
            yield Server(client, 1.0)
    finally:
        server.shutdown()
        server.server_close()


def test_every_client_asks_until_the_time_is_over_and_only_with_photographs() -> None:
    bodies: list[bytes] = []

    def answer(body: bytes) -> tuple[int, object]:
        bodies.append(body)
        return 200, {"boxes": []}

    with answering(answer) as server:
        load = under_load(server, SAMPLES, 0.3)
    assert load.seconds >= 0.3
    assert len(load.latencies) == len(load.moments) >= load.clients
    assert load.failed == 0
    assert 0 < load.p50 <= load.p95
    assert any(b"first" in body for body in bodies)
    assert any(b"second" in body for body in bodies)
    assert not any(b"none" in body for body in bodies)


def test_a_request_without_an_answer_fails_the_proof_with_its_reason() -> None:
    count = iter(range(1_000_000))
    with answering(lambda _: (503, {"error": "busy"}) if next(count) % 5 == 0 else (200, {})) as server:
        single = Load(1, 1.0, (5.0,), (0.1,))
        check = judge_load(single, under_load(server, SAMPLES, 0.3), 0.0)
    assert len(check.differences) == 1
    assert check.differences[0].endswith(
        'had no answer: The packed service answered /predict with 503: {"error": "busy"}'
    )
    assert check.numbers["load_failures"] > 0


def test_slower_than_allowed_fails_the_proof_and_names_both_numbers() -> None:
    def slowly(_: bytes) -> tuple[int, object]:
        time.sleep(0.03)
        return 200, {}

    with answering(slowly) as server:
        single = one_by_one(server, SAMPLES)
    (difference,) = judge_load(single, None, 20.0).differences
    assert "in 95 of 100 cases (1 clients at once), max_latency_ms is 20" in difference
    assert judge_load(single, None, 10_000.0).passed
    assert judge_load(single, None, 0.0).passed


@pytest.mark.parametrize("wrap", [lambda answers: answers, lambda answers: {"predictions": answers}])
def test_several_images_are_answered_in_order(wrap: Callable[[object], object]) -> None:
    with answering(lambda body: (200, wrap([{"n": n} for n in range(body.count(b"filename"))]))) as server:
        assert server.predict_together([b"1", b"2", b"3"]) == [{"n": 0}, {"n": 1}, {"n": 2}]


@pytest.mark.parametrize(
    ("said", "says"),
    [
        ({"boxes": []}, "answered 2 images in one request with"),
        ([{}], "2 images with 1 predictions"),
        ("no", "with no"),
    ],
)
def test_another_answer_to_several_images_is_no_proof(said: object, says: str) -> None:
    with answering(lambda _: (200, said)) as server, pytest.raises(ProofError, match=says):
        server.predict_together([b"1", b"2"])


def test_an_answer_that_is_no_object_is_no_proof() -> None:
    with answering(lambda _: (200, [])) as server, pytest.raises(ProofError, match="not with a JSON object"):
        server.predict(b"1")
