"""How evenly the classes fall into the splits, and the few groups that move so that each class is in all of them.

A place follows from content alone, so that growth moves nothing; true stratification would break that. What is left
is to tell chance from trouble, and to move single groups for classes that a split would not have at all.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import polars as pl

from components.data_prep.divide import Chosen, distance_to, edges_of

SIGMAS = 2  # standard deviations of a share that are put down to chance
OUTSIDE = 0.046  # share of a normal distribution that lies beyond two of them
NAMED = 8  # classes that a flag names
Integers: TypeAlias = npt.NDArray[np.int64]
DEVIATION = pl.Schema(
    {
        "class": pl.String(),
        "split": pl.String(),
        "wanted": pl.Float64(),  # share of the images
        "got": pl.Float64(),  # share of the class's images
        "sigma": pl.Float64(),  # standard deviation that chance alone gives ``got``
        "boxes": pl.UInt32(),
        "images": pl.UInt32(),
    }
)


@dataclass(frozen=True)
class Objects:
    """How many objects of each class each image has; arrays, because a table of names would take ten times as much.

    Attributes:
        names: the classes that occur, sorted.
        image: row of the image, one entry for each class an image has.
        category: place of that class in ``names``.
        boxes: how many objects of it the image has.
    """

    names: tuple[str, ...]
    image: Integers
    category: Integers
    boxes: Integers

    def of(self, images: npt.NDArray[np.bool_]) -> "Objects":
        """Those of some images, whose rows are counted anew."""
        wanted = images[self.image]
        rows = np.cumsum(images) - 1
        return Objects(self.names, rows[self.image[wanted]], self.category[wanted], self.boxes[wanted])


def count_objects(images: pl.Series, truth: pl.DataFrame) -> Objects:
    """Count the objects of images.

    Args:
        images: the image ids, whose order gives the rows.
        truth: ground truth annotations of them, at least ``image_id`` and ``category``.
    """
    names = truth.get_column("category").drop_nulls().unique().sort()
    category = truth.get_column("category").cast(pl.Enum(names)).to_physical().to_numpy().astype(np.int64)
    order = images.arg_sort().to_numpy()
    row = order[np.searchsorted(images.to_numpy()[order], truth.get_column("image_id").to_numpy())]
    pairs, boxes = np.unique(row * max(1, names.len()) + category, return_counts=True)
    return Objects(tuple(names), pairs // max(1, names.len()), pairs % max(1, names.len()), boxes)


def rescue_classes(
    groups: pl.DataFrame, members: Objects, chosen: Chosen, shares: Mapping[str, float], fixed: frozenset[int]
) -> dict[int, str]:
    """Move single groups, in place, so that no split lacks a class that at least as many groups have as are splits.

    The group nearest to the split's interval moves, if it is no larger than the split and no class loses its last
    group in the split it leaves. Rare classes come first.

    Args:
        groups: ``position``, ascending, and ``images``, how many the group has.
        members: what the groups hold, with the row of a group for that of an image.
        chosen: index into ``shares`` for each group.
        shares: of each split.
        fixed: splits whose size was asked for, which no group enters or leaves.

    Returns:
        The class for which each moved group (row of ``groups``) moved.
    """
    pairs, names = np.unique(members.image * len(members.names) + members.category), members.names
    rows, classes = pairs // max(1, len(names)), pairs % max(1, len(names))
    present = np.zeros((len(names), len(shares)), np.int64)
    np.add.at(present, (classes, chosen[rows]), 1)
    total = present.sum(axis=1)
    position, images = groups.get_column("position").to_numpy(), groups.get_column("images").to_numpy()
    room = {split: max(1.0, share * images.sum()) for split, share in enumerate(shares.values())}
    moved: dict[int, str] = {}
    enough = np.flatnonzero((total >= len(shares)) & (present == 0).any(axis=1))
    for name in sorted(enough.tolist(), key=lambda name: (total[name], names[name])):
        for split in np.flatnonzero(present[name] == 0).tolist():
            candidates = rows[classes == name]
            donors = ~np.isin(chosen[candidates], [*fixed])
            candidates = candidates[donors & (images[candidates] <= room[split])]
            near = np.argsort(distance_to(split, position[candidates], edges_of(shares)), kind="stable")
            for row in candidates[near].tolist() if split not in fixed else ():
                own = classes[slice(*np.searchsorted(rows, [row, row + 1]))]
                if np.all(present[own, chosen[row]] > 1):
                    present[own, chosen[row]] -= 1
                    present[own, split] += 1
                    chosen[row] = split
                    moved[row] = names[name]
                    break
    return moved


def class_deviation(objects: Objects, group: Integers, split: Integers, wanted: Mapping[str, float]) -> pl.DataFrame:
    """Share of each class's images in each split beside the share that was wanted.

    Args:
        objects: what the images hold.
        group: number of each image's group.
        split: place in ``wanted`` of each image's split.
        wanted: share of the images that each split should have.

    Returns:
        Columns of ``DEVIATION``, sorted by class and in the order of the splits. ``sigma`` is the binomial one of
        independent groups: sqrt(p (1 - p) sum(n^2)) / sum(n), where a group has n images of the class.
    """
    shape = len(objects.names), len(wanted)
    cell = objects.category * len(wanted) + split[objects.image]
    images = np.bincount(cell, minlength=shape[0] * shape[1]).reshape(shape)
    boxes = np.bincount(cell, weights=objects.boxes, minlength=shape[0] * shape[1]).reshape(shape)
    groups = int(group.max(initial=0)) + 1
    pairs, sizes = np.unique(objects.category * groups + group[objects.image], return_counts=True)
    squares = np.bincount(pairs // groups, weights=sizes.astype(np.float64) ** 2, minlength=shape[0])
    share, total = np.array([*wanted.values()]), images.sum(axis=1, keepdims=True)
    columns = {
        "class": np.repeat(np.array(objects.names, dtype=object), shape[1]).tolist(),
        "split": [*wanted] * shape[0],
        "wanted": np.tile(share, shape[0]),
        "got": (images / total).ravel(),
        "sigma": (np.sqrt(share * (1 - share) * squares[:, None]) / total).ravel(),
        "boxes": boxes.ravel().astype(np.int64),
        "images": images.ravel(),
    }
    return pl.DataFrame(columns, schema_overrides={"class": pl.String, "split": pl.String}).cast(DEVIATION)


def deviation_flag(deviation: pl.DataFrame) -> str:
    """One sentence about the classes that deviate by more than chance explains; empty when none does."""
    off = (pl.col("got") - pl.col("wanted")).abs() / pl.col("sigma")
    far = deviation.with_columns(off=off).filter(pl.col("off") > SIGMAS).sort("off", descending=True)
    if far.is_empty():
        return ""
    named = [
        f"{name} ({got:.1%} of its images in {split}, wanted {wanted:.1%})"
        for name, split, got, wanted in far.select("class", "split", "got", "wanted").head(NAMED).iter_rows()
    ]
    more = f" and {far.height - NAMED} more" if far.height > NAMED else ""
    chance = max(1, round(deviation.height * OUTSIDE))
    return (
        f"Classes further from the wanted shares than {SIGMAS} standard deviations of chance: "
        f"{', '.join(named)}{more}; of {deviation.height} shares about {chance} would be by chance alone."
    )
