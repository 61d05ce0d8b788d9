"""Which boxes of paired images were added, removed or changed."""

from dataclasses import dataclass

import polars as pl

MOVED = 0.5  # least overlap (intersection over union) of a box with its former self
CHUNK = 2_000_000  # pairs of boxes looked at together, so that memory does not grow with the data

_BOX = ["x", "y", "width", "height"]
_FLAGS = ["crowd", "difficult", "truncated"]
_REST = ["category", "score", "kind", "attributes"]
_DIGITS = 4  # places of a pixel that count for a version


@dataclass(frozen=True)
class BoxChanges:
    """What happened to boxes between two datasets.

    Attributes:
        added: boxes that are new, those of added images too.
        removed: boxes that are gone, those of removed images too.
        changed: boxes that have another place, size, class or attribute; the three below say which of them.
        moved: changed ones whose place or size differs.
        reclassified: changed ones whose class differs.
        unchanged: boxes equal in everything.
        images: number of paired images whose boxes differ.
    """

    added: int
    removed: int
    changed: int
    moved: int
    reclassified: int
    unchanged: int
    images: int


def compare_boxes(before: pl.DataFrame, after: pl.DataFrame, pairs: pl.DataFrame) -> BoxChanges:
    """Compare annotations of images that belong together (``image_id`` and ``image_id_after`` of ``pairs``).

    Boxes equal in everything are paired first, then those of equal place, then each with the one it overlaps most, if
    that is mutual and at least ``MOVED``.
    """
    numbers = pairs.select("image_id", "image_id_after").with_row_index("pair")
    old = _table(before, numbers, "image_id")
    new = _table(after, numbers, "image_id_after")
    alone = before.height - old.height, after.height - new.height
    same = _matched(old, new, ["pair", *_BOX, *_FLAGS, *_REST])
    rest_old, rest_new = _without(old, same, "id"), _without(new, same, "id_after")
    placed = _matched(rest_old, rest_new, ["pair", *_BOX])
    rest_old, rest_new = _without(rest_old, placed, "id"), _without(rest_new, placed, "id_after")
    moved = _overlapping(rest_old, rest_new)
    rest_old, rest_new = _without(rest_old, moved, "id"), _without(rest_new, moved, "id_after")
    changed = pl.concat([placed, moved])
    other_class = ~pl.col("category").eq_missing(pl.col("category_after"))
    touched = pl.concat([frame.get_column("pair") for frame in (changed, rest_old, rest_new)])
    return BoxChanges(
        added=alone[1] + rest_new.height,
        removed=alone[0] + rest_old.height,
        changed=changed.height,
        moved=moved.height,
        reclassified=changed.filter(other_class).height,
        unchanged=same.height,
        images=touched.n_unique(),
    )


def _table(annotations: pl.DataFrame, numbers: pl.DataFrame, key: str) -> pl.DataFrame:
    keyed = numbers.select("pair", pl.col(key).alias("image_id"))
    # + 0.0 turns -0.0 into 0.0
    rounded = [(pl.col(name).round(_DIGITS) + 0.0).alias(name) for name in (*_BOX, "score")]
    flags = [pl.col(name).fill_null(value=False) for name in _FLAGS]
    joined = annotations.join(keyed, on="image_id").with_row_index("id")
    return joined.with_columns(*rounded, *flags).select("id", "pair", *_BOX, *_FLAGS, *_REST)


def _matched(old: pl.DataFrame, new: pl.DataFrame, keys: list[str]) -> pl.DataFrame:
    """Boxes with equal keys, each once; ``id`` and ``category`` of both, the later with the suffix ``_after``."""
    numbered = [
        # One hash of 64 bits for a dozen columns: a collision in 10 million boxes is a matter of one in 10^5.
        boxes.select("id", "pair", "category", key=boxes.select(keys).hash_rows()).with_columns(
            nth=pl.int_range(pl.len()).over("key")
        )
        for boxes in (old, new)
    ]
    joined = numbered[0].join(numbered[1], on=["key", "nth"], suffix="_after")
    return joined.select("id", "id_after", "pair", "category", "category_after")


def _without(boxes: pl.DataFrame, matched: pl.DataFrame, column: str) -> pl.DataFrame:
    return boxes.join(matched.select(pl.col(column).alias("id")), on="id", how="anti")


def _overlapping(old: pl.DataFrame, new: pl.DataFrame) -> pl.DataFrame:
    """Boxes of one image that overlap each other most of all, and by ``MOVED`` at least."""
    counts = old.group_by("pair").len("before").join(new.group_by("pair").len("after"), on="pair").sort("pair")
    products = pl.col("before").cast(pl.UInt64) * pl.col("after")
    chunks = counts.select("pair", chunk=products.cum_sum() // CHUNK)
    found = [
        _mutual(old.join(chunk, on="pair", how="semi"), new.join(chunk, on="pair", how="semi"))
        for chunk in chunks.partition_by("chunk")
    ]
    return pl.concat([_matched(old.clear(), new.clear(), ["pair"]), *found])


def _mutual(old: pl.DataFrame, new: pl.DataFrame) -> pl.DataFrame:
    columns = ["id", "category", *_BOX]
    overlaps = old.join(new.select("pair", *columns), on="pair", suffix="_after").with_columns(iou=_iou())
    close = overlaps.filter(pl.col("iou") >= MOVED).sort("iou", "id", "id_after", descending=[True, False, False])
    best = close.filter(pl.col("id_after").is_first_distinct() & pl.col("id").is_first_distinct())
    return best.select("id", "id_after", "pair", "category", "category_after")


def _iou() -> pl.Expr:
    def shared(start: str, length: str) -> pl.Expr:
        begin = pl.max_horizontal(start, f"{start}_after")
        ends = (pl.col(name) + pl.col(size) for name, size in ((start, length), (f"{start}_after", f"{length}_after")))
        return (pl.min_horizontal(*ends) - begin).clip(lower_bound=0)

    both = shared("x", "width") * shared("y", "height")
    areas = pl.col("width") * pl.col("height") + pl.col("width_after") * pl.col("height_after")
    return both / (areas - both)
