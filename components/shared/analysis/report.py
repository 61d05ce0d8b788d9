"""The sections of a report that show what annotated images look like, and a page that compares several datasets."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import polars as pl

from components.shared.analysis import figures
from components.shared.analysis.examples import draw_examples
from components.shared.analysis.flag import Flag
from components.shared.analysis.flags import find_flags
from components.shared.analysis.part import Part, parts_of
from components.shared.dataset import Dataset
from components.shared.report.page import Level, Number, Report
from components.shared.report.tables import Linked
from components.shared.store import Store


def add_flags(report: Report, flags: Sequence[Flag], store: Store) -> None:
    """What is worth a look: a table of all flags and a gallery of images that show them."""
    report.section("What to look at", "Nothing here stops a run; each may limit how good the model gets.")
    if not flags:
        report.text("Nothing stands out: every class has enough boxes, and no box or image looks suspicious.")
        return
    rows = [(Linked(flag.title, level=flag.level.value, note=flag.detail),) for flag in flags]
    report.table(["what, how many, and what it may mean"], rows, sortable=False)
    examples = [replace(example, tags=(flag.title,)) for flag in flags for example in flag.examples]
    if examples:
        report.gallery(draw_examples(examples, store), caption="Images that show it", empty="")


def add_overview(report: Report, parts: Sequence[Part]) -> None:
    """The parts side by side in a table."""
    columns = ["", "images", "MB", "boxes", "boxes an image", "images with boxes", "classes", "median size"]
    report.table(columns, [_overview(part) for part in parts], caption="Side by side", sortable=False)


def add_classes(report: Report, parts: Sequence[Part]) -> None:
    """Boxes by class, as a chart and as a table with every class."""
    report.chart(figures.class_chart(parts))
    columns = ["id", "class"]
    table = parts[0].class_counts.select("class")
    for part in parts:
        columns += [f"{part.name} boxes", f"{part.name} share", f"{part.name} images"]
        total = max(1, part.boxes.height)
        counts = part.class_counts.select("class", "boxes", (pl.col("boxes") / total).alias("share"), "images")
        table = table.join(counts, on="class", how="full", coalesce=True, maintain_order="left_right", suffix=part.name)
    rows = [(place, *row) for place, row in enumerate(table.fill_null(0).iter_rows())]
    report.table(columns, rows, caption="Boxes and images of each class", folded=True)


def add_figures(report: Report, parts: Sequence[Part]) -> None:
    """Sections on boxes, where they lie, what appears together, and images."""
    report.section("Boxes", "Shares of each part are compared where there are several.")
    report.charts(figures.box_charts(parts))
    report.section("Where objects lie, and with what")
    report.charts(figures.centre_maps(parts))
    together = figures.together_chart(parts)
    if together is not None:
        report.chart(together)
    charts = figures.image_charts(parts)
    if charts:
        report.section("Images")
        report.charts(charts)


def write_comparison(path: Path, datasets: Mapping[str, Dataset], store: Store) -> None:
    """Write one page that shows one or more datasets side by side, ground truth and predictions.

    Args:
        path: receives the HTML.
        datasets: what the page calls them -> dataset; of a single one its splits are compared.
        store: where their images lie.

    Raises:
        StoreError: an image cannot be read.
    """
    several = len(datasets) > 1
    parts = [part for name, dataset in datasets.items() for part in _parts(dataset, name if several else None)]
    images = sum(dataset.images.height for dataset in datasets.values())
    boxes = sum(part.boxes.height for part in parts if not part.predicted)
    title = "Datasets side by side" if several else "Dataset report"
    report = Report(title, subtitle=", ".join(datasets))
    flags = find_flags(parts)
    level = Level.WARN if any(flag.level is Level.WARN for flag in flags) else Level.GOOD
    report.verdict(_verdict(flags), level)
    numbers = [Number("Images", f"{images:,}"), Number("Boxes", f"{boxes:,}")]
    shared = _shared_images(datasets)
    if shared is not None:
        numbers.append(Number("Images in more than one", f"{shared:,}", "by content"))
    report.numbers(numbers)
    add_flags(report, flags, store)
    report.section("Classes")
    add_overview(report, parts)
    add_classes(report, parts)
    add_figures(report, parts)
    report.section("What it rests on")
    report.facts({name: dataset.version for name, dataset in datasets.items()})
    report.write(path)


def _parts(dataset: Dataset, name: str | None) -> tuple[Part, ...]:
    return parts_of(dataset, name=name)


def _verdict(flags: Sequence[Flag]) -> str:
    warned = [flag.title for flag in flags if flag.level is Level.WARN]
    if not warned:
        return "Nothing stands out that would spoil a training."
    more = f" and {len(warned) - 3} more" if len(warned) > 3 else ""  # noqa: PLR2004 - as many as fit a line
    return f"Worth a look: {', '.join(warned[:3])}{more}."


def _overview(part: Part) -> tuple[str | float | int | None, ...]:
    count = part.images.height
    annotated = part.boxes.get_column("image_id").n_unique()
    size = part.frames.select(pl.col("wide").median(), pl.col("high").median()).row(0)
    return (
        part.name,
        count,
        float(part.images.get_column("bytes").sum()) / 1e6,
        part.boxes.height,
        part.boxes.height / count if count else None,
        f"{annotated / count:.1%}" if count else None,
        part.class_counts.filter(pl.col("boxes") > 0).height,
        f"{size[0]:.0f} x {size[1]:.0f}" if None not in size else None,
    )


def _shared_images(datasets: Mapping[str, Dataset]) -> int | None:
    if len(datasets) < 2:  # noqa: PLR2004 - nothing to share with
        return None
    digests = pl.concat(dataset.images.select("sha256").drop_nulls().unique() for dataset in datasets.values())
    return digests.get_column("sha256").value_counts().filter(pl.col("count") > 1).height
