"""The line an epoch leaves in the log."""

import math

from components.model_train.story import Epoch
from components.shared.measures import brief, span


def epoch_line(epoch: Epoch, total: int, left: float | None = None) -> str:
    """How far the training is and what the epoch came to, on one line.

    Args:
        epoch: the finished epoch; what it has no value of is left out, NaN is shown as NaN.
        total: epochs in all.
        left: seconds the remaining epochs will take; ``None``: as long as those so far took on average.

    Example:
        ``epoch  3/25 (12 %), 38 s left: train box 1.234 cls 2.345 | P 0.612 R 0.534 mAP50 0.571 mAP50-95 0.312``
    """
    share = round(100 * epoch.number / total) if total > 0 else 100
    if left is None:
        left = epoch.seconds / max(epoch.number, 1) * (total - epoch.number)
    head = f"epoch {epoch.number:>{len(str(total))}}/{total} ({share} %)"
    wait = f", {span(left)} left" if epoch.number < total and math.isfinite(left) else ""
    values = brief(epoch.values)
    return f"{head}{wait}: {values}" if values else f"{head}{wait}"
