"""Local data in the store's ``raw/``: named by its content, whole, and never sent twice; against a real S3 server."""

import hashlib
import json
import os
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from components.data_load.load import load
from components.data_load.options import LoadOptions
from components.shared.errors import SourceError, StoreError
from components.shared.files import digest_of_digests
from pipelines.backends.cluster import raw as raw_module
from pipelines.backends.cluster.raw import RawStore, look_at, send

FILES = {
    "images/a.jpg": b"\xff\xd8a",
    "images/b.jpg": b"\xff\xd8b",
    "labels/a.txt": b"0 .5 .5 .1 .1\n",
    "labels/b.txt": b"",
}


def folder_of(path: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data)
    return path


def digest_of(files: dict[str, bytes]) -> str:
    return digest_of_digests({name: hashlib.sha256(data).hexdigest() for name, data in files.items()})


@pytest.fixture
def store(s3_uri: str) -> RawStore:
    return RawStore.of(s3_uri)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return folder_of(tmp_path / "data", FILES)


class Counting:
    def __init__(self) -> None:
        self.begun: list[tuple[str, int, int]] = []
        self.done = 0

    def begin(self, what: str, files: int, total: int) -> None:
        self.begun.append((what.partition(" ")[0], files, total))
        self.done = 0

    def advance(self, size: int) -> None:
        self.done += size


def test_a_folder_is_named_by_its_sorted_listing_and_arrives_whole(store: RawStore, data: Path) -> None:
    raw = look_at(data)
    assert raw.digest == digest_of(FILES)
    sent = send(raw, store)
    assert (sent.files, sent.present) == (4, 0)
    assert raw.address(store.uri) == f"{store.uri}/raw/{raw.digest}/"
    found = store.sizes(f"raw/{raw.digest}/")
    assert found == {f"raw/{raw.digest}/{name}": len(content) for name, content in FILES.items()}
    assert store.read(f"raw/{raw.digest}/labels/a.txt") == FILES["labels/a.txt"]


def test_nothing_is_sent_twice_and_what_was_stopped_goes_on(
    store: RawStore, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = look_at(data)
    write, written = RawStore.write, []

    def breaks_at_the_second(self: RawStore, key: str, content: bytes) -> None:
        if len(written) == 1:
            raise StoreError("the line is dead")
        written.append(key)
        write(self, key, content)

    monkeypatch.setattr(raw_module, "PARALLEL", 1)
    monkeypatch.setattr(RawStore, "write", breaks_at_the_second)
    with pytest.raises(StoreError, match="dead"):
        send(raw, store)
    monkeypatch.setattr(RawStore, "write", write)
    again = send(raw, store)
    assert again.present in {1, 2}  # the one without bytes may have gone before the pool stopped
    assert again.files + again.present == 4
    assert (send(raw, store).files, send(raw, store).present) == (0, 4)


def test_the_same_content_elsewhere_has_the_same_digest_and_other_content_has_not(data: Path, tmp_path: Path) -> None:
    digest = look_at(data).digest
    assert look_at(folder_of(tmp_path / "elsewhere" / "wrapped", FILES)).digest == digest
    for changed in ({"images/a.jpg": b"x"}, {"images/c.jpg": b"c"}):
        assert look_at(folder_of(tmp_path / str(len(changed)) / next(iter(changed)), FILES | changed)).digest != digest
    (data / "labels" / "a.txt").rename(data / "labels" / "c.txt")
    assert look_at(data).digest != digest


def test_litter_and_hidden_files_do_not_count_and_links_that_leave_are_told(data: Path, tmp_path: Path) -> None:
    digest = look_at(data).digest
    folder_of(data, {".DS_Store": b"x", "images/._a.jpg": b"x", "__MACOSX/a": b"x", "Thumbs.db": b"x", ".git/c": b"x"})
    assert look_at(data).digest == digest
    (tmp_path / "secret").write_text("x")
    (data / "images" / "z.jpg").symlink_to(tmp_path / "secret")
    found = look_at(data)
    assert found.digest == digest
    assert [line.partition(":")[0] for line in found.left_out] == ["images/z.jpg"]


def test_an_archive_goes_as_one_object_under_a_plain_name(store: RawStore, tmp_path: Path) -> None:
    path = tmp_path / "My Data (1).TAR.GZ"
    path.write_bytes(b"packed")
    raw = look_at(path)
    digest = hashlib.sha256(b"packed").hexdigest()
    assert raw.address(store.uri) == f"{store.uri}/raw/{digest}/my-data-1.tar.gz"
    send(raw, store)
    assert store.read(f"raw/{digest}/my-data-1.tar.gz") == b"packed"


@pytest.mark.parametrize("large", [False, True])
def test_a_file_that_changes_meanwhile_is_never_kept_under_the_old_digest(
    store: RawStore, data: Path, monkeypatch: pytest.MonkeyPatch, large: bool
) -> None:
    raw = look_at(data)
    (data / "images" / "a.jpg").write_bytes(b"\xff\xd8z")
    if large:
        monkeypatch.setattr(raw_module, "PART", 1)
    with pytest.raises(SourceError, match=r"images/a\.jpg' changed while it was sent"):
        send(raw, store)
    assert f"raw/{raw.digest}/images/a.jpg" not in store.sizes(f"raw/{raw.digest}/")


def test_a_half_written_object_is_sent_again(store: RawStore, data: Path) -> None:
    raw = look_at(data)
    store.write_empty(f"raw/{raw.digest}/images/a.jpg")  # what a killed writer leaves on some servers
    assert send(raw, store).present == 0
    assert store.read(f"raw/{raw.digest}/images/a.jpg") == FILES["images/a.jpg"]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: path.mkdir(), "is empty"),
        (lambda _path: None, "does not exist"),
    ],
)
def test_nothing_to_send_is_refused(tmp_path: Path, make: Callable[[Path], None], words: str) -> None:
    make(tmp_path / "data")
    with pytest.raises(SourceError, match=words):
        look_at(tmp_path / "data")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_named(data: Path) -> None:
    (data / "images" / "a.jpg").chmod(0)
    with pytest.raises(SourceError, match=r"a\.jpg' of .* cannot be read: Permission denied"):
        look_at(data)


