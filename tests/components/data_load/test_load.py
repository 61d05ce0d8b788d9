"""Loading real files into a real store: versions, new bytes, boxes in pixels, and what is left after a failure."""

import hashlib
import json
import shutil
import signal
import subprocess
import sys
import tarfile
import zipfile
from io import BytesIO
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image

from components.data_load.load import Loaded, load
from components.data_load.options import LoadOptions, SampleOptions
from components.shared import dataset_store
from components.shared.dataset import Dataset
from components.shared.errors import ConfigError, FormatError, InputError, SourceError, StoreError, UnsafeInputError
from components.shared.images import decode
from components.shared.shards import ImageReader
from components.shared.store import open_store

ROOT = Path(__file__).parents[3]
MULTIFORMAT = ROOT.parent / "shared" / "data" / "odmetrics_multiformat"
TURNED = 6  # EXIF: the stored image lies on its side
SIZE = (40, 24)


def picture(seed: int, *, orientation: int = 1, size: tuple[int, int] = SIZE) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = orientation
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", exif=exif)
    return buffer.getvalue()


def write_coco(root: Path, pictures: dict[str, bytes | None]) -> Path:
    """A COCO tree with one box an image; ``None`` leaves the image's file out."""
    (root / "annotations").mkdir(parents=True, exist_ok=True)
    (root / "images").mkdir(exist_ok=True)
    for name, data in pictures.items():
        if data is not None:
            (root / "images" / name).write_bytes(data)
    images = [
        {"id": i, "file_name": name, "width": SIZE[0], "height": SIZE[1]} for i, name in enumerate(pictures, start=1)
    ]
    boxes = [
        {"id": i, "image_id": i, "category_id": 1 + i % 2, "bbox": [i, 2.5, 10, 8], "area": 80, "iscrowd": 0}
        for i in range(1, len(pictures) + 1)
    ]
    categories = [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}]
    content = {"images": images, "annotations": boxes, "categories": categories}
    (root / "annotations" / "instances.json").write_text(json.dumps(content))
    return root


def write_yolo(root: Path, image: bytes, line: str) -> Path:
    for folder, name, data in (("images", "a.jpg", image), ("labels", "a.txt", line.encode())):
        (root / folder).mkdir(parents=True, exist_ok=True)
        (root / folder / name).write_bytes(data)
    (root / "data.yaml").write_text("names: [cat]\nnc: 1\ntrain: images\nval: images\n")
    return root


def pictures(count: int, first: int = 0) -> dict[str, bytes | None]:
    return {f"{number:03}.jpg": picture(number) for number in range(first, first + count)}


def bring(tmp_path: Path, source: Path | str, name: str = "demo", **options: str) -> Loaded:
    loaded = load(
        LoadOptions(source=str(source), name=name, **options),
        (tmp_path / "store").as_uri(),
        tmp_path / "out" / name,
        tmp_path / "report.html",
    )
    assert (tmp_path / "report.html").stat().st_size > 1000
    return loaded


def store_files(tmp_path: Path, below: str) -> dict[str, int]:
    root = tmp_path / "store" / below
    return {path.relative_to(root).as_posix(): path.stat().st_mtime_ns for path in root.rglob("*") if path.is_file()}


def test_the_dataset_is_in_the_folder_and_in_the_store_under_its_version(tmp_path: Path) -> None:
    loaded = bring(tmp_path, write_coco(tmp_path / "source", pictures(5)))
    written = Dataset.load(tmp_path / "out" / "demo")
    kept = dataset_store.read(open_store((tmp_path / "store").as_uri()), "demo")
    assert written.version == kept.version == loaded.version
    assert kept.classes == ("cat", "dog")
    assert loaded.counts | {"bytes": 0, "new_bytes": 0} == {
        "images": 5,
        "boxes": 5,
        "classes": 2,
        "bytes": 0,
        "new_images": 5,
        "new_bytes": 0,
        "missing_images": 0,
        "unreadable_images": 0,
        "ledger_rows": 0,
    }


