"""The loading report: what the source held, before anything is repaired."""

from collections.abc import Mapping
from pathlib import Path

import polars as pl

from components.shared.dataset import Dataset
from components.shared.report.charts import bar_chart
from components.shared.report.page import Level, Number, Report


def write_report(
    path: Path, dataset: Dataset, version: str, *, source: str, format_name: str, counts: Mapping[str, float]
) -> None:
    """Write the HTML report of a load; ``counts`` are those of ``Loaded``."""
    report = Report("Loading report", subtitle=f"{dataset.name}, read as {format_name}")
    troubled = int(counts["missing_images"] + counts["unreadable_images"] + counts["ledger_rows"])
    if troubled:
        report.verdict(f"Loaded; {troubled} records need a look, the next step repairs or rejects them.", Level.WARN)
    else:
        report.verdict("Loaded; every file the annotations name is there and decodes.", Level.GOOD)
    report.numbers(
        [
            Number("Images", f"{dataset.images.height:,}"),
            Number("Boxes", f"{dataset.annotations.height:,}"),
            Number("Classes", str(len(dataset.classes))),
            Number(
                "Missing or unreadable", f"{int(counts['missing_images'] + counts['unreadable_images'])}", note="images"
            ),
            Number("New in the store", megabytes(counts["new_bytes"]), note=f"of {megabytes(counts['bytes'])}"),
        ]
    )
    report.section("Classes")
    boxes = dataset.annotations.group_by("category").agg(pl.len(), pl.col("image_id").n_unique().alias("images"))
    found = {name: (count, images) for name, count, images in boxes.iter_rows()}
    series = {"boxes": [found.get(name, (0, 0))[0] for name in dataset.classes]}
    report.chart(bar_chart("How many boxes has each class?", dataset.classes, series, x_label="class", y_label="boxes"))
    rows = [[name, *found.get(name, (0, 0))] for name in dataset.classes]
    rows += [["(no such class)", *found[None]]] if None in found else []
    report.table(["class", "boxes", "images"], rows, caption="Boxes and images of each class", folded=True)
    _problems(report, dataset)
    report.section("What it rests on")
    report.facts({"source": source, "format": format_name, "dataset": dataset.name, "version": version})
    report.write(path)


def _problems(report: Report, dataset: Dataset) -> None:
    images = dataset.images.filter(pl.col("sha256").is_null() | pl.col("problem").is_not_null())
    if images.is_empty() and dataset.ledger.is_empty():
        return
    report.section("Needs a look")
    rows = [[name, problem or "the file is missing"] for name, problem in images.select("name", "problem").iter_rows()]
    if rows:
        report.table(["image", "problem"], rows[:200], caption=f"{len(rows)} images that cannot be used")
    if not dataset.ledger.is_empty():
        columns = ["image", "annotation", "rule", "action", "detail"]
        report.table(
            columns,
            [list(row) for row in dataset.ledger.select(columns).head(200).iter_rows()],
            caption=f"{dataset.ledger.height} records that are no usable image or box",
        )


def megabytes(count: float) -> str:
    """Bytes as ``12.3 MB``."""
    return f"{count / 1e6:,.1f} MB"
