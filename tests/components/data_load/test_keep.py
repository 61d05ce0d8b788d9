"""Images by file and by address, boxes in pixels whatever the source measured in, and few requests."""

import os
import signal
import subprocess
import sys
import time
from io import BytesIO
from pathlib import Path
from typing import ClassVar

import numpy as np
import polars as pl
import psutil
import pytest
from PIL import Image

from components.data_load import remote_images
from components.data_load.keep import in_pixels, keep
from components.data_prep.sizes import find_mismatches
from components.shared import dataset_store, shards
from components.shared.errors import NotFoundError, StoreError
from components.shared.formats.base import PARSED_ANNOTATIONS, PARSED_IMAGES, Parsed
from components.shared.materialise import materialise
from components.shared.store import Store, open_store

ROOT = Path(__file__).parents[3]
SIZE = (40, 24)


def picture(seed: int, size: tuple[int, int] = SIZE) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG")
    return buffer.getvalue()


def parsed(images: list[dict[str, object]], boxes: list[dict[str, object]] | None = None) -> Parsed:
    rows = [{"image_id": number, "name": f"{number}.jpg", **image} for number, image in enumerate(images)]
    usual = {"image_id": 0, "category": "cat", "x": 0.25, "y": 0.5, "width": 0.5, "height": 0.25, "relative": True}
    usual |= {"crowd": False, "difficult": False, "truncated": False, "kind": "ground_truth"}
    return Parsed(
        classes=("cat",),
        images=pl.DataFrame(rows, schema=PARSED_IMAGES),
        annotations=pl.DataFrame([{**usual, **box} for box in boxes or []], schema=PARSED_ANNOTATIONS),
    )


def on_disk(folder: Path, count: int) -> list[dict[str, object]]:
    folder.mkdir(exist_ok=True)
    for number in range(count):
        (folder / f"{number}.jpg").write_bytes(picture(number))
    return [{"path": str(folder / f"{number}.jpg")} for number in range(count)]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(str(tmp_path / "store"))


def test_shares_become_pixels_of_the_image_and_its_declared_size_is_forgotten(tmp_path: Path, store: Store) -> None:
    [image] = on_disk(tmp_path / "images", 1)
    declared = {"declared_width": 400, "declared_height": 240}
    kept = keep(parsed([image | declared, image | declared], [{}]), "demo", store).dataset
    assert kept.annotations.select("x", "y", "width", "height").row(0) == (10.0, 12.0, 20.0, 6.0)
    assert kept.images.select("declared_width", "declared_height").rows() == [(None, None), (400, 240)]
    assert find_mismatches(kept.images.head(1), kept.annotations).is_empty()


def test_shares_of_an_image_that_is_not_there_are_shares_of_its_declared_size(store: Store) -> None:
    declared = {"declared_width": 400, "declared_height": 200}
    kept = keep(parsed([declared, {}], [{}, {"image_id": 1}]), "demo", store)
    assert kept.dataset.annotations.select("x", "y", "width", "height").rows() == [
        *((100.0, 100.0, 200.0, 50.0), (0.25, 0.5, 0.5, 0.25)),
    ]
    assert kept.dataset.images.select("declared_width", "width", "sha256").row(0) == (400, 0, None)
    assert (kept.new_images, kept.new_bytes, kept.dataset.shards) == (0, 0, ())


def test_shares_of_an_unreadable_image_are_shares_of_its_declared_size(tmp_path: Path, store: Store) -> None:
    (tmp_path / "cut.jpg").write_bytes(picture(0)[:-300])
    image = {"path": str(tmp_path / "cut.jpg"), "declared_width": 80, "declared_height": 48}
    kept = keep(parsed([image], [{}]), "demo", store).dataset
    assert kept.annotations.select("x", "y", "width", "height").row(0) == (20.0, 24.0, 40.0, 12.0)
    assert kept.images.item(0, "declared_width") == 80


def test_pixels_stay_as_they_are() -> None:
    given = parsed([{}], [{"relative": False, "x": -3.5, "y": 2.0, "width": 1e6, "height": 0.0}])
    images = given.images.with_columns(width=pl.lit(40, pl.UInt32), height=pl.lit(24, pl.UInt32))
    assert in_pixels(given.annotations, images).select("x", "y", "width", "height").row(0) == (-3.5, 2.0, 1e6, 0.0)


class Addresses:
    """Stands in for the network."""

    made: ClassVar[list[dict[str, object]]] = []

    def __init__(self, *, allow_private: bool, max_bytes: int) -> None:
        self.made.append({"allow_private": allow_private, "max_bytes": max_bytes})

    def fetch(self, uri: str) -> bytes:
        if uri.endswith("gone.jpg"):
            raise NotFoundError(f"There is no image at {uri!r}.")
        return picture(int(uri[-5]))

    def close(self) -> None:
        self.made[-1]["closed"] = True


@pytest.fixture
def addresses(monkeypatch: pytest.MonkeyPatch) -> type[Addresses]:
    monkeypatch.setattr(Addresses, "made", [])
    monkeypatch.setattr(remote_images, "RemoteImages", Addresses)
    return Addresses


