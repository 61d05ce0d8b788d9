"""Several data sets made one: classes united, images of one name told apart by their content."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import polars as pl

from components.shared.errors import SourceError
from components.shared.files import sha256_file
from components.shared.formats.base import PARSED_ANNOTATIONS, PARSED_IMAGES, Parsed
from components.shared.ledger import Action, Entry, Rule


@dataclass(frozen=True)
class Part:
    """One data set to merge: what people call it, and what it holds."""

    label: str
    parsed: Parsed


def merge(parts: Sequence[Part], name_conflicts: str = "stop") -> Parsed:
    """One data set of several.

    Classes are united in order. Images of one name with the same bytes (or the same address) are one image that has
    the annotations of all; with other bytes ``name_conflicts`` decides. An image whose file is missing cannot be
    compared, so it is kept beside its namesakes as ``<label>/<name>``.

    Args:
        parts: the data sets, in order.
        name_conflicts: ``stop``, or keep the ``first`` or the ``last`` image; what is left out is in the ledger.

    Raises:
        SourceError: ``stop``, and two different images have one name; the message names both.
    """
    if len(parts) == 1:
        return parts[0].parsed
    images, annotations = _stacked(parts)
    images = _rename_incomparable(images, [part.label for part in parts])
    twins, ledger = _compared(images, [part.label for part in parts], name_conflicts)
    images, annotations, left_out = _joined(images, annotations, twins)
    ledger = [_with_boxes(entry, count) for entry, count in zip(ledger, left_out, strict=True)]
    notes = {key: text for part in parts for key, text in part.parsed.notes.items()}
    classes = dict.fromkeys(chain.from_iterable(part.parsed.classes for part in parts))
    recorded = chain.from_iterable(part.parsed.ledger for part in parts)
    return Parsed(tuple(classes), images, annotations, (*recorded, *ledger), notes)


def _stacked(parts: Sequence[Part]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """All images and annotations with ids counted on from part to part; images with the ``part`` they are from."""
    images, annotations, start = [], [], 0
    for number, part in enumerate(parts):
        shift = (pl.col("image_id") + start).cast(pl.UInt32)
        images.append(part.parsed.images.with_columns(shift, pl.lit(number, pl.UInt32).alias("part")))
        annotations.append(part.parsed.annotations.with_columns(shift))
        start += part.parsed.images.height
    return pl.concat(images), pl.concat(annotations)


def _rename_incomparable(images: pl.DataFrame, labels: Sequence[str]) -> pl.DataFrame:
    named = pl.DataFrame({"part": range(len(labels)), "label": _distinct(labels)}, schema_overrides={"part": pl.UInt32})
    absent = pl.col("path").is_null() & pl.col("uri").is_null() & (pl.len().over("name") > 1)
    renamed = pl.when(absent).then(pl.format("{}/{}", "label", "name")).otherwise("name")
    joined = images.join(named, on="part", how="left", maintain_order="left")
    return joined.with_columns(renamed.alias("name")).drop("label")


def _distinct(labels: Sequence[str]) -> list[str]:
    """Labels as folder names, each different from the others."""
    short = [label.rstrip("/").rpartition("/")[2] or "source" for label in labels]
    return [name if short.count(name) == 1 else f"{name}-{number}" for number, name in enumerate(short, start=1)]


def _compared(images: pl.DataFrame, labels: Sequence[str], rule: str) -> tuple[pl.DataFrame, list[Entry]]:
    """For images that share a name: which they are the same as (``keeper``), or that they are left out (null)."""
    shared = images.filter(pl.len().over("name") > 1).select("image_id", "name", "path", "uri", "part")
    shared = _with_content(shared)
    different = shared.filter(pl.col("content").n_unique().over("name") > 1).sort("name", "part")
    if rule == "stop" and not different.is_empty():
        raise SourceError(_conflict(different, labels))
    order = pl.col("content").last() if rule == "last" else pl.col("content").first()
    kept = shared.with_columns((pl.col("content") == order.over("name", order_by="image_id")).alias("kept"))
    keeper = pl.col("image_id").min().over("name", "content")
    twins = kept.with_columns(pl.when("kept").then(keeper).alias("keeper")).select("image_id", "keeper", "name", "part")
    out = twins.filter(pl.col("keeper").is_null()).sort("image_id")
    detail = f"another source has a different image of this name, and name_conflicts keeps the {rule}"
    ledger = [
        Entry(name, Rule.NAME_CONFLICT, Action.LEFT_OUT, before={"source": labels[part]}, detail=detail)
        for name, part in out.select("name", "part").iter_rows()
    ]
    return twins, ledger


def _with_content(shared: pl.DataFrame) -> pl.DataFrame:
    """What tells the images of one name apart: the file's size, its digest where sizes are equal, or the address."""
    sizes = [None if path is None else str(_size(path)) for path in shared.get_column("path")]
    sized = shared.with_columns(pl.coalesce(pl.Series("size", sizes, dtype=pl.String), "uri").alias("content"))
    same = sized.filter((pl.len().over("name", "content") > 1) & pl.col("path").is_not_null())
    paths = same.get_column("path").unique()
    digests = pl.DataFrame(
        {"path": paths, "digest": [_digest(path) for path in paths]}, schema={"path": pl.String, "digest": pl.String}
    )
    joined = sized.join(digests, on="path", how="left", maintain_order="left")
    return joined.with_columns(pl.coalesce("digest", "content").alias("content"))


