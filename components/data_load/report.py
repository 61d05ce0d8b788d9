"""The loading report: what the source held, before anything is repaired."""

from collections.abc import Mapping
from pathlib import Path

import polars as pl

from components.shared.analysis.flags import find_flags
from components.shared.analysis.part import parts_of
from components.shared.analysis.report import add_classes, add_figures, add_flags, add_overview
from components.shared.dataset import Dataset
from components.shared.ledger import Action
from components.shared.report.page import Level, Number, Report
from components.shared.store import Store

SHOWN = 200  # rows of the tables of problems; the tables on disk have all


def write_report(
    path: Path,
    dataset: Dataset,
    version: str,
    *,
    source: str,
    format_name: str,
    counts: Mapping[str, float],
    store: Store,
) -> None:
    """Write the HTML report of a load; ``counts`` are those of ``Loaded``, images are read from ``store``.

    Raises:
        StoreError: an image that is shown cannot be read.
    """
    report = Report("Loading report", subtitle=f"{dataset.name}, read as {format_name}")
    _verdict(report, dataset, counts)
    parts = parts_of(dataset)
    _problems(report, dataset)
    add_flags(report, find_flags(parts), store)
    report.section("Classes")
    add_overview(report, parts)
    add_classes(report, parts)
    _nameless(report, dataset)
    add_figures(report, parts)
    report.section("What it rests on")
    report.facts({"source": source, "format": format_name, "dataset": dataset.name, "version": version})
    report.write(path)


def _verdict(report: Report, dataset: Dataset, counts: Mapping[str, float]) -> None:
    left_out = dataset.ledger.filter(pl.col("action") == Action.LEFT_OUT.value).height  # asked for, or never listed
    troubled = int(counts["missing_images"] + counts["unreadable_images"] + counts["ledger_rows"]) - left_out
    if troubled:
        report.verdict(f"Loaded; {troubled:,} records need a look, the next step repairs or rejects them.", Level.WARN)
    else:
        aside = f" {left_out:,} notes on what was left out are below." if left_out else ""
        report.verdict(f"Loaded; every file the annotations name is there and decodes.{aside}", Level.GOOD)
    unusable = int(counts["missing_images"] + counts["unreadable_images"])
    report.numbers(
        [
            Number("Images", f"{dataset.images.height:,}"),
            Number("Boxes", f"{dataset.annotations.height:,}"),
            Number("Classes", str(len(dataset.classes))),
            Number("Missing or unreadable", f"{unusable:,}", "images", Level.WARN if unusable else Level.GOOD),
            Number("New in the store", megabytes(counts["new_bytes"]), note=f"of {megabytes(counts['bytes'])}"),
        ]
    )


def _nameless(report: Report, dataset: Dataset) -> None:
    nameless = dataset.annotations.filter(~pl.col("category").is_in(list(dataset.classes)).fill_null(value=False))
    if nameless.is_empty():
        return
    rows = nameless.group_by("category").agg(pl.len(), pl.col("image_id").n_unique().alias("images"))
    shown = [[name or "(none)", boxes, images] for name, boxes, images in rows.sort("len", descending=True).iter_rows()]
    report.table(["class", "boxes", "images"], shown, caption="Boxes of classes the source does not declare")


def _problems(report: Report, dataset: Dataset) -> None:
    images = dataset.images.filter(pl.col("sha256").is_null() | pl.col("problem").is_not_null())
    if images.is_empty() and dataset.ledger.is_empty():
        return
    report.section("What cannot be used as it is")
    rows = [[name, problem or "the file is missing"] for name, problem in images.select("name", "problem").iter_rows()]
    if rows:
        report.table(["image", "problem"], rows[:SHOWN], caption=f"{len(rows):,} images that cannot be used")
    if not dataset.ledger.is_empty():
        columns = ["image", "annotation", "rule", "action", "detail"]
        report.table(
            columns,
            [list(row) for row in dataset.ledger.select(columns).head(SHOWN).iter_rows()],
            caption=f"{dataset.ledger.height:,} records of the ledger",
        )


def megabytes(count: float) -> str:
    """Bytes as ``12.3 MB``."""
    return f"{count / 1e6:,.1f} MB"
