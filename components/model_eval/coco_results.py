"""Moved to ``components.shared.evaluation.coco_results``; the names stay importable from here."""

from components.shared.evaluation.coco_results import (
    BY_CLASS,
    SUMMARY,
    CocoMetrics,
    Table,
    metrics_from_tables,
    no_metrics,
)

__all__ = [
    "BY_CLASS",
    "SUMMARY",
    "CocoMetrics",
    "Table",
    "metrics_from_tables",
    "no_metrics",
]
