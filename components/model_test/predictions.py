"""Compare what the packed model finds with what the trained one finds, in process and over HTTP."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import quantiles
from typing import Any

import numpy as np

from components.model_test.boxes import Comparison, Found, compare_boxes
from components.model_test.evidence import Check
from components.model_test.server import Server
from components.shared.archive import ArchiveManifest
from components.shared.detection.detector import Detector, Pixels
from components.shared.errors import InputError, ProofError
from components.shared.images import decode

PROOF_CONF = 0.001  # low enough that a model trained for a minute finds something
SERVICE_CONF = 0.25  # the service's own threshold, when it is asked without one
LATENCY_REQUESTS = 10


@dataclass(frozen=True)
class Sample:
    """An image to compare on: its name for messages, its encoded bytes, and its pixels (RGB, upright)."""

    name: str
    encoded: bytes
    pixels: Pixels

    @classmethod
    def read(cls, name: str, encoded: bytes) -> "Sample":
        """Decode an image; raises ``InputError`` with its name."""
        try:
            return cls(name, encoded, decode(encoded))
        except InputError as error:
            raise InputError(f"The {name} cannot be compared on: {error}") from error


@dataclass(frozen=True)
class Findings:
    """What one model finds in each sample, from the score ``conf`` up."""

    detector: Detector
    samples: tuple[Sample, ...]
    conf: float
    found: tuple[Found, ...]

    @property
    def boxes(self) -> int:
        """Boxes in all samples together."""
        return sum(len(found.scores) for found in self.found)


def predict(model: Path, samples: Sequence[Sample], *, conf: float) -> Findings:
    """Load a model folder anew and predict on every sample."""
    detector = Detector(model)
    found = tuple(find(detector, sample, conf) for sample in samples)
    return Findings(detector, tuple(samples), conf, found)


def predict_something(model: Path, samples: Sequence[Sample]) -> Findings:
    """Predict at ``PROOF_CONF``, or without a threshold when that finds nothing: an empty comparison proves little."""
    findings = predict(model, samples, conf=PROOF_CONF)
    return findings if findings.boxes else predict(model, samples, conf=0.0)


def find(detector: Detector, sample: Sample, conf: float) -> Found:
    """What a detector finds in a sample."""
    return Found.of(detector.predict([sample.pixels], conf=conf)[0], detector.classes)


def compare_findings(trained: Findings, packed: Findings) -> Check:
    """Every box of both models in every sample."""
    comparisons = [
        compare_boxes(sample.name, ours, theirs, other_is="packed")
        for sample, ours, theirs in zip(trained.samples, trained.found, packed.found, strict=True)
    ]
    return _check("Predictions", comparisons, len(trained.samples), (), "")


def compare_service(trained: Findings, server: Server, manifest: ArchiveManifest) -> Check:
    """Ask the running service about itself, and about every sample with the proof's threshold and with its own."""
    told = server.model()
    differences = [
        f"/model says {key} {told.get(key)!r}, the manifest {value!r}"
        for key, value in (("tag", manifest.tag), ("classes", list(manifest.classes)), ("imgsz", manifest.imgsz))
        if told.get(key) != value
    ]
    comparisons = []
    for sample, expected in zip(trained.samples, trained.found, strict=True):
        at_default = find(trained.detector, sample, SERVICE_CONF)
        for conf, wanted in ((trained.conf, expected), (None, at_default)):
            answer = server.predict(sample.encoded, conf=conf)
            differences += _size_differences(sample, answer)
            comparisons.append(compare_boxes(sample.name, wanted, read_answer(answer), other_is="the service"))
    seconds = server.latencies(trained.samples[0].encoded, LATENCY_REQUESTS)
    check = _check("Service", comparisons, len(trained.samples), differences, "http_")
    timed = {
        "cold_start_seconds": server.cold_start_seconds,
        "latency_p50_ms": 1000 * quantiles(seconds, n=20)[9],
        "latency_p95_ms": 1000 * quantiles(seconds, n=20)[18],
    }
    return Check(check.title, check.compared, check.differences, {**check.numbers, **timed})


def read_answer(answer: dict[str, object]) -> Found:
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


def _size_differences(sample: Sample, answer: dict[str, object]) -> list[str]:
    height, width = sample.pixels.shape[:2]
    told = (answer.get("width"), answer.get("height"))
    if told == (width, height):
        return []
    return [f"{sample.name}: the service says it has {told} pixels, but it has {(width, height)}"]


def _check(
    title: str, comparisons: Sequence[Comparison], images: int, differences: Sequence[str], prefix: str
) -> Check:
    boxes = sum(comparison.pairs for comparison in comparisons)
    numbers = {
        f"{prefix}images_compared": images,
        f"{prefix}boxes_compared": boxes,
        f"{prefix}max_score_difference": max(comparison.max_score_difference for comparison in comparisons),
        f"{prefix}max_box_difference": max(comparison.max_box_difference for comparison in comparisons),
    }
    found = (*differences, *(text for comparison in comparisons for text in comparison.differences))
    return Check(title, f"{boxes} boxes in {images} images", found, numbers)
