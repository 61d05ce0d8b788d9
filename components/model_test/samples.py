"""Take a few images of a dataset to compare predictions on."""

import hashlib
from pathlib import Path

import polars as pl

from components.shared.dataset import Dataset
from components.shared.errors import CorruptionError
from components.shared.store import open_store


def read_samples(directory: Path, store: str, count: int) -> list[bytes]:
    """The encoded bytes of ``count`` decodable images of the dataset in ``directory`` (fewer when it has fewer).

    They are the first by digest: the same ones each time, and no particular ones.

    Raises:
        CorruptionError: the store gives other bytes than the dataset names.
    """
    images = Dataset.load(directory).images.filter(pl.col("problem").is_null() & pl.col("shard").is_not_null())
    chosen = images.unique("sha256").sort("sha256").head(count)
    if not chosen.height:
        return []
    shards = open_store(store)
    found = []
    for name, digest, shard, offset, size in chosen.select("name", "sha256", "shard", "offset", "bytes").iter_rows():
        encoded = shards.read_range(f"shards/{shard}.tar", offset, size)
        if hashlib.sha256(encoded).hexdigest() != digest:
            raise CorruptionError(f"The image {name!r} in shard {shard!r} has other bytes than its dataset says.")
        found.append(encoded)
    return found
