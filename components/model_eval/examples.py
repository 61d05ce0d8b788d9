"""Pictures of what the model missed, invented and got right, ground truth beside predictions."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from components.model_eval.evaluation import Evaluation
from components.model_eval.outcomes import BOX
from components.model_eval.predict import Images, decode_named
from components.shared.boxes import intersections, iou_matrix
from components.shared.detection.match import Outcome
from components.shared.report.draw import DrawnBox, Style, crop_around, draw_boxes, picture
from components.shared.report.page import Picture

MOST_MISSED = 24
MOST_FALSE = 24
MOST_RIGHT = 6
_EDGE = 300  # pixels of one half of a picture
_GAP = 6
_LABELS = 6  # boxes up to which all keep their labels
_MARGIN = 1.5  # what is shown around a box, in its widths and heights
_WHITE = 255
_NEAR = 0.3  # overlap from which a wrong prediction is said to lie on an object

Pixels = npt.NDArray[np.uint8]
Row = dict[str, Any]


@dataclass(frozen=True)
class Examples:
    """Pictures by what they show, the worst first."""

    missed: tuple[Picture, ...] = ()
    false: tuple[Picture, ...] = ()
    right: tuple[Picture, ...] = ()


def draw_examples(evaluation: Evaluation, reader: Images, images: pl.DataFrame) -> Examples:
    """Choose the examples, read their images once and draw them.

    Args:
        evaluation: what was found.
        reader: gives the encoded images.
        images: the images that were looked at.
    """
    groups = {
        "missed": choose_missed(evaluation.truths, MOST_MISSED),
        "false": choose_false(evaluation, MOST_FALSE),
        "right": choose_right(evaluation, MOST_RIGHT),
    }
    wanted = pl.concat([group.get_column("image_id") for group in groups.values()]).unique()
    names = dict(images.select("image_id", "name").iter_rows())
    drawn: dict[str, dict[int, Picture]] = {kind: {} for kind in groups}
    needed = images.filter(pl.col("image_id").is_in(wanted.implode())).sort("shard", "offset")
    for image_id, data in reader.read_many(needed):
        pixels = decode_named(data, names[image_id])
        scene = _Scene.of(evaluation, image_id)
        for kind, group in groups.items():
            for row in group.filter(pl.col("image_id") == image_id).to_dicts():
                drawn[kind][row["place"]] = _draw(pixels, scene, row, _caption(kind, row, scene))
    ordered = {kind: tuple(found[place] for place in sorted(found)) for kind, found in drawn.items()}
    return Examples(**ordered)


def choose_missed(truths: pl.DataFrame, most: int) -> pl.DataFrame:
    """Missed objects: first those without any prediction, the largest first, one an image before a second one."""
    missed = truths.filter(pl.col("outcome") == Outcome.MISSED.value)
    return _spread(missed, [pl.col("score").is_not_null(), -pl.col("area"), pl.col("annotation_id")], "image_id", most)


def choose_false(evaluation: Evaluation, most: int) -> pl.DataFrame:
    """Wrong predictions: the surest first, one an image before a second one."""
    return _spread(_made(evaluation, Outcome.FALSE_POSITIVE), [-pl.col("score")], "image_id", most)


def choose_right(evaluation: Evaluation, most: int) -> pl.DataFrame:
    """Right predictions: the surest of each class before a second one."""
    return _spread(_made(evaluation, Outcome.TRUE_POSITIVE), [-pl.col("score")], "category", most)


def _made(evaluation: Evaluation, outcome: Outcome) -> pl.DataFrame:
    kept = (pl.col("outcome") == outcome.value) & (pl.col("score") >= evaluation.confidence)
    return evaluation.predictions.filter(kept)


def _spread(table: pl.DataFrame, order: list[pl.Expr], over: str, most: int) -> pl.DataFrame:
    """The first ``most`` rows in this order, taking turns over a column; ``place`` numbers them."""
    ranked = table.sort(order, maintain_order=True).with_columns(pl.int_range(pl.len()).over(over).alias("turn"))
    return ranked.sort("turn", maintain_order=True).head(most).with_row_index("place")


@dataclass(frozen=True)
class _Scene:
    """The boxes of one image: its ground truth and the predictions at the report's confidence."""

    truths: pl.DataFrame
    predictions: pl.DataFrame
    threshold: float

    @classmethod
    def of(cls, evaluation: Evaluation, image_id: int) -> "_Scene":
        here = pl.col("image_id") == image_id
        made = here & (pl.col("score") >= evaluation.confidence) & (pl.col("outcome") != Outcome.IGNORED.value)
        return cls(evaluation.truths.filter(here), evaluation.predictions.filter(made), evaluation.options.report_iou)

    def true_boxes(self) -> list[DrawnBox]:
        return [_true_box(row) for row in self.truths.to_dicts()]

    def predicted_boxes(self) -> list[DrawnBox]:
        return [_predicted_box(row) for row in self.predictions.to_dicts()]

    def nearest(self, box: Row, table: pl.DataFrame) -> Row | None:
        """The row of ``table`` that overlaps the box best, if any does by ``_NEAR``."""
        if table.is_empty():
            return None
        own = np.array([[box[name] for name in BOX]], dtype=np.float64)
        overlaps = iou_matrix(own, table.select(BOX).to_numpy().astype(np.float64))[0]
        best = int(overlaps.argmax())
        return table.row(best, named=True) if overlaps[best] >= _NEAR else None


