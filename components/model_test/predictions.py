"""Compare what the packed model finds with what the trained one finds, in process, asked as the archive says."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from components.model_test.boxes import Comparison, Found, compare_boxes
from components.model_test.evidence import Check
from components.model_test.samples import Sample
from components.shared.detection.detector import Detections, Detector
from components.shared.detection.inference import Inference
from components.shared.detection.tiling import Tiling

PROOF_CONF = 0.001  # low enough that a model trained for a minute finds something
EDGE = 1e-3  # share by which a score may miss a cut


@dataclass(frozen=True)
class Asked:
    """How a model is asked: what ``Detector.predict`` takes, and each class's own lowest score, if any."""

    conf: float
    how: Inference
    least: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def by_default(cls, how: Inference, classes: Sequence[str]) -> "Asked":
        """As a service is asked that is told nothing but the image."""
        least = dict(zip(classes, how.confidences(tuple(classes)), strict=True))
        return cls(min(least.values()), how, least)

    @property
    def tiling(self) -> Tiling | None:
        """How large images are cut."""
        how = self.how
        return Tiling(how.tile, how.tile_overlap, how.tile_merge) if how.tile else None

    def clear(self) -> dict[str, float] | float:
        """Lowest score of a box that is surely above the cut; by class where they have their own."""
        if self.least:
            return {name: value * (1 + EDGE) for name, value in self.least.items()}
        return self.conf * (1 + EDGE)


@dataclass(frozen=True)
class Findings:
    """What one model finds in each sample."""

    detector: Detector
    samples: tuple[Sample, ...]
    asked: Asked
    found: tuple[Found, ...]

    @property
    def conf(self) -> float:
        """The lowest score that was asked for."""
        return self.asked.conf

    @property
    def boxes(self) -> int:
        """Boxes in all samples together."""
        return sum(len(found.scores) for found in self.found)


def predict(model: Path, samples: Sequence[Sample], asked: Asked, *, runtime: str = "") -> Findings:
    """Load a model folder anew and predict on every sample."""
    return predict_with(Detector(model, runtime=runtime), samples, asked)


def predict_with(detector: Detector, samples: Sequence[Sample], asked: Asked) -> Findings:
    """Predict on every sample."""
    return Findings(detector, tuple(samples), asked, tuple(find(detector, sample, asked) for sample in samples))


def predict_something(model: Path, samples: Sequence[Sample], how: Inference) -> Findings:
    """Predict at ``PROOF_CONF``, or without a threshold when that finds nothing: an empty comparison proves little."""
    findings = predict(model, samples, Asked(PROOF_CONF, how))
    return findings if findings.boxes else predict_with(findings.detector, samples, Asked(0.0, how))


def find(detector: Detector, sample: Sample, asked: Asked) -> Found:
    """What a detector finds in a sample."""
    how = asked.how
    (found,) = detector.predict([sample.pixels], conf=asked.conf, iou=how.iou, max_det=how.max_det, tiling=asked.tiling)
    limit = _limit(sample, asked)
    limited = len(found.scores) >= limit
    if asked.least:
        found = _above(found, detector.classes, asked.least)
    return Found.of(found, detector.classes, limited=limited)


def compare_findings(trained: Findings, packed: Findings) -> Check:
    """Every box of both models in every sample, to the last digits: the same weights run through the same code."""
    comparisons = [
        compare_boxes(sample.name, ours, theirs, other_is="packed")
        for sample, ours, theirs in zip(trained.samples, trained.found, packed.found, strict=True)
    ]
    return gather("Predictions", comparisons, len(trained.samples))


def gather(
    title: str, comparisons: Sequence[Comparison], images: int, differences: Sequence[str] = (), prefix: str = ""
) -> Check:
    """One check of comparisons of several images; ``differences`` come first, ``prefix`` begins its numbers' names."""
    boxes = sum(comparison.pairs for comparison in comparisons)
    numbers = {
        f"{prefix}images_compared": images,
        f"{prefix}boxes_compared": boxes,
        f"{prefix}max_score_difference": max((each.max_score_difference for each in comparisons), default=0.0),
        f"{prefix}max_box_difference": max((each.max_box_difference for each in comparisons), default=0.0),
    }
    found = (*differences, *(text for comparison in comparisons for text in comparison.differences))
    return Check(title, f"{boxes:,} boxes in {images} images", found, numbers)


def _above(found: Detections, classes: Sequence[str], least: Mapping[str, float]) -> Detections:
    floors = np.array([least[name] for name in classes])
    kept = found.scores > floors[found.labels]
    return Detections(found.boxes[kept], found.scores[kept], found.labels[kept])


def _limit(sample: Sample, asked: Asked) -> int:
    """Most boxes the sample may have."""
    height, width = sample.pixels.shape[:2]
    return asked.tiling.limit(width, height, asked.how.max_det) if asked.tiling else asked.how.max_det
