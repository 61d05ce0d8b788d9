"""The threshold explorer: sliders for confidence and IoU that recompute precision, recall and counts in the page.

The page starts with the numbers computed here, so that it says the same before and without its script.
"""

import base64
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

import numpy as np
import numpy.typing as npt

from components.shared.report import numerals
from components.shared.report.frame import Padding, drawing, plane, point, x_axis, y_axis
from components.shared.report.scale import Scale
from components.shared.report.svg import percent, tag

MAX_CLASSES = 1000  # rows of the table
_OPTION_LETTERS = 60
_MORE, _PAYLOAD, _SHIFT = 0x80, 0x7F, 7
_HEIGHT = 190

Integers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Tally:
    """Right, wrong and missed ones at one confidence and IoU, and the shares that follow; NaN where undefined."""

    right: int
    wrong: int
    missed: int

    @property
    def precision(self) -> float:
        """Share of the predictions that are right."""
        return _ratio(self.right, self.right + self.wrong)

    @property
    def recall(self) -> float:
        """Share of the objects that are found."""
        return _ratio(self.right, self.right + self.missed)

    @property
    def f1(self) -> float:
        """Harmonic mean of the two, over all: 2 TP / (2 TP + FP + FN)."""
        return _ratio(2 * self.right, 2 * self.right + self.wrong + self.missed)

    @property
    def shares(self) -> tuple[float, float, float]:
        """Precision, recall and F1."""
        return self.precision, self.recall, self.f1

    def texts(self) -> tuple[str, ...]:
        """The shares and counts as the page writes them."""
        return (*map(share_text, self.shares), *(f"{count:,}" for count in (self.right, self.wrong, self.missed)))


@dataclass(frozen=True)
class Counts:
    """Decoded counts: ``made``, ``right`` and ``ignored`` from each bin of scores up, int64 ``(K, I or 1, B)``."""

    truths: Integers
    made: Integers
    right: Integers
    ignored: Integers

    def tally(self, category: int, iou: int, position: int) -> Tally:
        """The class's numbers at the confidence and IoU of these positions."""
        right = int(self.right[category, iou, position])
        wrong = int(self.made[category, 0, position]) - right - int(self.ignored[category, iou, position])
        return Tally(right, wrong, int(self.truths[category]) - right)

    def total(self, iou: int, position: int) -> Tally:
        """The numbers of all classes together."""
        right = int(self.right[:, iou, position].sum())
        wrong = int(self.made[:, 0, position].sum()) - right - int(self.ignored[:, iou, position].sum())
        return Tally(right, wrong, int(self.truths.sum()) - right)


@dataclass(frozen=True)
class Explorer:
    """The block of a page; made by ``explorer_block``."""

    data: str  # JSON without a ``<``
    classes: tuple[str, ...]
    options: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    objects: tuple[int, ...]
    total: tuple[str, ...]
    svg: str
    bins: int
    ious: tuple[float, ...]
    position: int
    iou: int
    kind: str = field(default="explorer", init=False)

    @property
    def confidence(self) -> str:
        """The confidence the page starts with."""
        return f"{self.position / self.bins:.3f}"

    @property
    def left_out(self) -> int:
        """Classes without a row of their own; they are in the total."""
        return len(self.classes) - len(self.rows)


def explorer_block(data: Mapping[str, object], *, confidence: float, iou: float) -> Explorer:
    """The explorer of a page, set to the nearest confidence and IoU it knows.

    Args:
        data: ``classes``, ``truths``, ``ious``, ``bins`` and ``counts`` as the evaluation's ``explorer_data`` makes
            them: unsigned LEB128 pairs of a gap and a zigzag value that fill an array ``(K, 21, B)``.
        confidence: where the slider starts, 0..1.
        iou: likewise.
    """
    classes = tuple(map(str, cast("Sequence[str]", data["classes"])))
    ious = tuple(map(float, cast("Sequence[float]", data["ious"])))
    bins = int(cast("int", data["bins"]))
    counts = decode_counts(data)
    position = max(0, min(bins - 1, round(confidence * bins)))
    level = min(range(len(ious)), key=lambda index: abs(ious[index] - iou))
    shown = range(min(len(classes), MAX_CLASSES))
    return Explorer(
        data=json.dumps(dict(data), separators=(",", ":")).replace("<", "\\u003c"),
        classes=classes,
        options=tuple(numerals.shorten(name, _OPTION_LETTERS) for name in classes),
        rows=tuple(counts.tally(index, level, position).texts() for index in shown),
        objects=tuple(counts.truths.tolist()),
        total=counts.total(level, position).texts(),
        svg=_curves(counts, level, position, bins),
        bins=bins,
        ious=ious,
        position=position,
        iou=level,
    )


def decode_counts(data: Mapping[str, object]) -> Counts:
    """The counts of ``explorer_block``'s data, summed from each bin up."""
    truths = np.array(data["truths"], dtype=np.int64)
    ious, bins = len(cast("Sequence[float]", data["ious"])), int(cast("int", data["bins"]))
    flat = np.zeros(len(truths) * (1 + 2 * ious) * bins, dtype=np.int64)
    pairs = _from_leb128(base64.b64decode(str(data["counts"])))
    values = pairs[1::2]
    flat[np.cumsum(pairs[0::2] + 1) - 1] = np.where(values % 2, -(values + 1) // 2, values // 2)
    rows = flat.reshape(len(truths), 1 + 2 * ious, bins)
    above = np.cumsum(rows[:, :, ::-1], axis=2)[:, :, ::-1]
    right, ignored = (np.cumsum(above[:, first : first + ious], axis=1) for first in (1, 1 + ious))
    return Counts(truths, above[:, :1], right, ignored)


def share_text(value: float) -> str:
    """A share with three places; an en dash for NaN."""
    return numerals.MISSING if math.isnan(value) else f"{value:.3f}"


def _from_leb128(data: bytes) -> Integers:
    numbers: list[int] = []
    number = shift = 0
    for byte in data:
        number |= (byte & _PAYLOAD) << shift
        shift += _SHIFT
        if not byte & _MORE:
            numbers.append(number)
            number = shift = 0
    return np.array(numbers, dtype=np.int64)


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else math.nan


def _curves(counts: Counts, iou: int, position: int, bins: int) -> str:
    """Precision, recall and F1 of all classes over the confidence; the script redraws them."""
    axis = Scale(0.0, 1.0)
    padding = Padding(left=40)
    shares = [counts.total(iou, at).shares for at in range(bins)]
    lines = [
        tag("path", d=_path([share[index] for share in shares]), class_=f"line s{index + 1}") for index in range(3)
    ]
    at = percent(position / bins)
    mark = tag("line", x1=at, x2=at, y1="0", y2="100%", class_="mark")
    body = [*y_axis(axis, "precision, recall, F1", padding), *x_axis(axis, "confidence threshold"), mark]
    description = "Precision, recall and F1 over the confidence threshold; the numbers at the chosen one are beside."
    return drawing("Precision, recall and F1", description, [*body, plane(*lines)], height=_HEIGHT, padding=padding)


def _path(values: Sequence[float]) -> str:
    pieces, pen = [], "M"
    for index, value in enumerate(values):
        if math.isnan(value):
            pen = "M"
            continue
        pieces.append(f"{pen}{point(index / len(values), value)}")
        pen = "L"
    return "".join(pieces)
