"""What each format cannot hold, and what of a given dataset is therefore lost when it is written."""

import json
from collections import Counter
from dataclasses import dataclass, replace

import polars as pl

from components.shared.dataset import Dataset
from components.shared.errors import ConfigError
from components.shared.formats.coco_records import OWN_COLUMNS


@dataclass(frozen=True)
class Holds:
    """What survives writing a dataset in a format and reading it back.

    Attributes:
        crowd: boxes around a group stay so marked; likewise ``difficult`` and ``truncated``.
        score: the score of a prediction.
        true_score: the score of a box of the ground truth.
        predictions: annotations of kind ``prediction``.
        kind: whether an annotation is a prediction, apart from having a score.
        attributes: keys of an annotation's attributes; ``None``: all of them, except ``taken``.
        taken: attributes whose names mean something else in the format.
        tags: an image's own tags.
        folders: the folders in an image's name.
        split: whether an image is for training, validation or test.
        missing: images whose file is not in the store.
        unsized: images whose size nobody knows.
        class_order: the order of the classes; else they come back sorted by name.
    """

    crowd: bool = True
    difficult: bool = True
    truncated: bool = True
    score: bool = True
    true_score: bool = True
    predictions: bool = True
    kind: bool = False
    attributes: frozenset[str] | None = None
    taken: frozenset[str] = frozenset()
    tags: bool = False
    folders: bool = True
    split: bool = True
    missing: bool = True
    unsized: bool = True
    class_order: bool = True

    def keeps(self, attribute: str) -> bool:
        """Whether an annotation's attribute of this name survives."""
        return attribute not in self.taken and (self.attributes is None or attribute in self.attributes)


HOLDS: dict[str, Holds] = {
    "coco": Holds(taken=OWN_COLUMNS - {"category_id"}),
    "yolo": Holds(crowd=False, difficult=False, truncated=False, attributes=frozenset(), missing=False, unsized=False),
    "voc": Holds(crowd=False, attributes=frozenset({"pose", "occluded"}), class_order=False),
    "ymir": Holds(
        crowd=False,
        true_score=False,
        kind=True,
        attributes=frozenset({"pose", "occluded", "cm", "box_quality", "rotate_angle", "tags", "confidence"}),
        tags=True,
        folders=False,
    ),
    "groundtruth": Holds(
        crowd=False,
        difficult=False,
        truncated=False,
        score=False,
        predictions=False,
        attributes=frozenset({"confidence"}),
        tags=True,
    ),
    "labelstudio": Holds(kind=True, tags=True, missing=False, unsized=False),
}

_FLAGS = {
    "crowd": "boxes around a crowd become plain boxes",
    "difficult": "boxes are no longer marked as difficult",
    "truncated": "boxes are no longer marked as truncated",
}
_COLUMNS = {
    "parent": "tiles no longer say which image they were cut from",
    "weight": "images lose how often an epoch should show them",
}
_PREDICTED = pl.col("kind") == "prediction"
_INFERRED = pl.when(pl.col("score").is_null()).then(pl.lit("ground_truth")).otherwise(pl.lit("prediction"))
_HAS_FILE = pl.col("sha256").is_not_null()
_HAS_SIZE = (pl.col("width") > 0) & (pl.col("height") > 0)


def holds_of(format_name: str) -> Holds:
    """What a format holds.

    Raises:
        ConfigError: this is not known, because nothing writes the format.
    """
    if format_name not in HOLDS:
        raise ConfigError(f"The format {format_name!r} cannot be written: choose from {', '.join(sorted(HOLDS))}.")
    return HOLDS[format_name]


def losses(dataset: Dataset, format_name: str) -> list[str]:
    """What of this dataset the format cannot hold, one phrase with a count each; empty when nothing is lost.

    Raises:
        ConfigError: nothing writes the format.
    """
    holds = holds_of(format_name)
    counted = {**_lost_images(dataset, holds), **_lost_annotations(dataset.annotations, holds)}
    found = [f"{count} {phrase}" for phrase, count in counted.items() if count]
    if not holds.class_order and list(dataset.classes) != sorted(dataset.classes):
        found.append(f"the order of the {len(dataset.classes)} classes becomes alphabetical")
    return found


