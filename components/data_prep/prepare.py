"""Clean a dataset as a reader found it, choose its classes and split it: no pixel is copied, nothing vanishes."""

import logging
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import polars as pl

from components.data_prep import rows
from components.data_prep.balance import cap_classes, repeat_factors
from components.data_prep.clean import Cleaned, clean, count_records
from components.data_prep.groups import find_groups
from components.data_prep.leaks import check_no_leak
from components.data_prep.outcome import Audit, Prepared, PrepareOptions
from components.data_prep.overview import write_overview
from components.data_prep.report import write_report
from components.data_prep.split import SPLITS, Assignment, assign_splits
from components.data_prep.tiling import Cut, cut_large_images
from components.shared import dataset_store
from components.shared.dataset import Dataset, load_manifest
from components.shared.errors import ConfigError, DataQualityError
from components.shared.lease import loading
from components.shared.ledger import Action, Rule
from components.shared.progress import Notify, silent
from components.shared.store import Store, open_store

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
    version = load_manifest(dataset_dir).version
    store = open_store(store_uri)
    # No name here holds the raw tables, so they are free once they are judged.
    with loading(store) if options.tile else nullcontext():
        prepared = _prepare(Dataset.load(dataset_dir), options, version, store, notify)
        if options.tile:  # the tiles' shards are new, and only a committed version keeps them
            for part in prepared.splits.values():
                dataset_store.commit(store, part, alias=None)
    notify(0.5, "drawing the report")
    write_report(reports[0], prepared, options, store)
    write_overview(reports[1], prepared, options)
    notify(0.8, "saving the splits")
    for split, part in prepared.splits.items():
        part.save(outputs[split])
    return prepared


def prepare(dataset: Dataset, options: PrepareOptions, store: Store | None = None) -> Prepared:
    """Judge every record by the rules, keep the target classes and split by content.

    Args:
        dataset: raw, as the reader found it; its ledger is kept.
        options: what to clean and how to split.
        store: where its images lie; needed, and written to, only when large ones are cut into tiles.

    Returns:
        Three datasets; the ledger of each holds the rows of its own images, train's also those of rejected images.

    Raises:
        ConfigError: a target class does not exist, or the source has no splits where they are asked for.
        DataQualityError: too much was rejected or too little is left.
    """
    options.check()
    return _prepare(dataset, options, dataset.version, store, silent)


def _prepare(dataset: Dataset, options: PrepareOptions, parent: str, store: Store | None, notify: Notify) -> Prepared:
    notify(0.1, "judging every record")
    cleaned = clean(dataset, options)
    del dataset
    notify(0.4, "splitting")
    whole, assignment = _assigned(cleaned, options, parent)
    cut = _cut({split: _part(whole, split) for split in SPLITS}, options, store, notify)
    parts = cut.parts
    check_no_leak(parts, assignment.images if assignment.hashed else None)
    balance = cap_classes(parts["train"], options.max_class_share, options.seed)
    parts["train"], repeats = _weighted(_with_rows(balance.train, balance.ledger), options.oversample_below)
    audit = Audit(
        found=cleaned.found,
        ledger=pl.concat([whole.ledger, cut.ledger, balance.ledger]),
        left_out=cleaned.checked.left_out,
        plan=cleaned.plan,
        method=assignment.method,
        parent=parent,
        deviation=assignment.deviation,
        rescued=assignment.rescued,
        groups=assignment.groups,
        near_duplicates=assignment.leaks.pairs,
        flags=tuple(flag for flag in (*assignment.flags, *cut.flags, balance.flag) if flag),
        balance=None if options.max_class_share >= 1 else balance.shares,
        repeats=repeats,
    )
    fixed = cleaned.checked.fixed + assignment.moved.height
    counts = count_records(parts, cleaned, fixed=fixed, balanced=balance.ledger.height)
    logger.info("%d images and %d boxes are ready", counts["images"], counts["boxes"])
    return Prepared(**parts, counts=counts, audit=audit)


def _assigned(cleaned: Cleaned, options: PrepareOptions, parent: str) -> tuple[Dataset, Assignment]:
    """The clean dataset with a split for each image, and how it was found."""
    images, annotations = cleaned.checked.images, cleaned.checked.annotations
    # Selected before they are filtered, or the whole table would be copied.
    truth = annotations.select("image_id", "category", "kind").filter(pl.col("kind") == "ground_truth").drop("kind")
    grouping = find_groups(images, group_by=options.group_by, near_duplicates=options.near_duplicates)
    assignment = assign_splits(images, truth, grouping, options.split_plan)
    whole = replace(
        cleaned.rest,
        classes=cleaned.plan.classes,
        images=_with_split(images, assignment),
        annotations=annotations,
        ledger=pl.concat([cleaned.ledger, _moved_rows(assignment), *_leak_rows(assignment)]),
        parent=parent,
    )
    return whole, assignment


def _cut(parts: dict[str, Dataset], options: PrepareOptions, store: Store | None, notify: Notify) -> Cut:
    if not options.tile:
        return Cut(parts)
    if store is None:
        raise ConfigError(f"tile is {options.tile}, but there is no store to read the images from: give prepare one.")
    notify(0.45, "cutting large images")
    return cut_large_images(parts, store, options.tile_options, lambda share, text: notify(0.45 + 0.3 * share, text))


def _weighted(train: Dataset, below: float) -> tuple[Dataset, pl.DataFrame | None]:
    return repeat_factors(train, below) if below > 0 else (train, None)


def _with_rows(part: Dataset, ledger: pl.DataFrame) -> Dataset:
    return replace(part, ledger=pl.concat([part.ledger, ledger])) if ledger.height else part


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


def _leak_rows(assignment: Assignment) -> list[pl.DataFrame]:
    """Near-duplicates across the source's own splits, which are kept; in a split of ours flags tell of them."""
    return [] if assignment.hashed else [assignment.leaks.ledger_rows()]


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
