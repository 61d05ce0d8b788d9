"""Trainers find every image and the right boxes on disk, fetched once and shared through the cache."""

import os
import stat
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image

from components.shared import image_files
from components.shared.dataset import Dataset
from components.shared.errors import ConfigError, CorruptionError, InputError
from components.shared.image_files import scaled_size
from components.shared.images import decode
from components.shared.materialise import ImageOptions, default_cache, materialise
from components.shared.store import Store, open_store

MakeDataset = Callable[..., Dataset]
Picture = Callable[..., bytes]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(str(tmp_path / "store"))


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def labels_of(path: Path) -> list[list[float]]:
    return [[float(value) for value in line.split()] for line in path.read_text().splitlines()]


def test_every_image_gets_an_image_file_and_a_label_file(
    store: Store, make_dataset: MakeDataset, tmp_path: Path
) -> None:
    dataset = make_dataset(store, count=12)
    result = materialise(dataset, store, tmp_path / "out", cache=tmp_path / "cache")
    assert names(result.images) == [f"{n:08d}.jpg" for n in range(12)]
    assert names(result.labels) == [f"{n:08d}.txt" for n in range(12)]
    assert (result.image_count, result.annotation_count) == (12, 10)
    assert result.paths[3] == tmp_path / "out" / "images" / "00000003.jpg"
    assert (result.labels / "00000004.txt").read_text() == ""


def test_a_label_is_class_centre_and_size_as_shares(store: Store, make_dataset: MakeDataset, tmp_path: Path) -> None:
    result = materialise(make_dataset(store, count=2), store, tmp_path / "out", cache=tmp_path / "cache")
    [[category, *box]] = labels_of(result.labels / "00000001.txt")
    assert category == 1
    assert (result.labels / "00000001.txt").read_text().startswith("1 ")
    assert box == pytest.approx([(1.5 + 5.5) / 48, (2.25 + 3.5) / 32, 11 / 48, 7 / 32], rel=1e-8)


def test_crowds_and_predictions_are_left_out(store: Store, make_dataset: MakeDataset, tmp_path: Path) -> None:
    dataset = make_dataset(store, count=4)
    boxes = dataset.annotations.with_columns(
        crowd=pl.col("annotation_id") == 0,
        kind=pl.when(pl.col("annotation_id") == 1).then(pl.lit("prediction")).otherwise(pl.col("kind")),
    )
    result = materialise(replace(dataset, annotations=boxes), store, tmp_path / "out", cache=tmp_path / "cache")
    assert [len(labels_of(result.labels / f"{n:08d}.txt")) for n in range(4)] == [0, 0, 1, 1]
    assert result.annotation_count == 2


def test_a_dataset_without_boxes_or_images_is_written_too(
    store: Store, make_dataset: MakeDataset, tmp_path: Path
) -> None:
    dataset = make_dataset(store, count=3)
    bare = replace(dataset, annotations=dataset.annotations.clear(), classes=())
    assert materialise(bare, store, tmp_path / "bare", cache=tmp_path / "cache").annotation_count == 0
    assert materialise(dataset.subset([]), store, tmp_path / "none", cache=tmp_path / "cache").paths == {}


def test_a_category_outside_the_classes_is_refused(store: Store, make_dataset: MakeDataset, tmp_path: Path) -> None:
    dataset = replace(make_dataset(store, count=3), classes=("cat",))
    with pytest.raises(InputError, match="'dog'"):
        materialise(dataset, store, tmp_path / "out", cache=tmp_path / "cache")


def test_a_missing_image_is_refused_by_name(store: Store, make_dataset: MakeDataset, tmp_path: Path) -> None:
    dataset = make_dataset(store, count=3)
    images = dataset.images.with_columns(width=pl.when(pl.col("image_id") == 1).then(0).otherwise(pl.col("width")))
    with pytest.raises(InputError, match=r"'1\.jpg'.*prepare"):
        materialise(
            replace(dataset, images=images.cast({"width": pl.UInt32})), store, tmp_path / "out", cache=tmp_path / "c"
        )


def test_a_second_run_fetches_nothing_and_shares_the_bytes(
    store: Store, make_dataset: MakeDataset, tmp_path: Path
) -> None:
    dataset = make_dataset(store, count=6)
    first = materialise(dataset, store, tmp_path / "one", cache=tmp_path / "cache")
    for entry in list(store.list("shards/")):
        store.delete(entry.key)
    second = materialise(dataset, store, tmp_path / "two", cache=tmp_path / "cache")
    again = materialise(dataset, store, tmp_path / "two", cache=tmp_path / "cache")
    for image_id, path in first.paths.items():
        assert path.samefile(second.paths[image_id])
        assert path.samefile(again.paths[image_id])


