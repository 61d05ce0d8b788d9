"""How far two datasets are apart in what a detector sees: classes, box sizes, boxes an image, image sizes.

The measure is the Jensen-Shannon distance, the root of the divergence in bits of the shares p and q from their mean m:
sqrt(0.5 * sum(p * log2(p / m)) + 0.5 * sum(q * log2(q / m))), with m = (p + q) / 2; 0 for equal shares, 1 for shares
that have nothing in common (Lin 1991, Endres and Schindelin 2003).
"""

import math
from dataclasses import dataclass

import polars as pl

from components.shared.dataset import Dataset

CHANCE = 1.5  # distances up to this many times what two random samples of one source show are called chance
VERDICTS = ((0.05, "the same"), (0.1, "nearly the same"), (0.2, "somewhat different"), (0.4, "clearly different"))
_WORST = "very different"
_STEPS = 2  # bins an octave of sizes


@dataclass(frozen=True)
class Shift:
    """How far two datasets are apart in one respect.

    Attributes:
        what: ``classes``, ``box sizes``, ``boxes an image`` or ``image sizes``.
        distance: Jensen-Shannon distance, 0 to 1; ``None`` when one of them has nothing to compare.
        chance: the distance to expect between two samples of these sizes from one source.
        verdict: the distance in words.
    """

    what: str
    distance: float | None
    chance: float
    verdict: str


def shifts(before: Dataset, after: Dataset) -> tuple[Shift, ...]:
    """The four comparisons, ground truth alone; sizes are roots of areas in pixels, in half-octave bins."""
    pairs = {
        "classes": (_classes(before), _classes(after)),
        "box sizes": (_box_sizes(before), _box_sizes(after)),
        "boxes an image": (_boxes_per_image(before), _boxes_per_image(after)),
        "image sizes": (_image_sizes(before), _image_sizes(after)),
    }
    return tuple(_shift(what, *values) for what, values in pairs.items())


def distance(before: pl.Series, after: pl.Series) -> float | None:
    """Jensen-Shannon distance of the shares of the values of two series; ``None`` when one is empty."""
    if before.is_empty() or after.is_empty():
        return None
    table = _shares(before, after)
    p, q = pl.col("p"), pl.col("q")
    mean = (p + q) / 2
    terms = [pl.when(share > 0).then(share * (share / mean).log(2)).otherwise(0.0) for share in (p, q)]
    divergence = float(table.select((0.5 * (terms[0] + terms[1])).sum()).item())
    return math.sqrt(min(1.0, max(0.0, divergence)))


def expected_by_chance(bins: int, before: int, after: int) -> float:
    """The root of the mean divergence of two samples of one source: (bins - 1) / (8 ln 2) * (1 / n + 1 / m)."""
    if not before or not after:
        return 0.0
    return math.sqrt(max(0, bins - 1) / (8 * math.log(2)) * (1 / before + 1 / after))


def _shift(what: str, before: pl.Series, after: pl.Series) -> Shift:
    found = distance(before, after)
    if found is None:
        return Shift(what, None, 0.0, "nothing to compare")
    chance = min(1.0, expected_by_chance(_shares(before, after).height, before.len(), after.len()))
    return Shift(what, found, chance, _verdict(found, chance))


def _verdict(found: float, chance: float) -> str:
    words = next((words for limit, words in VERDICTS if found < limit), _WORST)
    return "no more than chance" if words != VERDICTS[0][1] and found <= CHANCE * chance else words


def _shares(before: pl.Series, after: pl.Series) -> pl.DataFrame:
    counted = [
        series.rename("value").to_frame().group_by("value").agg((pl.len() / series.len()).alias(share))
        for series, share in ((before, "p"), (after, "q"))
    ]
    joined = counted[0].join(counted[1], on="value", how="full", coalesce=True, nulls_equal=True)
    return joined.with_columns(pl.col("p", "q").fill_null(0.0))


def _classes(dataset: Dataset) -> pl.Series:
    return dataset.ground_truth().get_column("category")


def _box_sizes(dataset: Dataset) -> pl.Series:
    sized = dataset.ground_truth().filter((pl.col("width") > 0) & (pl.col("height") > 0))
    return _binned(sized, pl.col("width") * pl.col("height"))


def _image_sizes(dataset: Dataset) -> pl.Series:
    sized = dataset.images.filter((pl.col("width") > 0) & (pl.col("height") > 0))
    return _binned(sized, pl.col("width").cast(pl.Float64) * pl.col("height"))


def _boxes_per_image(dataset: Dataset) -> pl.Series:
    counts = dataset.ground_truth().group_by("image_id").len()
    joined = dataset.images.select("image_id").join(counts, on="image_id", how="left")
    return joined.select((pl.col("len").fill_null(0) + 1).log(2).mul(_STEPS).floor()).to_series()


def _binned(table: pl.DataFrame, area: pl.Expr) -> pl.Series:
    return table.select((area.log(2) / 2 * _STEPS).floor()).to_series()
