"""Moved to ``components.shared.evaluation.coco_metrics``; the names stay importable from here."""

from components.shared.evaluation.coco_metrics import (
    BY_CLASS,
    SUMMARY,
    CocoMetrics,
    Engine,
    coco_metrics,
    sound_numbers,
)

__all__ = [
    "BY_CLASS",
    "SUMMARY",
    "CocoMetrics",
    "Engine",
    "coco_metrics",
    "sound_numbers",
]