def test_cache_files_are_named_by_digest_and_read_only(store: Store, make_dataset: MakeDataset, tmp_path: Path) -> None:
    dataset = make_dataset(store, count=3)
    materialise(dataset, store, tmp_path / "out", cache=tmp_path / "cache")
    digests = dataset.images.get_column("sha256").to_list()
    files = [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    expected = {f"{digest[:2]}/{digest}.jpg" for digest in digests}
    assert {path.relative_to(tmp_path / "cache").as_posix() for path in files} == expected
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o444}


def test_a_cut_cache_file_is_fetched_again(store: Store, make_dataset: MakeDataset, tmp_path: Path) -> None:
    dataset = make_dataset(store, count=2)
    result = materialise(dataset, store, tmp_path / "out", cache=tmp_path / "cache")
    [cached] = (tmp_path / "cache").rglob(f"{dataset.images.item(0, 'sha256')}.jpg")
    whole = cached.read_bytes()
    cached.chmod(0o644)
    cached.write_bytes(whole[:10])
    again = materialise(dataset, store, tmp_path / "out2", cache=tmp_path / "cache")
    assert again.paths[0].read_bytes() == whole
    assert result.image_count == again.image_count


def test_files_of_an_earlier_run_vanish(store: Store, make_dataset: MakeDataset, tmp_path: Path) -> None:
    dataset = make_dataset(store, count=6)
    materialise(dataset, store, tmp_path / "out", cache=tmp_path / "cache")
    (tmp_path / "out" / "labels.cache").write_bytes(b"stale")
    result = materialise(dataset.subset([2]), store, tmp_path / "out", cache=tmp_path / "cache")
    assert names(result.images) == ["00000002.jpg"]
    assert names(result.labels) == ["00000002.txt"]
    assert names(tmp_path / "out") == ["images", "labels"]


def test_images_trainers_cannot_read_right_become_png(
    store: Store, make_dataset: MakeDataset, picture: Picture, tmp_path: Path
) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    turned_png, turned_jpeg = picture(3, "PNG", exif=exif), picture(4, "JPEG", exif=exif)
    gif, tiff = picture(1, "GIF"), picture(2, "TIFF")
    dataset = make_dataset(store, pictures=[gif, tiff, turned_png, turned_jpeg, picture(5, "BMP")])
    for folder in ("out", "from-cache"):
        result = materialise(dataset, store, tmp_path / folder, cache=tmp_path / "cache")
        assert names(result.images) == [
            f"0000000{n}.{ext}" for n, ext in enumerate(("png", "png", "png", "jpg", "bmp"))
        ]
        for image_id, data in enumerate((gif, tiff, turned_png)):
            with Image.open(result.paths[image_id]) as image:
                assert not image.getexif()
                assert np.array_equal(np.asarray(image), decode(data))
        assert result.paths[3].read_bytes() == turned_jpeg


def test_where_links_fail_images_are_copied(
    store: Store, make_dataset: MakeDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    dataset = make_dataset(store, count=3)
    monkeypatch.setattr(Path, "hardlink_to", refuse)
    result = materialise(dataset, store, tmp_path / "out", cache=tmp_path / "cache")
    assert len(names(result.images)) == 3
    assert {path.stat().st_nlink for path in result.paths.values()} == {1}


def test_two_images_with_the_same_bytes_get_a_file_each(
    store: Store, make_dataset: MakeDataset, picture: Picture, tmp_path: Path
) -> None:
    dataset = make_dataset(store, pictures=[picture(1), picture(1), picture(2)])
    result = materialise(dataset, store, tmp_path / "out", cache=tmp_path / "cache")
    assert result.paths[0].read_bytes() == result.paths[1].read_bytes() == picture(1)
    assert len(names(result.images)) == 3


def test_runs_that_share_a_cache_do_not_disturb_each_other(
    store: Store, make_dataset: MakeDataset, tmp_path: Path
) -> None:
    dataset = make_dataset(store, count=20)
    with ThreadPoolExecutor(3) as pool:
        results = pool.map(lambda n: materialise(dataset, store, tmp_path / f"out{n}", cache=tmp_path / "c"), range(3))
        assert [len(names(result.images)) for result in results] == [20, 20, 20]
    assert not list((tmp_path / "c").rglob("*.tmp"))


def test_a_damaged_shard_never_reaches_the_cache(store: Store, make_dataset: MakeDataset, tmp_path: Path) -> None:
    dataset = make_dataset(store, count=1)
    key = f"shards/{dataset.shards[0].sha256}.tar"
    data = bytearray(store.read(key))
    data[dataset.images.item(0, "offset") + 30] ^= 255
    store.write(key, bytes(data))
    with pytest.raises(CorruptionError, match=r"'0\.jpg'"):
        materialise(dataset, store, tmp_path / "out", cache=tmp_path / "cache")
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]


