"""The training report's pictures, drawn: first batches, and rows of ground truth, before and after."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
from PIL import Image

from components.model_train.pages.compared import THRESHOLD, Found
from components.model_train.pages.pictures import BeforeAfter, SeenImage
from components.shared.report.chips import draw_chips
from components.shared.report.draw import DrawnBox, Style, describe, draw_boxes, picture
from components.shared.report.outline import PENS
from components.shared.report.page import Picture

LEGEND_SEEN = "Solid green: a box the model is taught"
LEGEND_COMPARED = (
    f"Predictions with a score of {THRESHOLD:g} or more · {describe([Style.TRUTH, Style.PREDICTION])}"
    " · dash-dotted red: predicted wrongly"
)
NOTHING = f"nothing above {THRESHOLD:g}"
_LABELS = 8  # boxes up to which all keep their labels; of more, the largest
_DRAWN = 25  # predictions at most: an untaught model can be sure of hundreds
_EDGE = 480

Pixels = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]


def batch_pictures(seen: Sequence[SeenImage]) -> list[Picture]:
    """The first batches' images with their boxes and class names."""
    return [_batch_picture(image) for image in seen]


def compared_pictures(compared: Sequence[BeforeAfter]) -> list[Picture]:
    """For each image its ground truth, what the start weights find, where there are any, and what the trained ones do.

    So the gallery has ``columns(compared)`` pictures in a row.
    """
    start = columns(compared) > 2  # noqa: PLR2004 - a row without the start weights
    return [one for image in compared for one in _row(image, start=start)]


def columns(compared: Sequence[BeforeAfter]) -> int:
    """Pictures in a row: 3, or 2 when the start weights are unknown."""
    return 3 if any(image.before is not None for image in compared) else 2


def tally(compared: Sequence[BeforeAfter]) -> str:
    """A sentence on how many objects were found, and how many boxes are wrong, before and after; empty for no image."""
    if not compared:
        return ""
    objects = sum(len(image.truth.names) for image in compared)
    before = [image.before for image in compared if image.before is not None]
    after = _sums([image.after for image in compared])
    if not before:
        return f"Of {objects:,} objects here it finds {after}."
    return f"Of {objects:,} objects here it finds {_sums(before)} before the training, and {after} after it."


def _sums(found: Sequence[Found]) -> str:
    right, wrong = (sum(int(flags.sum()) for flags in kind) for kind in zip(*map(_right_and_wrong, found), strict=True))
    return f"{right:,} with {_count(wrong, 'wrong box', 'wrong boxes')}"


def _right_and_wrong(found: Found) -> tuple[Flags, Flags]:
    """Which boxes are objects, and which are not, among the classes the data set has."""
    return found.right, found.known & ~found.right


def _batch_picture(image: SeenImage) -> Picture:
    boxes = _boxes(image.boxes, image.names)
    drawn = draw_boxes(image.pixels, _quiet(boxes), max_edge=_EDGE)
    return picture(drawn, caption=f"Batch {image.batch}: {_count(image.box_count, 'box', 'boxes')}", quality=80)


def _row(image: BeforeAfter, *, start: bool) -> list[Picture]:
    truth = _boxes(image.truth.boxes, image.truth.names)
    annotated = _count(len(truth), "object", "objects")
    row = [picture(_drawn(image.pixels, truth), caption=f"Annotated: {annotated} in {image.name}")]
    if start:
        row.append(_found(image, image.before, "Before"))
    return [*row, _found(image, image.after, "After")]


def _found(image: BeforeAfter, found: Found | None, when: str) -> Picture:
    if found is None:
        return picture(image.pixels, caption=f"{when}: not known")
    labels = [f"{name} {score:.2f}" for name, score in zip(found.names, found.scores, strict=True)]
    _, wrong = _right_and_wrong(found)
    boxes = [
        replace(box, style=Style.FALSE if false else Style.PREDICTION)
        for box, false in zip(_boxes(found.boxes, labels), wrong, strict=True)
    ]
    pixels = _drawn(image.pixels, boxes[:_DRAWN]) if boxes else _said(_drawn(image.pixels, []), NOTHING)
    cut = f" (the {_DRAWN} surest are drawn)" if len(boxes) > _DRAWN else ""
    return picture(pixels, caption=f"{when}: {_outcome(found, len(image.truth.names))}{cut}")


def _outcome(found: Found, objects: int) -> str:
    right, wrong = (int(flags.sum()) for flags in _right_and_wrong(found))
    foreign = int((~found.known).sum())
    parts = [f"finds {right} of {objects}"]
    parts += [f"{wrong} wrong"] if wrong else []
    parts += [f"{foreign} of other classes"] if foreign else []
    return ", ".join(parts)


def _drawn(pixels: Pixels, boxes: list[DrawnBox]) -> Pixels:
    return draw_boxes(pixels, _quiet(boxes), max_edge=_EDGE)


def _said(pixels: Pixels, text: str) -> Pixels:
    """The picture with words in its upper left corner."""
    image = Image.fromarray(pixels)
    draw_chips(image, [(text, PENS[Style.PREDICTION].colour, (4.0, 4.0, float(image.width), float(image.height)))])
    return np.asarray(image).copy()


def _boxes(boxes: Floats, labels: Sequence[str]) -> list[DrawnBox]:
    pairs = zip(boxes.tolist(), labels, strict=True)
    return [DrawnBox(x, y, width, height, label) for (x, y, width, height), label in pairs]


def _quiet(boxes: list[DrawnBox]) -> list[DrawnBox]:
    """Of many boxes only the largest keep their labels."""
    if len(boxes) <= _LABELS:
        return boxes
    largest = sorted(range(len(boxes)), key=lambda index: -boxes[index].width * boxes[index].height)[:_LABELS]
    return [box if index in largest else replace(box, label="") for index, box in enumerate(boxes)]


def _count(number: int, one: str, many: str) -> str:
    return f"{number:,} {one if number == 1 else many}"
