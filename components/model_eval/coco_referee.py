"""Moved to ``components.shared.evaluation.coco_referee``; the names stay importable from here."""

from components.shared.evaluation.coco_referee import (
    coco_metrics,
)

__all__ = [
    "coco_metrics",
]