def held(dataset: Dataset, format_name: str) -> Dataset:
    """The dataset that comes back when this one is written and read: without what ``losses`` lists.

    Its version is the version of what is read back, as long as every annotation has a class.

    Raises:
        ConfigError: nothing writes the format.
    """
    holds = holds_of(format_name)
    images = dataset.images
    if not holds.missing:
        images = images.filter(_HAS_FILE)
    if not holds.unsized:
        images = images.filter(_HAS_SIZE)
    nothing = pl.lit(None, dtype=pl.String)
    images = images.with_columns(nothing.alias(name) for name in ("tags", "split") if not getattr(holds, name))
    return replace(
        dataset.subset(images.get_column("image_id")),
        images=images,
        annotations=_held_annotations(dataset.annotations, holds).filter(
            pl.col("image_id").is_in(images.get_column("image_id").implode())
        ),
        classes=dataset.classes if holds.class_order else tuple(sorted(dataset.classes)),
    )


def _lost_images(dataset: Dataset, holds: Holds) -> dict[str, int]:
    images = dataset.images
    counts = {phrase: images.get_column(name).drop_nulls().len() for name, phrase in _COLUMNS.items()}
    if not holds.tags:
        counts["images lose their tags"] = images.get_column("tags").drop_nulls().len()
    if not holds.folders:
        counts["images lose the folder in their name"] = images.filter(pl.col("name").str.contains("/")).height
    if not holds.split:
        counts["images no longer say which split they are in"] = images.get_column("split").drop_nulls().len()
    if not holds.missing:
        counts["images without a file are left out, with their boxes"] = images.filter(~_HAS_FILE).height
    if not holds.unsized:
        counts["images of unknown size are left out, with their boxes"] = images.filter(_HAS_FILE & ~_HAS_SIZE).height
    return counts


def _lost_annotations(annotations: pl.DataFrame, holds: Holds) -> dict[str, int]:
    counts = {
        phrase: int(annotations.get_column(flag).sum()) for flag, phrase in _FLAGS.items() if not getattr(holds, flag)
    }
    counts["boxes have no class and may be left out"] = annotations.get_column("category").null_count()
    if not holds.predictions:
        counts["predictions are left out"] = annotations.filter(_PREDICTED).height
        annotations = annotations.filter(~_PREDICTED)
    if not holds.score:
        counts["boxes lose their score"] = annotations.get_column("score").drop_nulls().len()
    elif not holds.true_score:
        counts["boxes of the ground truth lose their score"] = (
            annotations.filter(~_PREDICTED)["score"].drop_nulls().len()
        )
    if not holds.kind and holds.score:
        changed = annotations.filter(pl.col("kind") != _INFERRED).get_column("score").is_null()
        counts["predictions without a score become ground truth"] = int(changed.sum())
        counts["boxes of the ground truth with a score become predictions"] = int((~changed).sum())
    lost = ((key, count) for key, count in sorted(_attribute_counts(annotations).items()) if not holds.keeps(key))
    return counts | {f"boxes lose their attribute {key!r}": count for key, count in lost}


def _held_annotations(annotations: pl.DataFrame, holds: Holds) -> pl.DataFrame:
    annotations = annotations.with_columns(
        pl.lit(value=False).alias(flag) for flag in _FLAGS if not getattr(holds, flag)
    )
    if not holds.predictions:
        annotations = annotations.filter(~_PREDICTED)
    if not (holds.score and holds.true_score):
        kept_score = pl.when(_PREDICTED & holds.score).then(pl.col("score"))
        annotations = annotations.with_columns(kept_score.alias("score"))
    if not holds.kind:
        annotations = annotations.with_columns(_INFERRED.alias("kind"))
    kept = {text: _only(text, holds) for text in annotations.get_column("attributes").unique().drop_nulls()}
    column = pl.col("attributes").replace_strict(kept, default=None, return_dtype=pl.String)
    return annotations.with_columns(column if kept else pl.col("attributes"))


def _attribute_counts(annotations: pl.DataFrame) -> Counter[str]:
    counts: Counter[str] = Counter()
    for text, count in annotations.get_column("attributes").drop_nulls().value_counts().iter_rows():
        for key in json.loads(text):
            counts[key] += count
    return counts


def _only(text: str, holds: Holds) -> str | None:
    kept = {key: value for key, value in json.loads(text).items() if holds.keeps(key)}
    return json.dumps(kept, sort_keys=True, separators=(",", ":")) if kept else None
