"""Where tiles lie and what they show: every pixel is in one, small boxes are whole in one, coordinates come back."""

from collections.abc import Callable

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.data_prep.tiles import TileOptions, plan_tiles
from components.shared.dataset import Dataset
from components.shared.errors import ConfigError

MakeDataset = Callable[..., Dataset]
OVERLAPS = st.sampled_from([0.0, 0.1, 0.2, 0.25, 0.5, 0.89])


BOX = st.tuples(st.floats(0, 1), st.floats(0, 1), st.floats(0.001, 1), st.floats(0.001, 1), st.booleans())


@given(
    width=st.integers(20, 400),
    height=st.integers(20, 400),
    tile=st.integers(32, 200),
    overlap=OVERLAPS,
    min_visible=st.floats(0.05, 1),
    shapes=st.lists(BOX, max_size=12),
    seed=st.integers(0, 5),
)
@settings(max_examples=2 * settings().max_examples)
def test_boxes_are_inside_their_tile_and_where_they_were(
    make_dataset: MakeDataset,
    width: int,
    height: int,
    tile: int,
    overlap: float,
    min_visible: float,
    shapes: list[tuple[float, float, float, float, bool]],
    seed: int,
) -> None:
    boxes = [
        {
            "x": left * width * 0.999,
            "y": top * height * 0.999,
            "width": (width - left * width * 0.999) * across,
            "height": (height - top * height * 0.999) * down,
            "crowd": crowd,
        }
        for left, top, across, down, crowd in shapes
    ]
    dataset = make_dataset([{"width": width, "height": height}], boxes)
    plan = plan_tiles(dataset.images, dataset.annotations, TileOptions(tile, overlap, min_visible, seed=seed))
    for row in plan.tiles.iter_rows(named=True):
        assert 0 <= row["left"] <= row["left"] + row["tile_width"] <= width
        assert 0 <= row["top"] <= row["top"] + row["tile_height"] <= height
        assert (row["tile_width"], row["tile_height"]) == (min(width, tile), min(height, tile))
    joined = plan.boxes.join(plan.tiles, on="tile", how="left")
    assert joined.get_column("kept").all()
    whole_in = set()
    for row in joined.iter_rows(named=True):
        box = boxes[row["annotation_id"]]
        assert -1e-6 <= row["x"] <= row["x"] + row["width"] <= row["tile_width"] + 1e-6
        assert -1e-6 <= row["y"] <= row["y"] + row["height"] <= row["tile_height"] + 1e-6
        area = box["width"] * box["height"]
        assert row["visible"] == pytest.approx(row["width"] * row["height"] / area, abs=1e-6)
        assert box["crowd"] or row["visible"] >= min_visible - 1e-6
        left, top = max(box["x"], row["left"]), max(box["y"], row["top"])
        assert (row["x"] + row["left"], row["y"] + row["top"]) == pytest.approx((left, top), abs=1e-6)
        if row["visible"] > 1 - 1e-9:
            whole_in.add(row["annotation_id"])
            assert (row["width"], row["height"]) == pytest.approx((box["width"], box["height"]))
    for annotation, box in enumerate(boxes):
        fits = (box["width"] <= tile * overlap - 1 or width <= tile) and (
            box["height"] <= tile * overlap - 1 or height <= tile
        )
        assert not fits or annotation in whole_in
    shown = set(plan.boxes.get_column("annotation_id"))
    assert shown.isdisjoint(plan.lost.get_column("annotation_id"))
    assert len(shown) + plan.lost.height == len(boxes)


def test_tiles_with_parts_of_objects_only_are_no_negatives(make_dataset: MakeDataset) -> None:
    dataset = make_dataset([{"width": 200, "height": 100}], [{"x": 0.0, "y": 0.0, "width": 105.0, "height": 50.0}])
    plan = plan_tiles(dataset.images, dataset.annotations, TileOptions(100, 0.0, 0.3))
    columns = ("left", "boxes", "slivers", "kept")
    assert plan.tiles.select(columns).rows() == [(0, 1, 0, True), (100, 0, 1, False)]
    assert plan.boxes.select("x", "y", "width", "height").rows() == [(0.0, 0.0, 100.0, 50.0)]


def test_a_box_larger_than_any_tile_shows_is_lost(make_dataset: MakeDataset) -> None:
    dataset = make_dataset([{"width": 400, "height": 400}], [{"x": 0.0, "y": 0.0, "width": 400.0, "height": 400.0}])
    plan = plan_tiles(dataset.images, dataset.annotations, TileOptions(100, 0.0, 0.3))
    assert plan.lost.rows() == [(0, pytest.approx(1 / 16))]
    assert not plan.tiles.get_column("kept").any()


def test_what_is_left_of_a_cut_box_must_be_large_enough(make_dataset: MakeDataset) -> None:
    dataset = make_dataset([{"width": 200, "height": 100}], [{"x": 97.0, "y": 0.0, "width": 5.0, "height": 50.0}])
    shown = plan_tiles(dataset.images, dataset.annotations, TileOptions(100, 0.0, 0.3, min_box_size=2.5)).tiles
    assert shown.select("boxes", "slivers").rows() == [(1, 0), (0, 1)]


def test_at_most_as_many_empty_tiles_stay_as_show_objects(make_dataset: MakeDataset) -> None:
    boxes = [{"x": 10.0 + 100 * place, "y": 10.0} for place in range(3)]
    dataset = make_dataset([{"width": 1000, "height": 1000}], boxes)
    for seed in range(5):
        tiles = plan_tiles(dataset.images, dataset.annotations, TileOptions(100, 0.0, 0.3, seed=seed)).tiles
        assert tiles.filter("kept").select((pl.col("boxes") > 0).sum(), pl.len()).row(0) == (3, 6)


def test_images_without_objects_keep_as_many_tiles_as_they_are(make_dataset: MakeDataset) -> None:
    dataset = make_dataset([{"width": 300, "height": 300}] * 4)
    tiles = plan_tiles(dataset.images, dataset.annotations, TileOptions(100, 0.0, 0.3)).tiles
    assert (tiles.height, tiles.get_column("kept").sum()) == (36, 4)


def test_far_too_many_tiles_are_refused(make_dataset: MakeDataset) -> None:
    dataset = make_dataset([{"width": 20_000, "height": 20_000}])
    with pytest.raises(ConfigError, match=r"tile=32 with tile_overlap=0\.8 would cut 1 images into"):
        plan_tiles(dataset.images, dataset.annotations, TileOptions(32, 0.8))


@pytest.mark.parametrize(
    "options",
    [
        TileOptions(31),
        TileOptions(-1),
        TileOptions(64, overlap=0.9),
        TileOptions(64, overlap=-0.1),
        TileOptions(64, min_visible=0.0),
        TileOptions(64, min_visible=1.1),
        TileOptions(64, overlap=float("nan")),
    ],
)
def test_impossible_options_are_refused(options: TileOptions) -> None:
    with pytest.raises(ConfigError, match="tile"):
        options.check()
