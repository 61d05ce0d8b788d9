"""How good the model is at parts of the test set: by box size, crowding, tag, image border and shape."""

import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import polars as pl

from components.model_eval.average_precision import mean_average_precision
from components.model_eval.overlaps import Integers, class_codes
from components.shared.boxes import Flags, Floats
from components.shared.detection.match import Outcome

LEAST = 20  # ground truth boxes a slice needs to be judged
SLICES: dict[str, pl.DataType] = {
    "slice": pl.String(),  # kind:name, as ``size:small``
    "kind": pl.String(),  # size, decile, density, tag, border or aspect
    "support": pl.Int64(),  # ground truth boxes that count
    "recall": pl.Float64(),  # null below the least support, as all that follow
    "precision": pl.Float64(),  # null as well when nothing is predicted
    "f1": pl.Float64(),
    "ap50": pl.Float64(),  # mean over the classes with ground truth in the slice; at the report's IoU
    "meaning": pl.String(),  # in words, with the bounds
}
SIZES: tuple[float, ...] = (32.0**2, 96.0**2)  # COCO's, square pixels
DENSITIES: tuple[int, ...] = (1, 4, 10)
BORDER = 1.0  # pixels
LONG = 3.0
MOST_VALUES = 30  # of one tag
_DECILES = 10
_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Slice:
    """Which of the ``M`` ground truth boxes and the ``N`` predictions are in, a prediction by its own box or image."""

    kind: str
    name: str
    meaning: str
    truths: Flags
    predictions: Flags


@dataclass(frozen=True)
class _Tables:
    """The arrays slices are cut from; only ground truth that counts, only predictions that are right or wrong."""

    truths: pl.DataFrame
    predictions: pl.DataFrame
    found: Integers  # (N,): row of the ground truth box a right prediction found, else -1
    labels: Integers  # (N,)
    true_labels: Integers  # (M,)
    classes: int


def slices(
    predictions: pl.DataFrame, truths: pl.DataFrame, images: pl.DataFrame, *, confidence: float, least: int = LEAST
) -> pl.DataFrame:
    """Recall, precision, F1 and average precision of each slice, columns of ``SLICES``.

    A ground truth box is in a slice by its own area (the object's, as COCO), box or image. A right prediction goes
    with the box it found, a wrong one by its own box (size, decile, border, aspect) or image (density, tag), as COCO
    does with sizes: so right predictions and found boxes are the same in each slice. Slices with fewer than
    ``least`` boxes are listed and not judged. Slices of a kind do not overlap, except tags; images without objects
    are in no density slice.

    Args:
        predictions: columns of ``outcomes.PREDICTIONS``.
        truths: columns of ``outcomes.TRUTHS``.
        images: image_id, width and height in pixels, and tags (a JSON object of texts) of ``dataset.IMAGES``.
        confidence: predictions below it are not made, except for the average precision.
        least: ground truth boxes a slice needs to be judged.
    """
    tables = _tables(predictions, truths, images)
    rows = [_measure(one, tables, confidence, least) for one in _cuts(tables, images)]
    return pl.DataFrame(rows, schema=SLICES, orient="row")


def _tables(predictions: pl.DataFrame, truths: pl.DataFrame, images: pl.DataFrame) -> _Tables:
    sizes = images.select("image_id", pl.col("width").alias("image_width"), pl.col("height").alias("image_height"))
    counted = truths.filter(~pl.col("ignore"))
    density = counted.group_by("image_id").agg(pl.len().alias("density"))
    judged = predictions.filter(pl.col("outcome") != Outcome.IGNORED.value)
    names = pl.concat([table.get_column("category") for table in (counted, judged)]).unique().to_list()
    rows = counted.select("annotation_id", pl.int_range(pl.len(), dtype=pl.Int64).alias("row"))
    counted, judged = (
        table.join(sizes, on="image_id", how="left", maintain_order="left").join(
            density, on="image_id", how="left", maintain_order="left"
        )
        for table in (counted, judged)
    )
    found = judged.join(rows, on="annotation_id", how="left", maintain_order="left").get_column("row").fill_null(-1)
    return _Tables(
        counted,
        judged.with_columns((pl.col("width") * pl.col("height")).alias("area")),
        found.to_numpy(),
        class_codes(judged.get_column("category"), names),
        class_codes(counted.get_column("category"), names),
        len(names),
    )


def _measure(
    one: _Slice, tables: _Tables, confidence: float, least: int
) -> tuple[str, str, int, float | None, float | None, float | None, float | None, str]:
    support = int(np.count_nonzero(one.truths))
    title = f"{one.kind}:{one.name}"
    if support < max(least, 1):
        return title, one.kind, support, None, None, None, None, one.meaning
    right = tables.found >= 0
    inside = one.predictions & ~right
    inside[right] = one.truths[tables.found[right]]
    scores = tables.predictions.get_column("score").to_numpy()
    made = inside & (scores >= confidence)
    hits, wrong = int(np.count_nonzero(made & right)), int(np.count_nonzero(made & ~right))
    counts = np.bincount(tables.true_labels[one.truths], minlength=tables.classes)
    ap50 = mean_average_precision(tables.labels[inside], scores[inside], right[inside], counts)
    precision = hits / (hits + wrong) if hits + wrong else None
    return title, one.kind, support, hits / support, precision, 2 * hits / (hits + wrong + support), ap50, one.meaning


