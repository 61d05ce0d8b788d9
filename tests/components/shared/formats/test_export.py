"""Exporting: whole or not at all, with few requests, and back to the same version."""

import io
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import polars as pl
import pytest
from PIL import Image

from components.shared.dataset import ANNOTATIONS, IMAGES, Dataset
from components.shared.errors import ConfigError, CorruptionError, UnsafeInputError
from components.shared.formats.export import export
from components.shared.formats.losses import HOLDS
from components.shared.formats.registry import FORMATS
from components.shared.formats.rescale import rescaled, shrink, size_within
from components.shared.store import Store, open_store

MakeDataset = Callable[..., Dataset]
Picture = Callable[..., bytes]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store((tmp_path / "store").as_uri())


@pytest.mark.parametrize("name", HOLDS)
def test_an_exported_dataset_reads_back_with_its_images(
    name: str, store: Store, make_dataset: MakeDataset, tmp_path: Path
) -> None:
    dataset = make_dataset(store)
    done = export(dataset, store, tmp_path / "out", name)
    assert (done.images, done.boxes, done.losses) == (12, 10, ())
    parsed = FORMATS[name].read(tmp_path / "out")
    assert parsed.images.height == 12
    assert parsed.annotations.height == 10
    originals = dataset.images.sort("name")
    read = parsed.images.sort("name")
    assert read["name"].to_list() == originals["name"].to_list()
    assert [len(Path(path).read_bytes()) for path in read["path"]] == originals["bytes"].to_list()


