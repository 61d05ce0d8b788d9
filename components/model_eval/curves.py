"""Moved to ``components.shared.evaluation.curves``; the names stay importable from here."""

from components.shared.evaluation.curves import (
    CONFIDENCES,
    RECALLS,
    Curves,
    Floats,
    Integers,
    best_position,
    compute_curves,
    precision_envelope,
)

__all__ = [
    "CONFIDENCES",
    "RECALLS",
    "Curves",
    "Floats",
    "Integers",
    "best_position",
    "compute_curves",
    "precision_envelope",
]
