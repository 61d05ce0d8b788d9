"""The dataset report: what was repaired and rejected, what the splits hold, and pictures of both."""

from pathlib import Path

import polars as pl

from components.data_prep.advice import ADVICE
from components.data_prep.examples import rule_examples, split_samples
from components.data_prep.outcome import Prepared, PrepareOptions
from components.data_prep.split import SPLITS
from components.data_prep.statistics import flags
from components.shared.analysis.examples import draw_examples
from components.shared.analysis.flags import find_flags
from components.shared.analysis.part import Part, parts_of_splits
from components.shared.analysis.report import add_classes, add_figures, add_flags, add_overview
from components.shared.ledger import Action, Rule
from components.shared.report.page import Level, Number, Report
from components.shared.store import Store

FEW_ROWS = 24  # rows of a table that is shown unfolded
LEDGER_ROWS = 200  # rows of the ledger in the page; the file has all


def write_report(path: Path, prepared: Prepared, options: PrepareOptions, store: Store) -> None:
    """Write the report of a prepared dataset; the images it shows are read from ``store``.

    Raises:
        StoreError: an image cannot be read.
    """
    report = Report("Dataset report", subtitle=f"{prepared.train.name}, cleaned and split")
    _verdict(report, prepared)
    parts = parts_of_splits(prepared.splits)
    add_flags(report, [*flags(prepared, options), *find_flags(parts)], store)
    _ledger(report, prepared, store)
    _classes(report, prepared, parts)
    _split(report, prepared)
    add_figures(report, parts)
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
    pictures = draw_examples(rule_examples(prepared), store)
    legend = "Dashed: as it was in the source. Solid: as it is now. A dashed box alone was rejected."
    report.gallery(pictures, caption=legend, empty="None of these records can be drawn.")
    columns = ["image", "annotation", "rule", "action", "detail"]
    kept_last = pl.col("action").replace_strict({Action.REJECTED.value: 0, Action.FIXED.value: 1}, default=2)
    first = ledger.sort(kept_last, maintain_order=True).head(LEDGER_ROWS).select(columns).rows()
    report.table(columns, first, caption=f"{len(first)} of {ledger.height:,} ledger rows", folded=True)


def _split(report: Report, prepared: Prepared) -> None:
    audit = prepared.audit
    report.section("Split", audit.method)
    together = (
        f"{audit.groups.count:,} groups of images stay together, the largest has {audit.groups.largest:,} images."
    )
    report.text(together if audit.groups.largest > 1 else "No two images have to stay together.")
    if not audit.deviation.is_empty():
        columns = ["class", "split", "wanted", "got", "sigma", "boxes", "images"]
        rows = audit.deviation.select(columns).rows()
        caption = "Share of each class in each split; sigma: how far off, in units of what chance explains"
        report.table(columns, rows, caption=caption, folded=len(rows) > FEW_ROWS)
    if not audit.rescued.is_empty():
        rows = audit.rescued.select("image", "split", "why").rows()
        report.table(["image", "moved to", "why"], rows, caption="Images moved so that each split is of use")
    if not audit.near_duplicates.is_empty():
        columns = ["image", "other", "distance", "split", "other_split"]
        rows = audit.near_duplicates.select(columns).head(LEDGER_ROWS).rows()
        caption = f"{audit.near_duplicates.height:,} pairs of images that look alike"
        report.table([name.replace("_", " ") for name in columns], rows, caption=caption, folded=True)
    for title, table in (("max_class_share", audit.balance), ("oversample_below", audit.repeats)):
        if table is not None:
            names = [name.replace("_", " ") for name in table.columns]
            report.table(names, table.rows(), caption=f"What {title} did to the classes of train")


def _classes(report: Report, prepared: Prepared, parts: tuple[Part, ...]) -> None:
    report.section("Classes")
    add_overview(report, parts)
    add_classes(report, parts)
    left_out = prepared.audit.left_out
    if left_out:
        caption = f"{sum(left_out.values()):,} annotations left out by target_classes and drop_classes"
        report.table(["class", "annotations"], list(left_out.items()), caption=caption, folded=True)
    renamed = sorted(prepared.audit.plan.renamed.items())
    if renamed:
        report.table(["in the source", "class"], renamed, caption="Names that were changed", folded=True)


def _samples(report: Report, prepared: Prepared, store: Store) -> None:
    report.section("Samples", "A few images of each split with the boxes a model will see.")
    examples = [example for split, part in prepared.splits.items() for example in split_samples(part, split)]
    report.gallery(draw_examples(examples, store), empty="There is no image to show.")


def _facts(report: Report, prepared: Prepared, options: PrepareOptions) -> None:
    report.section("How it was made")
    report.facts(
        {
            "dataset": prepared.train.name,
            "prepared from version": prepared.audit.parent,
            "seed": str(options.seed),
            "shares": ", ".join(f"{split} {share:g}" for split, share in options.shares.items()),
            "split": options.split,
            "sizes": f"val {options.val_images or 'by share'}, test {options.test_images or 'by share'}",
            "group_by": options.group_by or "nothing",
            "near_duplicates": f"{options.near_duplicates} bits" if options.near_duplicates >= 0 else "off",
            "subset": options.subset or "all images",
            "target_classes": ", ".join(options.target_classes) or "all",
            "drop_classes": ", ".join(options.drop_classes) or "none",
            "unknown_classes": options.unknown_classes,
            "rules": ", ".join(f"{rule} → {action}" for rule, action in options.rules.items()) or "the defaults",
            "tiles": f"{options.tile} pixels, overlap {options.tile_overlap:g}" if options.tile else "none",
            "max_class_share": f"{options.max_class_share:g}",
            "oversample_below": f"{options.oversample_below:g}",
            "class_aliases": ", ".join(f"{alias} → {name}" for alias, name in options.class_aliases.items()) or "none",
            "min_box_size": f"{options.min_box_size:g} pixels",
            "max_rejected_share": f"{options.max_rejected_share:g}",
        }
    )
