"""The dataset report: what was repaired and rejected, what the splits hold, and pictures of both."""

from pathlib import Path

import polars as pl

from components.data_prep.advice import ADVICE
from components.data_prep.examples import draw_examples, rule_examples, split_samples
from components.data_prep.outcome import Prepared, PrepareOptions
from components.data_prep.split import SPLITS
from components.data_prep.statistics import box_sizes, boxes_per_image, class_table, flags
from components.shared.ledger import Action, Rule
from components.shared.report.charts import bar_chart, histogram
from components.shared.report.page import Level, Number, Report
from components.shared.store import Store

SHOWN_CLASSES = 30  # bars of the class chart; the table has all
LEDGER_ROWS = 200  # rows of the ledger in the page; the file has all


def write_report(path: Path, prepared: Prepared, options: PrepareOptions, store: Store) -> None:
    """Write the report of a prepared dataset; the images it shows are read from ``store``.

    Raises:
        StoreError: an image cannot be read.
    """
    report = Report("Dataset report", subtitle=f"{prepared.train.name}, cleaned and split")
    _verdict(report, prepared)
    found = flags(prepared, options)
    if found:
        report.section("What to look at", "Nothing here stops the run; each may limit how good the model gets.")
        report.text("\n".join(f"• {flag}" for flag in found))
    _ledger(report, prepared, store)
    _classes(report, prepared)
    _boxes(report, prepared)
    _samples(report, prepared, store)
    _facts(report, prepared, options)
    report.write(path)


def _verdict(report: Report, prepared: Prepared) -> None:
    counts = prepared.counts
    fixed, rejected = int(counts["fixed"]), int(counts["rejected"])
    total = int(counts["found_images"] + counts["found_annotations"])
    if fixed or rejected:
        text = f"{fixed:,} of {total:,} images and annotations were repaired and {rejected:,} rejected."
        report.verdict(text, Level.WARN if rejected else Level.GOOD)
    else:
        report.verdict(f"Clean: none of {total:,} images and annotations had to be repaired or rejected.", Level.GOOD)
    lost = Level.WARN if rejected else Level.GOOD
    report.numbers(
        [
            Number("Images", f"{counts['images']:,.0f}", _per_split(counts, "images")),
            Number("Boxes", f"{counts['boxes']:,.0f}", _per_split(counts, "boxes")),
            Number("Images without boxes", f"{counts['negatives']:,.0f}", _per_split(counts, "negatives")),
            Number("Repaired", f"{fixed:,}", "records", Level.NEUTRAL if fixed else Level.GOOD),
            Number("Rejected", f"{counts['rejected_share']:.2%}", f"{rejected:,} records", lost),
        ]
    )


def _per_split(counts: dict[str, float], kind: str) -> str:
    return " / ".join(f"{counts[f'{split}_{kind}']:,.0f}" for split in SPLITS) + " in train / val / test"


def _ledger(report: Report, prepared: Prepared, store: Store) -> None:
    ledger = prepared.audit.ledger
    report.section(
        "What was repaired and rejected", "Each record that broke a rule; the ledger of the datasets has all."
    )
    if ledger.is_empty():
        report.text("Every record kept every rule.")
        return
    summary = ledger.group_by("rule", "action").agg(count=pl.len()).sort("count", "rule", descending=[True, False])
    rows = [(rule, action, count, *ADVICE[Rule(rule)]) for rule, action, count in summary.iter_rows()]
    report.table(["rule", "action", "rows", "what it means", "what to do"], rows)
    pictures = draw_examples(rule_examples(prepared), prepared.audit, store)
    legend = "Dashed: as it was in the source. Solid: as it is now. A dashed box alone was rejected."
    report.gallery(pictures, caption=legend, empty="None of these records can be drawn.")
    columns = ["image", "annotation", "rule", "action", "detail"]
    kept_last = pl.col("action").replace_strict({Action.REJECTED.value: 0, Action.FIXED.value: 1}, default=2)
    first = ledger.sort(kept_last, maintain_order=True).head(LEDGER_ROWS).select(columns).rows()
    report.table(columns, first, caption=f"{len(first)} of {ledger.height:,} ledger rows", folded=True)


def _classes(report: Report, prepared: Prepared) -> None:
    table = class_table(prepared)
    report.section("Classes", prepared.audit.method)
    order = table.sort(pl.sum_horizontal(f"{split}_boxes" for split in SPLITS), descending=True, maintain_order=True)
    shown = order.head(SHOWN_CLASSES)
    more = "" if shown.height == table.height else f", the {shown.height} largest of {table.height} classes"
    series = {split: shown.get_column(f"{split}_boxes").to_list() for split in SPLITS}
    names = shown.get_column("class").to_list()
    title = f"Boxes per class and split{more}"
    report.chart(bar_chart(title, names, series, x_label="class", y_label="boxes", stacked=True, horizontal=True))
    numbers = [f"{split}_{kind}" for kind in ("boxes", "images") for split in SPLITS]
    columns = ["id", "class", *(name.replace("_", " ") for name in numbers)]
    rows = [(place, *row) for place, row in enumerate(table.select("class", *numbers).iter_rows())]
    report.table(columns, rows, caption="Boxes and images of each class")
    left_out = prepared.audit.left_out
    if left_out:
        caption = f"{sum(left_out.values()):,} annotations left out by target_classes"
        report.table(["class", "annotations"], list(left_out.items()), caption=caption, folded=True)
    renamed = sorted(prepared.audit.plan.renamed.items())
    if renamed:
        report.table(["in the source", "class"], renamed, caption="Names that were changed", folded=True)


def _boxes(report: Report, prepared: Prepared) -> None:
    report.section("Boxes and images")
    sizes = {split: box_sizes(part) for split, part in prepared.splits.items()}
    edges = {split: size.get_column("edge").to_list() for split, size in sizes.items()}
    shares = {split: size.get_column("relative").to_list() for split, size in sizes.items()}
    crowds = {split: boxes_per_image(part).to_list() for split, part in prepared.splits.items()}
    frames = pl.concat(part.images.select("width", "height") for part in prepared.splits.values())
    dimensions = {side: frames.get_column(side).to_list() for side in ("width", "height")}
    report.charts(
        [
            histogram("Box sizes", edges, x_label="square root of the area, pixels", y_label="boxes", log_x=True),
            histogram("Box sizes relative to the image", shares, x_label="square root of the share", y_label="boxes"),
            histogram("Boxes per image", crowds, x_label="boxes", y_label="images"),
            histogram("Image sizes", dimensions, x_label="pixels", y_label="images"),
        ]
    )


def _samples(report: Report, prepared: Prepared, store: Store) -> None:
    report.section("Samples", "A few images of each split with the boxes a model will see.")
    examples = [example for split, part in prepared.splits.items() for example in split_samples(part, split)]
    report.gallery(draw_examples(examples, prepared.audit, store), empty="There is no image to show.")


def _facts(report: Report, prepared: Prepared, options: PrepareOptions) -> None:
    report.section("How it was made")
    report.facts(
        {
            "dataset": prepared.train.name,
            "prepared from version": prepared.audit.parent,
            "seed": str(options.seed),
            "shares": ", ".join(f"{split} {share:g}" for split, share in options.shares.items()),
            "split": options.split,
            "target_classes": ", ".join(options.target_classes) or "all",
            "class_aliases": ", ".join(f"{alias} → {name}" for alias, name in options.class_aliases.items()) or "none",
            "min_box_size": f"{options.min_box_size:g} pixels",
            "max_rejected_share": f"{options.max_rejected_share:g}",
        }
    )
