"""A load and a prepare over a bad network: the right version, or one clear sentence and nothing half-written."""

import logging
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fault_proxy import ALL, Faults, Request, faulty
from tiny_data import write_noise

from components.data_load.load import load
from components.data_load.options import LoadOptions
from components.data_prep.prepare import PrepareOptions, run
from components.shared import dataset_store, lease, shards, store_s3
from components.shared.dataset import Dataset
from components.shared.dataset_reference import Reference
from components.shared.dataset_verify import verify
from components.shared.errors import StoreError
from components.shared.shards import ImageReader
from components.shared.store import Store, open_store

pytestmark = pytest.mark.e2e
NAME = "faulty"


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_noise(tmp_path_factory.mktemp("source") / "data")


@pytest.fixture
def faults() -> Faults:
    return Faults()


@pytest.fixture
def sound(s3_server: Any, monkeypatch: pytest.MonkeyPatch) -> Store:
    """The store without the proxy, to look at what the faults left."""
    for name, value in s3_server.environment.items():
        monkeypatch.setenv(name, value)
    return open_store(f"s3://{s3_server.bucket}/{uuid.uuid4().hex}")


@pytest.fixture
def uri(sound: Store, s3_server: Any, faults: Faults, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The same store behind the proxy, with little patience."""
    monkeypatch.setenv("S3_TIMEOUT_SECONDS", "0.7")
    monkeypatch.setattr(store_s3, "_BACKOFF", 0.01)
    monkeypatch.setattr(shards, "TARGET_BYTES", 8192)  # several shards of a few images
    monkeypatch.setattr(lease, "POLL", 0.02)
    with faulty(s3_server.endpoint, faults) as proxy:
        monkeypatch.setenv("S3_ENDPOINT_URL", proxy)
        yield sound.uri


def load_from(source: Path, uri: str, home: Path) -> str:
    return load(LoadOptions(source=str(source), name=NAME), uri, home / "dataset", home / "load.html").version


def prepare(home: Path, uri: str) -> list[str]:
    outputs = {split: home / split for split in ("train", "val", "test")}
    reports = home / "prepare.html", home / "prepare.md"
    done = run(home / "dataset", uri, outputs, reports, PrepareOptions(near_duplicates=-1))
    return [part.version for part in done.splits.values()]


def assert_whole(store: Store, version: str | None) -> None:
    found = [
        Reference(name, each) for name in dataset_store.names(store) for each in dataset_store.versions(store, name)
    ]
    assert verify(store, found).problems == ()
    assert {each.version for each in found} <= {version}
    if NAME in dataset_store.names(store):
        assert set(dataset_store.aliases(store, NAME).values()) <= {version}


@pytest.fixture(scope="module")
def right(source: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, list[str]]:
    """The versions a load and a prepare give where nothing goes wrong."""
    home = tmp_path_factory.mktemp("right")
    return load_from(source, str(home / "store"), home), prepare(home, str(home / "store"))


@pytest.mark.parametrize("seed", range(4))
def test_with_every_tenth_request_failing_both_steps_give_the_right_versions(
    sound: Store, uri: str, faults: Faults, seed: int, source: Path, right: tuple[str, list[str]], tmp_path: Path
) -> None:
    faults.set(0.1, seed)
    assert load_from(source, uri, tmp_path) == right[0]
    assert prepare(tmp_path, uri) == right[1]
    assert_whole(sound, right[0])
    assert dataset_store.read(sound, NAME).version == right[0]
    assert list(sound.leftovers()) == []


@pytest.mark.parametrize("kind", ALL)
def test_with_half_of_the_requests_failing_in_one_way_it_is_all_or_nothing(
    sound: Store, uri: str, faults: Faults, kind: str, source: Path, right: tuple[str, list[str]], tmp_path: Path
) -> None:
    faults.set(0.5 if kind != "hang" else 0.1, 7, (kind,))
    ended = outcome(source, uri, tmp_path)
    assert ended == right[0] or is_one_clear_sentence(ended, sound)
    assert faults.done[kind]
    assert_whole(sound, right[0])


@pytest.mark.parametrize("kind", ["500", "503", "hang", "reset", "lost", "truncated"])
def test_when_every_request_fails_it_says_so_in_one_sentence_and_soon(
    sound: Store, uri: str, faults: Faults, kind: str, source: Path, tmp_path: Path
) -> None:
    faults.set(1.0, 0, (kind,))
    began = time.monotonic()
    with pytest.raises(StoreError) as caught:
        load_from(source, uri, tmp_path)
    assert is_one_clear_sentence(str(caught.value), sound)
    assert time.monotonic() - began < 30
    assert not (tmp_path / "dataset").exists()
    assert_whole(sound, None)


def outcome(source: Path, uri: str, home: Path) -> str:
    """The version a load gave, or its error's sentence."""
    try:
        return load_from(source, uri, home)
    except StoreError as error:
        return str(error)


def is_one_clear_sentence(text: str, store: Store) -> bool:
    return text.startswith("Cannot ") and store.uri in text and "then run again" in text and "\n" not in text


def test_a_body_that_breaks_off_in_the_middle_of_a_shard_is_read_again(
    sound: Store, uri: str, faults: Faults, source: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    load_from(source, sound.uri, tmp_path)
    dataset = dataset_store.read(sound, NAME)
    faults.once(lambda request: "/shards/" in request.path and "Range" in request.headers, "truncated")
    with caplog.at_level(logging.WARNING):
        read = dict(ImageReader(open_store(uri)).read_many(dataset.images))
    assert faults.done["truncated"] == 1
    assert "broke off" in caplog.text
    assert len(read) == dataset.images.height


@pytest.mark.parametrize("piece", ["/dataset.json", "/aliases/latest.json", "/shards/", ".parquet", "/leases/"])
@pytest.mark.parametrize("kind", ["lost", "truncated"])
def test_a_put_whose_answer_was_lost_is_neither_an_error_nor_done_twice(
    sound: Store, uri: str, faults: Faults, piece: str, kind: str, source: Path, tmp_path: Path
) -> None:
    faults.once(lambda request: request.method == "PUT" and piece in request.path, kind)
    version = load_from(source, uri, tmp_path)
    assert faults.done[kind] == 1
    assert dataset_store.versions(sound, NAME) == (version,)
    assert dataset_store.get_alias(sound, NAME).version == version
    assert dataset_store.get_alias(sound, NAME).sequence == 0
    assert Dataset.load(tmp_path / "dataset").version == version


def test_an_upload_in_parts_whose_end_was_lost_arrives_whole(
    sound: Store, uri: str, faults: Faults, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_s3, "PART", 5 << 20)
    big = tmp_path / "big"
    big.write_bytes(bytes(range(256)) * (11 << 12))
    faults.once(lambda request: request.method == "POST" and "uploadId=" in request.path, "lost")
    open_store(uri).upload(big, "big")
    assert faults.done["lost"] == 1
    assert sound.read("big") == big.read_bytes()
    assert list(sound.leftovers()) == []


def test_the_proxy_itself_changes_nothing(sound: Store, uri: str, faults: Faults) -> None:
    store = open_store(uri)
    store.write("k", b"data")
    assert store.read_range("k", 1, 2) == b"at"
    assert [entry.key for entry in store.list("")] == ["k"]
    assert faults.requests == 3
    assert isinstance(faults.choose(Request("GET", "/", {})), str)
    assert sound.exists("k")
