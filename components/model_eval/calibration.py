"""How far a score can be read as a probability: the reliability curve and its mean distance from the diagonal."""

from dataclasses import dataclass

import numpy as np
import polars as pl

from components.shared.boxes import Floats
from components.shared.detection.match import Outcome
from components.shared.errors import ConfigError

BINS: dict[str, pl.DataType] = {
    "low": pl.Float64(),  # scores of the bin: low <= score < high, the last one with its upper end
    "high": pl.Float64(),
    "count": pl.Int64(),
    "score": pl.Float64(),  # mean score; null in an empty bin, as all that follow
    "right": pl.Float64(),  # share of right predictions
    "right_low": pl.Float64(),  # 95 % Wilson interval of that share
    "right_high": pl.Float64(),
}
_Z = 1.959963984540054  # of a normal distribution, 95 % lies within this many standard deviations


@dataclass(frozen=True)
class Calibration:
    """How scores and the share of right predictions agree.

    Attributes:
        bins: one row a bin, empty ones too, columns of ``BINS``.
        error: expected calibration error, 0..1: mean over the predictions of the distance between their bin's mean
            score and its share of right ones; ``None`` without predictions.
        bias: mean score less the share of right predictions, over all of them: above 0 the model is too sure of
            itself; ``None`` without predictions.
        count: predictions judged.
        floor: the least score of those.
    """

    bins: pl.DataFrame
    error: float | None
    bias: float | None
    count: int
    floor: float


def calibration(predictions: pl.DataFrame, *, bins: int = 10, floor: float = 0.05) -> Calibration:
    """Compare scores with outcomes in bins of equal width between 0 and 1.

    Detectors give thousands of boxes with scores near 0, which are right about as often as they say and would hide
    everything else; hence the floor. Ignored predictions are left out. Source of the error: Guo et al., "On
    Calibration of Modern Neural Networks", ICML 2017, equation 3.

    Args:
        predictions: columns score, in 0..1, and outcome of ``outcomes.PREDICTIONS``.
        bins: how many.
        floor: predictions below it are left out.

    Raises:
        ConfigError: ``bins`` is below 1 or ``floor`` not in 0..1.
    """
    if bins < 1 or not 0 <= floor <= 1:
        raise ConfigError(f"bins is {bins!r} and floor {floor!r}: give at least 1 bin and a floor from 0 to 1.")
    judged = predictions.filter((pl.col("score") >= floor) & (pl.col("outcome") != Outcome.IGNORED.value))
    scores = judged.get_column("score").to_numpy()
    right = (judged.get_column("outcome") == Outcome.TRUE_POSITIVE.value).to_numpy()
    edges = np.arange(bins + 1) / bins
    bin_of = np.clip(np.searchsorted(edges, scores, side="right") - 1, 0, bins - 1)
    count, hits, score = (
        np.bincount(bin_of, weights=weights, minlength=bins).astype(np.float64)
        for weights in (None, right.astype(np.float64), scores)
    )
    table = _table(edges, count, hits, score)
    if not len(scores):
        return Calibration(table, None, None, 0, floor)
    error = float(np.abs(hits - score).sum() / len(scores))
    return Calibration(table, error, float(scores.mean() - right.mean()), len(scores), floor)


def wilson_interval(right: Floats, count: Floats) -> tuple[Floats, Floats]:
    """95 % Wilson score interval of the share ``right / count``; 0 to 1 where the count is 0.

    Source: Wilson, "Probable Inference, the Law of Succession, and Statistical Inference", JASA 22, 1927.
    """
    total = np.maximum(count, 1.0)
    share = right / total
    width = 1 + _Z**2 / total
    middle = (share + _Z**2 / (2 * total)) / width
    half = _Z / width * np.sqrt(share * (1 - share) / total + _Z**2 / (4 * total**2))
    low = np.where((count > 0) & (right > 0), np.maximum(middle - half, 0.0), 0.0)
    high = np.where((count > 0) & (right < count), np.minimum(middle + half, 1.0), 1.0)
    return low, high


def _table(edges: Floats, count: Floats, right: Floats, score: Floats) -> pl.DataFrame:
    low, high = wilson_interval(right, count)
    made = np.maximum(count, 1.0)
    table = pl.DataFrame(
        {
            "low": edges[:-1],
            "high": edges[1:],
            "count": count.astype(np.int64),
            "score": score / made,
            "right": right / made,
            "right_low": low,
            "right_high": high,
        },
        schema=BINS,
    )
    return table.with_columns(pl.when(pl.col("count") > 0).then(pl.col("score", "right", "right_low", "right_high")))
