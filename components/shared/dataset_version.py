"""The canonical form of a dataset's content, whose sha256 is its version: the same on every machine and in any order.

Images come sorted by content, and those of one content by their annotations; an image's annotations come sorted by all
that is hashed of them. Numbers are hashed as little-endian records of fixed width, texts as their bytes, with their
lengths in the records.
"""

import hashlib
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import polars as pl

_BLOCK = 1 << 16  # annotations sorted at a time
_SCALE = 10_000.0  # coordinates and scores count to a ten-thousandth
_NULL = np.iinfo(np.int64).min  # the bits of -0.0, which rounding never leaves
_NAN = 0x7FF8 << 48
_NUMBERS = ("x", "y", "width", "height", "score")
_FLAGS = ("crowd", "difficult", "truncated")
_TEXTS = ("kind", "attributes")
_HEAD = ("identity", "width", "height", "split", "tags")
_IMAGE = np.dtype([("width", "<u4"), ("height", "<u4"), ("identity", "<u4"), ("split", "<u4"), ("tags", "<u4"),
                   ("annotations", "<u4")])  # fmt: skip
_ANNOTATION = np.dtype([("category", "<i4"), *((name, "<i8") for name in _NUMBERS), ("flags", "<u4"),
                        *((name, "<u4") for name in _TEXTS)])  # fmt: skip

_TIES = {"image_id": pl.UInt32(), "tie": pl.Binary()}
_Records = npt.NDArray[np.void]


def hash_content(header: bytes, classes: Sequence[str], images: pl.DataFrame, annotations: pl.DataFrame) -> str:
    """sha256 over ``header`` and the canonical content of the two tables, 64 hex digits.

    Args:
        header: what else the hash is to depend on.
        classes: class names; an annotation's category counts as its place here, -1 when it has none.
        images: columns of ``dataset.IMAGES``; hashed are digest (the name of a missing file), size, split and tags.
        annotations: columns of ``dataset.ANNOTATIONS``; hashed is all but the ids. Those of unknown images are not.
    """
    heads = _heads(images)
    doubled = heads.filter(pl.struct(_HEAD).is_duplicated())
    ties = _digests(doubled.get_column("image_id"), classes, annotations)
    heads = heads.join(ties, on="image_id", how="left").sort(*_HEAD, "tie")
    total, texts = hashlib.sha256(header), hashlib.sha256()
    counts = np.zeros(heads.height, np.int64)
    for ranks, records, text in _blocks(heads.get_column("image_id"), classes, annotations):
        counts += np.bincount(ranks, minlength=heads.height)
        total.update(records.tobytes())
        texts.update("".join(text).encode())
    records = np.zeros(heads.height, _IMAGE)
    records["width"], records["height"], records["annotations"] = heads["width"], heads["height"], counts
    for name in ("identity", "split", "tags"):
        records[name] = heads.get_column(name).str.len_bytes()
        texts.update("".join(heads.get_column(name)).encode())
    total.update(records.tobytes())
    total.update(texts.digest())
    return total.hexdigest()


def _heads(images: pl.DataFrame) -> pl.DataFrame:
    """What is hashed of an image itself."""
    # A missing file has no digest, so only there its name stands in for the content.
    identity = pl.coalesce("sha256", pl.format("missing:{}", pl.col("name").fill_null(""))).alias("identity")
    return images.select(
        "image_id", identity, *(pl.col(name).fill_null(0) for name in ("width", "height")),
        *(pl.col(name).fill_null("") for name in ("split", "tags")),
    )  # fmt: skip


def _digests(image_ids: pl.Series, classes: Sequence[str], annotations: pl.DataFrame) -> pl.DataFrame:
    """``tie``: a digest of each image's annotations; images without any have no row."""
    found: dict[int, bytes] = {}
    for ranks, records, text in _blocks(image_ids, classes, annotations):
        starts = np.flatnonzero(np.diff(ranks, prepend=-1))
        for start, end in zip(starts, [*starts[1:], len(ranks)], strict=True):
            body = "".join(text[start:end]).encode()
            found[image_ids[int(ranks[start])]] = hashlib.sha256(records[start:end].tobytes() + body).digest()
    return pl.DataFrame({"image_id": list(found), "tie": list(found.values())}, schema=_TIES)


def _blocks(
    image_ids: pl.Series, classes: Sequence[str], annotations: pl.DataFrame
) -> Iterator[tuple[npt.NDArray[np.int64], _Records, list[str]]]:
    """The annotations of these images in canonical order: rank of the image, record, and its texts as one.

    A block holds whole images.
    """
    if image_ids.is_empty():
        return
    places = pl.DataFrame({"image_id": image_ids}).with_row_index("rank")
    ranks = annotations.select("image_id").join(places, on="image_id", how="left", maintain_order="left")["rank"]
    order = ranks.arg_sort(nulls_last=True).head(len(ranks) - ranks.null_count())
    sorted_ranks = ranks.gather(order).to_numpy()
    start = 0
    while start < len(order):
        last = sorted_ranks[min(start + _BLOCK, len(order)) - 1]
        end = int(np.searchsorted(sorted_ranks, last, side="right"))
        block = annotations[order.slice(start, end - start)]
        yield _canonical(sorted_ranks[start:end].astype(np.int64), classes, block)
        start = end


def _canonical(
    ranks: npt.NDArray[np.int64], classes: Sequence[str], block: pl.DataFrame
) -> tuple[npt.NDArray[np.int64], _Records, list[str]]:
    number = {name: place for place, name in enumerate(classes)}
    category = pl.col("category").replace_strict(number, default=-1, return_dtype=pl.Int32)
    flags = pl.sum_horizontal(
        pl.col(name).fill_null(value=False).cast(pl.UInt32) * 2**bit for bit, name in enumerate(_FLAGS)
    )
    table = block.select(
        pl.Series("rank", ranks),
        *(pl.Series(name, _bits(block.get_column(name))) for name in _NUMBERS),
        category.alias("category"),
        flags.alias("flags"),
        *(pl.col(name).fill_null("") for name in _TEXTS),
    )
    table = table.sort(pl.all())
    records = np.zeros(table.height, _ANNOTATION)
    for name in ("category", "flags", *_NUMBERS):
        records[name] = table.get_column(name).to_numpy()
    for name in _TEXTS:
        records[name] = table.get_column(name).str.len_bytes().to_numpy()
    return ranks, records, table.select(pl.concat_str(_TEXTS)).to_series().to_list()


def _bits(numbers: pl.Series) -> npt.NDArray[np.int64]:
    """Each number in ten-thousandths, as the bits of a float64; one pattern each for NaN and for null."""
    with np.errstate(over="ignore"):
        scaled = np.rint(numbers.cast(pl.Float64).to_numpy() * _SCALE) + 0.0  # + 0.0 turns -0.0 into 0.0
    bits = scaled.view(np.int64)
    bits[np.isnan(scaled)] = _NAN
    bits[numbers.is_null().to_numpy()] = _NULL
    return bits
