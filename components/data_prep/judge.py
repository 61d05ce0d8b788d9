"""Every annotation judged by the rules, some thousand images at a time, so that memory stays flat."""

from collections.abc import Iterator
from dataclasses import dataclass

import polars as pl

from components.data_prep import rows
from components.data_prep.duplicates import mark_duplicate_annotations
from components.data_prep.rules import BOX, found, judge_boxes
from components.data_prep.sizes import mend_boxes
from components.shared.dataset import ANNOTATIONS

BLOCK = 10_000  # images judged together


@dataclass(frozen=True)
class Judged:
    """Annotations of usable images after the rules.

    Attributes:
        accepted: columns of ``ANNOTATIONS`` with the final box and class, and ``mended``: whether the box changed.
        rejected: a ledger row for each annotation that was rejected.
        fixed: ledger rows for accepted annotations that changed.
    """

    accepted: pl.DataFrame
    rejected: pl.DataFrame
    fixed: pl.DataFrame


def judge_annotations(
    annotations: pl.DataFrame, images: pl.DataFrame, mismatches: pl.DataFrame, min_box_size: float
) -> Judged:
    """Mend and judge annotations.

    Args:
        annotations: columns of ``ANNOTATIONS``, ``class`` (null when unknown) and ``label`` (name for the ledger).
        images: usable images, columns of ``IMAGES``; annotations of others are passed over.
        mismatches: what ``find_mismatches`` found.
        min_box_size: pixels.
    """
    parts = []
    for block in _blocks(annotations):
        mended = mend_boxes(_with_frames(block, images), mismatches)
        judged = mark_duplicate_annotations(judge_boxes(mended, min_box_size))
        accepted = judged.filter(pl.col("rule").is_null())
        parts.append(
            Judged(
                accepted.with_columns(
                    category="class", mended=pl.col("clipped") | pl.col("mending").is_not_null()
                ).select(*ANNOTATIONS, "mended"),
                rows.rejected_annotations(judged, min_box_size),
                rows.fixed_annotations(accepted),
            )
        )
    return Judged(
        pl.concat(part.accepted for part in parts),
        pl.concat(part.rejected for part in parts),
        pl.concat(part.fixed for part in parts),
    )


def _blocks(annotations: pl.DataFrame) -> Iterator[pl.DataFrame]:
    ids = annotations.get_column("image_id").unique().sort()
    if ids.is_empty():
        yield annotations
    for start in range(0, ids.len(), BLOCK):
        last = min(start + BLOCK, ids.len()) - 1
        yield annotations.filter(pl.col("image_id").is_between(ids[start], ids[last]))


def _with_frames(annotations: pl.DataFrame, images: pl.DataFrame) -> pl.DataFrame:
    frames = images.select(
        "image_id",
        image="name",
        image_width=pl.col("width").cast(pl.Float64),
        image_height=pl.col("height").cast(pl.Float64),
    )
    joined = annotations.join(frames, on="image_id", how="inner", maintain_order="left")
    return joined.with_columns(pl.col(side).alias(found(side)) for side in BOX)