def test_an_image_comes_back_from_the_store_byte_for_byte(tmp_path: Path) -> None:
    source = pictures(3)
    loaded = bring(tmp_path, write_coco(tmp_path / "source", source))
    reader = ImageReader(open_store((tmp_path / "store").as_uri()))
    assert [data for _, data in reader.read_many(loaded.dataset.images)] == list(source.values())
    digests = [hashlib.sha256(data or b"").hexdigest() for data in source.values()]
    assert loaded.dataset.images["sha256"].to_list() == digests


def test_loading_the_same_source_again_gives_the_same_version_and_no_new_bytes(tmp_path: Path) -> None:
    source = write_coco(tmp_path / "source", pictures(6))
    first = bring(tmp_path, source)
    before = store_files(tmp_path, "shards") | store_files(tmp_path, "datasets")
    second = bring(tmp_path, source)
    assert second.version == first.version
    assert first.counts["new_bytes"] > 0
    assert first.counts["new_images"] == 6
    assert (second.counts["new_images"], second.counts["new_bytes"]) == (0, 0)
    assert store_files(tmp_path, "shards") | store_files(tmp_path, "datasets") == before


def test_grown_data_brings_only_its_new_images_into_the_store(tmp_path: Path) -> None:
    bring(tmp_path, write_coco(tmp_path / "small", pictures(6)))
    former = store_files(tmp_path, "shards")
    grown = bring(tmp_path, write_coco(tmp_path / "large", pictures(8)))
    new = set(store_files(tmp_path, "shards")) - set(former)
    assert len(new) == 1
    assert grown.counts["new_images"] == 2
    assert grown.counts["new_bytes"] == (tmp_path / "store" / "shards" / next(iter(new))).stat().st_size
    with tarfile.open(tmp_path / "store" / "shards" / new.pop()) as shard:
        names = {member.name.partition(".")[0] for member in shard}
    assert names == set(grown.dataset.images["sha256"][6:])
    assert {shard.sha256 for shard in grown.dataset.shards} == set(grown.dataset.images["shard"])


def test_data_grown_in_steps_has_the_version_of_data_loaded_at_once(tmp_path: Path) -> None:
    bring(tmp_path, write_coco(tmp_path / "small", pictures(3)))
    whole = write_coco(tmp_path / "large", pictures(5))
    grown = bring(tmp_path, whole)
    assert bring(tmp_path, whole, name="other").version == grown.version


@pytest.mark.parametrize("kind", ["zip", "tar", "gztar"])
def test_an_archive_of_a_folder_has_the_folders_version(tmp_path: Path, kind: str) -> None:
    source = write_coco(tmp_path / "source", pictures(4))
    archive = shutil.make_archive(str(tmp_path / "packed"), kind, source)
    assert bring(tmp_path, archive).version == bring(tmp_path, source, name="folder").version


def test_the_name_follows_the_source_when_none_is_given(tmp_path: Path) -> None:
    source = write_coco(tmp_path / "My Cats", pictures(2))
    assert bring(tmp_path, source, name="").dataset.name == "my-cats"


def test_the_built_in_sample_loads_with_its_planted_defects(tmp_path: Path) -> None:
    options = LoadOptions(source="sample://workbench", sample=SampleOptions(images=20, edge=96, seed=3))
    store = (tmp_path / "store").as_uri()
    loaded = load(options, store, tmp_path / "out", tmp_path / "report.html")
    assert (loaded.dataset.name, loaded.counts["images"], loaded.counts["unreadable_images"]) == ("workbench", 20, 1)


def boxes_by_image(dataset: Dataset) -> list[tuple[object, ...]]:
    joined = dataset.annotations.join(dataset.images.select("image_id", "name"), on="image_id")
    named = joined.with_columns(pl.col("name").str.split("/").list.last())
    return sorted(named.select("name", "category", "x", "y", "width", "height").rows())


