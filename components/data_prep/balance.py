"""Balance of the classes in train: leave out images of classes that have too much, show those of rare ones more often.

``repeat_factors`` is that of LVIS (Gupta et al. 2019, section 4.1): a class on the share f of the images is repeated
max(1, sqrt(t / f)) times, an image as often as the class on it that needs it most.
"""

import hashlib
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import polars as pl

from components.data_prep import rows
from components.shared.dataset import IMAGES, Dataset
from components.shared.ledger import Action, Rule

_NAMED = 5  # classes a flag names
_NOISE = 1e-9  # of a share, float noise
Counts = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Balance:
    """What was left out of train so that no class has too much of it.

    Attributes:
        train: what stays.
        ledger: a row for each image left out.
        shares: a row a class with boxes: ``class``, ``boxes_before``, ``share_before``, ``boxes_after`` and
            ``share_after`` (of all ground truth boxes of train).
        flag: a sentence when the cap could not be reached, else empty.
    """

    train: Dataset
    ledger: pl.DataFrame
    shares: pl.DataFrame
    flag: str = ""


def cap_classes(train: Dataset, cap: float, seed: int) -> Balance:
    """Leave out images, all of whose boxes are of classes with more than their share, until no class has more.

    Images without boxes stay, and so does the last image of each class. Which images go is decided by a hash of the
    seed and their content, so most of them are the same when the data grows.

    Args:
        train: the training split; crowd regions count as boxes.
        cap: the largest share of the ground truth boxes a class may have.
        seed: other seed, other images.
    """
    truth = _truth(train)
    before = truth.group_by("category").agg(boxes=pl.len()).sort("category")
    if cap >= 1 or before.is_empty():
        return Balance(train, rows.empty(), _shares(before, before))
    # No cap below 1 / classes can be reached, and trying would empty the split.
    reachable = max(cap, 1 / before.height)
    places = before.select("category").with_row_index("place")
    gone = _images_over(_holdings(train, truth, places, seed), before, reachable)
    after = truth.join(gone, on="image_id", how="anti").group_by("category").agg(boxes=pl.len())
    shares = _shares(before, after)
    left_out = train.images.join(gone, on="image_id", how="semi", maintain_order="left")
    return Balance(
        train=_without(train, gone),
        ledger=_ledger(left_out, train, truth, shares, cap),
        shares=shares,
        flag=_flag(shares, cap),
    )


def repeat_factors(train: Dataset, below: float) -> tuple[Dataset, pl.DataFrame]:
    """Give images of rare classes a ``weight`` above 1: how often an epoch should show them.

    Args:
        train: the training split.
        below: t, the share of the images from which on a class is not rare.

    Returns:
        The split with weights, null where an image is to be shown once, and a row a class with boxes: ``class``,
        ``factor``, ``share_before`` and ``share_after``, the share of the images shown in an epoch that it is on.
    """
    on = _truth(train).unique()
    images = train.images.height
    factor = (below / (pl.len() / images)).sqrt().clip(lower_bound=1.0)
    classes = on.group_by("category").agg(factor=factor, share_before=pl.len() / images).sort("category")
    weights = on.join(classes, on="category").group_by("image_id").agg(weight=pl.col("factor").max())
    weights = weights.filter(pl.col("weight") > 1).with_columns(pl.col("weight").cast(IMAGES["weight"]))
    weighted = train.images.drop("weight").join(weights, on="image_id", how="left", maintain_order="left")
    shown = weighted.select("image_id", weight=pl.col("weight").fill_null(1.0).cast(pl.Float64))
    total = float(shown.get_column("weight").sum()) or 1.0
    after = on.join(shown, on="image_id").group_by("category").agg(share_after=pl.col("weight").sum() / total)
    table = classes.join(after, on="category", how="left", maintain_order="left").rename({"category": "class"})
    return replace(train, images=weighted.select(IMAGES.keys())), table


