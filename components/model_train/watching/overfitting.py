"""Finds the epoch from which a model learns its training images by heart: validation loss rises, training loss falls.

Every decision follows from the epochs alone, so that a training that was interrupted comes to the same one.

A split's losses are added up (those both splits have) and smoothed by a running median of three, which one outlier
cannot move. The validation loss has risen where it lies above its own minimum by more than ``MARGIN`` of it plus three
standard deviations of its noise, and by more than it rose shortly before and came back from. Because the minimum of a
noisy series lies low by accident, the mean of the last epochs must also lie above the mean around the minimum, by more
than noise moves such means. The noise comes from second differences, in which a steady trend leaves no trace (for
independent noise their variance is six times its own), by their median, which outliers do not move. Steps of the
training loss that stand out from its others, such as the one where mosaic augmentation is switched off, are taken out
before it is asked whether that loss fell.

Epochs count from the one on in which ``map50`` first reaches ``FOUND``, where epochs carry it. While a model trained
from scratch finds nothing, its validation loss says little: it is measured at the boxes the model nearly finds, of
which there are none, and on averaged weights. It may rise for dozens of epochs and later fall far below, or be next to
nothing in an epoch that is no minimum. A model that never finds anything is never overfitting.

Of 8000 simulated trainings of 60 to 200 epochs with a flat validation loss, none was noticed with a noise of 2 % and
three with one of 5 % (patience 10).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from components.model_train.story import Epoch, Overfitting
from components.shared.measures import is_loss

FIRST = 3  # epochs that do not count: the learning rate is still rising, and the losses say little
FOUND = 0.05  # ``map50``: a model that never came to more finds nothing yet
MARGIN = 0.02  # of the minimum: less is no loss that a person would care about
NOISE = 3.0  # standard deviations: 10 epochs in a row above that are no accident
RECENT = 20  # epochs that tell how noisy a loss is
PAST = 3  # times ``patience``: epochs before the minimum whose rises were made good again
NEAR = 3  # epochs on either side of the minimum that tell the level there
FALL = 0.01  # of the training loss: less is no fall
JUMP = 5.0  # a step so many times as far from the usual one as steps usually are is no learning

Series = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Losses:
    """Total losses of the epochs that have both, shape ``(N,)`` each; ``numbers`` are the epochs'."""

    numbers: npt.NDArray[np.int64]
    train: Series
    val: Series

    def upto(self, count: int) -> "Losses":
        """The first ``count`` of them."""
        return Losses(self.numbers[:count], self.train[:count], self.val[:count])


def look(epochs: Sequence[Epoch], *, mode: str, patience: int) -> Overfitting | None:
    """Whether the training has begun to overfit.

    It has when for ``patience`` epochs in a row the validation loss stayed above its minimum and was not on its way
    back to it, while the training loss fell. A later, lower minimum makes an earlier finding void.

    Args:
        epochs: all epochs so far, oldest first; those before the model finds anything do not count.
        mode: ``off``, ``warn`` or ``stop``.
        patience: epochs; less than 1 counts as 1.

    Returns:
        When the validation loss turned and when that was plain, or ``None``.
    """
    if mode == "off":
        return None
    patience, losses = max(1, patience), total_losses(since_found(epochs))
    if losses.val.size <= patience:
        return None
    turned = int(np.argmin(smooth(losses.val)))
    for count in range(turned + patience + 1, losses.val.size + 1):
        best = _overfits(losses.upto(count), patience)
        if best is not None:
            return _found(losses.upto(count), best, stopped=mode == "stop")
    return None


def since_found(epochs: Sequence[Epoch]) -> Sequence[Epoch]:
    """The epochs from the first one on whose ``map50`` is at least ``FOUND``; all, where none has a ``map50``."""
    scores = [epoch.values.get(_SCORE, np.nan) for epoch in epochs]
    if not np.isfinite(scores).any():
        return epochs
    return epochs[next((index for index, score in enumerate(scores) if score >= FOUND), len(epochs)) :]


def total_losses(epochs: Sequence[Epoch]) -> Losses:
    """The summed losses of train and val, of those both have, without epochs where one of them is no number."""
    names = [name for name in _shared_names(epochs) if _ever_finite(epochs, name)]
    rows = [
        (epoch.number, *(sum(epoch.values.get(f"{split}/{name}", np.nan) for name in names) for split in _SPLITS))
        for epoch in epochs
        if names and epoch.number > FIRST
    ]
    table = np.array(rows, dtype=np.float64).reshape(-1, 3)
    table = table[np.isfinite(table).all(axis=1)]
    return Losses(table[:, 0].astype(np.int64), table[:, 1], table[:, 2])


