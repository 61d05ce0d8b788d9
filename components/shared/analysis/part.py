"""What an analysis looks at: named parts of data, such as the splits of a dataset or several datasets side by side."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import polars as pl

from components.shared.dataset import Dataset

SLICE = 20_000  # images
SPLITS = ("train", "val", "test")
TRUTH, PREDICTION = "ground_truth", "prediction"

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Part:
    """Images and the annotations of one kind on them.

    Attributes:
        name: what charts and tables call it.
        classes: class names in the order of their ids.
        images: columns of ``IMAGES``.
        boxes: columns of ``ANNOTATIONS``, all of one kind.
        predicted: whether the boxes are predictions.
    """

    name: str
    classes: tuple[str, ...]
    images: pl.DataFrame
    boxes: pl.DataFrame
    predicted: bool = False

    @cached_property
    def frames(self) -> pl.DataFrame:
        """``image_id``, ``wide`` and ``high`` in pixels as floats; the declared size where there is no image."""
        sizes = {
            name: pl.when(pl.col(side) > 0).then(pl.col(side)).otherwise(pl.col(f"declared_{side}")).cast(pl.Float64)
            for name, side in (("wide", "width"), ("high", "height"))
        }
        return self.images.select("image_id", **sizes)

    def slices(self) -> Iterator[pl.DataFrame]:
        """The boxes with ``wide`` and ``high`` of their images, all boxes of an image in one slice.

        Columns are ``image_id``, ``category``, ``x``, ``y``, ``width``, ``height``, ``score``, ``wide`` and ``high``.
        A slice holds those of some thousands of images, so that no copy of the whole table is made.
        """
        boxes = self.boxes.select("image_id", "category", "x", "y", "width", "height", "score")
        first, last = boxes.select(first=pl.col("image_id").min(), last=pl.col("image_id").max()).row(0)
        if first is None:
            return
        for start in range(first, last + 1, SLICE):
            own = boxes.filter(pl.col("image_id").is_between(start, start + SLICE - 1))
            yield own.join(self.frames, on="image_id", how="left", maintain_order="left")

    @cached_property
    def measures(self) -> pl.DataFrame:
        """One row a box of finite size.

        ``edge`` is the root of its area in pixels, ``relative`` the same over the image's, ``shape`` its width over
        its height, ``across`` and ``down`` are its centre as shares of the image.
        """
        area = pl.col("width") * pl.col("height")
        columns = {
            "edge": area.sqrt(),
            "relative": (area / (pl.col("wide") * pl.col("high"))).sqrt(),
            "shape": pl.col("width") / pl.col("height"),
            "across": (pl.col("x") + pl.col("width") / 2) / pl.col("wide"),
            "down": (pl.col("y") + pl.col("height") / 2) / pl.col("high"),
        }
        usable = pl.col("edge").is_finite() & pl.col("shape").is_finite() & (pl.col("shape") > 0)
        parts = [
            boxes.select(expression.cast(pl.Float32).alias(name) for name, expression in columns.items()).filter(usable)
            for boxes in self.slices()
        ]
        return pl.concat(parts) if parts else pl.DataFrame(schema=dict.fromkeys(columns, pl.Float32))

    @cached_property
    def boxes_per_image(self) -> pl.DataFrame:
        """``image_id`` and ``boxes``, 0 where there is none."""
        counts = self.boxes.group_by("image_id").agg(boxes=pl.len())
        joined = self.images.select("image_id").join(counts, on="image_id", how="left", maintain_order="left")
        return joined.with_columns(pl.col("boxes").fill_null(0))

    @cached_property
    def class_counts(self) -> pl.DataFrame:
        """``class``, ``boxes`` and ``images``, one row a class in the order of the ids."""
        counts = self.boxes.group_by(pl.col("category").alias("class")).agg(
            boxes=pl.len(), images=pl.col("image_id").n_unique()
        )
        names = pl.DataFrame({"class": list(self.classes)}, schema={"class": pl.String})
        joined = names.join(counts, on="class", how="left", maintain_order="left")
        return joined.with_columns(pl.col("boxes", "images").fill_null(0))

    def column(self, name: str) -> Floats:
        """A column of ``measures`` without nulls."""
        return numbers(self.measures.get_column(name))


def numbers(values: pl.Series) -> Floats:
    """A column as floats without nulls."""
    return values.drop_nulls().cast(pl.Float64).to_numpy()


def parts_of(dataset: Dataset, *, name: str | None = None) -> tuple[Part, ...]:
    """The parts of a dataset: its splits where every image has one and there are two, else the whole; and predictions.

    Args:
        dataset: any.
        name: prefix of the parts' names, for several datasets side by side.
    """
    splits = set(dataset.images.get_column("split").unique())
    if None not in splits and len(splits) > 1:
        order = [split for split in SPLITS if split in splits] + sorted(splits - set(SPLITS))
        wholes = {split: dataset.images.filter(pl.col("split") == split) for split in order}
    else:
        wholes = {name or "all images": dataset.images}
    titles = {key: key if name in (None, key) else f"{name} {key}" for key in wholes}
    truth = [_part(titles[key], dataset, images, TRUTH) for key, images in wholes.items()]
    predictions = _part(f"{name} predictions" if name else "predictions", dataset, dataset.images, PREDICTION)
    shown = [part for part in truth if part.boxes.height or predictions.boxes.is_empty()]
    return (*shown, predictions) if predictions.boxes.height else tuple(shown)


def parts_of_splits(splits: Mapping[str, Dataset]) -> tuple[Part, ...]:
    """One part a split, and one for the predictions of all where there are any."""
    truth = [_part(split, dataset, dataset.images, TRUTH) for split, dataset in splits.items()]
    images = pl.concat([dataset.images for dataset in splits.values()])
    boxes = pl.concat([dataset.annotations.filter(pl.col("kind") == PREDICTION) for dataset in splits.values()])
    classes = next(iter(splits.values())).classes
    predictions = Part("predictions", classes, images, boxes, predicted=True)
    return (*truth, predictions) if boxes.height else tuple(truth)


def _part(name: str, dataset: Dataset, images: pl.DataFrame, kind: str) -> Part:
    boxes = dataset.annotations.filter(pl.col("kind") == kind)
    if images.height < dataset.images.height:
        boxes = boxes.join(images.select("image_id"), on="image_id", how="semi")
    return Part(name, dataset.classes, images, boxes, predicted=kind == PREDICTION)