def test_the_cache_lies_where_the_environment_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("PIPELINE_CACHE", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert tmp_path / ".cache" in default_cache().parents
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert tmp_path / "xdg" in default_cache().parents
    monkeypatch.setenv("PIPELINE_CACHE", str(tmp_path / "mine"))
    assert default_cache() == tmp_path / "mine"


def test_an_unwritable_cache_falls_back_to_the_temporary_folder(
    store: Store, make_dataset: MakeDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a-file").touch()
    monkeypatch.setattr(image_files.tempfile, "gettempdir", lambda: str(tmp_path))
    result = materialise(make_dataset(store, count=2), store, tmp_path / "out", cache=tmp_path / "a-file" / "cache")
    assert result.image_count == 2
    assert len(list((tmp_path / f"detection-images-{os.getuid()}").rglob("*.jpg"))) == 2


def test_progress_is_told_and_ends_at_one(store: Store, make_dataset: MakeDataset, tmp_path: Path) -> None:
    told: list[float] = []
    dataset = make_dataset(store, count=3)
    materialise(dataset, store, tmp_path / "o", cache=tmp_path / "c", notify=lambda share, _: told.append(share))
    assert told == sorted(told)
    assert told[-1] == 1.0


def with_boxes(dataset: Dataset, boxes: list[tuple[float, float, float, float]]) -> Dataset:
    """All these boxes on the first image, and no others."""
    first = dataset.annotations.head(1)
    rows = [
        first.with_columns(
            pl.Series("annotation_id", [number], dtype=pl.UInt32),
            *(pl.lit(value).alias(side) for side, value in zip(("x", "y", "width", "height"), box, strict=True)),
        )
        for number, box in enumerate(boxes)
    ]
    return replace(dataset, annotations=pl.concat(rows))


def test_a_box_beyond_the_frame_is_clipped_and_one_outside_is_left_out(
    store: Store, make_dataset: MakeDataset, tmp_path: Path
) -> None:
    boxes = [
        *((-12.0, -8.0, 24.0, 16.0), (36.0, 24.0, 100.0, 100.0), (12.0, 8.0, 12.0, 8.0)),
        *((48.0, 0.0, 5.0, 5.0), (-9.0, 3.0, 9.0, 5.0), (5.0, 40.0, 5.0, 5.0), (3.0, 3.0, 0.0, 4.0)),
        *((float("nan"), 1.0, 5.0, 5.0), (1.0, 1.0, float("inf"), 5.0)),
    ]
    dataset = with_boxes(make_dataset(store, count=1), boxes)
    result = materialise(dataset, store, tmp_path / "out", cache=tmp_path / "cache")
    assert labels_of(result.labels / "00000000.txt") == [
        [0, 0.125, 0.125, 0.25, 0.25],
        [0, 0.875, 0.875, 0.25, 0.25],
        [0, 0.375, 0.375, 0.25, 0.25],
    ]
    assert result.annotation_count == 3


def test_a_large_image_is_scaled_down_and_its_labels_stay_the_same(
    store: Store, make_dataset: MakeDataset, picture: Picture, tmp_path: Path
) -> None:
    dataset = make_dataset(store, pictures=[picture(1, size=(400, 200)), picture(2, size=(90, 60))])
    plain = materialise(dataset, store, tmp_path / "plain", cache=tmp_path / "cache")
    small = materialise(
        dataset, store, tmp_path / "small", options=ImageOptions(longest_edge=100), cache=tmp_path / "cache"
    )
    assert [Image.open(small.paths[number]).size for number in (0, 1)] == [(100, 50), (90, 60)]
    assert small.paths[1].samefile(plain.paths[1])
    for name in names(plain.labels):
        assert (plain.labels / name).read_text() == (small.labels / name).read_text()
    expected = decode(plain.paths[0].read_bytes()).reshape(50, 4, 100, 4, 3).mean(axis=(1, 3))
    assert np.abs(decode(small.paths[0].read_bytes()) - expected).mean() < 4


def test_caches_of_other_options_do_not_mix(
    store: Store, make_dataset: MakeDataset, picture: Picture, tmp_path: Path
) -> None:
    dataset = make_dataset(store, pictures=[picture(1, "PNG", size=(64, 48))])
    sizes = {}
    for edge in (0, 16, 32):
        for kind in ("keep", "jpeg", "png"):
            options = ImageOptions(longest_edge=edge, format=kind)
            result = materialise(dataset, store, tmp_path / "out", options=options, cache=tmp_path / "cache")
            with Image.open(result.paths[0]) as image:
                sizes[edge, kind] = (image.size[0], image.format)
    assert sizes == {
        (edge, kind): (edge or 64, "JPEG" if kind == "jpeg" else "PNG")
        for edge in (0, 16, 32)
        for kind in ("keep", "jpeg", "png")
    }


def test_a_jpeg_asked_for_as_png_is_the_right_way_up(
    store: Store, make_dataset: MakeDataset, picture: Picture, tmp_path: Path
) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    dataset = make_dataset(store, pictures=[picture(1, exif=exif)])
    result = materialise(dataset, store, tmp_path / "out", options=ImageOptions(format="png"), cache=tmp_path / "cache")
    assert result.paths[0].suffix == ".png"
    np.testing.assert_array_equal(decode(result.paths[0].read_bytes()), decode(picture(1, exif=exif)))


@pytest.mark.parametrize("options", [ImageOptions(format="webp"), ImageOptions(longest_edge=5), ImageOptions(-1)])
def test_options_that_cannot_be_used_are_refused(
    store: Store, make_dataset: MakeDataset, tmp_path: Path, options: ImageOptions
) -> None:
    with pytest.raises(ConfigError, match=r"'webp'|5|-1"):
        materialise(make_dataset(store, count=1), store, tmp_path / "out", options=options)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("size", "edge", "expected"),
    [
        *(((640, 480), 0, (640, 480)), ((640, 480), 640, (640, 480)), ((640, 480), 320, (320, 240))),
        *(((3, 5000), 100, (3, 100)), ((5000, 60), 500, (500, 10)), ((1001, 999), 1000, (1000, 998))),
    ],
)
def test_scaling_keeps_the_aspect_as_long_as_trainers_take_the_image(
    size: tuple[int, int], edge: int, expected: tuple[int, int]
) -> None:
    assert scaled_size(*size, edge) == expected


def test_a_jpeg_with_bytes_behind_it_ends_as_trainers_expect_and_is_cached(
    store: Store, make_dataset: MakeDataset, picture: Picture, tmp_path: Path
) -> None:
    dataset = make_dataset(store, pictures=[picture(1) + b"trailer of a phone"])
    first = materialise(dataset, store, tmp_path / "out", cache=tmp_path / "cache")
    assert first.paths[0].read_bytes() == picture(1) + b"trailer of a phone" + b"\xff\xd9"
    for entry in list(store.list("shards/")):
        store.delete(entry.key)
    assert materialise(dataset, store, tmp_path / "two", cache=tmp_path / "cache").image_count == 1


def test_weights_become_repeats_whose_mean_is_the_weights_mean(
    store: Store, make_dataset: MakeDataset, tmp_path: Path
) -> None:
    dataset = make_dataset(store, count=200)
    weights = [None, 1.0, 0.2, 3.0, float("nan")] * 20 + [2.5] * 100
    weighted = replace(dataset, images=dataset.images.with_columns(weight=pl.Series(weights, dtype=pl.Float32)))
    result = materialise(weighted, store, tmp_path / "out", cache=tmp_path / "cache")
    repeats = [result.repeats[number] for number in range(200)]
    assert repeats[:5] * 20 == repeats[:100] == [1, 1, 1, 3, 1] * 20
    assert set(repeats[100:]) == {2, 3}
    assert np.mean(repeats[100:]) == pytest.approx(2.5, abs=0.15)
    assert result.epoch_image_count == sum(repeats)
    again = materialise(weighted, store, tmp_path / "out", cache=tmp_path / "cache")
    assert again.repeats == result.repeats
