"""Pictures of what the model missed, invented and got right, ground truth beside predictions, and before and after."""

from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from components.model_eval.error_types import ErrorType
from components.model_eval.evaluation import Evaluation
from components.model_eval.predict import Images, decode_named
from components.model_eval.report_boxes import Pixels, Row, moved, plain_box, predicted_box, side_by_side, true_box
from components.model_eval.report_start import BeforeAfter, before_and_after, most_changed, pair
from components.model_eval.report_words import named
from components.shared.boxes import intersections, iou_matrix
from components.shared.detection.match import Outcome
from components.shared.evaluation.outcomes import BOX
from components.shared.report.draw import DrawnBox, Style, crop_around, draw_boxes, picture
from components.shared.report.page import Picture

FALSE_KINDS = {
    ErrorType.CLASS: "wrong class",
    ErrorType.LOCATION: "loose box",
    ErrorType.BOTH: "class and box wrong",
    ErrorType.DUPLICATE: "found twice",
    ErrorType.BACKGROUND: "nothing there",
}
MISSED_KINDS = {
    ErrorType.MISSED: "nothing found",
    ErrorType.CLASS: "taken for another class",
    ErrorType.LOCATION: "found too loosely",
}
MOST_MISSED = 24
MOST_FALSE = 24
MOST_RIGHT = 6
_EDGE = 300  # pixels of one half of a picture
_LABELS = 6  # boxes up to which all keep their labels
_MARGIN = 1.5  # what is shown around a box, in its widths and heights
_NEAR = 0.3  # overlap from which a wrong prediction is said to lie on an object


@dataclass(frozen=True)
class Examples:
    """Pictures by what they show, the worst first; ``compared`` is the start against the trained model, if known."""

    missed: tuple[Picture, ...] = ()
    false: tuple[Picture, ...] = ()
    right: tuple[Picture, ...] = ()
    compared: BeforeAfter | None = None


def draw_examples(evaluation: Evaluation, reader: Images, images: pl.DataFrame) -> Examples:
    """Choose the examples, read their images once and draw them.

    Args:
        evaluation: what was found.
        reader: gives the encoded images.
        images: the images that were looked at.
    """
    groups = {
        "missed": choose_missed(evaluation, MOST_MISSED),
        "false": choose_false(evaluation, MOST_FALSE),
        "right": choose_right(evaluation, MOST_RIGHT),
    }
    compared = before_and_after(evaluation, images)
    changed = most_changed(compared) if compared is not None else []
    ids = pl.concat([*(group.get_column("image_id") for group in groups.values()), _ids(changed)]).unique()
    names = dict(images.select("image_id", "name").iter_rows())
    drawn: dict[str, dict[int, Picture]] = {kind: {} for kind in groups}
    pairs: dict[int, Picture] = {}
    needed = images.filter(pl.col("image_id").is_in(ids.implode())).sort("shard", "offset")
    for image_id, data in reader.read_many(needed):
        pixels = decode_named(data, names[image_id])
        scene = _Scene.of(evaluation, image_id)
        for kind, group in groups.items():
            for row in group.filter(pl.col("image_id") == image_id).to_dicts():
                drawn[kind][row["place"]] = _draw(pixels, scene, row, kind)
        if compared is not None and image_id in changed:
            pairs[image_id] = pair(pixels, names[image_id], compared.before.of(image_id), compared.after.of(image_id))
    ordered = {kind: tuple(found[place] for place in sorted(found)) for kind, found in drawn.items()}
    if compared is not None:
        compared = replace(compared, pictures=tuple(pairs[image_id] for image_id in changed if image_id in pairs))
    return Examples(**ordered, compared=compared)


def _ids(image_ids: list[int]) -> pl.Series:
    return pl.Series("image_id", image_ids, dtype=pl.UInt32)


def choose_missed(evaluation: Evaluation, most: int) -> pl.DataFrame:
    """Missed objects: first those without any prediction, the largest first, one an image before a second one."""
    truths = evaluation.truths.with_columns(evaluation.diagnosis.errors.truths)
    missed = truths.filter(pl.col("outcome") == Outcome.MISSED.value)
    return _spread(missed, [pl.col("score").is_not_null(), -pl.col("area"), pl.col("annotation_id")], most)


