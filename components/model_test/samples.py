"""Take a few images of a dataset to compare predictions on."""

from pathlib import Path

import polars as pl

from components.shared.dataset import Dataset
from components.shared.shards import ImageReader
from components.shared.store import open_store


def read_samples(directory: Path, store: str, count: int) -> list[bytes]:
    """The encoded bytes of ``count`` decodable images of the dataset in ``directory`` (fewer when it has fewer).

    They are the first by digest: the same ones each time, and no particular ones.

    Raises:
        NotFoundError: the store does not have an image's shard.
        CorruptionError: the store gives other bytes than the dataset names.
    """
    images = Dataset.load(directory).images.filter(pl.col("problem").is_null() & pl.col("shard").is_not_null())
    chosen = images.sort("sha256", "image_id").unique("sha256", keep="first", maintain_order=True).head(count)
    return [encoded for _, encoded in ImageReader(open_store(store)).read_many(chosen)]
