"""A detector small enough to train anywhere: it learns the colours and sizes of each class, and finds spots of them."""
# ruff: noqa: INP001 - a program of its own image, no package

import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from measure import Found

Pixels = npt.NDArray[np.uint8]  # (height, width, 3), RGB
Codes = npt.NDArray[np.int64]  # (height, width), a colour's number
LEAST_SPOT = 4  # pixels
MOST_SPOTS = 100  # of a class in an image
SMOOTHING = 0.5  # added to each count, so that a colour never seen is unlikely, not impossible


class Learner:
    """Counts of colours inside the boxes of each class and outside of all, and the sizes of the boxes.

    Args:
        classes: class names by class id.
        bits: colours are told apart to this many bits a channel.
    """

    def __init__(self, classes: Sequence[str], bits: int) -> None:
        self.classes = tuple(classes)
        self.bits = bits
        self.colours = np.zeros((len(classes) + 1, 8**bits))  # the last row is the background's
        self.sizes = np.zeros((len(classes), 3))  # boxes, sum and sum of squares of the logarithm of their edge

    def learn(self, pixels: Pixels, boxes: Sequence[Found]) -> None:
        """Take in one image."""
        codes = self._codes(pixels)
        outside = np.ones(codes.shape, dtype=np.bool_)
        for found in boxes:
            left, top, right, bottom = _whole(found.box, codes.shape)
            outside[top:bottom, left:right] = False
            # The middle of a box shows the object, its corners often something else.
            inner = codes[top + (bottom - top) // 6 : bottom - (bottom - top) // 6, left:right]
            self.colours[found.label] += np.bincount(inner.ravel(), minlength=8**self.bits)
            edge = math.log(max(1.0, math.sqrt((right - left) * (bottom - top))))
            self.sizes[found.label] += (1.0, edge, edge * edge)
        self.colours[-1] += np.bincount(codes[outside], minlength=8**self.bits)

    def find(self, pixels: Pixels, *, confidence: float) -> list[Found]:
        """Boxes in one image, in its pixels; scores are 0..1, none is below ``confidence``."""
        likely = self._likelihood()[:, self._codes(pixels)]
        best = likely.argmax(axis=0)
        found = []
        for label in range(len(self.classes)):
            spots = sorted(_spots(best == label), key=len, reverse=True)[:MOST_SPOTS]
            for spot in spots:
                rows, columns = spot[:, 0], spot[:, 1]
                box = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
                score = float(likely[label][rows, columns].mean()) * self._plausible(label, box)
                if score >= confidence:
                    found.append(Found(label, score, tuple(float(side) for side in box)))
        return found

    def save(self, folder: Path) -> list[str]:
        """Write the model's files and give their names."""
        np.savez(folder / "colours.npz", colours=self.colours, sizes=self.sizes)
        facts = {"classes": self.classes, "colour_bits": self.bits}
        (folder / "model.json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
        return ["colours.npz", "model.json"]

    def start_from(self, colours: Path, facts: Path) -> int:
        """Take over what another model knows of classes of the same names; give their number.

        Raises:
            ValueError: it is no such model, or tells colours apart otherwise.
        """
        said = json.loads(facts.read_text(encoding="utf-8"))
        if said.get("colour_bits") != self.bits:
            raise ValueError(f"it has colour_bits {said.get('colour_bits')!r}, this training {self.bits}")
        with np.load(colours, allow_pickle=False) as stored:
            old, sizes = stored["colours"], stored["sizes"]
        known = {name: number for number, name in enumerate(said["classes"])}
        shared = [name for name in self.classes if name in known]
        for name in shared:
            self.colours[self.classes.index(name)] += old[known[name]]
            self.sizes[self.classes.index(name)] += sizes[known[name]]
        self.colours[-1] += old[-1]
        return len(shared)

    def _codes(self, pixels: Pixels) -> Codes:
        levels = (pixels >> (8 - self.bits)).astype(np.int64)
        codes: Codes = (levels[..., 0] << (2 * self.bits)) + (levels[..., 1] << self.bits) + levels[..., 2]
        return codes

    def _likelihood(self) -> npt.NDArray[np.float64]:
        """How likely each colour belongs to each class or the background, ``(classes + 1, colours)``."""
        counts = self.colours + SMOOTHING
        shares = counts / counts.sum(axis=1, keepdims=True)
        shares[-1] *= 2.0  # a colour that could be either is background
        likely: npt.NDArray[np.float64] = shares / shares.sum(axis=0)
        return likely

    def _plausible(self, label: int, box: Sequence[float]) -> float:
        """How usual the size is for the class, 0..1."""
        count, total, squares = self.sizes[label]
        if not count:
            return 0.0
        mean = total / count
        spread = max(0.3, math.sqrt(max(0.0, squares / count - mean * mean)))
        edge = math.log(max(1.0, math.sqrt((box[2] - box[0]) * (box[3] - box[1]))))
        return math.exp(-0.5 * ((edge - mean) / spread) ** 2)


def _whole(box: Sequence[float], shape: tuple[int, ...]) -> tuple[int, int, int, int]:
    """The box in whole pixels of the image, one pixel wide at least."""
    left, top = min(int(box[0]), shape[1] - 1), min(int(box[1]), shape[0] - 1)
    return left, top, max(left + 1, min(shape[1], round(box[2]))), max(top + 1, min(shape[0], round(box[3])))


def _spots(mask: npt.NDArray[np.bool_]) -> Iterator[npt.NDArray[np.int64]]:
    """Pixels that touch, as rows and columns ``(N, 2)``, spot by spot."""
    left = {(int(row), int(column)) for row, column in np.argwhere(mask)}
    while left:
        waiting, spot = [left.pop()], []
        while waiting:
            row, column = waiting.pop()
            spot.append((row, column))
            for near in ((row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1)):
                if near in left:
                    left.remove(near)
                    waiting.append(near)
        if len(spot) >= LEAST_SPOT:
            yield np.array(spot, dtype=np.int64)
