"""Keep everything an evaluation saw and found, so that anyone can check its numbers.

``predictions.parquet`` and ``ground_truth.parquet`` say what became of each box; ``coco_ground_truth.json`` and
``coco_results.json`` are what pycocotools reads (https://cocodataset.org/#format-data); ``quality.json`` holds the
numbers of the report.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

import polars as pl

from components.model_eval.curves import CONFIDENCES, RECALLS, Curves
from components.model_eval.evaluation import Evaluation
from components.model_eval.outcomes import category_ids
from components.shared.files import digest_of_digests, sha256_tree, write_atomically

PREDICTIONS = "predictions.parquet"
GROUND_TRUTH = "ground_truth.parquet"
COCO_RESULTS = "coco_results.json"
COCO_GROUND_TRUTH = "coco_ground_truth.json"
QUALITY = "quality.json"
_ROWS = 50_000  # rows turned into text at a time
_DIGITS = 4  # of a curve's values in quality.json


def write_predictions(evaluation: Evaluation, images: pl.DataFrame, directory: Path) -> str:
    """Write the tables and the COCO files; gives the digest of the COCO files, 64 hex digits.

    The digest depends on the images, boxes, classes and scores alone.

    Args:
        evaluation: what to keep.
        images: the images that were looked at.
        directory: where to; existing files are replaced.
    """
    for name, table in ((PREDICTIONS, evaluation.predictions), (GROUND_TRUTH, evaluation.truths)):
        with write_atomically(directory / name) as temporary:
            table.write_parquet(temporary, compression="zstd")
    classes = evaluation.confusion.labels[:-1]
    _write_ground_truth(evaluation.truths, images, classes, directory / COCO_GROUND_TRUTH)
    with write_atomically(directory / COCO_RESULTS) as temporary, temporary.open("w", encoding="utf-8") as handle:
        handle.write("[\n")
        _write_records(_results(evaluation.predictions, classes), handle)
        handle.write("]\n")
    return digest_of_digests(sha256_tree(directory, [COCO_GROUND_TRUTH, COCO_RESULTS]))


def write_quality(evaluation: Evaluation, facts: dict[str, str], directory: Path) -> None:
    """Write ``quality.json``: the gate, the metrics, the table by class, the confusion matrix and the curves."""
    content = {
        "passed": evaluation.passed,
        "reasons": evaluation.reasons,
        "metrics": evaluation.metrics,
        "confidence": evaluation.confidence,
        "facts": facts,
        "per_class": evaluation.per_class.to_dicts(),
        "confusion": {"labels": evaluation.confusion.labels, "matrix": evaluation.confusion.matrix},
        "curves": _curves(evaluation.curves),
    }
    with write_atomically(directory / QUALITY) as temporary:
        temporary.write_text(json.dumps(content, allow_nan=False) + "\n", encoding="utf-8")


def _write_ground_truth(truths: pl.DataFrame, images: pl.DataFrame, classes: Sequence[str], path: Path) -> None:
    pictures = images.select(pl.col("image_id").alias("id"), pl.col("name").alias("file_name"), "width", "height")
    categories = [{"id": number, "name": name} for number, name in enumerate(classes, 1)]
    # An ignore region is COCO's crowd; ids start at 1 because pycocotools takes 0 for "not matched".
    annotations = _with_category(truths, classes).select(
        pl.int_range(1, pl.len() + 1).alias("id"),
        "image_id",
        "category_id",
        _bbox(),
        "area",
        pl.col("ignore").cast(pl.UInt8).alias("iscrowd"),
        "difficult",
        "annotation_id",
    )
    with write_atomically(path) as temporary, temporary.open("w", encoding="utf-8") as handle:
        handle.write('{"images": [\n')
        _write_records(pictures, handle)
        handle.write(f'],\n"categories": {json.dumps(categories)},\n"annotations": [\n')
        _write_records(annotations, handle)
        handle.write("]}\n")


def _results(predictions: pl.DataFrame, classes: Sequence[str]) -> pl.DataFrame:
    return _with_category(predictions, classes).select("image_id", "category_id", _bbox(), "score")


def _with_category(table: pl.DataFrame, classes: Sequence[str]) -> pl.DataFrame:
    ids = category_ids(table.get_column("category"), classes) + 1
    return table.with_columns(pl.Series("category_id", ids, dtype=pl.UInt32))


def _bbox() -> pl.Expr:
    return pl.concat_list("x", "y", "width", "height").alias("bbox")


def _write_records(table: pl.DataFrame, handle: TextIO) -> None:
    """One JSON object a line, with commas between them."""
    for start in range(0, table.height, _ROWS):
        part = table.slice(start, _ROWS)
        lines = part.select(pl.struct(pl.all()).struct.json_encode()).to_series().to_list()
        last = start + _ROWS >= table.height
        handle.write(",\n".join(lines) + ("\n" if last else ",\n"))


def _curves(curves: Curves) -> dict[str, object]:
    return {
        "recalls": _rounded(RECALLS.tolist()),
        "confidences": CONFIDENCES.tolist(),
        "mean_f1": _rounded(curves.mean_f1.tolist()),
        "classes": {
            name: {
                "precision_at_recall": _rounded(curves.precision_at_recall[index].tolist()),
                "f1": _rounded(curves.f1[index].tolist()),
            }
            for index, name in enumerate(curves.classes)
        },
    }


def _rounded(values: Sequence[float]) -> list[float]:
    return [round(value, _DIGITS) for value in values]
