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

from components.model_eval.basis import Basis
from components.model_eval.evaluation import Evaluation
from components.model_eval.quality_document import describe_quality
from components.shared.evaluation.outcomes import category_ids
from components.shared.files import digest_of_digests, sha256_tree, write_atomically
from components.shared.model_lineage import QUALITY

__all__ = [
    "COCO_GROUND_TRUTH",
    "COCO_RESULTS",
    "GROUND_TRUTH",
    "PREDICTIONS",
    "QUALITY",
    "write_predictions",
    "write_quality",
]

PREDICTIONS = "predictions.parquet"
GROUND_TRUTH = "ground_truth.parquet"
COCO_RESULTS = "coco_results.json"
COCO_GROUND_TRUTH = "coco_ground_truth.json"
_ROWS = 50_000  # rows turned into text at a time


def write_predictions(evaluation: Evaluation, images: pl.DataFrame, directory: Path) -> str:
    """Write the tables and the COCO files; gives the digest of the COCO files, 64 hex digits.

    The digest depends on the images, boxes, classes and scores alone.

    Args:
        evaluation: what to keep.
        images: the images that were looked at.
        directory: where to; existing files are replaced.
    """
    errors = evaluation.diagnosis.errors
    tables = (
        (PREDICTIONS, evaluation.predictions, errors.predictions),
        (GROUND_TRUTH, evaluation.truths, errors.truths),
    )
    for name, table, kinds in tables:
        with write_atomically(directory / name) as temporary:
            table.with_columns(kinds.alias("error")).write_parquet(temporary, compression="zstd")
    classes = evaluation.confusion.labels[:-1]
    _write_ground_truth(evaluation.truths, images, classes, directory / COCO_GROUND_TRUTH)
    with write_atomically(directory / COCO_RESULTS) as temporary, temporary.open("w", encoding="utf-8") as handle:
        handle.write("[\n")
        _write_records(_results(evaluation.predictions, classes), handle)
        handle.write("]\n")
    return digest_of_digests(sha256_tree(directory, [COCO_GROUND_TRUTH, COCO_RESULTS]))


def write_quality(evaluation: Evaluation, basis: Basis, directory: Path) -> None:
    """Write ``quality.json``, as ``quality_document`` describes it, in one line."""
    document = describe_quality(evaluation, basis)
    with write_atomically(directory / QUALITY) as temporary:
        temporary.write_text(document.model_dump_json() + "\n", encoding="utf-8")


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