def test_voc_coco_and_yolo_copies_of_one_data_set_load_box_for_box_equal(tmp_path: Path) -> None:
    if not MULTIFORMAT.is_dir():
        pytest.skip("the public data set 'odmetrics_multiformat' is not beside the repository")
    found = {}
    for copy in ("pascalvoc_format", "coco_format_v1", "yolo_format"):
        root = shutil.copytree(MULTIFORMAT / "gts" / copy, tmp_path / copy)
        images = root / ("obj_train_data" if copy == "yolo_format" else "images")
        shutil.copytree(MULTIFORMAT / "images", images, dirs_exist_ok=True)
        loaded = bring(tmp_path, root)
        assert (loaded.counts["images"], loaded.counts["boxes"], loaded.counts["classes"]) == (100, 273, 20)
        assert loaded.counts["missing_images"] == loaded.counts["ledger_rows"] == 0
        found[copy] = boxes_by_image(loaded.dataset)
    exact, rounded = found["pascalvoc_format"], found["yolo_format"]
    assert found["coco_format_v1"] == exact
    # Darknet wrote shares with six digits, which at 500 pixels is good to a thousandth of a pixel.
    whole = {(*row[:2], *(round(float(str(value))) for value in row[2:])): row for row in rounded}
    for row in exact:
        assert whole[row][2:] == pytest.approx(row[2:], abs=1e-3)
    assert len(list((tmp_path / "store" / "shards").iterdir())) == 1  # three formats, one copy of the pixels


@pytest.mark.parametrize(("orientation", "size"), [(1, (40, 24)), (3, (40, 24)), (TURNED, (24, 40)), (8, (24, 40))])
def test_relative_boxes_become_pixels_of_the_image_the_right_way_up(
    tmp_path: Path, orientation: int, size: tuple[int, int]
) -> None:
    image = picture(1, orientation=orientation)
    loaded = bring(tmp_path, write_yolo(tmp_path / "source", image, "0 0.5 0.25 0.5 0.25"))
    width, height = size
    assert loaded.dataset.images.select("width", "height", "orientation").row(0) == (width, height, orientation)
    assert decode(image).shape == (height, width, 3)
    box = loaded.dataset.annotations.select("x", "y", "width", "height").row(0)
    assert box == pytest.approx((0.25 * width, 0.125 * height, 0.5 * width, 0.25 * height), abs=1e-9)


def test_pixel_boxes_stay_as_they_are_whatever_the_images_orientation(tmp_path: Path) -> None:
    loaded = bring(tmp_path, write_coco(tmp_path / "source", {"a.jpg": picture(0, orientation=TURNED)}))
    assert loaded.dataset.annotations.select("x", "y", "width", "height").row(0) == (1.0, 2.5, 10.0, 8.0)


def test_an_unreadable_and_a_missing_image_travel_on_with_their_boxes_and_what_is_wrong(tmp_path: Path) -> None:
    cut = picture(1)[:-200]
    source = write_coco(tmp_path / "source", {"good.jpg": picture(0), "cut.jpg": cut, "gone.jpg": None})
    loaded = bring(tmp_path, source)
    good, broken, missing = loaded.dataset.images.sort("image_id").rows(named=True)
    assert (good["problem"], good["width"]) == (None, SIZE[0])
    assert broken["sha256"] == hashlib.sha256(cut).hexdigest()
    assert "truncated" in broken["problem"]
    assert (broken["width"], broken["height"]) == (0, 0)
    assert (missing["sha256"], missing["shard"], missing["offset"], missing["problem"]) == (None, None, None, None)
    assert loaded.dataset.annotations.height == 3
    assert (loaded.counts["missing_images"], loaded.counts["unreadable_images"]) == (1, 1)
    report = (tmp_path / "report.html").read_text()
    assert "cut.jpg" in report
    assert "gone.jpg" in report
    assert "the file is missing" in report


def test_a_relative_box_of_a_missing_image_does_not_stop_the_load(tmp_path: Path) -> None:
    root = write_yolo(tmp_path / "source", picture(0), "0 0.5 0.5 0.5 0.5")
    (root / "labels" / "gone.txt").write_text("0 0.5 0.5 0.5 0.5\n")
    loaded = bring(tmp_path, root)
    counts = (loaded.counts["images"] - loaded.counts["missing_images"], loaded.counts["unreadable_images"])
    assert counts == (1, 0)


def test_two_names_of_one_image_share_its_bytes(tmp_path: Path) -> None:
    loaded = bring(tmp_path, write_coco(tmp_path / "source", {"a.jpg": picture(0), "b.jpg": picture(0)}))
    places = loaded.dataset.images.select("shard", "offset").unique()
    assert (loaded.counts["images"], places.height) == (2, 1)


