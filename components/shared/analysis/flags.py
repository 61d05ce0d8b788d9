"""What in a data set may spoil a training or its measurement, by threshold, each with images that show it."""

from collections.abc import Iterable, Iterator, Sequence

import polars as pl

from components.shared.analysis.examples import Example, drawn, readable
from components.shared.analysis.flag import Flag
from components.shared.analysis.look_alikes import look_alike_flags
from components.shared.analysis.part import Part
from components.shared.report.page import Level

FEW = 500  # objects of a class below which more data helps most
RARER = 10  # times rarer than the largest class or group of images that is worth a word
CROWDS = ((1, 3), (4, 10), (11, 10**9))  # boxes in an image
TINY = 4.0  # pixels of a box's shorter side
HUGE = 0.95  # share of its image
LONG = 10.0  # times as long as wide
TWIN = 4.0  # pixels within which two boxes of a class count as one drawn twice
DARK, BRIGHT = 0.1, 0.9  # mean grey
FLAT = 0.03  # standard deviation of the grey
BLURRED = 30.0  # variance of the Laplacian
NAMED = 8  # classes a flag names
SHOWN = 3  # examples of a flag
CANDIDATES = 50  # images that are looked at for them, since some may not be readable


def find_flags(parts: Sequence[Part]) -> list[Flag]:
    """Everything worth a look in the ground truth of the parts, the gravest kinds first."""
    truth = [part for part in parts if not part.predicted] or list(parts)
    kinds = (_class_flags, look_alike_flags, _crowd_flags, _box_flags, _image_flags)
    return [flag for kind in kinds for flag in kind(truth)]


def _class_flags(parts: Sequence[Part]) -> Iterator[Flag]:
    counts = (
        pl.concat(part.class_counts for part in parts)
        .group_by("class", maintain_order=True)
        .agg(pl.col("boxes", "images").sum())
    )
    largest = int(counts.get_column("boxes").max() or 0)  # type: ignore[arg-type]
    absent = counts.filter(pl.col("boxes") == 0)
    few = counts.filter(pl.col("boxes").is_between(1, FEW - 1))
    rare = counts.filter((pl.col("boxes") > 0) & (pl.col("boxes") * RARER < largest))
    if absent.height:
        detail = f"{_names(absent)}: declared, but on no image; the class keeps its id and is never learned."
        yield Flag("classes without a box", detail)
    if few.height:
        detail = f"{_names(few)}: fewer than {FEW} objects; more images of them help most."
        yield Flag(f"classes with fewer than {FEW} objects", detail, examples=_of_classes(parts, few))
    if rare.height:
        detail = f"{_names(rare)}: more than {RARER} times rarer than the largest class; see oversample_below."
        yield Flag("rare classes", detail, examples=_of_classes(parts, rare))


def _crowd_flags(parts: Sequence[Part]) -> Iterator[Flag]:
    counts = pl.concat(part.boxes_per_image for part in parts).get_column("boxes")
    groups = {limits: counts.is_between(*limits).sum() for limits in CROWDS}
    largest = max(groups.values())
    for (low, high), count in groups.items():
        if 0 < count * RARER < largest:
            name = f"{low} to {high}" if high < CROWDS[-1][1] else f"more than {low - 1}"
            detail = f"{count:,} images have {name} boxes, more than {RARER} times fewer than the most frequent group."
            chosen = (part.boxes_per_image.filter(pl.col("boxes").is_between(low, high)) for part in parts)
            yield Flag(f"few images with {name} boxes", detail, Level.NEUTRAL, _of_images(parts, chosen))


def _box_flags(parts: Sequence[Part]) -> Iterator[Flag]:
    total = sum(part.boxes.height for part in parts)
    kinds: list[tuple[str, str, pl.Expr]] = [
        ("boxes without area", "a stray click, or corners in the wrong order", ~_is_box()),
        ("boxes beyond their image", "resized after labelling, or labels of another image", _is_box() & _beyond()),
        (f"boxes under {TINY:g} pixels", "too small to see; see min_box_size", _is_box() & _tiny()),
        (f"boxes over {HUGE:.0%} of their image", "often a label of the whole image", _is_box() & _huge()),
        (f"boxes {LONG:g} times as long as wide", "often a line or a slip of the mouse", _is_box() & _long()),
        ("boxes drawn twice", "the same class at nearly the same place", _is_box() & _twin()),
    ]
    found = [_suspicious(part, [broken for _, _, broken in kinds]) for part in parts]
    for place, (title, meaning, _) in enumerate(kinds):
        count = sum(counts[place] for counts, _ in found)
        if count:
            detail = f"{count:,} of {total:,} ({count / total:.1%}): {meaning}."
            yield Flag(title, detail, examples=_of_boxes(parts, [examples[place] for _, examples in found]))


