"""How far a runtime's boxes are from those of the weights it was made from."""

from dataclasses import dataclass

import numpy as np

from components.model_pack.measure import Measured
from components.shared.boxes import Floats, corners_to_size
from components.shared.detection.detector import Detections
from components.shared.detection.inference import Inference
from components.shared.detection.match import ALONE, match_boxes

SAME = 0.5  # IoU from which two boxes of one class are the same find


@dataclass(frozen=True)
class Agreement:
    """Differences over all images, at the serving confidences.

    Attributes:
        box: largest difference of a corner of boxes both find, in pixels.
        score: largest difference of their scores.
        apart: boxes only one of the two finds.
    """

    box: float
    score: float
    apart: int


def agreement(weights: Measured, other: Measured, inference: Inference, classes: tuple[str, ...]) -> Agreement:
    """Compare two runtimes on the images both looked at.

    Args:
        weights: the runtime to compare with.
        other: the one compared.
        inference: which scores are served.
        classes: class names in the order of the labels.
    """
    least = np.array(inference.confidences(classes))
    pairs = [(_served(found, least), _served(other.found[image], least)) for image, found in weights.found.items()]
    compared = [_compare(one, two) for one, two in pairs]
    return Agreement(
        box=max((one.box for one in compared), default=0.0),
        score=max((one.score for one in compared), default=0.0),
        apart=sum(one.apart for one in compared),
    )


def _served(found: Detections, least: Floats) -> Detections:
    kept = found.scores >= least[found.labels]
    return Detections(found.boxes[kept], found.scores[kept], found.labels[kept])


def _compare(one: Detections, other: Detections) -> Agreement:
    matches = match_boxes(
        corners_to_size(other.boxes),
        other.scores,
        corners_to_size(one.boxes),
        labels=other.labels,
        truth_labels=one.labels,
        threshold=SAME,
    )
    both = np.flatnonzero(matches.partner != ALONE)
    partner = matches.partner[both]
    return Agreement(
        box=float(np.abs(other.boxes[both] - one.boxes[partner]).max(initial=0.0)),
        score=float(np.abs(other.scores[both] - one.scores[partner]).max(initial=0.0)),
        apart=len(one.scores) + len(other.scores) - 2 * len(both),
    )