def _cuts(tables: _Tables, images: pl.DataFrame) -> Iterator[_Slice]:
    yield from _by_bounds(
        tables,
        "size",
        "area",
        (0.0, *SIZES, np.inf),
        ("small", "area below 32² px"),
        ("medium", "area from 32² to 96² px"),
        ("large", "area of 96² px or more"),
    )
    yield from _deciles(tables)
    yield from _by_bounds(
        tables,
        "density",
        "density",
        (*DENSITIES, np.inf),
        ("1-3", "images with 1 to 3 objects"),
        ("4-9", "images with 4 to 9 objects"),
        ("10+", "images with 10 objects or more"),
    )
    yield from _tags(tables, images)
    yield from _borders(tables)
    yield from _aspects(tables)


def _by_bounds(
    tables: _Tables, kind: str, column: str, bounds: Sequence[float], *names: tuple[str, str]
) -> Iterator[_Slice]:
    """Slices ``bounds[i] <= value < bounds[i + 1]``."""
    values, true_values = (_floats(table, column) for table in (tables.predictions, tables.truths))
    for (low, high), (name, meaning) in zip(pairwise(bounds), names, strict=True):
        inside, true_inside = ((side >= low) & (side < high) for side in (values, true_values))
        yield _Slice(kind, name, meaning, true_inside, inside)


def _deciles(tables: _Tables) -> Iterator[_Slice]:
    """Tenths of the ground truth by area; fewer where many boxes have the same."""
    areas = _floats(tables.truths, "area")
    if not areas.size:
        return
    inner = np.unique(np.quantile(areas, np.arange(1, _DECILES) / _DECILES, method="higher"))
    bounds = [0.0, *(inner[inner > areas.min()].tolist()), np.inf]
    sides = [f"{np.sqrt(bound):.0f}" for bound in bounds]
    names = [
        (
            str(number),
            f"side (root of the area) of {low} px or more" if high == "inf" else f"side of {low} to {high} px",
        )
        for number, (low, high) in enumerate(pairwise(sides), 1)
    ]
    yield from _by_bounds(tables, "decile", "area", bounds, *names)


def _borders(tables: _Tables) -> Iterator[_Slice]:
    right, bottom = pl.col("image_width") - BORDER, pl.col("image_height") - BORDER
    at_edge = (pl.min_horizontal("x", "y") <= BORDER) | (pl.col("x") + pl.col("width") >= right)
    at_edge |= pl.col("y") + pl.col("height") >= bottom
    touching, true_touching = (
        table.select(at_edge.fill_null(value=False)).to_series().to_numpy()
        for table in (tables.predictions, tables.truths)
    )
    yield _Slice("border", "cut", "box within 1 px of the image's edge", true_touching, touching)
    yield _Slice("border", "inside", "box away from the image's edge", ~true_touching, ~touching)


def _aspects(tables: _Tables) -> Iterator[_Slice]:
    (wide, high), (true_wide, true_high) = (
        (_floats(table, "width"), _floats(table, "height")) for table in (tables.predictions, tables.truths)
    )
    tall, true_tall = LONG * wide < high, LONG * true_wide < true_high
    flat, true_flat = wide > LONG * high, true_wide > LONG * true_high
    yield _Slice("aspect", "tall", "more than 3 times as high as wide", true_tall, tall)
    yield _Slice("aspect", "even", "sides within a factor of 3", ~true_tall & ~true_flat, ~tall & ~flat)
    yield _Slice("aspect", "wide", "more than 3 times as wide as high", true_flat, flat)


def _tags(tables: _Tables, images: pl.DataFrame) -> Iterator[_Slice]:
    """One slice for each value of each tag, of a tag with many values those with the most boxes."""
    tagged = _tag_rows(images)
    boxes = tables.truths.group_by("image_id").agg(pl.len().alias("boxes"))
    support = tagged.join(boxes, on="image_id").group_by("tag", "value").agg(pl.col("boxes").sum())
    ordered = support.sort("tag", "boxes", "value", descending=[False, True, False])
    ids, true_ids = (table.get_column("image_id") for table in (tables.predictions, tables.truths))
    for (tag,), values in ordered.group_by("tag", maintain_order=True):
        if values.height > MOST_VALUES:
            _logger.info("Tag %r has %d values; slices show the largest %d.", tag, values.height, MOST_VALUES)
        for value in values.get_column("value").head(MOST_VALUES):
            chosen = tagged.filter((pl.col("tag") == tag) & (pl.col("value") == value)).get_column("image_id").implode()
            inside, true_inside = (side.is_in(chosen).to_numpy() for side in (ids, true_ids))
            yield _Slice("tag", f"{tag}={value}", f"images whose {tag} is {value}", true_inside, inside)


def _tag_rows(images: pl.DataFrame) -> pl.DataFrame:
    rows = [
        (image_id, str(tag), str(value))
        for image_id, text in images.select("image_id", "tags").drop_nulls().iter_rows()
        for tag, value in json.loads(text).items()
    ]
    schema: dict[str, pl.DataType] = {
        "image_id": images.schema["image_id"],
        "tag": pl.String(),
        "value": pl.String(),
    }
    return pl.DataFrame(rows, schema=schema, orient="row")


def _floats(table: pl.DataFrame, column: str) -> Floats:
    values: Floats = table.get_column(column).cast(pl.Float64).fill_null(float("nan")).to_numpy()
    return values
