"""Moved to ``components.shared.evaluation.thresholds``; the names stay importable from here."""

from components.shared.evaluation.thresholds import (
    THRESHOLDS,
    best_thresholds,
    threshold_table,
)

__all__ = [
    "THRESHOLDS",
    "best_thresholds",
    "threshold_table",
]
