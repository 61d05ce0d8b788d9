"""How far apart two results may be: one table, with what was measured where the numbers come from.

Measured with yolo11n at 640 pixels on the 256 results (both ways) of 128 photographs, scores from 0.002 up: the
largest difference of a score was 5.4e-6 and of a corner 0.0094 pixels, over 27,000 boxes and ``onnx``, ``openvino``
and ``torchscript`` alike; none was without a partner. Of 1,397 boxes above 0.25, ``onnx-int8`` had partners for 97.5
% within an IoU of 0.7 and 0.2 of the score, and in 99 of 100 draws of eight images for at least 90 %; with an IoU of
0.9 and 0.1 it would be 85 and 68 %. With ``openvino-bf16``, where the CPU multiplies in it, all of 737 boxes had
partners within an IoU of 0.7 and 0.1 of the score, and 98.6 % within 0.9 and 0.05. Of eight-bit models trained for a
minute at 64 to 128 pixels, whose scores lie closer together, 58 and 65 % had partners; that such a runtime holds the
trained weights is told by its tensors, not by its boxes. Runtimes of full precision are compared with nothing
suppressed: of boxes alike, rounding decides which one stays.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

CONFIDENT = 0.25  # scores an eight-bit runtime is compared from
TIES = 2  # boxes that may lie on the edge even where only a few are compared by agreement


@dataclass(frozen=True)
class Tolerance:
    """What two results of one image may differ by.

    Attributes:
        score: largest difference of two partners' scores.
        pixels: largest difference of their corners, in pixels of the image as the model sees it; 0: not asked.
        relative: likewise, as a share of the coordinate but of no less than one pixel; and of the scores.
        overlap: least IoU of partners; 0: not asked.
        partners: share of the boxes clearly above the cut that must have a partner.
        clear: lowest score of such a box.
        spare: boxes that need none even where ``partners`` would not leave one.
    """

    score: float
    pixels: float = 0.0
    relative: float = 0.0
    overlap: float = 0.0
    partners: float = 1.0
    clear: float = 0.002
    spare: int = 0

    def allowed(self, boxes: int) -> int:
        """How many of so many boxes may have no partner."""
        return max(self.spare, math.floor((1 - self.partners) * boxes + 1e-9))

    def describe(self) -> str:
        """The table's row in words."""
        if self.relative:
            return f"every box: scores and corners within {self.relative:g}, relative"
        where = f"IoU of {self.overlap:g}" if self.overlap else f"{self.pixels:g} px"
        share = f"{100 * self.partners:g} % of the boxes from {self.clear:g} up"
        return f"{share}: scores within {self.score:g}, {where}"


EXACT = Tolerance(score=0.0, relative=1e-4)
"""The same weights through the same code: in another process, or with other threads."""

FLOAT = Tolerance(score=1e-4, pixels=0.1, partners=0.995)
"""Other engines in full precision: ten times what was measured; one of 200 may be a tie of the suppression."""

REDUCED = Tolerance(score=0.02, pixels=1.0, partners=0.98, clear=0.05)
"""Engines that may multiply with fewer digits (TF32 or half precision on a GPU)."""

HALF = Tolerance(score=0.1, overlap=0.7, partners=0.9, clear=CONFIDENT, spare=TIES)
"""Engines that multiply with eight bits of mantissa: agreement on what is confidently found."""

EIGHT_BIT = Tolerance(score=0.2, overlap=0.7, partners=0.5, clear=CONFIDENT, spare=TIES)
"""Eight-bit engines: agreement on what is confidently found."""

RUNTIMES: Mapping[str, Tolerance] = {
    "torch": EXACT,
    "onnx": FLOAT,
    "openvino": FLOAT,
    "torchscript": FLOAT,
    "tensorrt": REDUCED,
    "onnx-int8": EIGHT_BIT,
    "openvino-bf16": HALF,
}


def tolerance_of(runtime: str) -> Tolerance:
    """The row of a runtime; of one that nobody knows, that of full precision."""
    return RUNTIMES.get(runtime, EIGHT_BIT if runtime.endswith("-int8") else FLOAT)