def test_images_by_address_are_fetched_kept_and_measured(
    tmp_path: Path, store: Store, addresses: type[Addresses]
) -> None:
    images: list[dict[str, object]] = [{"uri": f"https://host/{number}.jpg"} for number in range(3)]
    kept = keep(parsed([*images, *on_disk(tmp_path / "images", 1)]), "demo", store)
    assert kept.dataset.images.get_column("width").to_list() == [40] * 4
    assert kept.new_images == 3
    result = materialise(kept.dataset, store, tmp_path / "out", cache=tmp_path / "cache")
    assert result.paths[2].read_bytes() == picture(2)
    assert [made["closed"] for made in addresses.made] == [True]


def test_an_address_without_an_image_becomes_a_row_that_says_why(store: Store, addresses: type[Addresses]) -> None:
    del addresses
    kept = keep(parsed([{"uri": "https://host/1.jpg"}, {"uri": "s3://bucket/gone.jpg"}]), "demo", store).dataset
    assert kept.images.select("sha256", "width", "problem").row(1) == (
        *(None, 0, "There is no image at 's3://bucket/gone.jpg'."),
    )


def test_nothing_that_fetches_is_made_when_all_images_are_on_disk(
    tmp_path: Path, store: Store, addresses: type[Addresses]
) -> None:
    [image] = on_disk(tmp_path / "images", 1)
    keep(parsed([image | {"uri": "https://host/1.jpg"}]), "demo", store)
    assert addresses.made == []


def test_private_addresses_are_allowed_only_on_demand(store: Store, addresses: type[Addresses]) -> None:
    for allowed in (False, True):
        keep(parsed([{"uri": "https://host/1.jpg"}]), "demo", store, allow_private_addresses=allowed)
    assert [made["allow_private"] for made in addresses.made] == [False, True]


class Counting:
    """A store that counts requests as S3 bills them; a listing is one request for each 1,000 objects."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.uri = "s3://bucket/prefix"  # small gaps are read over, as on a network
        self.requests: list[str] = []

    def __getattr__(self, name: str) -> object:
        method = getattr(self._store, name)

        def counted(*given: object, **named: object) -> object:
            self.requests.append(f"{name} {given[0] if given else ''}")
            return method(*given, **named)

        return counted


@pytest.mark.slow
def test_a_thousand_images_cost_at_most_ten_requests(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    scale = 100_000 / len(picture(0))  # as if each image had about 100 kB
    for name in ("TARGET_BYTES", "WINDOW_BYTES", "REQUEST_BYTES", "GAP_BYTES"):
        monkeypatch.setattr(shards, name, int(getattr(shards, name) / scale))
    counting = Counting(store)
    kept = keep(parsed(on_disk(tmp_path / "images", 2500)), "demo", counting)
    dataset_store.commit(counting, kept.dataset)
    loading = len(counting.requests)
    assert loading <= 25, counting.requests
    materialise(kept.dataset, counting, tmp_path / "out", cache=tmp_path / "cache")
    assert len(counting.requests) - loading <= 25, counting.requests[loading:]
    again = len(counting.requests)
    assert keep(parsed(on_disk(tmp_path / "images", 2500)), "demo", counting).new_bytes == 0
    assert len(counting.requests) - again <= 12, counting.requests[again:]


STUCK = """
import sys, time
from pathlib import Path
from components.data_load import look
from components.data_load.load import load
from components.data_load.options import LoadOptions

look.NOTIFY_EVERY = 0.0

def wait(share, message):
    if message.startswith("image"):
        print("here", flush=True)
        time.sleep(60)

load(LoadOptions(sys.argv[1], name="demo"), sys.argv[2], Path("out"), Path("report.html"), wait)
"""


@pytest.mark.slow
@pytest.mark.parametrize("signal_", [signal.SIGTERM, signal.SIGKILL])
def test_a_stopped_load_leaves_no_process_behind(tmp_path: Path, signal_: signal.Signals) -> None:
    folder = tmp_path / "source"
    (folder / "images").mkdir(parents=True)
    (folder / "labels").mkdir()
    (folder / "data.yaml").write_text("names: [cat]\nnc: 1\ntrain: images\nval: images\n")
    for number in range(40):
        (folder / "images" / f"{number}.jpg").write_bytes(picture(number))
        (folder / "labels" / f"{number}.txt").write_text("0 0.5 0.5 0.5 0.5\n")
    command = [sys.executable, "-c", STUCK, str(folder), (tmp_path / "store").as_uri()]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path)}
    with subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.readline().strip() == b"here"
        family = psutil.Process(child.pid).children(recursive=True)
        child.send_signal(signal_)
        child.wait(timeout=20)
    time.sleep(0.2)
    assert [process for process in family if process.is_running()] == []
    assert dataset_store.names(open_store((tmp_path / "store").as_uri())) == ()


def test_a_store_that_fails_stops_the_loop_with_its_error(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(key: str, data: bytes) -> bool:
        raise StoreError(f"Cannot write {key} of {len(data)} bytes.")

    monkeypatch.setattr(store, "create", broken)
    with pytest.raises(StoreError, match="Cannot write shards/"):
        keep(parsed(on_disk(tmp_path / "images", 50)), "demo", store)
