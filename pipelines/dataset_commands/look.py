"""``datasets list`` and ``datasets show``: what the store holds, and what a version is made of."""

import argparse

import polars as pl
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from components.shared import dataset_store
from components.shared.dataset import Dataset, Manifest
from components.shared.dataset_catalogue import CatalogueEntry, catalogue
from components.shared.dataset_reference import SHORT, Reference, find
from components.shared.store import Store
from pipelines.dataset_commands.output import Answer, line, moment, size


def list_datasets(options: argparse.Namespace, store: Store) -> Answer:
    """Each version of each dataset, the newest first."""
    if options.name is not None:
        find(store, options.name)  # an unknown name is refused, with the near one
    entries = catalogue(store, options.name)

    def show(console: Console) -> None:
        if not entries:
            line(console, "store", f"{store.uri} holds no dataset yet")
            return
        table = Table("dataset", "version", "points to it", "images", "boxes", "classes", "in shards", "committed")
        for column in table.columns[3:7]:
            column.justify = "right"
        for place, entry in enumerate(entries):
            fresh = place == 0 or entries[place - 1].name != entry.name
            table.add_row(escape(entry.name) if fresh else "", *_cells(entry))
        console.print(table)

    return Answer({"store": store.uri, "datasets": [_entry_data(entry) for entry in entries]}, show)


def show_dataset(options: argparse.Namespace, store: Store) -> Answer:
    """One version: manifest, classes with counts, splits, shards and what its ledger says."""
    reference = find(store, options.dataset)
    manifest = dataset_store.read_manifest(store, reference.name, reference.version)
    dataset = dataset_store.read(store, reference.name, reference.version)
    aliases = [alias for alias, at in dataset_store.aliases(store, reference.name).items() if at == reference.version]
    classes, splits, ledger = _classes(dataset), _splits(dataset), _ledger(dataset)

    def show(console: Console) -> None:
        _show_manifest(console, reference, manifest, aliases, dataset)
        console.print(_table("classes", classes))
        if splits.height > 1 or splits.item(0, "split") != "none":
            console.print(_table("splits", splits))
        if ledger.height:
            console.print(_table("ledger", ledger))
        else:
            line(console, "ledger", "empty: no record was repaired or rejected")

    data = {
        "store": store.uri,
        **manifest.model_dump(mode="json"),
        "aliases": aliases,
        "image_bytes": int(dataset.images.get_column("bytes").sum()),
        "shard_bytes": sum(shard.size for shard in manifest.shards),
        "class_counts": classes.to_dicts(),
        "splits": splits.to_dicts(),
        "ledger": ledger.to_dicts(),
    }
    return Answer(data, show)


def _cells(entry: CatalogueEntry) -> tuple[str, ...]:
    marks = [*entry.aliases, *(["(newest)"] if entry.newest and "latest" not in entry.aliases else [])]
    facts = ("?", "?", "?", escape(entry.problem)) if entry.manifest is None else _facts(entry.manifest, entry.bytes)
    return entry.version[:SHORT], escape(", ".join(marks)), *facts, moment(entry.written)


def _facts(manifest: Manifest, shards: int) -> tuple[str, ...]:
    return f"{manifest.image_count:,}", f"{manifest.annotation_count:,}", f"{len(manifest.classes)}", size(shards)


def _entry_data(entry: CatalogueEntry) -> dict[str, object]:
    manifest = entry.manifest
    return {
        "name": entry.name,
        "version": entry.version,
        "aliases": list(entry.aliases),
        "newest": entry.newest,
        "committed": entry.written,
        "images": manifest and manifest.image_count,
        "boxes": manifest and manifest.annotation_count,
        "classes": manifest and list(manifest.classes),
        "shard_bytes": entry.bytes,
        "problem": entry.problem or None,
    }


def _show_manifest(
    console: Console, reference: Reference, manifest: Manifest, aliases: list[str], dataset: Dataset
) -> None:
    images = dataset.images
    line(console, "dataset", reference.name + (f", split {manifest.split}" if manifest.split else ""))
    line(console, "version", reference.version)
    if aliases:
        line(console, "aliases", ", ".join(aliases))
    if manifest.parent:
        line(console, "made from", manifest.parent)
    negatives = images.height - dataset.annotations.get_column("image_id").n_unique()
    there = pl.col("sha256").is_not_null()
    missing = images.filter(~there).height
    broken = images.filter(there & pl.col("problem").is_not_null()).height
    line(console, "images", f"{images.height:,} ({negatives:,} without boxes, {missing:,} missing, {broken:,} broken)")
    line(console, "boxes", f"{manifest.annotation_count:,} in {len(manifest.classes)} classes")
    line(console, "bytes", f"{size(int(images.get_column('bytes').sum()))} of images")
    total = sum(shard.size for shard in manifest.shards)
    line(console, "shards", f"{len(manifest.shards)}, together {size(total)}")


def _classes(dataset: Dataset) -> pl.DataFrame:
    truth = dataset.ground_truth()
    counts = truth.group_by("category").agg(boxes=pl.len(), images=pl.col("image_id").n_unique())
    names = pl.DataFrame({"class": dataset.classes}, schema={"class": pl.String}).with_row_index("id")
    named = names.join(counts, left_on="class", right_on="category", how="left", maintain_order="left")
    return named.with_columns(pl.col("boxes", "images").fill_null(0)).with_columns(
        share=(pl.col("boxes") / max(1, truth.height)).round(4)
    )


def _splits(dataset: Dataset) -> pl.DataFrame:
    boxes = dataset.ground_truth().group_by("image_id").len()
    joined = dataset.images.join(boxes, on="image_id", how="left")
    grouped = joined.group_by(pl.col("split").fill_null("none"))
    return grouped.agg(images=pl.len(), boxes=pl.col("len").sum(), bytes=pl.col("bytes").sum()).sort("split")


def _ledger(dataset: Dataset) -> pl.DataFrame:
    grouped = dataset.ledger.group_by("rule", "action").agg(
        records=pl.len(), first_image=pl.col("image").first(), first_detail=pl.col("detail").first()
    )
    return grouped.sort("records", "rule", descending=[True, False])


def _table(title: str, frame: pl.DataFrame) -> Table:
    table = Table(title=title, title_justify="left")
    for name, kind in frame.schema.items():
        table.add_column(name.replace("_", " "), justify="right" if kind.is_numeric() else "left", overflow="fold")
    for row in frame.iter_rows():
        table.add_row(*(escape(_cell(value)) for value in row))
    return table


def _cell(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:.2%}" if isinstance(value, float) else str(value)