class CountingStore:
    """A store that counts its range requests."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.requests = 0
        self.uri = store.uri

    def read_range(self, key: str, offset: int, length: int) -> bytes:
        self.requests += 1
        return self._store.read_range(key, offset, length)

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)


@pytest.mark.parametrize("name", HOLDS)
def test_images_are_not_fetched_one_by_one(name: str, store: Store, make_dataset: MakeDataset, tmp_path: Path) -> None:
    dataset = make_dataset(store, count=40, target_bytes=1 << 20)
    shuffled = Dataset(**{**dataset.__dict__, "images": dataset.images.sample(fraction=1.0, shuffle=True, seed=1)})
    counting = CountingStore(store)
    export(shuffled, counting, tmp_path / "out", name)  # type: ignore[arg-type]
    assert counting.requests <= 2


@pytest.mark.parametrize("suffix", [".zip", ".tar"])
def test_an_archive_holds_the_same_files_and_is_the_same_each_time(
    suffix: str, store: Store, make_dataset: MakeDataset, tmp_path: Path
) -> None:
    dataset = make_dataset(store)
    export(dataset, store, tmp_path / "folder", "yolo")
    first, second = tmp_path / f"one{suffix}", tmp_path / f"two{suffix}"
    for path in (first, second):
        export(dataset, store, path, "yolo")
    assert first.read_bytes() == second.read_bytes()
    expected = sorted(path.relative_to(tmp_path / "folder").as_posix() for path in (tmp_path / "folder").rglob("*.*"))
    if suffix == ".zip":
        with zipfile.ZipFile(first) as archive:
            assert sorted(archive.namelist()) == expected
            assert archive.read("data.yaml") == (tmp_path / "folder" / "data.yaml").read_bytes()
    else:
        with tarfile.open(first) as archive:
            assert sorted(archive.getnames()) == expected


def leftovers(folder: Path) -> Iterator[str]:
    return (path.name for path in folder.iterdir() if path.name not in {"store", "work"})


def test_nothing_is_left_when_an_image_is_damaged(store: Store, make_dataset: MakeDataset, tmp_path: Path) -> None:
    dataset = make_dataset(store)
    broken = pl.when(pl.col("image_id") == 7).then(pl.lit("0" * 64)).otherwise("sha256")
    damaged = Dataset(**{**dataset.__dict__, "images": dataset.images.with_columns(sha256=broken)})
    with pytest.raises(CorruptionError, match=r"7\.jpg"):
        export(damaged, store, tmp_path / "out", "coco")
    assert list(leftovers(tmp_path)) == []


def test_a_folder_in_use_is_refused_and_an_empty_one_is_not(
    store: Store, make_dataset: MakeDataset, tmp_path: Path
) -> None:
    dataset = make_dataset(store)
    used, empty = tmp_path / "used", tmp_path / "empty"
    used.mkdir()
    empty.mkdir()
    (used / "mine.txt").write_text("mine")
    (tmp_path / "there.zip").write_bytes(b"mine")
    for path in (used, tmp_path / "there.zip", used / "mine.txt"):
        with pytest.raises(ConfigError, match=r"not empty|exists"):
            export(dataset, store, path, "coco")
    export(dataset, store, empty, "coco")
    assert (empty / "annotations" / "instances_default.json").exists()
    assert (used / "mine.txt").read_text() == "mine"


def test_formats_that_cannot_be_written_are_refused_at_once(
    store: Store, make_dataset: MakeDataset, tmp_path: Path
) -> None:
    dataset = make_dataset(store)
    for name, message in (("cvat", "cannot be written"), ("yolos", "did you mean 'yolo'")):
        with pytest.raises(ConfigError, match=message):
            export(dataset, store, tmp_path / "out", name)
    assert list(leftovers(tmp_path)) == []


def test_an_image_name_that_climbs_out_writes_nothing(store: Store, make_dataset: MakeDataset, tmp_path: Path) -> None:
    dataset = make_dataset(store)
    images = dataset.images.with_columns(name=pl.lit("../../") + pl.col("name"))
    with pytest.raises(UnsafeInputError, match="climbs out"):
        export(Dataset(**{**dataset.__dict__, "images": images}), store, tmp_path / "deep" / "out", "yolo")
    assert list(leftovers(tmp_path)) in ([], ["deep"])
    assert not (tmp_path / "0.jpg").exists()


def test_progress_goes_up_to_the_end(store: Store, make_dataset: MakeDataset, tmp_path: Path) -> None:
    shares: list[float] = []
    export(make_dataset(store), store, tmp_path / "out", "voc", notify=lambda share, _: shares.append(share))
    assert shares == sorted(shares)
    assert shares[-1] == 1.0


def test_images_and_boxes_shrink_together(store: Store, make_dataset: MakeDataset, tmp_path: Path) -> None:
    dataset = make_dataset(store)
    export(dataset, store, tmp_path / "out", "coco", longest_edge=24)
    parsed = FORMATS["coco"].read(tmp_path / "out")
    for path in parsed.images["path"]:
        with Image.open(path) as image:
            assert image.size == (24, 16)
            assert image.format == "JPEG"
    boxes = dict(
        zip(parsed.annotations["source_id"], parsed.annotations.select("x", "y", "width", "height").rows(), strict=True)
    )
    assert boxes["0"] == (0.75, 1.125, 5.0, 3.5)
    assert parsed.images.select("declared_width", "declared_height").row(0) == (24, 16)


def test_a_turned_image_is_shrunk_the_right_way_up(picture: Picture) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    with Image.open(io.BytesIO(shrink(picture(1, size=(48, 32), exif=exif), 24))) as image:
        assert image.size == (16, 24)
        assert image.getexif().get(0x0112) is None


@pytest.mark.parametrize("kind", ["PNG", "BMP", "WEBP", "TIFF", "GIF"])
def test_a_shrunk_image_keeps_its_encoding(kind: str, picture: Picture) -> None:
    with Image.open(io.BytesIO(shrink(picture(1, kind), 24))) as image:
        assert (image.format, image.size) == (kind, (24, 16))


def test_what_is_small_enough_or_no_image_stays_as_it_is(picture: Picture) -> None:
    data = picture(1)
    assert shrink(data, 48) == data
    assert shrink(data, 0) == data
    assert shrink(b"no image", 10) == b"no image"


def test_sizes_never_vanish() -> None:
    assert size_within(10000, 1, 100) == (100, 1)
    assert size_within(0, 0, 100) == (0, 0)


def test_polygons_and_areas_are_scaled_and_masks_left_out(store: Store, make_dataset: MakeDataset) -> None:
    dataset = make_dataset(store, count=2)
    texts = ['{"area":4.0,"segmentation":[[2,4,6,8,10,12]],"x":1}', '{"segmentation":{"counts":"abc","size":[32,48]}}']
    annotations = dataset.annotations.with_columns(pl.Series("attributes", texts))
    found = (
        rescaled(Dataset(**{**dataset.__dict__, "annotations": annotations}), 24).annotations["attributes"].to_list()
    )
    assert found == ['{"area":1.0,"segmentation":[[1.0,2.0,3.0,4.0,5.0,6.0]],"x":1}', None]


def test_masks_that_cannot_be_scaled_are_told(store: Store, make_dataset: MakeDataset, tmp_path: Path) -> None:
    dataset = make_dataset(store, count=1)
    annotations = dataset.annotations.with_columns(
        attributes=pl.lit('{"segmentation":{"counts":"abc","size":[32,48]}}')
    )
    masked = Dataset(**{**dataset.__dict__, "annotations": annotations})
    told = export(masked, store, tmp_path / "small", "coco", longest_edge=24).losses
    assert told == ("1 run-length masks are left out: they cannot be scaled",)
    assert export(masked, store, tmp_path / "whole", "coco").losses == ()


@pytest.mark.parametrize(
    ("name", "hint"), [("yollo", "did you mean 'yolo'"), ("auto", "there are coco"), ("cvat", "there are")]
)
def test_a_format_that_cannot_be_written_is_refused_with_those_that_can(name: str, hint: str, tmp_path: Path) -> None:
    store = open_store(f"file://{tmp_path}/store")
    with pytest.raises(ConfigError, match=hint) as caught:
        export(
            Dataset("x", (), pl.DataFrame(schema=IMAGES), pl.DataFrame(schema=ANNOTATIONS)), store, tmp_path / "o", name
        )
    assert "kitti" not in str(caught.value)