@dataclass(frozen=True)
class _Holdings:
    """What the images with boxes hold, in the order in which they go; one flat array, or memory would be all objects.

    Attributes:
        image_ids: of each image.
        starts: where its classes begin in the flat arrays, and one more for the end.
        classes: places of classes.
        counts: boxes of that class on that image.
    """

    image_ids: pl.Series
    starts: Counts
    classes: Counts
    counts: Counts

    def of(self, row: int) -> tuple[Counts, Counts]:
        """Classes and boxes of an image."""
        here = slice(self.starts[row], self.starts[row + 1])
        return self.classes[here], self.counts[here]

    def only(self, over: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
        """Which images hold only these classes."""
        return np.logical_and.reduceat(over[self.classes], self.starts[:-1])


def _holdings(train: Dataset, truth: pl.DataFrame, places: pl.DataFrame, seed: int) -> _Holdings:
    counts = truth.group_by("image_id", "category").agg(boxes=pl.len().cast(pl.Int64)).join(places, on="category")
    names = train.images.select("image_id", "name", "sha256", "tile_x", "tile_y").join(
        counts.select("image_id").unique(), on="image_id", how="semi"
    )
    keys = [
        hashlib.sha256(f"balance:{seed}:{digest}:{x}:{y}".encode()).digest()
        for digest, x, y in names.select("sha256", "tile_x", "tile_y").iter_rows()
    ]
    order = (
        names.select("image_id", "name", key=pl.Series(keys, dtype=pl.Binary)).sort("key", "name").select("image_id")
    )
    flat = counts.join(order.with_row_index("row"), on="image_id").sort("row", "place")
    starts = np.searchsorted(flat.get_column("row").to_numpy(), np.arange(order.height + 1))
    arrays = (flat.get_column(column).cast(pl.Int64).to_numpy() for column in ("place", "boxes"))
    return _Holdings(order.get_column("image_id"), starts.astype(np.int64), *arrays)


def _images_over(holdings: _Holdings, before: pl.DataFrame, cap: float) -> pl.DataFrame:
    """The images to leave out, as ``image_id``."""
    boxes = before.get_column("boxes").cast(pl.Int64).to_numpy().copy()
    images = np.bincount(holdings.classes, minlength=boxes.size)
    staying = np.ones(len(holdings.image_ids), dtype=bool)
    while True:
        over = boxes > cap * boxes.sum()
        candidates = np.flatnonzero(holdings.only(over) & staying)
        removed = _take(candidates, holdings, boxes, images, cap)
        if not removed:
            return holdings.image_ids.filter(pl.Series(~staying)).to_frame()
        staying[removed] = False


def _take(candidates: Counts, holdings: _Holdings, boxes: Counts, images: Counts, cap: float) -> list[int]:
    """Take candidates out, in their order, as long as each of their classes has too much; changes the counts.

    One that would take out so much that another class has too much instead stays.
    """
    removed = []
    excess = _excess(boxes, cap)
    for row in candidates.tolist():
        classes, counts = holdings.of(row)
        if not (boxes[classes] > cap * boxes.sum()).all() or (images[classes] == 1).any():
            continue
        boxes[classes] -= counts
        remaining = _excess(boxes, cap)
        if remaining < excess:
            images[classes] -= 1
            removed.append(row)
            excess = remaining
        else:
            boxes[classes] += counts
    return removed


def _excess(boxes: Counts, cap: float) -> float:
    """By how much all classes together are above the cap."""
    return float(np.maximum(boxes / boxes.sum() - cap, 0).sum())


def _truth(train: Dataset) -> pl.DataFrame:
    """Image and category of each ground truth box."""
    kinds = train.annotations.select("image_id", "category", "kind")
    return kinds.filter(pl.col("kind") == "ground_truth").drop("kind")


def _shares(before: pl.DataFrame, after: pl.DataFrame) -> pl.DataFrame:
    joined = before.join(after, on="category", how="left", maintain_order="left", suffix="_after")
    counted = joined.select(
        pl.col("category").alias("class"),
        boxes_before=pl.col("boxes").cast(pl.Int64),
        boxes_after=pl.col("boxes_after").fill_null(0).cast(pl.Int64),
    )
    shares = {f"share_{when}": pl.col(f"boxes_{when}") / pl.col(f"boxes_{when}").sum() for when in ("before", "after")}
    return counted.with_columns(**shares).select("class", "boxes_before", "share_before", "boxes_after", "share_after")


def _without(train: Dataset, gone: pl.DataFrame) -> Dataset:
    if gone.is_empty():
        return train
    return train.subset(
        train.images.join(gone, on="image_id", how="anti", maintain_order="left").get_column("image_id")
    )


def _ledger(
    left_out: pl.DataFrame, train: Dataset, truth: pl.DataFrame, shares: pl.DataFrame, cap: float
) -> pl.DataFrame:
    largest = shares.select(category="class", share=pl.col("share_before"))
    told = (
        truth.join(left_out.select("image_id"), on="image_id", how="semi")
        .unique()
        .join(largest, on="category")
        .sort("share", "category", descending=[True, False])
        .group_by("image_id", maintain_order=True)
        .first()
    )
    facts = rows.with_lost(left_out, train.annotations).join(told, on="image_id", how="left", maintain_order="left")
    detail = pl.format(
        "all of its boxes are of classes with more than max_class_share {}, such as {} with {} % of the boxes",
        pl.lit(cap),
        "category",
        (pl.col("share") * 100).round(1),
    )
    return rows.image_rows(facts, Rule.BALANCE, Action.LEFT_OUT, before=pl.struct(annotations="lost"), detail=detail)


def _flag(shares: pl.DataFrame, cap: float) -> str:
    over = shares.filter(pl.col("share_after") > cap + _NOISE).sort("share_after", "class", descending=[True, False])
    if over.is_empty():
        return ""
    named = [f"{name} ({share:.1%})" for name, share in over.select("class", "share_after").head(_NAMED).iter_rows()]
    more = f" and {over.height - _NAMED} more" if over.height > _NAMED else ""
    return (
        f"max_class_share {cap:g} could not be reached, only as near as leaving out images goes: "
        f"{', '.join(named)}{more} of the training boxes. Bring more images of the other classes."
    )
