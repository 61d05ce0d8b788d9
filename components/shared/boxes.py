"""Arithmetic on boxes: conversions between corner and size notation, and how much boxes overlap.

Boxes are absolute pixels, half-open: a box covers ``left <= x < left + width``, so its area is ``width * height``.
"""

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]


def corners_to_size(boxes: Floats) -> Floats:
    """``(N, 4)`` boxes left, top, right, bottom as left, top, width, height."""
    return np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)


def areas(boxes: Floats) -> Floats:
    """Areas ``(N,)`` in square pixels of ``(N, 4)`` boxes left, top, width, height."""
    product: Floats = boxes[:, 2] * boxes[:, 3]
    return product


def intersections(first: Floats, second: Floats) -> Floats:
    """Shared areas ``(N, M)`` in square pixels of ``(N, 4)`` and ``(M, 4)`` boxes left, top, width, height."""
    sides = np.minimum(first[:, None, :2] + first[:, None, 2:], second[None, :, :2] + second[None, :, 2:])
    sides -= np.maximum(first[:, None, :2], second[None, :, :2])
    clipped = np.maximum(sides, 0.0)
    shared: Floats = clipped[:, :, 0] * clipped[:, :, 1]
    return shared


def iou_matrix(first: Floats, second: Floats) -> Floats:
    """Intersection over union ``(N, M)`` of ``(N, 4)`` and ``(M, 4)`` boxes left, top, width, height; 0 if disjoint."""
    return overlap_matrix(first, second, np.zeros(len(second), dtype=np.bool_))


def overlap_matrix(predictions: Floats, truths: Floats, ignore: Flags) -> Floats:
    """How well predictions cover truths, ``(N, M)`` in 0..1, as COCO measures it.

    It is intersection over union, but in an ignore region (``ignore``, ``(M,)``) intersection over the prediction's
    own area: a prediction anywhere inside a crowd belongs to it. Boxes are left, top, width, height, ``(N, 4)`` and
    ``(M, 4)``. Source: ``bbIou`` in pycocotools' ``maskApi.c``.
    """
    shared = intersections(predictions, truths)
    own = np.broadcast_to(areas(predictions)[:, None], shared.shape)
    base = np.where(ignore[None, :], own, own + areas(truths)[None, :] - shared)
    return np.divide(shared, base, out=np.zeros_like(shared), where=shared > 0)
