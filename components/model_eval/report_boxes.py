"""How ground truth and predictions look in the report's pictures."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from components.model_eval.report_words import named
from components.shared.detection.match import Outcome
from components.shared.evaluation.outcomes import BOX
from components.shared.report.draw import DrawnBox, Style, describe

LEGEND = describe([Style.TRUTH, Style.MISSED, Style.PREDICTION, Style.FALSE])
_GAP = 6
_WHITE = 255

Pixels = npt.NDArray[np.uint8]
Row = dict[str, Any]


def true_box(row: Row) -> DrawnBox:
    """A row of ``outcomes.TRUTHS``."""
    missed = row["outcome"] == Outcome.MISSED.value
    name = named(row["category"])
    return plain_box(row, f"{name} (ignored)" if row["ignore"] else name, Style.MISSED if missed else Style.TRUTH)


def predicted_box(row: Row) -> DrawnBox:
    """A row of ``outcomes.PREDICTIONS``."""
    wrong = row["outcome"] == Outcome.FALSE_POSITIVE.value
    return plain_box(row, f"{named(row['category'])} {row['score']:.2f}", Style.FALSE if wrong else Style.PREDICTION)


def plain_box(row: Row, label: str, style: Style) -> DrawnBox:
    """The box of any row that has one."""
    x, y, width, height = (row[name] for name in BOX)
    return DrawnBox(x, y, width, height, label, style)


def moved(box: DrawnBox, left: int, top: int) -> DrawnBox:
    """The box in a part of the image that starts at ``left`` and ``top``."""
    return replace(box, x=box.x - left, y=box.y - top)


def side_by_side(halves: Sequence[Pixels]) -> Pixels:
    """Pictures of one height beside each other."""
    gap = np.full((halves[0].shape[0], _GAP, 3), _WHITE, dtype=np.uint8)
    return np.concatenate([halves[0], *(part for half in halves[1:] for part in (gap, half))], axis=1)
