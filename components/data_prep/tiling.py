"""Large images of a split replaced by their tiles: images like any other, in shards of the store."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import polars as pl

from components.data_prep.crops import Crop, Parent, Rectangle, cut
from components.data_prep.tile_ledger import lost_rows, parent_rows, tile_flags
from components.data_prep.tiles import WHOLE, TileOptions, TilePlan, plan_tiles
from components.shared.dataset import ANNOTATIONS, IMAGES, Dataset, ShardReference
from components.shared.image_facts import measures_sharpness
from components.shared.ledger import SCHEMA
from components.shared.progress import Notify, silent
from components.shared.shards import ImageReader, Location, ShardWriter
from components.shared.store import Store

TILED = ("train", "val")
JPEG_SUFFIXES = frozenset({".jpg", ".jpeg"})
_WITH_TILE = pl.Schema({"tile": pl.UInt32(), **IMAGES})
# Attributes that give places in the whole image, or its area; in a tile they would be wrong.
OUTLINES = frozenset({"segmentation", "segmentation_relative", "area", "keypoints", "num_keypoints", "points", "rle"})
TURNED = frozenset({"rotation", "rotate_angle"})  # of a hull that is cut there is no such angle


@dataclass(frozen=True)
class Cut:
    """All splits, and what the cutting of some of them left.

    Attributes:
        parts: the splits; the ledger of each has the rows about its tiles too.
        ledger: those rows alone.
        tiles: how many tiles there are.
        flags: sentences about what is not in the tiles.
    """

    parts: dict[str, Dataset]
    ledger: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=SCHEMA))
    tiles: int = 0
    flags: tuple[str, ...] = ()


def cut_large_images(parts: Mapping[str, Dataset], store: Store, options: TileOptions, notify: Notify = silent) -> Cut:
    """Replace what is larger than a tile by its tiles in train and val; test stays whole, as images are in use.

    Args:
        parts: train, val and test; ids are unique over all of them.
        store: where their images lie, and where the tiles go; the same data gives the same shards again.
        options: how to cut.
        notify: hears how far it is.

    Raises:
        ConfigError: there would be far too many tiles.
        InputError: an image cannot be decoded after all.
        StoreError: the store failed.
    """
    done = dict(parts)
    ledgers, flags, tiles = [pl.DataFrame(schema=SCHEMA)], list[str](), 0
    for place, split in enumerate(TILED):
        large = parts[split].images.filter(pl.max_horizontal("width", "height") > options.tile)
        if large.is_empty():
            continue
        step = _Step(place / len(TILED), 1 / len(TILED), split, notify)
        annotations = parts[split].annotations.join(large, on="image_id", how="semi", maintain_order="left")
        plan = plan_tiles(large, annotations, options)
        images, shards = _cut_images(large, plan, store, done, step)
        boxes = _tile_boxes(annotations, plan, images, done)
        ledger = pl.concat([parent_rows(large, plan), lost_rows(large, annotations, plan)])
        done[split] = _replaced(parts[split], large, images.drop("tile"), boxes, ledger, shards)
        ledgers.append(ledger)
        flags += tile_flags(split, plan)
        tiles += images.height
    return Cut(done, pl.concat(ledgers), tiles, tuple(flags))


@dataclass(frozen=True)
class _Step:
    """A stretch of the progress."""

    start: float
    width: float
    split: str
    notify: Notify

    def tell(self, done: int, total: int) -> None:
        self.notify(self.start + self.width * done / total, f"{self.split}: tile {done:,} of {total:,}")


def _replaced(
    part: Dataset,
    large: pl.DataFrame,
    images: pl.DataFrame,
    boxes: pl.DataFrame,
    ledger: pl.DataFrame,
    shards: tuple[ShardReference, ...],
) -> Dataset:
    """The split with these images and boxes instead of the large ones."""
    rest = part.subset(part.images.join(large, on="image_id", how="anti").get_column("image_id"))
    return replace(
        rest,
        images=pl.concat([rest.images, images]),
        annotations=pl.concat([rest.annotations, boxes]),
        ledger=pl.concat([part.ledger, ledger]),
        shards=tuple(dict.fromkeys([*rest.shards, *shards])),
    )


def _cut_images(
    large: pl.DataFrame, plan: TilePlan, store: Store, parts: Mapping[str, Dataset], step: _Step
) -> tuple[pl.DataFrame, tuple[ShardReference, ...]]:
    """The kept tiles as rows of ``IMAGES`` with ``tile``, their pixels in shards of the store."""
    tiles = plan.tiles.filter("kept").drop("sha256").join(large, on="image_id", how="left")
    tiles = tiles.sort("shard", "offset", "image_id", "tile")
    total = tiles.height
    crops: list[Crop] = []
    with ShardWriter(store) as writer:
        for crop in cut(_parents(tiles, store), lambda digest: measures_sharpness(digest, total)):
            writer.add(crop.data, crop.digest)
            crops.append(replace(crop, data=b""))
            step.tell(len(crops), total)
        shards = writer.finish()
    return _rows(tiles, crops, writer.locations, parts), shards


def _parents(tiles: pl.DataFrame, store: Store) -> Iterator[Parent]:
    """The parents of tiles (in shard order), each with its encoded image."""
    corners = ("left", "top", "tile_width", "tile_height")
    rectangles: dict[int, list[Rectangle]] = {}
    for image_id, *rectangle in tiles.select("image_id", *corners).iter_rows():
        rectangles.setdefault(image_id, []).append(tuple(rectangle))
    parents = tiles.unique("image_id", keep="first", maintain_order=True)
    facts = parents.select("name", pixels=pl.col("width").cast(pl.Int64) * pl.col("height"), jpeg=_is_jpeg())
    images = ImageReader(store).read_many(parents)
    for (image_id, data), (name, pixels, jpeg) in zip(images, facts.iter_rows(), strict=True):
        yield Parent(name, data, pixels, jpeg, rectangles[image_id])


def _rows(
    tiles: pl.DataFrame, crops: Sequence[Crop], locations: Mapping[str, Location], parts: Mapping[str, Dataset]
) -> pl.DataFrame:
    places = [locations[crop.digest] for crop in crops]
    first = _free(part.images.get_column("image_id") for part in parts.values())
    found: dict[str, list[Any]] = {
        "sha256": [crop.digest for crop in crops],
        "bytes": [crop.size for crop in crops],
        "shard": [place.shard for place in places],
        "offset": [place.offset for place in places],
        "phash": [crop.facts.phash for crop in crops],
        "brightness": [crop.facts.brightness for crop in crops],
        "contrast": [crop.facts.contrast for crop in crops],
        "sharpness": [crop.facts.sharpness for crop in crops],
    }
    taken = pl.concat(part.images.select("name") for part in parts.values())
    named = tiles.with_columns(
        name=_names(tiles, taken),
        parent=pl.coalesce("parent", "sha256"),
        tile_x=pl.col("tile_x").fill_null(0) + pl.col("left"),
        tile_y=pl.col("tile_y").fill_null(0) + pl.col("top"),
        width="tile_width",
        height="tile_height",
        format=pl.when(_is_jpeg()).then(pl.lit("jpeg")).otherwise(pl.lit("png")),
        orientation=pl.lit(1),
        image_id=pl.int_range(first, first + tiles.height),
        declared_width=pl.lit(None),
        declared_height=pl.lit(None),
    )
    columns = [pl.Series(name, values, dtype=IMAGES[name]) for name, values in found.items()]
    return named.with_columns(columns).select(_WITH_TILE.keys()).cast(_WITH_TILE)


def _free(ids: Iterable[pl.Series]) -> int:
    """The number above all ids in use."""
    return 1 + int(pl.concat([pl.Series([0], dtype=pl.UInt32), *ids]).max())  # type: ignore[arg-type]


def _is_jpeg() -> pl.Expr:
    return pl.col("format").eq_missing("jpeg")


def _names(tiles: pl.DataFrame, taken: pl.DataFrame) -> pl.Series:
    """``<stem>_x<left>_y<top>.<suffix>`` beside the parent, with a piece of its digest where that is taken."""
    suffix = pl.col("name").str.extract(r"(\.[^./]+)$")
    stem = pl.col("name").str.replace(r"(.)\.[^./]+$", "$1")
    own = _is_jpeg() & suffix.str.to_lowercase().is_in(JPEG_SUFFIXES)
    ending = pl.when(own).then(suffix).when(_is_jpeg()).then(pl.lit(".jpg")).otherwise(pl.lit(".png"))
    plain = pl.format("{}_x{}_y{}{}", stem, "left", "top", ending)
    table = tiles.select(
        name=plain,
        longer=pl.format("{}_{}_x{}_y{}{}", stem, pl.col("sha256").str.head(12), "left", "top", ending),
        last=pl.format("{}_{}_x{}_y{}{}", stem, "image_id", "left", "top", ending),
    )
    for other in ("longer", "last"):
        clash = pl.col("name").is_duplicated() | pl.col("name").is_in(taken.get_column("name").implode())
        table = table.with_columns(name=pl.when(clash).then(other).otherwise("name"))
    return table.get_column("name")


def _tile_boxes(
    annotations: pl.DataFrame, plan: TilePlan, images: pl.DataFrame, parts: Mapping[str, Dataset]
) -> pl.DataFrame:
    """The boxes of the kept tiles as rows of ``ANNOTATIONS``."""
    first = _free(part.annotations.get_column("annotation_id") for part in parts.values())
    others = annotations.drop("image_id", "x", "y", "width", "height")
    boxes = plan.boxes.join(images.select("tile", "image_id"), on="tile", maintain_order="left").join(
        others, on="annotation_id", how="left", maintain_order="left"
    )
    clipped = boxes.get_column("visible") < WHOLE
    attributes = [_attributes(text, cut=cut) for text, cut in zip(boxes.get_column("attributes"), clipped, strict=True)]
    return (
        boxes.with_columns(
            annotation_id=pl.int_range(first, first + boxes.height),
            truncated=pl.col("truncated") | clipped,
            attributes=pl.Series(attributes, dtype=pl.String),
        )
        .select(ANNOTATIONS.keys())
        .cast(ANNOTATIONS)
    )


def _attributes(text: str | None, *, cut: bool) -> str | None:
    """Attributes without those that are wrong in a tile."""
    if text is None:
        return None
    found = json.loads(text)
    gone = OUTLINES | TURNED if cut else OUTLINES
    if not isinstance(found, dict) or gone.isdisjoint(found):
        return text
    kept = {name: value for name, value in found.items() if name not in gone}
    return json.dumps(kept, sort_keys=True, separators=(",", ":")) if kept else None