def smooth(values: Series) -> Series:
    """The running median of three; at both ends the mean of two."""
    if values.size < 3:  # noqa: PLR2004 - nothing to take a median of
        return values
    middle = np.median(np.stack([values[:-2], values[1:-1], values[2:]]), axis=0)
    return np.concatenate([[values[:2].mean()], middle, [values[-2:].mean()]])


def noise(values: Series) -> float:
    """The standard deviation of a series' noise over its last ``RECENT`` epochs."""
    bends = np.abs(np.diff(values, n=2))
    if not bends.size:
        return 0.0
    return float(1.4826 / np.sqrt(6) * max(np.median(bends), np.median(bends[-RECENT:])))


def without_jumps(values: Series) -> Series:
    """The series with each step that stands out from the others made as large as the usual one."""
    steps = np.diff(values)
    if steps.size < 3:  # noqa: PLR2004 - nothing is usual yet
        return values
    usual = np.median(steps)
    spread = 1.4826 * np.median(np.abs(steps - usual))
    steps = np.where(np.abs(steps - usual) > JUMP * spread, usual, steps)
    return np.concatenate([values[:1], values[0] + np.cumsum(steps)])


_SPLITS = ("train", "val")
_SCORE = "map50"


def _shared_names(epochs: Sequence[Epoch]) -> list[str]:
    found = {
        split: {name.partition("/")[2] for e in epochs for name in e.values if is_loss(name, split)}
        for split in _SPLITS
    }
    return sorted(found["train"] & found["val"])


def _ever_finite(epochs: Sequence[Epoch], name: str) -> bool:
    return all(any(np.isfinite(e.values.get(f"{split}/{name}", np.nan)) for e in epochs) for split in _SPLITS)


def _overfits(losses: Losses, patience: int) -> int | None:
    """Index of the lowest validation loss when the last epoch makes overfitting plain, else ``None``."""
    val = smooth(losses.val)
    turned = int(np.argmin(val))
    if turned >= val.size - patience or np.any(val[-patience:] <= val[turned] + _margin(losses.val, turned, patience)):
        return None
    if _fall(losses.val[-patience:]) > _doubt(noise(losses.val), patience // 2):
        return None
    near = losses.val[max(0, turned - NEAR) : turned + NEAR + 1]
    if losses.val[-patience:].mean() - near.mean() <= _doubt(noise(losses.val), min(near.size, patience)):
        return None
    train = without_jumps(losses.train[turned:])
    doubt = _doubt(noise(losses.train), train.size // 2)
    if _fall(train[-max(2, patience) :]) <= 0 or _fall(train) <= max(FALL * abs(train[0]), doubt):
        return None
    around = max(0, turned - 1)
    return around + int(np.argmin(losses.val[around : turned + 2]))


def _margin(val: Series, turned: int, patience: int) -> float:
    """How far above the minimum is no accident."""
    before = smooth(val)[max(0, turned - PAST * patience) : turned + 1]
    recovered = float(np.max(before - np.minimum.accumulate(before), initial=0.0))
    return max(MARGIN * abs(float(smooth(val)[turned])) + NOISE * noise(val), recovered)


def _fall(values: Series) -> float:
    """How far the mean of the later half lies below that of the earlier one."""
    half = max(1, values.size // 2)
    return float(values[:half].mean() - values[-half:].mean())


def _doubt(unsure: float, count: int) -> float:
    """What two means of ``count`` epochs differ by at most when they differ by noise alone."""
    return float(NOISE * unsure * np.sqrt(2 / max(1, count)))


def _found(losses: Losses, best: int, *, stopped: bool) -> Overfitting:
    lowest, now = losses.val[best], losses.val[-1]
    best_epoch, noticed = int(losses.numbers[best]), int(losses.numbers[-1])
    reason = (
        f"The validation loss was lowest in epoch {best_epoch} ({lowest:.3f}) and is {now:.3f} in epoch {noticed}, "
        f"{_percent(now - lowest, lowest)} above it, while the training loss fell from {losses.train[best]:.3f} to "
        f"{losses.train[-1]:.3f}: the model learns its training images by heart."
    )
    return Overfitting(best_epoch=best_epoch, noticed_epoch=noticed, reason=reason, stopped=stopped)


def _percent(part: float, whole: float) -> str:
    return f"{100 * part / abs(whole):.0f} %" if whole else f"{part:.3f}"
