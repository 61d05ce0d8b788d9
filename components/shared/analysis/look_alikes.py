"""Images of several parts that look almost the same: frames of one scene in train and in val, or in two datasets."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import polars as pl

from components.shared.analysis.examples import Example, readable
from components.shared.analysis.flag import Flag
from components.shared.analysis.part import Part
from components.shared.near_duplicates import Hashes, Indices, is_telling, link
from components.shared.report.page import Level

BITS = 4  # of 64 in which the perceptual hashes of look-alikes may differ
PAIRS = 3  # that are drawn
_PARTS = 63  # that fit the bits of a number


def look_alike_flags(parts: Sequence[Part]) -> Iterator[Flag]:
    """A flag where images of different parts look alike; none for a single part."""
    images = pl.concat(
        readable(part.images).select(pl.lit(place).alias("part"), "image_id", "phash").drop_nulls()
        for place, part in enumerate(parts[:_PARTS])
    )
    images = images.filter(pl.Series(is_telling(images.get_column("phash").to_numpy()), dtype=pl.Boolean))
    if len(parts) < 2 or images.is_empty():  # noqa: PLR2004 - no two parts to be in
        return
    hashes = images.get_column("phash").unique().sort().to_numpy()
    code = np.searchsorted(hashes, images.get_column("phash").to_numpy())
    first, second = _across(hashes, code, images.get_column("part").to_numpy())
    if not first.size:
        return
    alike = int(np.isin(code, np.concatenate([first, second])).sum())
    examples = tuple(_examples(parts, images.with_columns(code=pl.Series(code)), first, second))
    detail = (
        f"{alike:,} of {images.height:,} images look like one of another part (at most {BITS} of 64 hash bits differ): "
        "what is measured on one is not new to a model that was trained on the other."
    )
    yield Flag("look-alikes in several parts", detail, Level.WARN, examples)


def _across(hashes: Hashes, code: Indices, part: Indices) -> tuple[Indices, Indices]:
    """Pairs of hashes, equal or near, that occur in different parts."""
    within = np.zeros(hashes.size, dtype=np.uint64)
    np.bitwise_or.at(within, code, np.uint64(1) << part.astype(np.uint64))
    near = link(hashes, BITS)
    same = np.flatnonzero(np.bitwise_count(within) > 1)
    apart = np.bitwise_count(within[near.first] | within[near.second]) > 1
    first, second = np.concatenate([same, near.first[apart]]), np.concatenate([same, near.second[apart]])
    return first, second


def _examples(parts: Sequence[Part], images: pl.DataFrame, first: Indices, second: Indices) -> Iterator[Example]:
    for one, other in zip(first[:PAIRS].tolist(), second[:PAIRS].tolist(), strict=True):
        left = images.filter(pl.col("code") == one).row(0, named=True)
        right = images.filter((pl.col("code") == other) & (pl.col("part") != left["part"]))
        if right.is_empty():
            right, left = images.filter(pl.col("code") == other), _elsewhere(images, one, other) or left
        for row in (left, right.row(0, named=True)):
            part = parts[row["part"]]
            image = part.images.filter(pl.col("image_id") == row["image_id"]).row(0, named=True)
            yield Example(image, (), f"{part.name}: {image['name']}")


def _elsewhere(images: pl.DataFrame, one: int, other: int) -> dict[str, Any] | None:
    """An image with the first hash that is in another part than the first with the second hash."""
    part = images.filter(pl.col("code") == other).item(0, "part")
    found = images.filter((pl.col("code") == one) & (pl.col("part") != part))
    return None if found.is_empty() else found.row(0, named=True)
