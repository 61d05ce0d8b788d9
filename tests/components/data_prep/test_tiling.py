"""Tiles as images of the store: the right pixels, the right boxes, the same bytes each time."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image

from components.data_prep import crops
from components.data_prep.prepare import PrepareOptions, prepare
from components.data_prep.tiles import TileOptions
from components.data_prep.tiling import Cut, cut_large_images
from components.shared.dataset import IMAGES, Dataset
from components.shared.errors import ConfigError, InputError
from components.shared.images import decode
from components.shared.shards import ImageReader, ShardWriter
from components.shared.store import Store, open_store

MakeDataset = Callable[..., Dataset]
AERIAL = Path(__file__).parents[4] / "shared/data/sahi_aerial/small-vehicles1.jpeg"
OPTIONS = TileOptions(64, 0.25, 0.3)


def picture(
    width: int, height: int, *, kind: str = "PNG", mode: str = "RGB", orientation: int = 1, seed: int = 0
) -> bytes:
    random = np.random.default_rng(seed)
    small = Image.fromarray(random.integers(0, 256, (6, 6, 3), dtype=np.uint8)).resize((width, height))
    image = small.convert("L").convert("I;16") if mode == "I;16" else small.convert(mode)
    exif = Image.Exif()
    exif[0x0112] = orientation
    buffer = BytesIO()
    image.save(buffer, kind, exif=exif)
    return buffer.getvalue()


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store((tmp_path / "store").as_uri())


@pytest.fixture
def stored(store: Store, make_dataset: MakeDataset) -> Callable[..., Dataset]:
    """A dataset whose images lie in the store; each image is its bytes and what else its row says."""

    def put(
        images: Sequence[tuple[bytes, Mapping[str, object]]], annotations: Sequence[Mapping[str, object]] = ()
    ) -> Dataset:
        with ShardWriter(store) as writer:
            for data, _ in images:
                writer.add(data, hashlib.sha256(data).hexdigest())
            shards = writer.finish()
        records = []
        for data, facts in images:
            digest = hashlib.sha256(data).hexdigest()
            place = writer.locations[digest]
            height, width = decode(data).shape[:2]
            with Image.open(BytesIO(data)) as image:
                kind = str(image.format).lower()
            record = {"sha256": digest, "width": width, "height": height, "format": kind, "bytes": len(data)}
            records.append({**record, "shard": place.shard, "offset": place.offset, **facts})
        dataset = make_dataset(records, annotations)
        return Dataset(dataset.name, dataset.classes, dataset.images, dataset.annotations, shards=shards)

    return put


def cut(dataset: Dataset, store: Store, options: TileOptions = OPTIONS) -> Cut:
    empty = dataset.subset([])
    return cut_large_images({"train": dataset, "val": empty, "test": empty}, store, options)


def tiles_of(dataset: Dataset, store: Store) -> list[tuple[dict[str, object], np.ndarray]]:
    table = dataset.images.filter(pl.col("tile_x").is_not_null())
    data = dict(ImageReader(store).read_many(table))
    return [(row, decode(data[row["image_id"]])) for row in table.iter_rows(named=True)]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_tiles_are_cut_out_of_the_upright_image(
    store: Store, stored: Callable[..., Dataset], orientation: int, kind: str
) -> None:
    data = picture(150, 90, kind=kind, orientation=orientation)
    upright = decode(data)
    boxes = [{"x": float(x), "y": float(y)} for x in range(0, 80, 20) for y in range(0, 80, 20)]
    found = cut(stored([(data, {"orientation": orientation})], boxes), store)
    tiles = tiles_of(found.parts["train"], store)
    assert len(tiles) == found.tiles > 3
    for row, pixels in tiles:
        left, top = int(row["tile_x"]), int(row["tile_y"])
        expected = upright[top : top + 64, left : left + 64]
        assert pixels.shape == expected.shape == (row["height"], row["width"], 3)
        error = np.abs(pixels.astype(int) - expected.astype(int))
        assert error.max() == 0 if kind == "PNG" else error.mean() < 3
        assert (row["format"], row["orientation"]) == (kind.lower(), 1)


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "LA", "1", "I;16", "I", "F", "CMYK"])
def test_tiles_have_the_pixels_that_decoding_gives(store: Store, stored: Callable[..., Dataset], mode: str) -> None:
    data = picture(130, 70, kind="TIFF", mode=mode)
    expected = decode(data)
    tiles = tiles_of(cut(stored([(data, {})], [{}]), store).parts["train"], store)
    for row, pixels in tiles:
        left, top = int(row["tile_x"]), int(row["tile_y"])
        assert np.array_equal(pixels, expected[top : top + 64, left : left + 64])


def test_large_parents_are_cut_the_same_way(
    store: Store, stored: Callable[..., Dataset], monkeypatch: pytest.MonkeyPatch
) -> None:
    images = [(picture(150 + place, 150, seed=place), {}) for place in range(5)]
    boxes = [{"image_id": place, "x": 20.0 * place} for place in range(5)]
    dataset = stored(images, boxes)
    small = cut(dataset, store).parts["train"]
    monkeypatch.setattr(crops, "LARGE", 150 * 152)
    large = cut(dataset, store).parts["train"]
    assert large.images.equals(small.images)
    assert large.shards == small.shards
    assert large.version == small.version


def test_tiles_are_ordinary_images_of_the_dataset(store: Store, stored: Callable[..., Dataset]) -> None:
    facts = {"name": "a/b.c/photo.PNG", "tags": '{"site":"x"}', "split": "train", "source_id": "7"}
    attributes = json.dumps({"color": "red", "segmentation": [[1, 2, 3, 4]], "rotation": 3})
    box = {"x": 5.0, "attributes": attributes}
    crossing = {"x": 40.0, "width": 30.0, "attributes": attributes}
    dataset = stored([(picture(100, 50), facts), (picture(60, 50, seed=1), {})], [box, crossing, {"image_id": 1}])
    found = cut(dataset, store, TileOptions(64, 0.0, 0.3))
    part = found.parts["train"]
    assert part.images.schema == IMAGES
    names = part.images.get_column("name").to_list()
    assert names == ["1.jpg", "a/b.c/photo_x0_y0.png", "a/b.c/photo_x36_y0.png"]
    first = part.images.row(1, named=True)
    assert first["image_id"] == 2
    assert (first["parent"], first["tile_x"], first["tile_y"]) == (dataset.images["sha256"][0], 0, 0)
    assert (first["tags"], first["split"], first["source_id"]) == ('{"site":"x"}', "train", "7")
    assert None not in (first["phash"], first["brightness"], first["contrast"], first["sharpness"])
    assert {shard.sha256 for shard in part.shards} == set(part.images.get_column("shard"))
    rows = part.annotations.filter(pl.col("image_id") >= 2).select("image_id", "x", "width", "truncated", "attributes")
    kept = '{"color":"red","rotation":3}'
    assert rows.rows() == [
        (2, 5.0, 10.0, False, kept),
        (2, 40.0, 24.0, True, '{"color":"red"}'),
        (3, 4.0, 30.0, False, kept),
    ]
    assert part.annotations.get_column("annotation_id").is_unique().all()
    assert dataset.annotations.get_column("attributes")[0] == attributes


def test_the_same_data_gives_the_same_tiles_and_no_new_bytes(store: Store, stored: Callable[..., Dataset]) -> None:
    dataset = stored([(picture(200, 150), {})], [{}, {"x": 150.0}])
    first = cut(dataset, store)
    before = [(entry.key, entry.size) for entry in store.list("shards/")]
    again = cut(dataset, store)
    assert again.parts["train"].images.equals(first.parts["train"].images)
    assert [(entry.key, entry.size) for entry in store.list("shards/")] == before


def test_names_that_are_taken_get_a_piece_of_the_digest(store: Store, stored: Callable[..., Dataset]) -> None:
    images = [
        (picture(100, 50), {"name": "a.png"}),
        (picture(100, 50, kind="BMP", seed=1), {"name": "a.bmp"}),
        (picture(60, 50, seed=2), {"name": "b_x0_y0.png"}),
        (picture(100, 50, seed=3), {"name": "b.png"}),
        (picture(100, 50, seed=4), {"name": ".hidden"}),
    ]
    boxes = [{"image_id": place, "x": 0.0} for place in range(5)]
    names = cut(stored(images, boxes), store, TileOptions(64, 0.0)).parts["train"].images.get_column("name")
    assert names.is_unique().all()
    assert sum("_x0_y0" in name for name in names) == 5
    assert ".hidden_x0_y0.png" in names.to_list()


def test_what_no_tile_shows_is_in_the_ledger(store: Store, stored: Callable[..., Dataset]) -> None:
    wide = {"x": 0.0, "y": 0.0, "width": 300.0, "height": 300.0}
    dataset = stored([(picture(300, 300), {"name": "big.png"})], [wide, {"x": 1.0, "y": 1.0}])
    found = cut(dataset, store, TileOptions(100, 0.0, 0.5))
    rows = found.ledger.select("image", "annotation", "rule", "action").rows()
    assert rows == [("big.png", None, "tile", "left out"), ("big.png", "a0", "tile", "left out")]
    assert found.parts["train"].ledger.equals(found.ledger)
    assert json.loads(found.ledger["after"][0]) == {"tiles": 1}
    assert "1 boxes of train are in no tile" in " ".join(found.flags)
    assert "8 tiles of train show only parts" in " ".join(found.flags)
    assert "1 tiles of train show 1 parts" in " ".join(found.flags)


def test_tiles_of_tiles_know_the_first_parent(store: Store, stored: Callable[..., Dataset]) -> None:
    facts = {"parent": "f" * 64, "tile_x": 1000, "tile_y": 10}
    dataset = stored([(picture(100, 50), facts)], [{"x": 80.0}])
    tiles = cut(dataset, store, TileOptions(64, 0.0)).parts["train"].images
    assert tiles.filter(pl.col("tile_x") == 1036).select("parent", "tile_y").rows() == [("f" * 64, 10)]


def test_a_parent_that_does_not_decode_is_named(store: Store, stored: Callable[..., Dataset]) -> None:
    dataset = stored([(picture(300, 300, kind="JPEG"), {"name": "broken.jpg"})], [{}])
    data = picture(300, 300, kind="JPEG")[:900]
    digest = hashlib.sha256(data).hexdigest()
    with ShardWriter(store) as writer:
        writer.add(data, digest)
    place = writer.locations[digest]
    images = dataset.images.with_columns(
        sha256=pl.lit(digest),
        shard=pl.lit(place.shard),
        offset=pl.lit(place.offset, dtype=pl.UInt64),
        bytes=pl.lit(len(data), dtype=pl.UInt64),
    )
    with pytest.raises(InputError, match=r"'broken\.jpg' cannot be cut into tiles"):
        cut(Dataset("x", ("cat",), images, dataset.annotations), store)


def test_preparing_cuts_train_and_val_and_leaves_test_whole(store: Store, stored: Callable[..., Dataset]) -> None:
    images = [(picture(150, 100, seed=place), {"split": ("train", "val", "test")[place % 3]}) for place in range(9)]
    boxes = [{"image_id": place, "x": 10.0 * place} for place in range(9)]
    prepared = prepare(stored(images, boxes), PrepareOptions(tile=64, near_duplicates=-1), store)
    for part in (prepared.train, prepared.val):
        assert part.images.get_column("width").max() == 64
        assert part.images.get_column("split").unique().to_list() == [part.split]
    assert prepared.test.images.get_column("width").to_list() == [150] * 3
    ids = pl.concat(part.images.get_column("image_id") for part in prepared.splits.values())
    assert ids.is_unique().all()
    assert any("tiles of train" in flag for flag in prepared.audit.flags)


def test_tiles_need_a_store(make_many: MakeDataset) -> None:
    with pytest.raises(ConfigError, match="there is no store"):
        prepare(make_many(5), PrepareOptions(tile=64))


def test_a_real_aerial_photograph_is_cut(store: Store, stored: Callable[..., Dataset]) -> None:
    if not AERIAL.is_file():
        pytest.skip(f"{AERIAL} is not here")
    data = AERIAL.read_bytes()
    height, width = decode(data).shape[:2]
    boxes = [{"x": float(x), "y": 200.0, "width": 40.0, "height": 30.0} for x in range(0, width - 40, 90)]
    found = cut(stored([(data, {})], boxes), store, TileOptions(320, 0.2, 0.3))
    shown = found.parts["train"].annotations.get_column("source_id").unique()
    assert shown.len() == len(boxes)
    upright = decode(data).astype(int)
    for row, pixels in tiles_of(found.parts["train"], store):
        top, left = int(row["tile_y"]), int(row["tile_x"])
        assert np.abs(pixels - upright[top : top + 320, left : left + 320]).mean() < 3
    assert height > 320
