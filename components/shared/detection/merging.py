"""Boxes that several overlapping views of one image gave, merged so that an object is found once."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from components.shared.detection.frameworks import Rows
from components.shared.detection.inference import Merge

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.intp]
Flags = npt.NDArray[np.bool_]

SAME = 0.5  # boxes of two views that overlap by more are one object: small boxes differ by a pixel or two
CONTAINED = 0.5  # share of a cut box inside another from which it is a part of that one's object
CUT_RANK = 0.5  # a cut box gives way to a whole one with half its score
_NEAR = 0.005  # share of a view's longer edge; a box that ends so close to a cut was cut
_CHUNK = 512  # boxes compared with each other at once
_PAIRS = 1_000_000  # pairs of boxes looked at at once


@dataclass(frozen=True)
class Views:
    """What saw the boxes.

    Attributes:
        places: ``(V, 4)`` left, top, right, bottom of each view in the image's pixels: tiles of one size in a grid.
        sources: ``(N,)`` the view each box is from.
        whole: whether the last view is the whole image, scaled down.
    """

    places: Floats
    sources: Indices
    whole: bool = False


@dataclass(frozen=True)
class _Found:
    """Boxes, the views they are from (a number of its own for a box put together) and which edges were cut."""

    boxes: Floats
    scores: Floats
    labels: Indices
    sources: Indices
    cut: Flags

    def pick(self, chosen: Indices | Flags) -> "_Found":
        boxes, scores, labels = self.boxes[chosen], self.scores[chosen], self.labels[chosen]
        return _Found(boxes, scores, labels, self.sources[chosen], self.cut[chosen])

    @property
    def parts(self) -> Flags:
        """Which boxes were cut at any edge."""
        return np.asarray(self.cut.any(axis=1), dtype=bool)


def merge_views(rows: Rows, views: Views, *, iou: float, merge: Merge) -> Rows:
    """One box an object: float64 ``(N, 6)`` left, top, right, bottom, score, label, best score first.

    Boxes of one view are not compared with each other: the model's own suppression did that. Of a class, boxes of
    different views are one object when they overlap (IoU) by more than ``iou`` or ``SAME``, whichever is less. A box
    that ends where its view was cut shows a part of an object, and IoU says little about parts: it also goes where
    more than ``CONTAINED`` of its own area lies in a better box. Two parts that both fill the strip their views share
    are put together first, so that an object longer than the strip is found at its full length.

    Args:
        rows: boxes in the image's pixels, scores and labels, in any order; the result does not depend on it.
        views: which view each is from.
        iou: see above.
        merge: ``nms`` keeps the best box of an object. ``wbf`` averages its boxes, weighted by their scores, edge by
            edge and without edges that were cut, as in Solovyev et al., Weighted boxes fusion (2021), but around the
            best box in place of the running mean, so that it needs no loop. The score is the mean, lowered where of
            the tiles that show the object whole some did not find it; what one tile alone can see keeps its score.
    """
    found = _joined(_read(rows, views), views)
    order = _ranked(found)
    found = found.pick(order)
    kept = _kept(found, min(iou, SAME))
    merged = _fused(found, kept, views, min(iou, SAME)) if merge == "wbf" else found.pick(kept)
    best = np.lexsort((*merged.boxes.T[::-1], merged.labels, -merged.scores))
    columns = [merged.boxes, merged.scores[:, None], merged.labels[:, None]]
    return np.concatenate(columns, axis=1, dtype=np.float64)[best]


def _read(rows: Rows, views: Views) -> _Found:
    """The rows, with what was cut: an edge at its view's border that is not the image's border."""
    places = views.places[views.sources]
    inner = places != np.concatenate([views.places[:, :2].min(axis=0), views.places[:, 2:].max(axis=0)])
    cut = inner & (np.abs(rows[:, :4] - places) <= _near(views))
    return _Found(rows[:, :4], rows[:, 4], rows[:, 5].astype(np.intp), views.sources.astype(np.intp), cut)


def _near(views: Views) -> float:
    return max(1.0, _NEAR * float((views.places[0, 2:] - views.places[0, :2]).max()))


def _ranked(found: _Found) -> Indices:
    rank = found.scores * np.where(found.parts, CUT_RANK, 1.0)
    return np.lexsort((*found.boxes.T[::-1], found.sources, found.labels, -rank))


def _kept(found: _Found, iou: float) -> Indices:
    """Indices of the boxes that stay, of boxes in order of their rank."""
    kept = np.empty(0, dtype=np.intp)
    for start in range(0, len(found.scores), _CHUNK):
        chunk = np.arange(start, min(start + _CHUNK, len(found.scores)))
        alive = np.ones(len(chunk), dtype=bool)
        for better, worse in _touching(found, kept, chunk):
            alive[worse[_same(found, better, worse, iou)] - start] = False
        chunk = chunk[alive]
        above = np.triu(_same(found, chunk[:, None], chunk[None, :], iou), 1)
        alive = np.ones(len(chunk), dtype=bool)
        for index in np.flatnonzero(above.any(axis=1)):
            if alive[index]:
                alive &= ~above[index]
        kept = np.concatenate([kept, chunk[alive]])
    return kept


def _same(found: _Found, better: Indices, worse: Indices, iou: float) -> Flags:
    """Whether the worse of two boxes shows the object of the better one."""
    shared, area, other = _areas(found.boxes[better], found.boxes[worse])
    overlapping = shared > iou * (area + other - shared)
    part = found.parts[worse] & (shared > CONTAINED * other)
    comparable = (found.labels[better] == found.labels[worse]) & (found.sources[better] != found.sources[worse])
    return np.asarray(comparable & (overlapping | part), dtype=bool)


def _areas(ones: Floats, others: Floats) -> tuple[Floats, Floats, Floats]:
    """What two boxes share, and the area of each."""
    corner = np.minimum(ones[..., 2:], others[..., 2:]) - np.maximum(ones[..., :2], others[..., :2])
    shared = np.maximum(corner, 0.0).prod(axis=-1)
    return shared, (ones[..., 2:] - ones[..., :2]).prod(axis=-1), (others[..., 2:] - others[..., :2]).prod(axis=-1)


def _touching(found: _Found, ones: Indices, others: Indices, margin: float = 0.0) -> Iterator[tuple[Indices, Indices]]:
    """Pairs of one class whose boxes (``margin`` wider) overlap, in blocks: along the sorted left edges, not all."""
    if not len(ones) or not len(others):
        return
    boxes = found.boxes + [-margin, -margin, margin, margin]
    shift = found.labels * (boxes[:, 2].max() - boxes[:, 0].min() + 1)  # classes side by side never overlap
    left, right = boxes[:, 0] + shift, boxes[:, 2] + shift
    ones, others = ones[np.argsort(left[ones], kind="stable")], others[np.argsort(left[others], kind="stable")]
    for first, second, side, swapped in ((ones, others, "left", False), (others, ones, "right", True)):
        low = np.searchsorted(left[second], left[first], side="right" if side == "right" else "left")
        high = np.searchsorted(left[second], right[first], side="left")
        for owner, member in _ranges(low, high):
            a, b = first[owner], second[member]
            beside = (boxes[a, 1] < boxes[b, 3]) & (boxes[b, 1] < boxes[a, 3])
            yield (b[beside], a[beside]) if swapped else (a[beside], b[beside])


def _ranges(low: Indices, high: Indices) -> Iterator[tuple[Indices, Indices]]:
    """For each row the numbers from ``low`` up to ``high``: row and number of about ``_PAIRS`` of them at once."""
    counts = np.maximum(high - low, 0)
    blocks = np.cumsum(counts) // _PAIRS
    for block in np.unique(blocks[counts > 0]):
        rows = np.flatnonzero((blocks == block) & (counts > 0))
        sizes = counts[rows]
        starts = np.cumsum(sizes) - sizes
        yield np.repeat(rows, sizes), np.arange(sizes.sum()) - np.repeat(starts - low[rows], sizes)


def _joined(found: _Found, views: Views) -> _Found:
    """Parts of one object in neighbouring views replaced by the whole; its score is the best of theirs."""
    parts = np.flatnonzero(found.parts)
    group = np.arange(len(found.scores))
    near = _near(views)
    links = [_links(found, views, near, *pair) for pair in _touching(found, parts, parts, near)]
    if not links:
        return found
    a, b = np.concatenate(links, axis=1)
    while True:
        least = group.copy()
        np.minimum.at(least, a, group[b])
        np.minimum.at(least, b, group[a])
        least = least[least]
        if np.array_equal(least, group):
            break
        group = least
    groups, place, sizes = np.unique(group, return_inverse=True, return_counts=True)
    return _put_together(found, groups, place, sizes)


def _links(found: _Found, views: Views, near: float, a: Indices, b: Indices) -> npt.NDArray[np.intp]:
    """Pairs of which the first was cut at its right or bottom and goes on in the second: ``(2, N)``."""
    linked = np.zeros(len(a), dtype=bool)
    if not len(a):
        return np.stack([a, b])
    one, other = found.boxes[a], found.boxes[b]
    view, next_view = views.places[found.sources[a]], views.places[found.sources[b]]
    for axis, across in ((0, 1), (1, 0)):
        facing = found.cut[a, axis + 2] & found.cut[b, axis] & (view[:, axis] < next_view[:, axis])
        filling = (one[:, axis] <= next_view[:, axis] + near) & (other[:, axis + 2] >= view[:, axis + 2] - near)
        shared = np.minimum(one[:, across + 2], other[:, across + 2]) - np.maximum(one[:, across], other[:, across])
        hull = np.maximum(one[:, across + 2], other[:, across + 2]) - np.minimum(one[:, across], other[:, across])
        linked |= facing & filling & (shared > SAME * hull)
    return np.stack([a[linked], b[linked]])


def _put_together(found: _Found, groups: Indices, place: Indices, sizes: Indices) -> _Found:
    """One box a group: its hull, the best score, and only those edges cut that are so in the part at that side."""
    boxes, scores, cut = found.boxes[groups], found.scores[groups], found.cut[groups]
    np.minimum.at(boxes, place, np.where([True, True, False, False], found.boxes, np.inf))
    np.maximum.at(boxes[:, 2:], place, found.boxes[:, 2:])
    np.maximum.at(scores, place, found.scores)
    outermost = found.boxes == boxes[place]
    cut = np.ones_like(cut)
    np.logical_and.at(cut, place, found.cut | ~outermost)
    several = sizes > 1
    own = -1 - np.arange(len(groups))
    joined = found.pick(groups)
    return replace(joined, boxes=boxes, scores=scores, cut=cut, sources=np.where(several, own, joined.sources))


def _fused(found: _Found, kept: Indices, views: Views, iou: float) -> _Found:
    """Each kept box averaged with those it stands for."""
    head = _heads(found, kept, iou)
    sizes = np.bincount(head, minlength=len(kept))
    edges = found.boxes[kept].copy()
    for side in range(4):
        weights = found.scores * ~found.cut[:, side]
        total = np.bincount(head, weights, len(kept))
        mean = np.bincount(head, weights * found.boxes[:, side], len(kept))
        edges[:, side] = np.divide(mean, total, out=edges[:, side], where=total > 0)
    whole = np.asarray(~found.parts | found.pick(kept).parts[head], dtype=bool)
    counted = np.bincount(head, whole, len(kept))
    scores = np.bincount(head, found.scores * whole, len(kept)) / np.maximum(counted, 1)
    pairs = np.unique(np.stack([head, found.sources])[:, whole], axis=1)
    agreeing = np.bincount(pairs[0], minlength=len(kept))
    seen = np.maximum(_tiles_around(edges, views), 1)
    scores = np.where(sizes > 0, scores * np.minimum(agreeing, seen) / seen, found.scores[kept])
    return replace(found.pick(kept), boxes=edges, scores=scores)


def _heads(found: _Found, kept: Indices, iou: float) -> Indices:
    """For each box the place in ``kept`` of the kept box that it is one object with and overlaps most."""
    rest = np.setdiff1d(np.arange(len(found.scores)), kept, assume_unique=True)
    head, best = np.zeros(len(found.scores), dtype=np.intp), np.zeros(len(found.scores))
    head[kept] = np.arange(len(kept))
    place = head.copy()
    for pair in _touching(found, kept, rest):
        chosen = _same(found, *pair, iou) & (pair[0] < pair[1])
        better, worse = (each[chosen] for each in pair)
        shared, area, other = _areas(found.boxes[better], found.boxes[worse])
        overlap = shared / (area + other - shared)
        order = np.lexsort((place[better], -overlap))
        boxes, first = np.unique(worse[order], return_index=True)
        heads, overlap = place[better][order][first], overlap[order][first]
        closer = (overlap > best[boxes]) | ((overlap == best[boxes]) & (heads < head[boxes]))
        head[boxes[closer]], best[boxes[closer]] = heads[closer], overlap[closer]
    return head


def _tiles_around(boxes: Floats, views: Views) -> Indices:
    """How many tiles show each box whole, and not right at a cut."""
    tiles = views.places[:-1] if views.whole else views.places
    count = np.ones(len(boxes), dtype=np.intp)
    low, high = tiles[:, :2].min(axis=0), tiles[:, 2:].max(axis=0)
    near = _near(views)
    for axis in (0, 1):
        starts = np.unique(tiles[:, axis])
        ends = starts + tiles[0, axis + 2] - tiles[0, axis]
        first = np.where(starts > low[axis], starts + near, starts)
        last = np.where(ends < high[axis], ends - near, ends)
        count *= np.searchsorted(first, boxes[:, axis], side="right") - np.searchsorted(last, boxes[:, axis + 2])
    return count