def _true_box(row: Row) -> DrawnBox:
    missed = row["outcome"] == Outcome.MISSED.value
    label = f"{row['category']} (ignored)" if row["ignore"] else str(row["category"])
    return _box(row, label, Style.MISSED if missed else Style.TRUTH)


def _predicted_box(row: Row) -> DrawnBox:
    wrong = row["outcome"] == Outcome.FALSE_POSITIVE.value
    return _box(row, f"{row['category']} {row['score']:.2f}", Style.FALSE if wrong else Style.PREDICTION)


def _box(row: Row, label: str, style: Style) -> DrawnBox:
    x, y, width, height = (row[name] for name in BOX)
    return DrawnBox(x, y, width, height, label, style)


def _draw(pixels: Pixels, scene: _Scene, row: Row, caption: str) -> Picture:
    part, left, top = crop_around(pixels, _box(row, "", Style.TRUTH), margin=_MARGIN)
    halves = [
        draw_boxes(part, [_moved(box, left, top) for box in _quiet(boxes, row)], max_edge=_EDGE)
        for boxes in (scene.true_boxes(), scene.predicted_boxes())
    ]
    gap = np.full((halves[0].shape[0], _GAP, 3), _WHITE, dtype=np.uint8)
    return picture(np.concatenate([halves[0], gap, halves[1]], axis=1), caption=caption, tags=(row["category"],))


def _quiet(boxes: list[DrawnBox], row: Row) -> list[DrawnBox]:
    """In a crowded scene only the boxes that meet the one in question keep their label."""
    if len(boxes) <= _LABELS:
        return boxes
    corners = np.array([(box.x, box.y, box.width, box.height) for box in boxes])
    shared = intersections(corners, np.array([[row[name] for name in BOX]], dtype=np.float64))[:, 0]
    return [box if area > 0 else replace(box, label="") for box, area in zip(boxes, shared, strict=True)]


def _moved(box: DrawnBox, left: int, top: int) -> DrawnBox:
    return replace(box, x=box.x - left, y=box.y - top)


def _caption(kind: str, row: Row, scene: _Scene) -> str:
    what = f"{row['category']} in {row['name']}, {row['width']:.0f} x {row['height']:.0f} px"
    if kind == "missed":
        return f"{what}: missed, {_why_missed(row, scene)}"
    if kind == "false":
        return f"{what}: wrong at score {row['score']:.2f}, {_why_false(row, scene)}"
    return f"{what}: right at score {row['score']:.2f}, IoU {row['iou']:.2f}"


def _why_missed(row: Row, scene: _Scene) -> str:
    near = scene.nearest(row, scene.predictions)
    if near is not None and near["category"] != row["category"]:
        return f"taken for {near['category']} ({near['score']:.2f})"
    if near is not None:
        return "found too loosely or as part of another"
    if row["score"] is not None:
        return f"found only at score {row['score']:.3f}"
    return "nothing was found here"


def _why_false(row: Row, scene: _Scene) -> str:
    near = scene.nearest(row, scene.truths)
    if near is None:
        return "nothing is here"
    if near["category"] != row["category"]:
        return f"it is {near['category']}"
    return "a second find of one object" if row["iou"] >= scene.threshold else "too loose a box"
