"""Pictures for the report: records before and after each rule, and samples of each split."""

import json
import math
from collections.abc import Iterable
from typing import Any

import polars as pl

from components.data_prep.outcome import Prepared
from components.data_prep.rules import BOX
from components.shared.analysis.examples import ROW, SMALLEST, Example, drawn, readable
from components.shared.dataset import Dataset
from components.shared.ledger import Action
from components.shared.report.draw import DrawnBox, Style

PER_RULE = 3
PER_SPLIT = 6


def rule_examples(prepared: Prepared) -> list[Example]:
    """Up to three records for each rule and action; dashed as they were, solid as they are now."""
    images = readable(prepared.audit.found).select("image_id", *ROW[1:], image="name")
    shown = prepared.audit.ledger.join(images, on="image", how="inner", maintain_order="left")
    about_boxes = shown.filter(pl.col("annotation").is_not_null() & pl.col("before").is_not_null())
    examples = [example for row in _first(about_boxes) if (example := _changed(row)) is not None]
    about_images = shown.filter(pl.col("annotation").is_null() & (pl.col("action") != Action.REJECTED.value))
    truth = pl.concat(part.ground_truth() for part in prepared.splits.values())
    examples += [
        Example(row, _boxes(truth, row["image_id"]), _caption(row), (row["rule"],)) for row in _first(about_images)
    ]
    return examples


def split_samples(part: Dataset, split: str) -> list[Example]:
    """Up to six images of a split in the order of their digests, those with boxes first."""
    truth = part.ground_truth()
    positive = pl.col("image_id").is_in(truth.get_column("image_id").unique().implode())
    chosen = part.images.sort(~positive, "sha256").head(PER_SPLIT)
    return [
        Example(row, _boxes(truth, row["image_id"]), f"{split}: {row['name']}", (split,))
        for row in chosen.iter_rows(named=True)
    ]


def _first(ledger: pl.DataFrame) -> Iterable[dict[str, Any]]:
    """The first rows of each rule and action, of different images where there are enough."""
    keys = ["rule", "action"]
    again = pl.int_range(pl.len()).over([*keys, "image"])
    ordered = ledger.with_row_index("row").with_columns(again=again).sort("again", "row")
    return ordered.group_by(keys, maintain_order=True).head(PER_RULE).sort("rule", "row").iter_rows(named=True)


def _changed(row: dict[str, Any]) -> Example | None:
    before = _parse(row["before"], Style.PREDICTION)
    after = _parse(row["after"], Style.TRUTH)
    boxes = tuple(box for box in (before, after) if box is not None)
    return Example(row, boxes, _caption(row), (row["rule"],)) if boxes else None


def _parse(text: str | None, style: Style) -> DrawnBox | None:
    record = json.loads(text) if text else None
    if not isinstance(record, dict):
        return None
    values = [record.get(side) for side in BOX]
    if not all(isinstance(value, int | float) and math.isfinite(value) for value in values):
        return None
    x, y, width, height = map(float, values)  # type: ignore[arg-type]
    left, top = min(x, x + width), min(y, y + height)
    size = max(abs(width), SMALLEST), max(abs(height), SMALLEST)
    return DrawnBox(left, top, *size, str(record.get("category") or ""), style)


def _boxes(truth: pl.DataFrame, image_id: int) -> tuple[DrawnBox, ...]:
    return drawn(truth.filter(pl.col("image_id") == image_id))


def _caption(row: dict[str, Any]) -> str:
    which = f", annotation {row['annotation']}" if row["annotation"] else ""
    return f"{row['rule']}, {row['action']}: {row['image']}{which}. {row['detail']}"
