"""Which images must stay together in one split: same content, a chosen key, one parent, or almost the same picture.

A group's place in the split follows from its anchor, the smallest digest of its members (of their keys where they have
one). So a group moves only when it gets a member with a smaller digest, which a folder or a tag never does: its digest
is that of the key. The smallest *position* would not do, it would put nearly every large group into train.
"""

import hashlib
import json
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from components.shared.errors import ConfigError
from components.shared.grouping import check_group_by
from components.shared.near_duplicates import MOST_PAIRS, Indices, Likeness, components, is_telling, link

CHAIN_SHARE = 5  # near-duplicates may add a fifth of all images to a group, more is a chain and no scene
FEWEST = 3  # groups that a split needs


@dataclass(frozen=True)
class GroupSummary:
    """How many groups there are, and how many images the largest one has."""

    count: int
    largest: int


@dataclass(frozen=True)
class Near:
    """What the search for near-duplicates found.

    Attributes:
        images: ``image_id`` and ``node`` of images that have a near-duplicate; images of one hash share a node.
        pairs: ``node``, ``other`` and ``distance`` in bits, each pair of alike hashes once.
    """

    images: pl.DataFrame
    pairs: pl.DataFrame


@dataclass(frozen=True)
class Grouping:
    """The groups of a table of images.

    Attributes:
        images: ``image_id``, ``group`` (a number) and ``anchor``, the group's digest, 64 hex digits.
        near: near-duplicates, those too that were left apart; ``None`` when nobody looked for them.
        flags: sentences about images without a key, and near-duplicates that could not be kept together.
    """

    images: pl.DataFrame
    near: Near | None = None
    flags: tuple[str, ...] = ()

    @property
    def summary(self) -> GroupSummary:
        """Number of groups and the largest one's images."""
        sizes = self.images.get_column("group").value_counts().get_column("count")
        return GroupSummary(sizes.len(), int(sizes.max() or 0))  # type: ignore[arg-type]


def group_keys(images: pl.DataFrame, group_by: str) -> pl.Series:
    """What ``group_by`` keeps each image together by; null where it stands alone.

    ``folder`` is the directory part of the name and ``folder:2`` its first two parts, ``tag:<name>`` the value of a
    tag, ``name:<pattern>`` the first group of the pattern in the name that matches, or the whole match.
    """
    kind, _, text = group_by.partition(":")
    names = images.get_column("name")
    if kind == "folder":
        parts = names.to_frame().select(pl.col("name").str.split("/").list.head(pl.col("name").str.count_matches("/")))
        return parts.get_column("name").list.head(int(text) if text else 1 << 16).list.join("/")
    if kind == "tag":
        tags = images.get_column("tags")
        values = {tag: _tag(tag, text) for tag in tags.drop_nulls().unique()}
        return pl.Series([values.get(tag) for tag in tags], dtype=pl.String)
    if kind == "name":
        found = pl.coalesce(pl.col("name").str.extract(text, place) for place in _capture_groups(text))
        return names.to_frame().select(found).get_column("name")
    return pl.Series([None], dtype=pl.String).new_from_index(0, images.height)


def find_groups(images: pl.DataFrame, *, group_by: str = "", near_duplicates: int = -1) -> Grouping:
    """Group images: by content, by parent of tiles, by ``group_by`` and by near-duplicates.

    Args:
        images: usable images, columns of ``IMAGES``.
        group_by: see ``group_keys``; empty: nothing more.
        near_duplicates: bits in which near-duplicates may differ; -1 looks for none.

    Raises:
        ConfigError: ``group_by`` cannot be used.
    """
    check_group_by(group_by)
    keys = group_keys(images, group_by)
    alone = _alone_flags(images, keys, group_by)
    base = _by_content_and_key(images, keys)
    if near_duplicates < 0 or images.is_empty():
        return Grouping(_with_anchors(images, keys, base), flags=alone)
    hashes = images.get_column("phash").fill_null(0).to_numpy()
    telling = np.flatnonzero(is_telling(hashes))
    distinct, node = np.unique(hashes[telling], return_inverse=True)
    likeness = link(distinct, near_duplicates)
    labels, flags = _with_near(base, telling, node, likeness)
    used = likeness.levels.shape[0] - 1
    if used < near_duplicates:
        lowered = (
            f"There are more than {MOST_PAIRS:,} pairs of images within {near_duplicates} bits, as those of a fixed "
            f"camera are: only what is within {used} bits counts as near-duplicate."
        )
        flags = (lowered, *flags)
    alike = np.bincount(node, minlength=distinct.size) > 1
    alike[likeness.first] = alike[likeness.second] = True
    having = alike[node]
    near = Near(
        images=pl.DataFrame({"image_id": images.get_column("image_id").gather(telling[having]), "node": node[having]}),
        pairs=pl.DataFrame({"node": likeness.first, "other": likeness.second, "distance": likeness.distance}),
    )
    return Grouping(_with_anchors(images, keys, labels), near, (*alone, *flags))