def choose_false(evaluation: Evaluation, most: int) -> pl.DataFrame:
    """Wrong predictions: the surest first, one an image before a second one."""
    return _spread(_made(evaluation, Outcome.FALSE_POSITIVE), [-pl.col("score")], most)


def choose_right(evaluation: Evaluation, most: int) -> pl.DataFrame:
    """Right predictions: the surest of each class before a second one."""
    ranked = _made(evaluation, Outcome.TRUE_POSITIVE).sort(-pl.col("score"), maintain_order=True)
    turns = ranked.with_columns(pl.int_range(pl.len()).over("category").alias("turn"))
    return turns.sort("turn", maintain_order=True).head(most).with_row_index("place")


def _made(evaluation: Evaluation, outcome: Outcome) -> pl.DataFrame:
    kept = (pl.col("outcome") == outcome.value) & (pl.col("score") >= evaluation.confidence)
    return evaluation.predictions.with_columns(evaluation.diagnosis.errors.predictions).filter(kept)


def _spread(table: pl.DataFrame, order: list[pl.Expr], most: int) -> pl.DataFrame:
    """The first ``most`` rows, taking turns over images and, among those, over classes and kinds of error.

    ``place`` numbers them.
    """
    ranked = table.sort(order, maintain_order=True)
    turns = [
        pl.int_range(pl.len()).over("image_id").alias("turn"),
        pl.int_range(pl.len()).over("category", "error").alias("kind_turn"),
    ]
    return ranked.with_columns(turns).sort("turn", "kind_turn", maintain_order=True).head(most).with_row_index("place")


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
        return [true_box(row) for row in self.truths.to_dicts()]

    def predicted_boxes(self) -> list[DrawnBox]:
        return [predicted_box(row) for row in self.predictions.to_dicts()]

    def nearest(self, box: Row, table: pl.DataFrame) -> Row | None:
        """The row of ``table`` that overlaps the box best, if any does by ``_NEAR``."""
        if table.is_empty():
            return None
        own = np.array([[box[name] for name in BOX]], dtype=np.float64)
        overlaps = iou_matrix(own, table.select(BOX).to_numpy().astype(np.float64))[0]
        best = int(overlaps.argmax())
        return table.row(best, named=True) if overlaps[best] >= _NEAR else None


def _draw(pixels: Pixels, scene: _Scene, row: Row, kind: str) -> Picture:
    part, left, top = crop_around(pixels, plain_box(row, "", Style.TRUTH), margin=_MARGIN)
    halves = [
        draw_boxes(part, [moved(box, left, top) for box in _quiet(boxes, row)], max_edge=_EDGE)
        for boxes in (scene.true_boxes(), scene.predicted_boxes())
    ]
    tags = (named(row["category"]), _error(kind, row)) if kind != "right" else (named(row["category"]),)
    return picture(side_by_side(halves), caption=_caption(kind, row, scene), tags=tags)


def _error(kind: str, row: Row) -> str:
    kinds = MISSED_KINDS if kind == "missed" else FALSE_KINDS
    return kinds.get(ErrorType(row["error"]), "") if row["error"] else "other"


def _quiet(boxes: list[DrawnBox], row: Row) -> list[DrawnBox]:
    """In a crowded scene only the boxes that meet the one in question keep their label."""
    if len(boxes) <= _LABELS:
        return boxes
    corners = np.array([(box.x, box.y, box.width, box.height) for box in boxes])
    shared = intersections(corners, np.array([[row[name] for name in BOX]], dtype=np.float64))[:, 0]
    return [box if area > 0 else replace(box, label="") for box, area in zip(boxes, shared, strict=True)]


def _caption(kind: str, row: Row, scene: _Scene) -> str:
    what = f"{named(row['category'])} in {named(row['name'])}, {row['width']:.0f} x {row['height']:.0f} px"
    if kind == "missed":
        return f"{what}: missed, {_why_missed(row, scene)}"
    if kind == "false":
        return f"{what}: wrong at score {row['score']:.2f}, {_why_false(row, scene)}"
    return f"{what}: right at score {row['score']:.2f}, IoU {row['iou']:.2f}"


def _why_missed(row: Row, scene: _Scene) -> str:
    near = scene.nearest(row, scene.predictions)
    if near is not None and near["category"] != row["category"]:
        return f"taken for {named(near['category'])} ({near['score']:.2f})"
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
        return f"it is {named(near['category'])}"
    return "a second find of one object" if row["iou"] >= scene.threshold else "too loose a box"