def _suspicious(part: Part, kinds: Sequence[pl.Expr]) -> tuple[list[int], list[pl.DataFrame]]:
    """For each kind, how many boxes of the part are of it, and those of its first images."""
    counts = [0] * len(kinds)
    examples = [part.boxes.clear()] * len(kinds)
    for boxes in part.slices():
        ordered = boxes.sort("image_id", "category", "x", "y")
        for place, broken in enumerate(kinds):
            own = ordered.filter(broken.fill_null(value=False))
            counts[place] += own.height
            if examples[place].is_empty():
                shown = own.get_column("image_id").unique(maintain_order=True).head(CANDIDATES)
                examples[place] = own.filter(pl.col("image_id").is_in(shown.implode()))
    return counts, examples


def _image_flags(parts: Sequence[Part]) -> Iterator[Flag]:
    total = sum(part.images.height for part in parts)
    kinds = [
        ("dark images", "under-exposed", pl.col("brightness") < DARK),
        ("bright images", "over-exposed", pl.col("brightness") > BRIGHT),
        ("flat images", "nearly without contrast", pl.col("contrast") < FLAT),
        ("blurred images", "out of focus, or enlarged", pl.col("sharpness") < BLURRED),
    ]
    for title, meaning, broken in kinds:
        found = [part.images.filter(broken.fill_null(value=False)).select("image_id") for part in parts]
        count = sum(table.height for table in found)
        if count:
            detail = f"{count:,} of {total:,} ({count / total:.1%}): {meaning}; look whether the camera sees like this."
            yield Flag(title, detail, Level.NEUTRAL, _of_images(parts, found))


def _is_box() -> pl.Expr:
    return (pl.col("width") > 0) & (pl.col("height") > 0) & pl.col("x").is_finite() & pl.col("y").is_finite()


def _beyond() -> pl.Expr:
    right, bottom = pl.col("x") + pl.col("width"), pl.col("y") + pl.col("height")
    return (pl.col("x") < -1) | (pl.col("y") < -1) | (right > pl.col("wide") + 1) | (bottom > pl.col("high") + 1)


def _tiny() -> pl.Expr:
    return pl.min_horizontal("width", "height") < TINY


def _huge() -> pl.Expr:
    return pl.col("width") * pl.col("height") > HUGE * pl.col("wide") * pl.col("high")


def _long() -> pl.Expr:
    return pl.max_horizontal("width", "height") > LONG * pl.min_horizontal("width", "height")


def _twin() -> pl.Expr:
    """In a table sorted by image, class and place: whether the box before is nearly the same."""
    own = ("image_id", "category")
    same = [pl.col(name).eq_missing(pl.col(name).shift(1)) for name in own]
    near = [(pl.col(side) - pl.col(side).shift(1)).abs() <= TWIN for side in ("x", "y", "width", "height")]
    return pl.all_horizontal(*same, *near)


def _names(classes: pl.DataFrame) -> str:
    names = [f"{name} ({count:,})" for name, count in classes.sort("boxes").select("class", "boxes").iter_rows()]
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more


def _of_classes(parts: Sequence[Part], classes: pl.DataFrame) -> tuple[Example, ...]:
    """An image of each of the rarest classes, with the boxes of that class alone."""
    found: list[Example] = []
    for name in classes.sort("boxes").get_column("class").head(SHOWN):
        tables = [part.boxes.filter(pl.col("category") == name).head(1) for part in parts]
        found += _of_boxes(parts, tables)[:1]
    return tuple(found)


def _of_boxes(parts: Sequence[Part], found: Sequence[pl.DataFrame]) -> tuple[Example, ...]:
    """Images of the first boxes found, each with those of its boxes that were found."""
    examples: list[Example] = []
    for part, boxes in zip(parts, found, strict=True):
        images = readable(part.images).join(boxes.select("image_id").unique(), on="image_id", how="semi")
        for row in images.head(SHOWN - len(examples)).iter_rows(named=True):
            own = boxes.filter(pl.col("image_id") == row["image_id"])
            examples.append(Example(row, drawn(own), _caption(parts, part, row["name"])))
    return tuple(examples)


def _of_images(parts: Sequence[Part], found: Iterable[pl.DataFrame]) -> tuple[Example, ...]:
    """The first images found with all their boxes."""
    examples: list[Example] = []
    for part, chosen in zip(parts, found, strict=True):
        images = readable(part.images).join(chosen.select("image_id"), on="image_id", how="semi")
        for row in images.head(SHOWN - len(examples)).iter_rows(named=True):
            own = part.boxes.filter(pl.col("image_id") == row["image_id"])
            examples.append(Example(row, drawn(own), _caption(parts, part, row["name"])))
    return tuple(examples)


def _caption(parts: Sequence[Part], part: Part, name: str) -> str:
    return f"{part.name}: {name}" if len(parts) > 1 else name
