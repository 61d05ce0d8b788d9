"""Bring annotated images into the store as a dataset version: read, look at every image, keep, commit."""

import logging
import tempfile
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from components.data_load.gather import gather
from components.data_load.keep import Kept, keep
from components.data_load.options import LoadOptions
from components.data_load.report import write_report
from components.shared import dataset_store
from components.shared.dataset import Dataset
from components.shared.errors import SourceError
from components.shared.lease import loading
from components.shared.progress import Notify, silent
from components.shared.sources import name_of, shown_sources
from components.shared.store import open_store

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Loaded:
    """A loaded dataset, its version, and flat finite counts for the UI."""

    dataset: Dataset
    version: str
    counts: dict[str, float]


def load(options: LoadOptions, store_uri: str, directory: Path, report: Path, notify: Notify = silent) -> Loaded:
    """Load a source, commit it to the store and leave its four files in ``directory``.

    Args:
        options: the source and its format.
        store_uri: where the images and the version are kept.
        directory: receives ``dataset.json`` and the tables.
        report: receives the HTML report.
        notify: hears how far it is.

    Raises:
        InputError: the source is missing, empty, unsafe or of no known format.
        StoreError: the store failed.
    """
    store = open_store(store_uri)
    name = dataset_store.check_name(options.name or name_of(options.source))
    with tempfile.TemporaryDirectory(prefix="data-load-") as scratch:
        gathered = gather(options, Path(scratch), lambda share, text: notify(share * 0.2, text))
        parsed, formats = gathered.parsed, gathered.formats
        del gathered  # a million boxes are not held twice
        if parsed.images.is_empty():
            raise SourceError(
                f"{shown_sources(options.source)!r} reads as {formats} but lists no image: look at the source."
            )
        logger.info("%s: %d images, %d boxes", formats, parsed.images.height, parsed.annotations.height)
        # Until the version is committed nothing names its shards, so nobody may collect them as garbage.
        with loading(store):
            kept = keep(
                parsed,
                name,
                store,
                lambda share, text: notify(0.2 + 0.7 * share, text),
                allow_private_addresses=options.allow_private_addresses,
            )
            del parsed
            notify(0.95, "committing")
            manifest = dataset_store.commit(store, kept.dataset)
    dataset = kept.dataset
    dataset.save(directory)
    counts = _counts(kept)
    write_report(
        report,
        dataset,
        manifest.version,
        source=shown_sources(options.source),
        format_name=formats,
        counts=counts,
        store=store,
    )
    return Loaded(dataset, manifest.version, counts)


def _counts(kept: Kept) -> dict[str, float]:
    dataset, there = kept.dataset, pl.col("sha256").is_not_null()
    return {
        "images": dataset.images.height,
        "boxes": dataset.annotations.height,
        "classes": len(dataset.classes),
        "missing_images": dataset.images.filter(~there).height,
        "unreadable_images": dataset.images.filter(pl.col("problem").is_not_null() & there).height,
        "ledger_rows": dataset.ledger.height,
        "bytes": float(dataset.images.get_column("bytes").sum()),
        "new_images": kept.new_images,
        "new_bytes": kept.new_bytes,
    }
