"""Moved to ``components.shared.evaluation.outcomes``; the names stay importable from here."""

from components.shared.evaluation.outcomes import (
    BOX,
    DETECTIONS,
    PREDICTIONS,
    TRUTHS,
    UNMATCHED,
    Integers,
    at_confidence,
    category_ids,
    matches_by_image,
    sort_detections,
    truth_table,
    usable_images,
    with_outcomes,
)

__all__ = [
    "BOX",
    "DETECTIONS",
    "PREDICTIONS",
    "TRUTHS",
    "UNMATCHED",
    "Integers",
    "at_confidence",
    "category_ids",
    "matches_by_image",
    "sort_detections",
    "truth_table",
    "usable_images",
    "with_outcomes",
]
