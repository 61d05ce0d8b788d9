"""Bring annotated images into the store as a dataset version: read, look at every image, keep, commit."""

import hashlib
import logging
import tempfile
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import polars as pl

from components.data_load.gather import gather
from components.data_load.options import LoadOptions
from components.data_load.report import write_report
from components.shared import dataset_store, ledger
from components.shared.cpus import usable_cpus
from components.shared.dataset import ANNOTATIONS, IMAGES, Dataset
from components.shared.errors import SourceError
from components.shared.formats.base import Parsed
from components.shared.images import Probe, probe
from components.shared.progress import Notify, silent
from components.shared.shards import ShardWriter
from components.shared.sources import name_of
from components.shared.store import Store, open_store

logger = logging.getLogger(__name__)
WINDOW = 64  # images in flight, so that memory does not grow with their number


@dataclass(frozen=True)
class Loaded:
    """A loaded dataset, its version, and flat finite counts for the UI."""

    dataset: Dataset
    version: str
    counts: dict[str, float]


@dataclass(frozen=True)
class _Seen:
    """One image as it was found: its digest, size in bytes and what a look at it told."""

    digest: str
    size: int
    probe: Probe


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
    name = options.name or name_of(options.source)
    with tempfile.TemporaryDirectory(prefix="data-load-") as scratch:
        work = Path(scratch)
        gathered = gather(options, work, lambda share, text: notify(share * 0.2, text))
        parsed = gathered.parsed
        if parsed.images.is_empty():
            raise SourceError(
                f"{options.source!r} reads as {gathered.formats} but lists no image: there is nothing to load."
            )
        logger.info("%s: %d images, %d boxes", gathered.formats, parsed.images.height, parsed.annotations.height)
        dataset, new_bytes = _store_images(parsed, name, store, work, notify)
    notify(0.95, "committing")
    manifest = dataset_store.commit(store, dataset)
    dataset.save(directory)
    counts = _counts(dataset, new_bytes)
    write_report(report, dataset, manifest.version, source=options.source, format_name=gathered.formats, counts=counts)
    return Loaded(dataset, manifest.version, counts)


def _store_images(parsed: Parsed, name: str, store: Store, work: Path, notify: Notify) -> tuple[Dataset, int]:
    known = dataset_store.known_images(store, name)
    paths = parsed.images.get_column("path").to_list()
    seen: list[_Seen | None] = []
    with ShardWriter(store, work) as writer:
        for position, item in enumerate(_look_at(paths)):
            if item is None:
                seen.append(None)
                continue
            data, look = item
            seen.append(look)
            if look.digest not in known:
                writer.add(data, look.digest)
            notify(0.2 + 0.7 * position / len(paths), f"image {position + 1} of {len(paths)}")
        writer.finish()
    locations = {**known, **writer.locations}
    shards = dataset_store.describe_shards(store, {locations[look.digest].shard for look in seen if look})
    columns: dict[str, list[Any]] = {
        "sha256": [look and look.digest for look in seen],
        "width": [look.probe.width if look else 0 for look in seen],
        "height": [look.probe.height if look else 0 for look in seen],
        "format": [look and look.probe.format for look in seen],
        "orientation": [look.probe.orientation if look else 1 for look in seen],
        "bytes": [look.size if look else 0 for look in seen],
        "shard": [look and locations[look.digest].shard for look in seen],
        "offset": [look and locations[look.digest].offset for look in seen],
        "problem": [look and look.probe.problem for look in seen],
    }
    images = parsed.images.drop("path", "uri").with_columns(
        pl.Series(column, values, dtype=IMAGES[column]) for column, values in columns.items()
    )
    later = [name for name in IMAGES if name not in images.columns]
    images = images.with_columns(pl.lit(None, dtype=IMAGES[name]).alias(name) for name in later)
    dataset = Dataset(
        name=name,
        classes=parsed.classes,
        images=images.select(IMAGES.keys()).cast(IMAGES),
        annotations=_in_pixels(parsed.annotations, images),
        ledger=ledger.to_table(parsed.ledger),
        shards=shards,
    )
    return dataset, sum(shard.size for shard in writer.shards)


def _look_at(paths: Sequence[str | None]) -> Iterator[tuple[bytes, _Seen] | None]:
    """Read, hash and probe files on all cores, in order, a window at a time; ``None`` where there is no file."""
    remaining = iter(paths)
    with ThreadPoolExecutor(usable_cpus()) as pool:
        waiting = deque(pool.submit(_look, path) for path in islice(remaining, WINDOW))
        while waiting:
            item = waiting.popleft().result()
            waiting.extend(pool.submit(_look, path) for path in islice(remaining, 1))
            yield item


def _look(path: str | None) -> tuple[bytes, _Seen] | None:
    if path is None:
        return None
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise SourceError(f"The image {path!r} cannot be read: {error.strerror}.") from error
    return data, _Seen(hashlib.sha256(data).hexdigest(), len(data), probe(data))


def _in_pixels(annotations: pl.DataFrame, images: pl.DataFrame) -> pl.DataFrame:
    """Boxes in pixels of the oriented image, whether the source gave pixels or shares of it."""
    sizes = images.select("image_id", pl.col("width").alias("image_width"), pl.col("height").alias("image_height"))
    joined = annotations.join(sizes, on="image_id", how="left", maintain_order="left")
    horizontal = pl.when("relative").then(pl.col("image_width").cast(pl.Float64)).otherwise(1.0)
    vertical = pl.when("relative").then(pl.col("image_height").cast(pl.Float64)).otherwise(1.0)
    scaled = joined.with_columns(
        pl.col("x") * horizontal,
        pl.col("y") * vertical,
        pl.col("width") * horizontal,
        pl.col("height") * vertical,
        pl.int_range(pl.len(), dtype=pl.UInt32).alias("annotation_id"),
    )
    return scaled.select(ANNOTATIONS.keys()).cast(ANNOTATIONS)


def _counts(dataset: Dataset, new_bytes: int) -> dict[str, float]:
    return {
        "images": dataset.images.height,
        "boxes": dataset.annotations.height,
        "classes": len(dataset.classes),
        "missing_images": dataset.images.get_column("sha256").null_count(),
        "unreadable_images": dataset.images.height - dataset.images.get_column("problem").null_count(),
        "ledger_rows": dataset.ledger.height,
        "bytes": float(dataset.images.get_column("bytes").sum()),
        "new_bytes": new_bytes,
    }
