"""Every annotation judged by the rules, some thousand images at a time, so that memory stays flat."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import polars as pl

from components.data_prep import rows
from components.data_prep.duplicates import mark_duplicate_annotations
from components.data_prep.rules import BOX, RuleBook, found, judge_boxes
from components.data_prep.sizes import mend_boxes
from components.shared.dataset import ANNOTATIONS
from components.shared.ledger import Rule
from components.shared.rules import Choice

BLOCK = 4_000  # images judged together
_NEEDED = ("annotation_id", "image_id", "category", *BOX, "crowd", "kind", "source_id", "attributes")
LABEL = pl.coalesce("source_id", pl.format("#{}", "annotation_id"))  # what the ledger calls an annotation


@dataclass(frozen=True)
class Judged:
    """Annotations of usable images after the rules.

    Attributes:
        accepted: columns of ``ANNOTATIONS`` with the final box and class.
        rejected: a ledger row for each annotation that was rejected.
        noticed: ledger rows for accepted annotations that were mended or kept on purpose.
        mended: ids of the images whose annotations were mended, once for each of these annotations.
    """

    accepted: pl.DataFrame
    rejected: pl.DataFrame
    noticed: pl.DataFrame
    mended: pl.Series


def judge_annotations(
    annotations: pl.DataFrame,
    images: pl.DataFrame,
    mismatches: pl.DataFrame,
    mapping: Mapping[str, str],
    book: RuleBook,
) -> Judged:
    """Mend and judge annotations.

    Args:
        annotations: columns of ``ANNOTATIONS``.
        images: usable images, columns of ``IMAGES``; annotations of others are passed over.
        mismatches: what ``find_mismatches`` found.
        mapping: category as found -> class; a category without one is unknown.
        book: what is done about each rule.
    """
    ordered = _by_image(annotations)
    parts, rejected, noticed = [], [], []
    for block in _blocks(ordered):
        judged = _judge(_with_frames(block, images, mapping), mismatches, book)
        accepted = judged.filter(pl.col("rule").is_null())
        parts.append(accepted.select("row", *BOX, mended=_mended(book)))
        rejected.append(rows.rejected_annotations(judged, book.min_box_size))
        noticed.append(rows.noticed_annotations(accepted, book))
    judged = pl.concat(parts)
    accepted = _rebuilt(ordered, judged, mapping)
    mended = accepted.filter(judged.get_column("mended")).get_column("image_id")
    return Judged(accepted, pl.concat(rejected), pl.concat(noticed), mended)


def _judge(block: pl.DataFrame, mismatches: pl.DataFrame, book: RuleBook) -> pl.DataFrame:
    judged = judge_boxes(mend_boxes(block, mismatches), book)
    return mark_duplicate_annotations(judged, reject=book.says(Rule.DUPLICATE_ANNOTATION, Choice.REJECT))


def _mended(book: RuleBook) -> pl.Expr:
    """Whether an accepted annotation was changed."""
    changes = [pl.col("mending").is_not_null(), pl.col("turned")]
    changes += [pl.col("small")] if book.says(Rule.TOO_SMALL, Choice.FIX) else []
    changes += [pl.col("clipped")] if book.says(Rule.CLIPPED, Choice.FIX) else []
    return pl.any_horizontal(changes)


def _by_image(annotations: pl.DataFrame) -> pl.DataFrame:
    """The rows grouped by image, each image's in their order; so a block of images is a slice."""
    if annotations.get_column("image_id").is_sorted():
        return annotations
    return annotations.sort("image_id", maintain_order=True)


def _blocks(ordered: pl.DataFrame) -> Iterator[pl.DataFrame]:
    """Some thousand images at a time, with ``row``, the place in the table."""
    lengths = ordered.get_column("image_id").rle().struct.field("len")
    ends = lengths.cum_sum().gather_every(BLOCK, BLOCK - 1).to_list()
    start = 0
    for end in dict.fromkeys((*ends, ordered.height)):
        yield ordered.slice(start, end - start).select(_NEEDED).with_row_index("row", offset=start)
        start = end


def _with_frames(block: pl.DataFrame, images: pl.DataFrame, mapping: Mapping[str, str]) -> pl.DataFrame:
    ids = block.get_column("image_id")
    frames = images.filter(pl.col("image_id").is_between(ids.min(), ids.max())).select(
        "image_id",
        image="name",
        image_width=pl.col("width").cast(pl.Float64),
        image_height=pl.col("height").cast(pl.Float64),
    )
    return block.join(frames, on="image_id", how="inner", maintain_order="left").with_columns(
        _class(mapping), label=LABEL, **{found(side): pl.col(side) for side in BOX}
    )


def _class(mapping: Mapping[str, str]) -> pl.Expr:
    return pl.col("category").replace_strict(mapping, default=None, return_dtype=pl.String).alias("class")


def _rebuilt(ordered: pl.DataFrame, judged: pl.DataFrame, mapping: Mapping[str, str]) -> pl.DataFrame:
    """The accepted rows of the table with their boxes and classes as judged; columns nothing changed are shared."""
    kept = ordered if judged.height == ordered.height else ordered[judged.get_column("row")]
    renamed = {name: target for name, target in mapping.items() if name != target}
    category = pl.col("category").replace(renamed) if renamed else pl.col("category")
    return kept.with_columns(category, *(judged.get_column(side) for side in BOX)).select(ANNOTATIONS.keys())