def hostile_zip(path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("../../escaped.jpg", picture(0))
    return path


def refused_sources(root: Path) -> dict[str, tuple[Path | str, type[Exception]]]:
    (root / "empty").mkdir()
    (root / "texts").mkdir()
    (root / "texts" / "note.txt").write_text("buy milk\n")
    (root / "film.mp4").write_bytes(b"film")
    (root / "cut.zip").write_bytes(hostile_zip(root / "whole.zip").read_bytes()[:500])
    none = write_coco(root / "none", {})
    return {
        "missing": (root / "nowhere", SourceError),
        "empty": (root / "empty", SourceError),
        "texts": (root / "texts", FormatError),
        "film": (root / "film.mp4", SourceError),
        "cut archive": (root / "cut.zip", InputError),
        "hostile archive": (root / "whole.zip", UnsafeInputError),
        "no image listed": (none, InputError),
        "unknown scheme": ("gopher://data/cats", SourceError),
        "unknown sample": ("sample://kitchen", SourceError),
    }


@pytest.mark.parametrize(
    "kind",
    [
        *("missing", "empty", "texts", "film", "cut archive", "hostile archive", "no image listed"),
        *("unknown scheme", "unknown sample"),
    ],
)
def test_a_refused_source_leaves_neither_a_dataset_nor_bytes(tmp_path: Path, kind: str) -> None:
    source, expected = refused_sources(tmp_path)[kind]
    with pytest.raises(expected) as caught:
        bring(tmp_path, source)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "store").exists()
    assert not (tmp_path / "out").exists()
    assert not (tmp_path.parent / "escaped.jpg").exists()


def test_an_unknown_format_is_refused_before_anything_is_kept(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="did you mean 'coco'"):
        bring(tmp_path, write_coco(tmp_path / "source", pictures(1)), format="coco2")
    assert not (tmp_path / "store").exists()


def test_a_name_that_cannot_name_a_dataset_is_refused_before_anything_is_kept(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no dataset name"):
        bring(tmp_path, write_coco(tmp_path / "source", pictures(1)), name="Not A Name")
    assert not (tmp_path / "store").exists()


def test_a_store_that_cannot_be_written_fails_with_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "shards").write_text("in the way")
    with pytest.raises(StoreError):
        bring(tmp_path, write_coco(tmp_path / "source", pictures(1)))


KILLED = """
import os, signal, sys
from pathlib import Path
from components.data_load import look
from components.data_load.load import load
from components.data_load.options import LoadOptions

look.NOTIFY_EVERY = 0.0

def die(share, message):
    if message.startswith(sys.argv[3]):
        os.kill(os.getpid(), signal.SIGKILL)

load(LoadOptions(sys.argv[1], name="demo"), sys.argv[2], Path("out"), Path("report.html"), die)
"""


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["image 4 of", "committing"])
def test_a_killed_load_leaves_no_dataset_and_running_again_completes_it(tmp_path: Path, moment: str) -> None:
    source = write_coco(tmp_path / "source", pictures(6))
    uri = (tmp_path / "store").as_uri()
    command = [sys.executable, "-c", KILLED, str(source), uri, moment]
    environment = {"PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path)}
    child = subprocess.run(command, cwd=tmp_path, env=environment, check=False, timeout=60)
    assert child.returncode == -signal.SIGKILL
    store = open_store(uri)
    assert dataset_store.names(store) == ()
    assert not (tmp_path / "out").exists()
    loaded = bring(tmp_path, source)
    assert dataset_store.versions(store, "demo") == (loaded.version,)
    assert loaded.counts["images"] == 6


def test_progress_only_grows_and_ends_with_the_commit(tmp_path: Path) -> None:
    heard: list[tuple[float, str]] = []
    load(
        LoadOptions(source=str(write_coco(tmp_path / "source", pictures(3)))),
        (tmp_path / "store").as_uri(),
        tmp_path / "out",
        tmp_path / "report.html",
        lambda share, text: heard.append((share, text)),
    )
    shares = [share for share, _ in heard]
    assert shares == sorted(shares)
    assert heard[-1] == (0.95, "committing")
