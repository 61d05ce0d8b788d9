"""Is the model as good as the champion? Both predict the same test images, each in its own way."""

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import polars as pl

from components.model_eval.bootstrap import Interval, paired_bootstrap
from components.model_eval.contest import open_contestant
from components.model_eval.evaluation import (
    ChampionComparison,
    ChampionSeen,
    ChampionState,
    Demand,
    Evaluation,
)
from components.model_eval.gate import verdict
from components.model_eval.predict import Contestant, Predicted
from components.shared.archive import ArchiveManifest, open_archive
from components.shared.errors import (
    ArchiveError,
    ConfigError,
    CorruptionError,
    NotFoundError,
    in_one_line,
)
from components.shared.evaluation.coco_metrics import coco_metrics
from components.shared.evaluation.outcomes import DETECTIONS, sort_detections
from components.shared.registry import SHORT, ModelRecord, fetch_archive, find_champion, read_record
from components.shared.store import Store

_ROUNDING = 1e-9
_MOST_NAMES = 10
_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Champion:
    """The champion as the evaluation finds it.

    Attributes:
        seen: which one it is; its sentence is there already when there is nothing to compare.
        name: ``NAME@version`` for sentences.
        tag: of its archive.
        classes: it knows.
        contestant: ready to predict; ``None`` when there is nothing to compare.
        test_version: of the dataset it was measured on when it was published; empty when that is not known.
    """

    seen: ChampionSeen = field(default_factory=ChampionSeen)
    name: str = ""
    tag: str = ""
    classes: tuple[str, ...] = ()
    contestant: Contestant | None = None
    test_version: str = ""


def seek_champion(store: Store, ours: ArchiveManifest, work: Path, device: str, *, margin: float) -> Champion:
    """Find the champion of the model's name and make it ready to predict.

    Args:
        store: where the registry is.
        ours: the archive that is evaluated.
        work: an empty folder for the champion's archive.
        device: what it predicts on.
        margin: below 0 nothing is looked for.

    Raises:
        StoreError: the store failed; a champion that is gone or damaged is told in the result.
    """
    if margin < 0:
        return Champion()
    version = ""
    try:
        version = find_champion(store, ours.name) or ""
        if not version:
            sentence = f"The model {ours.name!r} has no champion yet to compare with."
            return Champion(ChampionSeen(ChampionState.NONE, "", sentence))
        record = read_record(store, ours.name, version)
        if version == ours.content_digest:
            sentence = f"The champion {record} is this very archive."
            return _known(record, ChampionState.SAME, sentence)
        opened = open_archive(fetch_archive(store, record, work / "fetched"), work)
        champion = _known(record, ChampionState.COMPARED, "")
        return replace(champion, contestant=open_contestant(opened, device))
    except (NotFoundError, CorruptionError, ArchiveError, ConfigError) as error:
        return _unusable(ours.name, version, in_one_line(error))


def compare_with_champion(
    evaluation: Evaluation,
    champion: Champion,
    predicted: Predicted | None,
    image_ids: Sequence[int],
    model_classes: Sequence[str],
) -> Evaluation:
    """The evaluation with the champion beside it, and with the gate's demand on that.

    Args:
        evaluation: of the model alone.
        champion: as ``seek_champion`` found it.
        predicted: what it found; ``None`` when it was not asked.
        image_ids: every image that was looked at.
        model_classes: of the model.
    """
    if champion.seen.state is ChampionState.OFF:
        return evaluation
    comparison = None
    if predicted is not None and predicted.failure:
        champion = _unusable(champion.name.partition("@")[0], champion.seen.version, predicted.failure)
    elif champion.seen.state is ChampionState.SAME:
        comparison = _same(evaluation, champion)
    elif predicted is not None:
        comparison = _compare(evaluation, champion, predicted.detections, image_ids, model_classes)
        champion = replace(champion, seen=_described(champion, comparison, evaluation))
    seen = champion.seen
    demand = _demand(seen, comparison, evaluation.options.champion_margin)
    demands = (*evaluation.demands, demand)
    passed, reasons = verdict(demands)
    metrics = dict(evaluation.metrics)
    if comparison is not None and not comparison.same:
        metrics["champion_difference"] = comparison.difference.value
    return replace(
        evaluation,
        metrics=metrics,
        champion=comparison,
        champion_seen=seen,
        demands=demands,
        passed=passed,
        reasons=reasons,
    )


def _known(record: ModelRecord, state: ChampionState, sentence: str) -> Champion:
    return Champion(
        ChampionSeen(state, record.version, sentence),
        name=str(record),
        tag=record.archive.tag,
        classes=record.archive.classes,
        test_version=record.lineage.datasets.get("test", ""),
    )


