"""A dataset's version is its content, and its files are whole or refused."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from components.shared.dataset import Dataset, load_manifest
from components.shared.errors import CorruptionError, FormatError
from components.shared.ledger import Action, Entry, Rule, to_table
from components.shared.store import open_store

Change = Callable[[Dataset], Dataset]


@pytest.fixture
def dataset(tmp_path: Path, make_dataset: Callable[..., Dataset]) -> Dataset:
    return make_dataset(open_store(str(tmp_path / "store")), count=12)


def renumbered(dataset: Dataset) -> Dataset:
    shift = (pl.col("image_id") + 100).cast(pl.UInt32)
    annotations = dataset.annotations.with_columns(shift, (pl.col("annotation_id") * 3).cast(pl.UInt32))
    return replace(dataset, images=dataset.images.with_columns(shift), annotations=annotations)


def shuffled(dataset: Dataset) -> Dataset:
    images, annotations = (t.sample(fraction=1, shuffle=True, seed=2) for t in (dataset.images, dataset.annotations))
    return replace(dataset, images=images, annotations=annotations)


def moved(dataset: Dataset) -> Dataset:
    return replace(dataset, images=dataset.images.with_columns(shard=pl.lit("f" * 64), offset=pl.col("offset") + 1))


def on_images(*expressions: pl.Expr, **named: pl.Expr) -> Change:
    return lambda dataset: replace(dataset, images=dataset.images.with_columns(*expressions, **named))


def on_annotations(*expressions: pl.Expr, **named: pl.Expr) -> Change:
    return lambda dataset: replace(dataset, annotations=dataset.annotations.with_columns(*expressions, **named))


def on_one_box(column: str, amount: float) -> Change:
    first = pl.col("annotation_id") == 0
    return on_annotations(pl.when(first).then(pl.col(column) + amount).otherwise(pl.col(column)).alias(column))


@pytest.mark.parametrize(
    "change",
    [
        renumbered,
        shuffled,
        moved,
        on_images(name=pl.lit("other/") + pl.col("name")),
        on_images(source_id=pl.lit("x")),
        on_annotations(source_id=pl.lit("x")),
        on_one_box("x", 1e-7),
        lambda dataset: replace(dataset, name="other", parent="f" * 64),
    ],
    ids=["ids", "row order", "place in shards", "names", "image source", "box source", "rounding", "dataset name"],
)
def test_the_version_does_not_depend_on(dataset: Dataset, change: Change) -> None:
    assert change(dataset).version == dataset.version


@pytest.mark.parametrize(
    "change",
    [
        on_one_box("x", 0.01),
        on_one_box("height", -0.01),
        on_annotations(crowd=pl.col("annotation_id") == 0),
        on_annotations(category=pl.lit("dog")),
        on_annotations(kind=pl.lit("prediction")),
        on_images(split=pl.lit("val")),
        on_images(sha256=pl.col("sha256").str.reverse()),
        lambda dataset: replace(dataset, classes=("dog", "cat")),
        lambda dataset: replace(dataset, classes=("cat", "dog", "emu")),
        lambda dataset: dataset.subset(range(11)),
        lambda dataset: replace(dataset, annotations=dataset.annotations.head(-1)),
        lambda dataset: replace(dataset, annotations=pl.concat([dataset.annotations, dataset.annotations.head(1)])),
    ],
    ids=[
        "a box's left",
        "a box's height",
        "crowd",
        "category",
        "kind",
        "split",
        "pixels",
        "class order",
        "a new class",
        "an image less",
        "a box less",
        "a box twice",
    ],
)
def test_the_version_changes_with(dataset: Dataset, change: Change) -> None:
    assert change(dataset).version != dataset.version


def test_a_box_belongs_to_its_image(dataset: Dataset) -> None:
    swap = pl.col("image_id").replace({0: 1, 1: 0})
    assert on_annotations(swap)(dataset).version != dataset.version


def test_saving_and_loading_gives_the_same_dataset(dataset: Dataset, tmp_path: Path) -> None:
    ledger = to_table([Entry("a.jpg", Rule.CLIPPED, Action.FIXED, before={"x": -1.0}, after={"x": 0.0})])
    dataset = replace(dataset, ledger=ledger, split="val", parent="a" * 64)
    manifest = dataset.save(tmp_path / "saved")
    loaded = Dataset.load(tmp_path / "saved")
    for table in ("images", "annotations", "ledger"):
        assert_frame_equal(getattr(loaded, table), getattr(dataset, table))
    for name in ("name", "classes", "shards", "split", "parent", "version"):
        assert getattr(loaded, name) == getattr(dataset, name)
    assert manifest == load_manifest(tmp_path / "saved")
    assert (manifest.version, manifest.image_count, manifest.annotation_count) == (dataset.version, 12, 10)
    assert len(list((tmp_path / "saved").iterdir())) == 4


def test_an_empty_dataset_survives_the_disk(dataset: Dataset, tmp_path: Path) -> None:
    empty = dataset.subset([])
    empty.save(tmp_path / "saved")
    assert Dataset.load(tmp_path / "saved").version == empty.version
    assert empty.shards == ()


@pytest.mark.parametrize("table", ["images", "annotations", "ledger"])
def test_a_tampered_table_is_refused(dataset: Dataset, tmp_path: Path, table: str) -> None:
    dataset.save(tmp_path / "saved")
    path = tmp_path / "saved" / f"{table}.parquet"
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(CorruptionError, match=path.name):
        Dataset.load(tmp_path / "saved")
    path.unlink()
    with pytest.raises(CorruptionError, match=path.name):
        Dataset.load(tmp_path / "saved")


@pytest.mark.parametrize("text", [None, "{}", "not json", '{"schema_version": 99}'])
def test_a_folder_without_a_sound_manifest_is_no_dataset(dataset: Dataset, tmp_path: Path, text: str | None) -> None:
    dataset.save(tmp_path / "saved")
    path = tmp_path / "saved" / "dataset.json"
    path.unlink() if text is None else path.write_text(text)
    with pytest.raises(FormatError, match=r"saved"):
        Dataset.load(tmp_path / "saved")


def test_a_newer_schema_asks_for_an_upgrade(dataset: Dataset, tmp_path: Path) -> None:
    manifest = dataset.save(tmp_path / "saved").model_copy(update={"schema_version": 99})
    (tmp_path / "saved" / "dataset.json").write_text(manifest.model_dump_json())
    with pytest.raises(FormatError, match="upgrade"):
        Dataset.load(tmp_path / "saved")


def test_a_subset_keeps_ids_and_only_the_shards_it_needs(dataset: Dataset) -> None:
    part = dataset.subset(pl.Series([3, 1, 999]), split="val")
    assert part.images.get_column("image_id").to_list() == [1, 3]
    assert set(part.annotations.get_column("image_id")) == {1, 3}
    assert {shard.sha256 for shard in part.shards} == set(part.images.get_column("shard"))
    assert len(part.shards) < len(dataset.shards)
    assert part.split == "val"
