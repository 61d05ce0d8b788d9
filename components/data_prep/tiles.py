"""Which tiles large images are cut into, and which boxes each tile shows."""

from collections.abc import Iterator
from dataclasses import dataclass

import polars as pl

from components.data_prep.hashed import position_of
from components.shared.detection.tiling import LEAST_TILE, tile_starts
from components.shared.errors import ConfigError

MOST_TILES = 1_000_000
WHOLE = 1 - 1e-9  # share of a box from which it counts as whole
PARENTS = 256  # images whose boxes are placed at once, so that memory stays flat
_BOX = ("x", "y", "width", "height")


@dataclass(frozen=True)
class TileOptions:
    """How images are cut.

    Attributes:
        tile: edge of a tile, pixels; images whose longer edge is no larger stay whole.
        overlap: least share of its edge that a tile has in common with the next one.
        min_visible: least share of a box's area inside a tile for the tile to show it.
        min_box_size: least shorter side of what is left of a box that is cut, pixels.
        seed: decides which tiles without objects stay.
    """

    tile: int
    overlap: float = 0.2
    min_visible: float = 0.3
    min_box_size: float = 0.0
    seed: int = 0

    def check(self) -> None:
        """Refuse values that make no sense.

        Raises:
            ConfigError: with the parameter and its value.
        """
        if self.tile != 0 and self.tile < LEAST_TILE:
            raise ConfigError(f"tile is {self.tile!r} pixels; use {LEAST_TILE} or more, or 0 for no tiles.")
        if not 0 <= self.overlap < 0.9:  # noqa: PLR2004 - beyond it the tiles of an image hold it a hundredfold
            raise ConfigError(f"tile_overlap is {self.overlap!r}; it must be 0 or more and below 0.9.")
        if not 0 < self.min_visible <= 1:
            raise ConfigError(f"tile_min_visible is {self.min_visible!r}; it must be above 0 and at most 1.")


@dataclass(frozen=True)
class TilePlan:
    """The tiles of a table of images before any pixel is read.

    Attributes:
        tiles: ``tile`` (a number), ``image_id`` of the parent, ``left``, ``top``, ``tile_width``, ``tile_height``,
            ``boxes`` and ``slivers`` (ground truth boxes that it shows, and those too little of which is in it to
            be shown) and ``kept``.
        boxes: ``tile``, ``annotation_id``, the box in pixels of the tile and ``visible``, the share inside; of kept
            tiles only.
        lost: ``annotation_id`` and ``visible`` (the most that any tile has) of boxes that no kept tile shows.
    """

    tiles: pl.DataFrame
    boxes: pl.DataFrame
    lost: pl.DataFrame


def plan_tiles(images: pl.DataFrame, annotations: pl.DataFrame, options: TileOptions) -> TilePlan:
    """Lay out the tiles of images and place their boxes.

    Tiles that show an object stay; of the others those that show nothing at all stay as negatives, at most as many as
    show an object (or as many as there are images without objects), chosen by a hash; a tile that shows only parts of
    objects too small to be boxes would teach that these are background, so it goes.

    Args:
        images: images that are larger than a tile, columns of ``IMAGES``.
        annotations: their annotations, columns of ``ANNOTATIONS``.
        options: how to cut.

    Raises:
        ConfigError: there would be more than ``MOST_TILES``.
    """
    grid = _grid(images, options)
    placed = pl.concat(_place(block, annotations, options) for block in _blocks(grid))
    truth = pl.col("kind") == "ground_truth"
    visible = (pl.min_horizontal("width", "height") >= 1) & ~pl.col("shown")
    counts = placed.group_by("tile").agg(boxes=(pl.col("shown") & truth).sum(), slivers=(visible & truth).sum())
    tiles = grid.join(counts, on="tile", how="left", maintain_order="left").with_columns(
        pl.col("boxes", "slivers").fill_null(0)
    )
    tiles = tiles.with_columns(kept=_kept(tiles, options.seed))
    shown = placed.filter("shown").join(tiles.filter("kept"), on="tile", how="semi", maintain_order="left")
    most = placed.group_by("annotation_id").agg(pl.col("visible").max())
    lost = (
        annotations.select("annotation_id")
        .join(shown, on="annotation_id", how="anti", maintain_order="left")
        .join(most, on="annotation_id", how="left", maintain_order="left")
        .with_columns(pl.col("visible").fill_null(0.0))
    )
    return TilePlan(tiles, shown.select("tile", "annotation_id", *_BOX, "visible").sort("tile", "annotation_id"), lost)


