"""Before and after: what the training started from against what it made, on the same test images."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import polars as pl

from components.model_eval.evaluation import Evaluation
from components.model_eval.report_boxes import Pixels, predicted_box, side_by_side, true_box
from components.model_eval.report_words import counted, named
from components.shared.detection.match import Outcome
from components.shared.evaluation.outcomes import UNMATCHED, at_confidence, sort_detections, with_outcomes
from components.shared.report.draw import DrawnBox, Style, draw_boxes, picture
from components.shared.report.page import Picture

MOST_PAIRS = 12
CROWDED = 12
_EDGE = 330  # pixels of one half of a picture
_LABELS = 7  # boxes up to which all keep their labels
_OUTCOMES = (Outcome.TRUE_POSITIVE.value, Outcome.FALSE_POSITIVE.value)


@dataclass(frozen=True)
class Tally:
    """Objects found and missed, and wrong predictions."""

    found: int
    missed: int
    wrong: int


@dataclass(frozen=True)
class Side:
    """One model at the report's confidence: columns of ``outcomes.PREDICTIONS`` and ``outcomes.TRUTHS``."""

    predictions: pl.DataFrame
    truths: pl.DataFrame

    def tally(self) -> Tally:
        """The counts over all images."""
        return _tally(self.predictions, self.truths)

    def of(self, image_id: int) -> "Side":
        """What concerns one image."""
        here = pl.col("image_id") == image_id
        return Side(self.predictions.filter(here), self.truths.filter(here))


@dataclass(frozen=True)
class BeforeAfter:
    """Both models on the same images.

    Attributes:
        before: what the training started from.
        after: the trained model.
        foreign: predictions of the start, at the confidence, of classes that neither the data nor the model has; they
            are in no count.
        pictures: images drawn before and after.
    """

    before: Side
    after: Side
    foreign: int = 0
    pictures: tuple[Picture, ...] = ()


def before_and_after(evaluation: Evaluation, images: pl.DataFrame) -> BeforeAfter | None:
    """Both sides at the report's confidence; ``None`` when nothing is known of the start."""
    if evaluation.start is None:
        return None
    made = evaluation.start.predictions.filter(pl.col("score") >= evaluation.confidence)
    known = made.filter(pl.col("category").is_in(list(evaluation.confusion.labels[:-1])))
    truths = evaluation.truths.select(UNMATCHED)
    before = Side(*with_outcomes(sort_detections(known), truths, images, threshold=evaluation.options.report_iou))
    ours = evaluation.predictions.filter(pl.col("score") >= evaluation.confidence)
    after = Side(ours, at_confidence(evaluation.truths, evaluation.confidence))
    return BeforeAfter(before, after, made.height - known.height)


def most_changed(found: BeforeAfter, most: int = MOST_PAIRS) -> list[int]:
    """Images by how many objects only one side finds and by how their wrong predictions differ in number.

    Those with more than ``CROWDED`` objects come last: in a small picture nobody can tell their boxes apart.
    """
    outcomes = [side.truths.select("annotation_id", "image_id", "outcome") for side in (found.before, found.after)]
    both = outcomes[0].join(outcomes[1], on=["annotation_id", "image_id"], suffix="_after")
    flips = both.filter(pl.col("outcome") != pl.col("outcome_after")).group_by("image_id").agg(pl.len().alias("flips"))
    wrong = [
        side.predictions.filter(pl.col("outcome") == Outcome.FALSE_POSITIVE.value)
        .group_by("image_id")
        .agg(pl.len().cast(pl.Int64).alias(name))
        for name, side in (("wrong", found.before), ("wrong_after", found.after))
    ]
    changes = flips.join(wrong[0], on="image_id", how="full", coalesce=True)
    changes = changes.join(wrong[1], on="image_id", how="full", coalesce=True).fill_null(0)
    change = (pl.col("flips").cast(pl.Int64) + (pl.col("wrong_after") - pl.col("wrong")).abs()).alias("change")
    objects = found.after.truths.group_by("image_id").agg((pl.len() > CROWDED).alias("crowded"))
    ordered = changes.with_columns(change).filter(pl.col("change") > 0).join(objects, on="image_id", how="left")
    ranked = ordered.sort(pl.col("crowded").fill_null(value=False), -pl.col("change"), "image_id").head(most)
    ids: list[int] = ranked.get_column("image_id").to_list()
    return ids


def pair(pixels: Pixels, name: str, before: Side, after: Side) -> Picture:
    """One image drawn before and after the training, with its ground truth in both."""
    halves = [draw_boxes(pixels, _quiet(list(_boxes(side))), max_edge=_EDGE) for side in (before, after)]
    tallies = before.tally(), after.tally()
    caption = f"{named(name)}: {_said(tallies[0])} before, {_said(tallies[1])} after"
    return picture(side_by_side(halves), caption=caption, tags=(_direction(*tallies),))


def _tally(predictions: pl.DataFrame, truths: pl.DataFrame) -> Tally:
    outcomes = truths.get_column("outcome")
    return Tally(
        found=int((outcomes == Outcome.MATCHED.value).sum()),
        missed=int((outcomes == Outcome.MISSED.value).sum()),
        wrong=int((predictions.get_column("outcome") == Outcome.FALSE_POSITIVE.value).sum()),
    )


def _said(tally: Tally) -> str:
    return (
        f"{tally.found:,} of {tally.found + tally.missed:,} found, {counted(tally.wrong, 'wrong box', 'wrong boxes')}"
    )


def _direction(before: Tally, after: Tally) -> str:
    change = (after.missed + after.wrong) - (before.missed + before.wrong)
    return "better" if change < 0 else "worse" if change > 0 else "as many errors"


def _boxes(side: Side) -> Iterator[DrawnBox]:
    """Ground truth below predictions; found objects are named by their prediction."""
    for row in side.truths.to_dicts():
        box = true_box(row)
        yield box if box.style is Style.MISSED else replace(box, label="")
    for row in side.predictions.filter(pl.col("outcome").is_in(_OUTCOMES)).to_dicts():
        yield predicted_box(row)


def _quiet(boxes: list[DrawnBox]) -> list[DrawnBox]:
    """In a crowded scene no box keeps its label: colours and lines say enough."""
    if sum(1 for box in boxes if box.label) <= _LABELS:
        return boxes
    return [replace(box, label="") for box in boxes]
