"""Clean a dataset as a reader found it, choose its classes and split it: no pixel is copied, nothing vanishes."""

import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import polars as pl

from components.data_prep import rows
from components.data_prep.classes import plan_classes
from components.data_prep.outcome import Audit, Prepared, PrepareOptions
from components.data_prep.overview import write_overview
from components.data_prep.quality import Losses, measure_losses, refuse_bad_data, refuse_empty_data
from components.data_prep.report import write_report
from components.data_prep.split import SPLITS, Assignment, assign_splits
from components.data_prep.validate import Checked, validate
from components.shared.dataset import Dataset, load_manifest
from components.shared.errors import DataQualityError
from components.shared.ledger import Action, Rule
from components.shared.progress import Notify, silent
from components.shared.store import open_store

__all__ = ["PrepareOptions", "Prepared", "prepare", "run"]

logger = logging.getLogger(__name__)


def run(
    dataset_dir: Path,
    store_uri: str,
    outputs: Mapping[str, Path],
    reports: tuple[Path, Path],
    options: PrepareOptions,
    notify: Notify = silent,
) -> Prepared:
    """Prepare the dataset in ``dataset_dir``, save a dataset for each split and write the HTML report.

    Args:
        dataset_dir: the four files of the dataset as it was loaded.
        store_uri: where its images lie; only the few that the report shows are read.
        outputs: a directory for each of train, val and test.
        reports: receive the HTML report and the Markdown overview.
        options: what to clean and how to split.
        notify: hears how far it is.

    Raises:
        ConfigError: an option does not fit the dataset.
        DataQualityError: too much was rejected or too little is left; no output is written then.
        StoreError: the store failed.
    """
    options.check()
    notify(0.0, "reading the tables")
    dataset = Dataset.load(dataset_dir)
    prepared = _prepare(dataset, options, load_manifest(dataset_dir).version, notify)
    notify(0.5, "drawing the report")
    write_report(reports[0], prepared, options, open_store(store_uri))
    write_overview(reports[1], prepared)
    notify(0.8, "saving the splits")
    for split, part in prepared.splits.items():
        part.save(outputs[split])
    return prepared


def prepare(dataset: Dataset, options: PrepareOptions) -> Prepared:
    """Judge every record by the rules, keep the target classes and split by content.

    Args:
        dataset: raw, as the reader found it; its ledger is kept.
        options: what to clean and how to split.

    Returns:
        Three datasets; the ledger of each holds the rows of its own images, train's also those of rejected images.

    Raises:
        ConfigError: a target class does not exist, or the source has no splits where they are asked for.
        DataQualityError: too much was rejected or too little is left.
    """
    options.check()
    return _prepare(dataset, options, dataset.version, silent)


def _prepare(dataset: Dataset, options: PrepareOptions, parent: str, notify: Notify) -> Prepared:
    categories = dataset.annotations.get_column("category").drop_nulls().unique()
    plan = plan_classes(dataset.classes, categories, options.class_aliases, options.target_classes)
    notify(0.1, "judging every record")
    checked = validate(dataset, plan, options.min_box_size)
    losses = measure_losses(dataset, checked)
    ledger = pl.concat([dataset.ledger, checked.ledger])
    refuse_bad_data(losses, ledger, options.max_rejected_share)
    refuse_empty_data(checked.images, checked.annotations, plan.classes)
    notify(0.4, "splitting")
    truth = checked.annotations.filter(pl.col("kind") == "ground_truth")
    assignment = assign_splits(
        checked.images,
        truth.get_column("image_id").unique(),
        shares=options.shares,
        mode=options.split,
        seed=options.seed,
    )
    ledger = pl.concat([ledger, _moved_rows(assignment)])
    whole = replace(
        dataset,
        classes=plan.classes,
        images=_with_split(checked.images, assignment),
        annotations=checked.annotations,
        ledger=ledger,
        parent=parent,
    )
    parts = {split: _part(whole, split) for split in SPLITS}
    audit = Audit(dataset.images, ledger, checked.left_out, plan, assignment.method, parent)
    counts = _counts(parts, checked, losses, assignment, dataset.ledger)
    logger.info("%d images and %d boxes are ready", counts["images"], counts["boxes"])
    return Prepared(**parts, counts=counts, audit=audit)


def _with_split(images: pl.DataFrame, assignment: Assignment) -> pl.DataFrame:
    columns = images.columns
    joined = images.drop("split").join(
        assignment.images.select("image_id", "split"), on="image_id", how="left", maintain_order="left"
    )
    return joined.select(columns)


def _moved_rows(assignment: Assignment) -> pl.DataFrame:
    return rows.image_rows(
        assignment.moved,
        Rule.DUPLICATE_IMAGE,
        Action.FIXED,
        before=pl.struct(split="source_split"),
        after=pl.struct("split"),
        detail=pl.lit("the source has the same content in two splits; it now is in one"),
    )


def _part(whole: Dataset, split: str) -> Dataset:
    ids = whole.images.filter(pl.col("split") == split).get_column("image_id")
    if ids.is_empty():
        raise DataQualityError(f"No image is left for {split}: bring more images, or use split 'random'.")
    part = whole.subset(ids, split=split)
    if split != "train":
        names = part.images.get_column("name")
        return replace(part, ledger=whole.ledger.filter(pl.col("image").is_in(names.implode())))
    elsewhere = whole.images.filter(pl.col("split") != split).get_column("name")
    return replace(part, ledger=whole.ledger.filter(~pl.col("image").is_in(elsewhere.implode())))


def _counts(
    parts: Mapping[str, Dataset], checked: Checked, losses: Losses, assignment: Assignment, before: pl.DataFrame
) -> dict[str, float]:
    counts: dict[str, float] = {}
    for split, part in parts.items():
        truth = part.ground_truth()
        counts[f"{split}_images"] = part.images.height
        counts[f"{split}_boxes"] = truth.height
        counts[f"{split}_negatives"] = part.images.height - truth.get_column("image_id").n_unique()
    fixed = before.filter(pl.col("action") == Action.FIXED.value).height
    totals = {kind: sum(counts[f"{split}_{kind}"] for split in SPLITS) for kind in ("images", "boxes", "negatives")}
    return {
        **totals,
        "found_images": losses.images,
        "found_annotations": losses.annotations,
        "fixed": checked.fixed + assignment.moved.height + fixed,
        "rejected": losses.rejected_images + losses.rejected_annotations,
        "rejected_images": losses.rejected_images,
        "rejected_annotations": losses.rejected_annotations,
        "rejected_share": losses.share,
        "left_out": sum(checked.left_out.values()),
        **counts,
    }
