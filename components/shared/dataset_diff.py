"""What changed between two datasets: images, boxes, classes, and how far their distributions are apart."""

from dataclasses import dataclass

import polars as pl

from components.shared.dataset import Dataset
from components.shared.dataset_boxes import BoxChanges, compare_boxes
from components.shared.dataset_shift import Shift, shifts

_FACTS = ("width", "height", "split", "tags")  # what belongs to an image's part of the version beside its bytes


@dataclass(frozen=True)
class ClassChange:
    """A class's boxes and images with such boxes, before and after; ground truth alone."""

    name: str
    boxes_before: int
    boxes_after: int
    images_before: int
    images_after: int


@dataclass(frozen=True)
class DatasetDiff:
    """What leads from one dataset to another.

    Attributes:
        added: names of images whose name and content are new, sorted.
        removed: names of images whose name and content are gone, sorted.
        changed: names of images that have other bytes now.
        renamed: names before and after of images whose bytes have another name now.
        relabelled: names of images of equal name and bytes whose split, tags or size differ.
        unchanged: number of images that kept name, bytes, split and tags; their boxes may differ.
        boxes: what happened to boxes.
        classes_added: in the order of the new dataset.
        classes_removed: in the order of the old dataset.
        classes_moved: whether classes that both have stand in another order, so that their ids differ.
        classes: counts a class.
        shifts: how far the distributions are apart.
    """

    added: tuple[str, ...]
    removed: tuple[str, ...]
    changed: tuple[str, ...]
    renamed: tuple[tuple[str, str], ...]
    relabelled: tuple[str, ...]
    unchanged: int
    boxes: BoxChanges
    classes_added: tuple[str, ...]
    classes_removed: tuple[str, ...]
    classes_moved: bool
    classes: tuple[ClassChange, ...]
    shifts: tuple[Shift, ...]


def compare(before: Dataset, after: Dataset) -> DatasetDiff:
    """What leads from ``before`` to ``after``.

    Images are paired by name, those without a partner then by their bytes. Boxes are compared within a pair; those of
    an image without a partner count as added or removed.
    """
    pairs = _pairs(before.images, after.images)
    named = pairs.filter(pl.col("name") == pl.col("name_after"))
    same_bytes = pl.col("sha256").eq_missing(pl.col("sha256_after"))
    facts = pl.all_horizontal(pl.col(fact).eq_missing(pl.col(f"{fact}_after")) for fact in _FACTS)
    kept = [name for name in before.classes if name in set(after.classes)]
    return DatasetDiff(
        added=_names(after.images, pairs, "image_id_after"),
        removed=_names(before.images, pairs, "image_id"),
        changed=tuple(named.filter(~same_bytes).get_column("name").sort()),
        renamed=tuple(
            pairs.filter(pl.col("name") != pl.col("name_after")).select("name", "name_after").sort("name").iter_rows()
        ),
        relabelled=tuple(named.filter(same_bytes & ~facts).get_column("name").sort()),
        unchanged=named.filter(same_bytes & facts).height,
        boxes=compare_boxes(before.annotations, after.annotations, pairs),
        classes_added=tuple(name for name in after.classes if name not in set(before.classes)),
        classes_removed=tuple(name for name in before.classes if name not in set(after.classes)),
        classes_moved=kept != [name for name in after.classes if name in set(before.classes)],
        classes=_class_changes(before, after),
        shifts=shifts(before, after),
    )


def _pairs(before: pl.DataFrame, after: pl.DataFrame) -> pl.DataFrame:
    """Rows of images that belong together, the later one's columns with the suffix ``_after``."""
    columns = ["image_id", "name", "sha256", *_FACTS]
    old, new = before.select(columns), after.select(columns)
    renamed = new.rename({column: f"{column}_after" for column in columns})
    by_name = _numbered(old, "name").join(
        _numbered(renamed, "name_after"), left_on=["name", "nth"], right_on=["name_after", "nth"], coalesce=False
    )
    rest_old = old.join(by_name, on="image_id", how="anti").filter(pl.col("sha256").is_not_null())
    rest_new = renamed.join(by_name, on="image_id_after", how="anti").filter(pl.col("sha256_after").is_not_null())
    by_bytes = _numbered(rest_old.sort("name"), "sha256").join(
        _numbered(rest_new.sort("name_after"), "sha256_after"),
        left_on=["sha256", "nth"],
        right_on=["sha256_after", "nth"],
        coalesce=False,
    )
    wanted = [*columns, *renamed.columns]
    return pl.concat([by_name.select(wanted), by_bytes.select(wanted)])


def _numbered(images: pl.DataFrame, key: str) -> pl.DataFrame:
    """Equal keys counted through (``nth``), so that each is paired once."""
    return images.with_columns(nth=pl.int_range(pl.len()).over(key))


def _names(images: pl.DataFrame, pairs: pl.DataFrame, paired: str) -> tuple[str, ...]:
    alone = images.join(pairs.select(pl.col(paired).alias("image_id")), on="image_id", how="anti")
    return tuple(alone.get_column("name").sort())


def _class_changes(before: Dataset, after: Dataset) -> tuple[ClassChange, ...]:
    counts = []
    for dataset, suffix in ((before, "before"), (after, "after")):
        named = dataset.ground_truth().filter(pl.col("category").is_not_null())
        boxes, images = pl.len().alias(f"boxes_{suffix}"), pl.col("image_id").n_unique().alias(f"images_{suffix}")
        counts.append(named.group_by("category").agg(boxes, images))
    names = list(dict.fromkeys((*before.classes, *after.classes)))
    table = pl.DataFrame({"category": names}, schema={"category": pl.String})
    for count in counts:
        table = table.join(count, on="category", how="left", maintain_order="left")
    columns = ("category", "boxes_before", "boxes_after", "images_before", "images_after")
    return tuple(ClassChange(*row) for row in table.select(columns).fill_null(0).iter_rows())