def _alone_flags(images: pl.DataFrame, keys: pl.Series, group_by: str) -> tuple[str, ...]:
    """Tell of images without a key, which stand alone; refuse a ``group_by`` that keeps nothing together."""
    alone = images.filter(keys.is_null()) if group_by else images.clear()
    if alone.is_empty():
        return ()
    shown = repr(alone.item(0, "name"))
    if alone.height == images.height:
        hint = _known_tags(images) if group_by.startswith("tag:") else "look at the pattern and at the names"
        raise ConfigError(
            f"group_by is {group_by!r}, but none of the {images.height} images has it, such as {shown}: {hint}."
        )
    return (f"{alone.height:,} of {images.height:,} images have no {group_by!r}, such as {shown}: each stands alone.",)


def _known_tags(images: pl.DataFrame) -> str:
    read = [_tags(text) for text in images.get_column("tags").drop_nulls().unique()]
    names = sorted({name for tags in read for name in tags})
    return f"their tags are {', '.join(map(repr, names[:10]))}" if names else "they have no tags at all"


def _tag(tags: str, name: str) -> str | None:
    value = _tags(tags).get(name)
    return None if value is None else str(value)


def _tags(tags: str) -> dict[str, object]:
    try:
        found = json.loads(tags)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _capture_groups(pattern: str) -> list[int]:
    """Numbers of the pattern's groups, then 0 for the whole match; polars gives null for a group that is not there."""
    return [*range(1, min(pattern.count("("), 20) + 1), 0]


def _by_content_and_key(images: pl.DataFrame, keys: pl.Series) -> Indices:
    """For each image the first image it belongs together with, near-duplicates aside."""
    table = images.select("sha256", "parent").with_columns(key=keys).with_row_index("row")
    first = pl.col("row").min()
    edges = [
        table.filter(pl.col(column).is_not_null()).select("row", other=first.over(column))
        for column in ("sha256", "parent", "key")
        if table.get_column(column).null_count() < table.height
    ]
    whole = table.filter(pl.col("sha256").is_in(table.get_column("parent").drop_nulls().unique().implode()))
    if whole.height:
        edges.append(table.join(whole, left_on="parent", right_on="sha256").select("row", other="row_right"))
    ends = pl.concat([table.select("row", other="row").clear(), *edges]).select(pl.all().cast(pl.Int64)).to_numpy()
    return components(images.height, ends[:, 0], ends[:, 1])


def _with_near(base: Indices, telling: Indices, node: Indices, likeness: Likeness) -> tuple[Indices, tuple[str, ...]]:
    """Groups with near-duplicates: each at the largest distance at which they chain no large part of all together."""
    images, distance = base.size, likeness.levels.shape[0] - 1
    limit = max(1, images // CHAIN_SHARE)
    labels = base.copy()
    pending = np.ones(images, dtype=bool)
    tightened: dict[int, int] = {}
    for bits in range(distance, -1, -1):
        whole = _joined(base, telling, node, likeness.levels[bits])
        fits = pending & (_added(whole, base) <= limit)[whole]
        labels[fits] = whole[fits]
        pending &= ~fits
        if bits < distance and np.any(fits):
            tightened[bits] = int(fits.sum())
        if not np.any(pending):
            break
    if np.any(pending):
        tightened[-1] = int(pending.sum())
    flags = [_tightened_flag(tightened, distance)] if tightened else []
    if np.unique(labels).size < FEWEST <= np.unique(base).size:
        flags = ["Near-duplicates are not kept together: of so few images too few groups would be left to split."]
        labels = base
    return labels, tuple(flags)


def _joined(base: Indices, telling: Indices, node: Indices, level: npt.NDArray[np.int64]) -> Indices:
    """For each image the first one it is connected to through its group or through hashes of one component."""
    first = np.concatenate([np.arange(base.size), telling])
    second = np.concatenate([base, base.size + level[node]])
    return components(base.size + level.size, first, second)[: base.size]


def _added(whole: Indices, base: Indices) -> Indices:
    """By label: images that near-duplicates bring to the largest group inside."""
    own = np.bincount(base, minlength=base.size)
    largest = np.zeros(base.size, np.int64)
    np.maximum.at(largest, whole, own[base])
    added: Indices = np.bincount(whole, minlength=base.size) - largest
    return added


def _tightened_flag(tightened: dict[int, int], distance: int) -> str:
    parts = [
        f"{count:,} only where their hashes differ in at most {bits} bits" if bits >= 0
        else f"{count:,} not at all, for even equal hashes are too common among them"
        for bits, count in tightened.items()
    ]  # fmt: skip
    return (
        f"Near-duplicates at a distance of {distance} bits would chain more than a fifth of all images together, "
        f"as those of a fixed camera do, so of these images are kept together {', '.join(parts)}: "
        "name what belongs together with group_by."
    )


def _with_anchors(images: pl.DataFrame, keys: pl.Series, labels: Indices) -> pl.DataFrame:
    digests = {key: hashlib.sha256(f"group:{key}".encode()).hexdigest() for key in keys.drop_nulls().unique()}
    table = images.select(
        "image_id",
        pl.Series("group", labels, dtype=pl.UInt32),
        anchor=pl.coalesce(
            keys.replace_strict(digests, default=None, return_dtype=pl.String),
            "parent",
            "sha256",
            pl.format("missing {}", "name"),
        ),
    )
    return table.with_columns(pl.col("anchor").min().over("group"))