def _unusable(name: str, version: str, why: str) -> Champion:
    shown = f" {name}@{version[:SHORT]}" if version else f" of {name!r}"
    sentence = (
        f"The champion{shown} cannot be compared with ({why}): mend it, promote another version, or set"
        " champion_margin to -1."
    )
    _logger.warning("%s", sentence)
    return Champion(ChampionSeen(ChampionState.FAILED, version, sentence))


def _same(evaluation: Evaluation, champion: Champion) -> ChampionComparison:
    value = evaluation.metrics["map50_95"]
    per_class = evaluation.per_class.filter(pl.col("ap50_95").is_not_null()).select(
        "category", pl.col("ap50_95").alias("ours"), pl.col("ap50_95").alias("theirs")
    )
    classes = tuple(per_class.get_column("category"))
    none = Interval(0.0, 0.0, 0.0)
    return ChampionComparison(
        champion.seen.version, champion.tag, classes, (), value, value, none, per_class, same=True
    )


def _compare(
    evaluation: Evaluation,
    champion: Champion,
    theirs: pl.DataFrame,
    image_ids: Sequence[int],
    model_classes: Sequence[str],
) -> ChampionComparison | None:
    """``None`` when there is no class with ground truth that both have."""
    there = set(evaluation.truths.filter(~pl.col("ignore")).get_column("category"))
    both = set(model_classes) & set(champion.classes)
    classes = tuple(name for name in evaluation.per_class.get_column("category") if name in both & there)
    if not classes:
        return None
    left_out = tuple(dict.fromkeys(name for name in (*model_classes, *champion.classes) if name not in both))
    ours = evaluation.predictions.select(*DETECTIONS)
    theirs = sort_detections(theirs)
    truths = evaluation.truths.filter(pl.col("category").is_in(classes))
    numbers = [coco_metrics(found, truths, image_ids, classes) for found in (ours, theirs)]
    tables = [
        found.by_class.select("category", pl.col("ap50_95").alias(side))
        for found, side in zip(numbers, ("ours", "theirs"), strict=True)
    ]
    difference = paired_bootstrap(
        ours.filter(pl.col("category").is_in(classes)),
        theirs.filter(pl.col("category").is_in(classes)),
        truths,
        image_ids,
        classes,
        seed=evaluation.options.seed,
    )
    return ChampionComparison(
        version=champion.seen.version,
        tag=champion.tag,
        classes=classes,
        left_out=left_out,
        ours=numbers[0].summary.get("map50_95", 0.0),
        theirs=numbers[1].summary.get("map50_95", 0.0),
        difference=difference,
        per_class=tables[0].join(tables[1], on="category", how="left", maintain_order="left"),
    )


def _described(champion: Champion, comparison: ChampionComparison | None, evaluation: Evaluation) -> ChampionSeen:
    if comparison is None:
        sentence = (
            f"The champion {champion.name} has no class in common with the model that the test set has objects of, so"
            " the two cannot be compared, and the gate does not ask for it."
        )
        return replace(champion.seen, state=ChampionState.INCOMPARABLE, sentence=sentence)
    margin = evaluation.options.champion_margin
    low, high = comparison.difference.low, comparison.difference.high
    passed = _holds(comparison, margin)
    sentence = (
        f"mAP50-95 is {comparison.ours:.3f} and the champion's {comparison.theirs:.3f} on the same"
        f" {evaluation.metrics['images']:.0f} images ({champion.name}): a difference of"
        f" {comparison.difference.value:+.3f} (95 %: {low:+.3f} to {high:+.3f}), whose lower end is"
        f" {'not ' if passed else ''}below the {-margin:g} the gate allows{_classes(comparison)}."
    )
    return replace(champion.seen, sentence=sentence)


def _classes(comparison: ChampionComparison) -> str:
    if not comparison.left_out:
        return ""
    names = ", ".join(repr(name) for name in comparison.left_out[:_MOST_NAMES])
    more = len(comparison.left_out) - _MOST_NAMES
    names += f" and {more} more" if more > 0 else ""
    many = len(comparison.classes)
    common = "the one class" if many == 1 else f"the {many} classes"
    return f"; compared on {common} that both have, without {names}"


def _holds(comparison: ChampionComparison, margin: float) -> bool:
    low = comparison.difference.low
    return math.isnan(low) or low >= -margin - _ROUNDING


def _demand(seen: ChampionSeen, comparison: ChampionComparison | None, margin: float) -> Demand:
    passed = seen.state is not ChampionState.FAILED and (comparison is None or _holds(comparison, margin))
    value = comparison.difference.value if comparison else None
    return Demand("champion", seen.sentence, passed, value, -margin)
