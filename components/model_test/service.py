"""Compare what the running service answers with what its runtime finds in process: one by one, together and at once."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from components.model_test.boxes import Comparison, Found, compare_boxes
from components.model_test.evidence import Check, attempt
from components.model_test.predictions import Asked, Findings, gather, predict_with
from components.model_test.samples import Sample
from components.model_test.server import Answer, Server, workers
from components.shared.archive import ArchiveManifest
from components.shared.errors import ProofError

_HIDDEN = {"source_files", "bento_files"}
_TOGETHER = 4  # images of one request
_ROUNDS = 2  # how often each image is sent at once with the others
Expected = Sequence[tuple[Sample, Found]]


def check_service(found: Findings, server: Server, manifest: ArchiveManifest) -> list[Check]:
    """Ask the running service about itself, and about every sample in each way it can be asked.

    Args:
        found: what the runtime it serves finds in process, from a low score up.
        server: the running service.
        manifest: the archive's.
    """
    default = predict_with(found.detector, found.samples, Asked.by_default(found.asked.how, manifest.classes))
    low, own = list(zip(found.samples, found.found, strict=True)), list(zip(found.samples, default.found, strict=True))
    return [
        attempt("Service, what it says of itself", lambda: compare_description(server, manifest)),
        attempt("Service, one image a request", lambda: _one_by_one(server, low, found.asked)),
        attempt("Service, its own thresholds", lambda: _at_default(server, own, default.asked)),
        attempt("Service, several images a request", lambda: _together(server, own, default.asked)),
        attempt("Service, many requests at once", lambda: _at_once(server, own, default.asked)),
    ]


def compare_description(server: Server, manifest: ArchiveManifest) -> Check:
    """What ``/model`` says against the archive's manifest, field by field."""
    told = server.model()
    said = manifest.model_dump(mode="json", exclude=_HIDDEN)
    differences = [
        f"/model says {key} {told.get(key)!r}, the manifest {value!r}"
        for key, value in said.items()
        if told.get(key) != value
    ]
    return Check(
        "Service, what it says of itself", f"{len(said)} facts", tuple(differences), {"facts_compared": len(said)}
    )


def read_answer(answer: Answer) -> Found:
    """What ``/predict`` answered as boxes.

    Raises:
        ProofError: it does not have the fields it should have.
    """
    listed = answer.get("boxes")
    keys = ("x", "y", "width", "height", "score")
    try:
        boxes: list[Any] = listed if isinstance(listed, list) else [None]
        numbers = np.array([[float(box[key]) for key in keys] for box in boxes], dtype=np.float64).reshape(-1, 5)
        names = tuple(str(box["class"]) for box in boxes)
    except (KeyError, TypeError, ValueError) as error:
        raise ProofError(f"The packed service's answer has no readable boxes: {str(listed)[:200]}") from error
    corners = np.hstack([numbers[:, :2], numbers[:, :2] + numbers[:, 2:4]])
    return Found(corners, numbers[:, 4], names)


def _one_by_one(server: Server, expected: Expected, asked: Asked) -> Check:
    answers = [server.predict(sample.encoded, conf=asked.conf) for sample, _ in expected]
    return _compared("Service, one image a request", expected, answers, asked)


def _at_default(server: Server, expected: Expected, asked: Asked) -> Check:
    """Without a threshold in the request each class has its own from ``inference.json``."""
    answers = [server.predict(sample.encoded) for sample, _ in expected]
    return _compared("Service, its own thresholds", expected, answers, asked)


def _together(server: Server, expected: Expected, asked: Asked) -> Check:
    """Requests of a few images each; the last ones overlap, so that none is of one image."""
    starts = range(0, len(expected), _TOGETHER)
    groups = [expected[min(start, max(0, len(expected) - 2)) :][:_TOGETHER] for start in starts]
    answers = [
        answer for group in groups for answer in server.predict_together([sample.encoded for sample, _ in group])
    ]
    sent = [pair for group in groups for pair in group]
    return _compared("Service, several images a request", sent, answers, asked)


def _at_once(server: Server, expected: Expected, asked: Asked) -> Check:
    """Every image several times, from twice as many clients as the service has processes."""
    sent = [pair for _ in range(_ROUNDS) for pair in expected]
    with ThreadPoolExecutor(2 * workers()) as clients:
        answers = list(clients.map(server.predict, [sample.encoded for sample, _ in sent]))
    return _compared("Service, many requests at once", sent, answers, asked)


def _compared(title: str, expected: Expected, answers: Sequence[Answer], asked: Asked) -> Check:
    differences = [
        text
        for (sample, _), answer in zip(expected, answers, strict=True)
        for text in _size_differences(sample, answer)
    ]
    comparisons: list[Comparison] = [
        compare_boxes(sample.name, wanted, read_answer(answer), other_is="the service", clear=asked.clear())
        for (sample, wanted), answer in zip(expected, answers, strict=True)
    ]
    return gather(title, comparisons, len(answers), differences, "http_")


def _size_differences(sample: Sample, answer: Answer) -> list[str]:
    height, width = sample.pixels.shape[:2]
    told = (answer.get("width"), answer.get("height"))
    if told == (width, height):
        return []
    return [f"{sample.name}: the service says it has {told} pixels, but it has {(width, height)}"]
