"""Moved to ``components.shared.evaluation.coco_engine``; the names stay importable from here."""

from components.shared.evaluation.coco_engine import (
    coco_metrics,
)

__all__ = [
    "coco_metrics",
]
