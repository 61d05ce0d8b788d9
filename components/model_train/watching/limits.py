"""When a training has had its time or its chances."""

import math
from collections.abc import Sequence

from components.model_train.care import Care
from components.model_train.story import Epoch
from components.shared.measures import span

_HOUR = 3600.0
_RECENT = 5  # epochs whose mean time foretells the next one's


def reason_to_stop(care: Care, epochs: Sequence[Epoch], total_epochs: int) -> str:
    """Whether the training should end after the epochs so far.

    Args:
        care: ``patience`` and ``max_hours`` are looked at.
        epochs: all finished epochs, oldest first, earlier attempts' included.
        total_epochs: after this many it ends anyway.

    Returns:
        A sentence for ``Story.stopped``, or an empty text: go on.
    """
    if not epochs or epochs[-1].number >= total_epochs:
        return ""
    return _out_of_time(care.max_hours, epochs, total_epochs) or _out_of_patience(care.patience, epochs)


def _out_of_patience(patience: int, epochs: Sequence[Epoch]) -> str:
    """As ultralytics' ``EarlyStopping``: the first of equally good epochs counts, and epochs without any success don't.

    A score that is NaN or missing is no success; unlike there, one NaN does not make all later epochs failures.
    """
    scored = [(epoch.number, epoch.values["map50_95"]) for epoch in epochs if "map50_95" in epoch.values]
    if patience <= 0 or not scored:
        return ""
    best, best_epoch = 0.0, 0
    for number, score in scored:
        if score > best or best == 0.0:
            best, best_epoch = (score if math.isfinite(score) else 0.0), number
    waited = scored[-1][0] - best_epoch
    if waited < patience:
        return ""
    return f"no better mAP50-95 than {best:.3f} of epoch {best_epoch} for {waited} epochs (patience={patience})"


def _out_of_time(max_hours: float, epochs: Sequence[Epoch], total_epochs: int) -> str:
    """The limit is passed, or would be in the first half of the next epoch, so that less would be learned than waited.

    An epoch is judged by the mean of the last few; the one that crosses the limit in its second half is still learned.
    """
    used = epochs[-1].seconds
    if max_hours <= 0.0 or not math.isfinite(used):
        return ""
    limit, number = max_hours * _HOUR, epochs[-1].number
    if used >= limit:
        return f"max_hours={max_hours:g} is used up after epoch {number} of {total_epochs} ({span(used)})"
    mean = _seconds_per_epoch(epochs)
    if used + mean / 2 <= limit:
        return ""
    return (
        f"max_hours={max_hours:g} would be over before half of epoch {number + 1} of {total_epochs}: "
        f"{span(used)} are used, an epoch takes {span(mean)}"
    )


def _seconds_per_epoch(epochs: Sequence[Epoch]) -> float:
    recent = epochs[-_RECENT - 1 :]
    if len(recent) > 1:
        return max(0.0, (recent[-1].seconds - recent[0].seconds) / (recent[-1].number - recent[0].number or 1))
    return recent[0].seconds / max(recent[0].number, 1)
