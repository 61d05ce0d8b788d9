"""Mean average precision of boxes: all points of the curve, intersection over union of 0.5 or more."""
# ruff: noqa: INP001 - a program of its own image, no package

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Box = tuple[float, float, float, float]  # left, top, right, bottom, half-open


@dataclass(frozen=True)
class Found:
    """A box with its class and score."""

    label: int
    score: float
    box: Box


@dataclass(frozen=True)
class Score:
    """What an evaluation came to; the counts are those of all boxes, whatever their score."""

    mean: float
    recall: float
    hits: int
    false: int
    missed: int


def evaluate(
    truths: Mapping[str, Sequence[Found]], predictions: Mapping[str, Sequence[Found]], threshold: float = 0.5
) -> Score:
    """Compare predictions with the truth, both by image; classes without any true box do not count."""
    labels = sorted({each.label for boxes in truths.values() for each in boxes})
    precisions, recalls, hits, total = [], [], 0, 0
    for label in labels:
        ordered = sorted(
            (
                (found.score, image, found.box)
                for image in predictions
                for found in predictions[image]
                if found.label == label
            ),
            key=lambda each: (-each[0], each[1], each[2]),
        )
        wanted = {image: [each.box for each in boxes if each.label == label] for image, boxes in truths.items()}
        count = sum(map(len, wanted.values()))
        flags = _match(ordered, wanted, threshold)
        precisions.append(_area(flags, count))
        recalls.append(sum(flags) / count)
        hits, total = hits + sum(flags), total + count
    guesses = sum(found.label in labels for boxes in predictions.values() for found in boxes)
    mean = float(np.mean(precisions)) if precisions else 0.0
    return Score(mean, float(np.mean(recalls)) if recalls else 0.0, hits, guesses - hits, total - hits)


def _match(
    ordered: Sequence[tuple[float, str, Box]], wanted: Mapping[str, Sequence[Box]], threshold: float
) -> list[bool]:
    """For each prediction, best first, whether it finds a box that none before it has found."""
    taken: dict[str, set[int]] = defaultdict(set)
    flags = []
    for _, image, box in ordered:
        overlaps = [overlap(box, truth) for truth in wanted.get(image, ())]
        best = int(np.argmax(overlaps)) if overlaps else -1
        hit = best >= 0 and overlaps[best] >= threshold and best not in taken[image]
        if hit:
            taken[image].add(best)
        flags.append(hit)
    return flags


def overlap(first: Box, second: Box) -> float:
    """Intersection over union."""
    across = min(first[2], second[2]) - max(first[0], second[0])
    down = min(first[3], second[3]) - max(first[1], second[1])
    if across <= 0 or down <= 0:
        return 0.0
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (first, second)]
    return across * down / (sum(areas) - across * down)


def _area(flags: Sequence[bool], count: int) -> float:
    """The area below the curve of precision over recall, its dents filled from the right."""
    hits = np.cumsum(np.asarray(flags, dtype=np.float64))
    if not len(hits):
        return 0.0
    recall = hits / count
    precision: npt.NDArray[np.float64] = hits / np.arange(1, len(hits) + 1)
    filled = np.maximum.accumulate(precision[::-1])[::-1]
    return float(np.sum(np.diff(np.concatenate([[0.0], recall])) * filled))