def _grid(images: pl.DataFrame, options: TileOptions) -> pl.DataFrame:
    sizes = images.select("width", "height").unique()
    starts = {
        side: [tile_starts(edge, options.tile, options.overlap) for edge in sizes.get_column(side)]
        for side in ("width", "height")
    }
    kinds = pl.List(pl.Int64)
    sizes = sizes.with_columns(
        pl.Series("left", starts["width"], dtype=kinds), pl.Series("top", starts["height"], dtype=kinds)
    )
    grid = images.select("image_id", "sha256", "width", "height").join(
        sizes, on=["width", "height"], how="left", maintain_order="left"
    )
    count = int((grid.get_column("left").list.len().cast(pl.Int64) * grid.get_column("top").list.len()).sum())
    if count > MOST_TILES:
        raise ConfigError(
            f"tile={options.tile} with tile_overlap={options.overlap:g} would cut {images.height:,} images into "
            f"{count:,} tiles, more than {MOST_TILES:,}: choose larger tiles or less overlap."
        )
    edge = pl.lit(options.tile, dtype=pl.Int64)
    return (
        grid.explode("top")
        .explode("left")
        .with_row_index("tile")
        .with_columns(
            tile_width=pl.min_horizontal(pl.col("width").cast(pl.Int64), edge),
            tile_height=pl.min_horizontal(pl.col("height").cast(pl.Int64), edge),
        )
        .drop("width", "height")
    )


def _blocks(grid: pl.DataFrame) -> Iterator[pl.DataFrame]:
    parents = grid.get_column("image_id").unique(maintain_order=True)
    for start in range(0, parents.len(), PARENTS):
        yield grid.filter(pl.col("image_id").is_in(parents.slice(start, PARENTS).implode()))


def _place(grid: pl.DataFrame, annotations: pl.DataFrame, options: TileOptions) -> pl.DataFrame:
    """Every pair of a tile and a box that overlap, with what of the box is inside."""
    columns = annotations.select("annotation_id", "image_id", "kind", "crowd", *_BOX)
    strips = grid.select("image_id", "left", "tile_width").unique(maintain_order=True)
    right, bottom = (pl.col(start) + pl.col(length) for start, length in (("x", "width"), ("y", "height")))
    beside = columns.join(strips, on="image_id").filter(
        (pl.col("x") < pl.col("left") + pl.col("tile_width")) & (right > pl.col("left"))
    )
    overlapping = beside.join(grid.drop("sha256", "tile_width"), on=["image_id", "left"]).filter(
        (pl.col("y") < pl.col("top") + pl.col("tile_height")) & (bottom > pl.col("top"))
    )
    x = pl.max_horizontal(pl.col("x") - pl.col("left"), 0.0)
    y = pl.max_horizontal(pl.col("y") - pl.col("top"), 0.0)
    inside = overlapping.with_columns(
        area=pl.col("width") * pl.col("height"),
        right=pl.min_horizontal(right - pl.col("left"), pl.col("tile_width").cast(pl.Float64)),
        bottom=pl.min_horizontal(bottom - pl.col("top"), pl.col("tile_height").cast(pl.Float64)),
        x=x,
        y=y,
    ).with_columns(width=pl.col("right") - pl.col("x"), height=pl.col("bottom") - pl.col("y"))
    inside = inside.with_columns(visible=(pl.col("width") * pl.col("height") / pl.col("area")).clip(0, 1))
    large = (pl.col("visible") >= WHOLE) | (pl.min_horizontal("width", "height") >= options.min_box_size)
    shown = pl.col("crowd") | ((pl.col("visible") >= options.min_visible - 1e-9) & large)
    return inside.select("tile", "annotation_id", "kind", *_BOX, "visible", shown=shown.fill_null(value=False))


def _kept(tiles: pl.DataFrame, seed: int) -> pl.Series:
    """Tiles that show an object, and of those that show nothing as many at most."""
    shows, bare = pl.col("boxes") > 0, (pl.col("boxes") == 0) & (pl.col("slivers") == 0)
    negatives = tiles.group_by("image_id").agg(bare.all().alias("bare")).get_column("bare").sum()
    limit = max(tiles.filter(shows).height, int(negatives))
    empty = tiles.filter(bare).select("tile", "sha256", "left", "top")
    places = [position_of(f"{digest}:{left}:{top}", seed) for _, digest, left, top in empty.iter_rows()]
    chosen = empty.with_columns(place=pl.Series(places, dtype=pl.Float64)).sort("place", "tile").head(limit)
    return tiles.select(shows | pl.col("tile").is_in(chosen.get_column("tile").implode())).to_series()
