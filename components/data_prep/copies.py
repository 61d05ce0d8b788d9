"""What becomes of images whose content an earlier image has too."""

from dataclasses import dataclass

import polars as pl

from components.data_prep import rows
from components.data_prep.duplicates import find_duplicate_images, mark_duplicate_annotations, merge_copies
from components.data_prep.judge import LABEL
from components.data_prep.rules import RuleBook
from components.shared.dataset import ANNOTATIONS
from components.shared.ledger import Action, Rule
from components.shared.rules import CONFLICTING_DUPLICATE, Choice


@dataclass(frozen=True)
class Settled:
    """The copies dealt with.

    Attributes:
        annotations: accepted annotations of the images that stay, columns of ``ANNOTATIONS``.
        gone: images that do not stay: ``image_id``, ``name`` and ``rejected``, false for one merged into another.
        ledger: a row for each copy, and for each annotation that a merge made a repetition.
    """

    annotations: pl.DataFrame
    gone: pl.DataFrame
    ledger: pl.DataFrame


def settle_copies(images: pl.DataFrame, annotations: pl.DataFrame, book: RuleBook) -> Settled:
    """Keep, merge or reject images with the same bytes, and tell each.

    Args:
        images: usable images, columns of ``IMAGES``.
        annotations: accepted annotations, columns of ``ANNOTATIONS``.
        book: what is done about each rule.
    """
    copies = rows.with_lost(find_duplicate_images(images, annotations), annotations)
    copies = copies.with_columns(action=_action(book))
    gone = copies.filter(pl.col("action") != Action.KEPT.value).with_columns(
        rejected=pl.col("action") == Action.REJECTED.value
    )
    ledger = [_copy_rows(copies)]
    if gone.is_empty():
        return Settled(annotations, gone, pl.concat(ledger))
    merged = gone.filter(~pl.col("rejected"))
    touched = pl.concat([gone.get_column("image_id"), merged.get_column("first_id")])
    kept = annotations.filter(~pl.col("image_id").is_in(touched.implode()))
    if merged.height:
        own, repeated = _merge(merge_copies(annotations, merged), images, book)
        kept = pl.concat([kept, own])
        ledger.append(repeated)
    return Settled(kept, gone, pl.concat(ledger))


def _action(book: RuleBook) -> pl.Expr:
    reject_same = pl.lit(book.says(Rule.DUPLICATE_IMAGE, Choice.REJECT))
    conflicting = {
        Choice.KEEP: Action.KEPT,
        Choice.FIX: Action.FIXED,
        Choice.REJECT: Action.REJECTED,
    }[book.choices[CONFLICTING_DUPLICATE]]
    return (
        pl.when(pl.col("same") & reject_same)
        .then(pl.lit(Action.REJECTED.value))
        .when("conflict")
        .then(pl.lit(conflicting.value))
        .otherwise(pl.lit(Action.KEPT.value))
    )


def _copy_rows(copies: pl.DataFrame) -> pl.DataFrame:
    same = pl.format("same content and annotations as {}", "first")
    other = pl.format("same content as {}, but other annotations", "first")
    done = (
        pl.when(pl.col("action") == Action.REJECTED.value)
        .then(pl.format("; {} annotations went with it", "lost"))
        .when(pl.col("action") == Action.FIXED.value)
        .then(pl.format("; its {} annotations were given to that image", "lost"))
        .when("same")
        .then(pl.lit("; both stay, in one split"))
        .otherwise(pl.lit(": look which are right"))
    )
    return rows.image_rows(
        copies,
        Rule.DUPLICATE_IMAGE,
        pl.col("action"),
        before=pl.struct(annotations="lost"),
        after=pl.when(pl.col("action") == Action.FIXED.value).then(pl.struct(image="first")),
        detail=pl.when("same").then(same).otherwise(other) + done,
    )


def _merge(annotations: pl.DataFrame, images: pl.DataFrame, book: RuleBook) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The annotations without those that repeat an earlier one of their image, and a ledger row for each of these."""
    named = annotations.join(images.select("image_id", image="name"), on="image_id", how="left", maintain_order="left")
    asked = named.with_columns(rule=pl.lit(None, dtype=pl.String), label=LABEL, **{"class": pl.col("category")})
    reject = book.says(Rule.DUPLICATE_ANNOTATION, Choice.REJECT)
    judged = mark_duplicate_annotations(asked, reject=reject)
    ledger = rows.repeated_annotations(judged, Action.REJECTED if reject else Action.KEPT)
    return judged.filter(pl.col("rule").is_null()).select(ANNOTATIONS.keys()), ledger