def _size(path: str) -> int:
    try:
        return Path(path).stat().st_size
    except OSError as error:
        raise SourceError(f"The image {path!r} cannot be read: {error.strerror}.") from error


def _digest(path: str) -> str:
    try:
        return sha256_file(Path(path))
    except OSError as error:
        raise SourceError(f"The image {path!r} cannot be read: {error.strerror}.") from error


def _conflict(different: pl.DataFrame, labels: Sequence[str]) -> str:
    name = different.item(0, "name")
    same = different.filter(pl.col("name") == name)
    one, other = same.row(0, named=True), same.filter(pl.col("content") != same.item(0, "content")).row(0, named=True)
    count = different.get_column("name").n_unique() - 1
    more = f", and {count} more names" if count else ""
    return (
        f"{labels[one['part']]!r} and {labels[other['part']]!r} have different images of the name {name!r}{more}:"
        " rename them, or set name_conflicts to first or last."
    )


def _joined(
    images: pl.DataFrame, annotations: pl.DataFrame, twins: pl.DataFrame
) -> tuple[pl.DataFrame, pl.DataFrame, list[int]]:
    """Tables in which each image stands once, and how many annotations each image that is left out had."""
    out = twins.filter(pl.col("keeper").is_null()).sort("image_id").select("image_id")
    counts = out.join(annotations.group_by("image_id").len(), on="image_id", how="left", maintain_order="left")
    target = images.select("image_id").join(twins.select("image_id", "keeper"), on="image_id", how="left")
    target = target.join(out, on="image_id", how="anti")
    target = target.with_columns(pl.coalesce("keeper", "image_id").alias("keeper"))
    kept = images.join(target, on="image_id", how="inner", maintain_order="left")
    united = _united(kept)
    numbers = united.select(pl.col("image_id").alias("keeper"), pl.int_range(pl.len(), dtype=pl.UInt32).alias("number"))
    mapping = target.join(numbers, on="keeper", how="inner").select("image_id", "number")
    boxes = annotations.join(mapping, on="image_id", how="inner", maintain_order="left")
    boxes = boxes.with_columns(pl.col("number").alias("image_id"))
    united = united.with_columns(pl.int_range(pl.len(), dtype=pl.UInt32).alias("image_id"))
    return (
        united.select(PARSED_IMAGES.keys()),
        boxes.select(PARSED_ANNOTATIONS.keys()),
        counts.get_column("len").fill_null(0).to_list(),
    )


def _united(kept: pl.DataFrame) -> pl.DataFrame:
    """One row for each image; what its rows say of it is put together."""
    single = kept.filter(pl.col("image_id").count().over("keeper") == 1)
    several = kept.filter(pl.col("image_id").count().over("keeper") > 1)
    splits = pl.col("split").drop_nulls()
    facts = [pl.col(name).drop_nulls().first() for name in PARSED_IMAGES if name not in {"image_id", "split", "tags"}]
    groups = several.group_by("keeper", maintain_order=True).agg(
        *facts,
        # An image that two sources put into different splits belongs to none.
        pl.when(splits.n_unique() == 1).then(splits.first()).alias("split"),
        pl.col("tags").drop_nulls().unique(maintain_order=True),
    )
    tags = [_united_tags(texts) for texts in groups.get_column("tags").to_list()]
    groups = groups.with_columns(pl.Series("tags", tags, dtype=pl.String), pl.col("keeper").alias("image_id"))
    columns = list(PARSED_IMAGES)
    return pl.concat([single.select(columns), groups.select(columns)]).sort("image_id")


def _united_tags(texts: Iterable[str]) -> str | None:
    """Tags of several rows of one image; where they disagree the first is right."""
    merged: dict[str, str] = {}
    for text in texts:
        merged = json.loads(text) | merged
    return json.dumps(merged, sort_keys=True, separators=(",", ":")) if merged else None


def _with_boxes(entry: Entry, count: int) -> Entry:
    return Entry(
        entry.image,
        entry.rule,
        entry.action,
        before={**(entry.before or {}), "annotations": count},
        detail=entry.detail,
    )
