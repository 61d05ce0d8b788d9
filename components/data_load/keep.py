"""From what a reader found to a dataset: every image looked at and kept in the store, every box in pixels."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import polars as pl

from components.data_load.look import MAX_IMAGE_BYTES, FactsTable, Fetch, Looked, Pace, Place, look_at_images
from components.shared import dataset_store, ledger, shards
from components.shared.dataset import ANNOTATIONS, IMAGES, Dataset
from components.shared.formats.base import Parsed
from components.shared.known_images import KnownImages
from components.shared.progress import Notify, silent
from components.shared.shards import Location, ShardWriter
from components.shared.store import Store

BOX = ("x", "y", "width", "height")
SIDES = ("width", "height")


@dataclass(frozen=True)
class Kept:
    """A dataset whose images are in the store, and what this load added there: distinct images, bytes of shards."""

    dataset: Dataset
    new_images: int
    new_bytes: int


def keep(
    parsed: Parsed, name: str, store: Store, notify: Notify = silent, *, allow_private_addresses: bool = False
) -> Kept:
    """Look at every image of ``parsed`` and keep those the store does not have; the dataset is not committed.

    To be called within ``loading(store)`` that lasts until it is, or its shards may be collected as garbage.

    Args:
        parsed: what the reader found.
        name: of the dataset; images of its earlier versions are not stored again.
        store: receives the shards.
        notify: hears how far it is, 0 to 1.
        allow_private_addresses: whether images may be fetched from private addresses.

    Raises:
        SourceError: an image's file is there and cannot be read.
        StoreError: the store failed.
    """
    known = dataset_store.known_images(store, name)
    with (
        ShardWriter(store, target_bytes=shards.TARGET_BYTES) as writer,
        _fetcher(parsed.images, allow_private=allow_private_addresses) as fetch,
    ):
        facts = _look_and_add(parsed.images, fetch, known, writer.add, notify)
        writer.finish()
    images = _images(parsed, facts, lambda digest: writer.locations.get(digest) or known[digest])
    dataset = Dataset(
        name=name,
        classes=parsed.classes,
        images=images,
        annotations=in_pixels(parsed.annotations, images),
        ledger=ledger.to_table(parsed.ledger),
        shards=dataset_store.describe_shards(store, images.get_column("shard").drop_nulls().unique()),
    )
    return Kept(
        _without_measured_sizes(dataset, parsed.annotations),
        new_images=len(writer.locations),
        new_bytes=sum(shard.size for shard in writer.uploaded),
    )


def in_pixels(annotations: pl.DataFrame, images: pl.DataFrame) -> pl.DataFrame:
    """Boxes in pixels of the oriented image, whether the source gave pixels or shares of it.

    Args:
        annotations: columns of ``PARSED_ANNOTATIONS``.
        images: columns of ``IMAGES``.

    Returns:
        Columns of ``ANNOTATIONS``. Shares of an image that is not there or does not decode are shares of the size its
        source declares; where that is missing too they stay shares.
    """
    number = pl.int_range(pl.len(), dtype=pl.UInt32).alias("annotation_id")
    if not annotations.get_column("relative").any():
        return annotations.with_columns(number).select(ANNOTATIONS.keys()).cast(ANNOTATIONS)
    known = [
        pl.coalesce(*(pl.when(pl.col(size) > 0).then(pl.col(size)) for size in (side, f"declared_{side}")), pl.lit(1))
        for side in SIDES
    ]
    sizes = images.select("image_id", across=known[0].cast(pl.Float64), down=known[1].cast(pl.Float64))
    joined = annotations.join(sizes, on="image_id", how="left", maintain_order="left")
    scaled = joined.with_columns(
        *(
            pl.when("relative").then(pl.col(side) * pl.col(scale)).otherwise(side).alias(side)
            for side, scale in zip(BOX, ("across", "down") * 2, strict=True)
        ),
        number,
    )
    return scaled.select(ANNOTATIONS.keys()).cast(ANNOTATIONS)


def _look_and_add(
    images: pl.DataFrame,
    fetch: Fetch | None,
    known: KnownImages,
    add: Callable[[bytes, str], None],
    notify: Notify,
) -> pl.DataFrame:
    """Facts of every image, in order; those that are not known go to ``add``."""
    places = images.select("path", "uri")
    count = places.filter(pl.any_horizontal(pl.all().is_not_null())).height
    table, pace = FactsTable(), Pace(images.height, notify)
    for looked in look_at_images((Place(*row) for row in places.iter_rows()), count, fetch, known.measured):
        table.add(looked.facts)
        _add_new(looked, known, add)
        pace.step(len(looked.data or b""))
    return table.table()


def _add_new(looked: Looked, known: KnownImages, add: Callable[[bytes, str], None]) -> None:
    if looked.data is not None and looked.digest is not None and looked.digest not in known:
        add(looked.data, looked.digest)


@contextmanager
def _fetcher(images: pl.DataFrame, *, allow_private: bool) -> Iterator[Fetch | None]:
    """What fetches the images that are on no disk; nothing when all are."""
    if images.filter(pl.col("path").is_null() & pl.col("uri").is_not_null()).is_empty():
        yield None
        return
    from components.data_load.remote_images import RemoteImages  # noqa: PLC0415 - its clients are heavy

    remote = RemoteImages(allow_private=allow_private, max_bytes=MAX_IMAGE_BYTES)
    try:
        yield remote.fetch
    finally:
        remote.close()


def _images(parsed: Parsed, facts: pl.DataFrame, find: Callable[[str], Location]) -> pl.DataFrame:
    """The ``images`` table of the dataset."""
    digests = facts.get_column("sha256").drop_nulls().unique().to_list()
    found = [find(digest) for digest in digests]
    places = pl.DataFrame(
        {"sha256": digests, "shard": [place.shard for place in found], "offset": [place.offset for place in found]},
        schema={name: IMAGES[name] for name in ("sha256", "shard", "offset")},
    )
    images = pl.concat([parsed.images.drop("path", "uri"), facts], how="horizontal")
    images = images.join(places, on="sha256", how="left", maintain_order="left")
    later = [pl.lit(None, dtype=kind).alias(name) for name, kind in IMAGES.items() if name not in images.columns]
    return images.with_columns(later).select(IMAGES.keys()).cast(IMAGES)


def _without_measured_sizes(dataset: Dataset, annotations: pl.DataFrame) -> Dataset:
    """Forget the declared size where boxes were scaled by the real one: nobody may scale them again."""
    scaled = annotations.filter("relative").get_column("image_id").unique().implode()
    measured = pl.col("image_id").is_in(scaled) & (pl.col("width") > 0)
    images = dataset.images.with_columns(
        pl.when(measured).then(None).otherwise(f"declared_{side}").alias(f"declared_{side}") for side in SIDES
    )
    return replace(dataset, images=images)