def test_a_file_that_vanishes_while_it_is_read_is_named(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(path: Path) -> str:
        path.unlink(missing_ok=True)
        return hashlib.sha256(path.read_bytes()).hexdigest()

    monkeypatch.setattr(raw_module, "sha256_file", gone)
    with pytest.raises(SourceError, match="cannot be read: No such file"):
        look_at(data)


def yolo(folder: Path) -> Path:
    """Two images, one of which shows nothing: its label file is empty."""
    for name, colour in (("a", "red"), ("b", "blue")):
        picture = BytesIO()
        Image.new("RGB", (64, 48), colour).save(picture, "PNG")
        label = b"0 0.5 0.5 0.25 0.25\n" if name == "a" else b""
        folder_of(folder, {f"images/train/{name}.png": picture.getvalue(), f"labels/train/{name}.txt": label})
    return folder_of(folder, {"data.yaml": b"names: [thing]\ntrain: images/train\nval: images/train\n"})


@pytest.mark.parametrize("kind", ["yolo", "voc"])
def test_what_a_cluster_reads_is_the_dataset_that_lies_here(store: RawStore, tmp_path: Path, kind: str) -> None:
    real = Path(__file__).resolve().parents[4] / "shared" / "data" / "voc_sample"
    if kind == "voc" and not real.is_dir():
        pytest.skip(f"the data set {real} is not here")
    source = real if kind == "voc" else yolo(tmp_path / "data")
    raw = look_at(source)
    send(raw, store)
    versions = set()
    for number, address in enumerate((str(source), raw.address(store.uri))):
        folder = tmp_path / str(number)
        load(LoadOptions(source=address, name="same"), store.uri, folder, tmp_path / f"{number}.html")
        versions.add(json.loads((folder / "dataset.json").read_text())["version"])
    assert len(versions) == 1


def test_how_far_it_is_gets_told(store: RawStore, data: Path) -> None:
    meter = Counting()
    raw = look_at(data, meter)
    assert meter.done == raw.total == sum(map(len, FILES.values()))
    send(raw, store, meter)
    assert meter.begun == [("reading", 4, raw.total), ("sending", 4, raw.total)]
    assert meter.done == raw.total
    send(raw, store, meter)
    assert len(meter.begun) == 2
