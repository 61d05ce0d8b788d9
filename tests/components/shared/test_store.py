"""Both stores keep the same promises, and the S3 one survives a bad network."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from minio import Minio

from components.shared import store_s3
from components.shared.errors import ConfigError, CorruptionError, NotFoundError, StoreError
from components.shared.store import Store, open_store
from components.shared.store_file import FileStore
from components.shared.store_s3 import S3Store

FILE_AND_SLOW_S3 = ["file", pytest.param("s3", marks=pytest.mark.slow)]


@pytest.fixture
def store(store_uri: str) -> Store:
    return open_store(store_uri)


def test_what_was_written_is_read_back(store: Store) -> None:
    store.write("a/b.bin", b"one")
    store.write("a/b.bin", b"two")
    assert store.read("a/b.bin") == b"two"
    assert store.exists("a/b.bin")
    assert not store.exists("a")


def test_no_object_is_empty(store: Store, tmp_path: Path) -> None:
    (tmp_path / "empty").write_bytes(b"")
    attempts: tuple[Callable[[], object], ...] = (
        lambda: store.write("k", b""),
        lambda: store.create("k", b""),
        lambda: store.swap("k", b"", None),
        lambda: store.upload(tmp_path / "empty", "k"),
    )
    for attempt in attempts:
        with pytest.raises(StoreError, match="a byte or more"):
            attempt()
    assert not store.exists("k")


@pytest.mark.parametrize("store_uri", ["s3"], indirect=True)
def test_an_empty_object_that_a_killed_writer_left_counts_as_absent(store: Store, tmp_path: Path) -> None:
    assert isinstance(store, S3Store)
    for key in ("created", "swapped", "left"):
        store._client._put_object(store._bucket, store._name(key), b"", {})
    assert list(store.list("")) == []
    assert not store.exists("left")
    assert not store.touch("left")
    for use in (store.read, store.read_tagged, lambda key: store.download(key, tmp_path / "x")):
        with pytest.raises(NotFoundError):
            use("left")
    assert list(tmp_path.iterdir()) == []
    assert store.create("created", b"mine")
    assert not store.create("created", b"theirs")
    assert store.swap("swapped", b"mine", None)
    assert [entry.key for entry in store.leftovers()] == ["left"]
    (leftover,) = store.leftovers()
    store.discard(leftover)
    assert list(store.leftovers()) == []
    assert [entry.key for entry in store.list("")] == ["created", "swapped"]


def test_a_missing_key_is_not_found(store: Store, tmp_path: Path) -> None:
    for use in (store.read, store.read_tagged, lambda key: store.download(key, tmp_path / "x")):
        with pytest.raises(NotFoundError, match="'no/such'"):
            use("no/such")
    with pytest.raises(NotFoundError):
        store.read_range("no/such", 0, 4)
    assert not store.exists("no/such")
    assert not (tmp_path / "x").exists()
    store.delete("no/such")


def test_a_range_gives_exactly_its_bytes(store: Store) -> None:
    store.write("k", bytes(range(100)))
    assert store.read_range("k", 10, 5) == bytes(range(10, 15))
    assert store.read_range("k", 0, 100) == bytes(range(100))
    assert store.read_range("k", 0, 0) == b""


@pytest.mark.parametrize(("offset", "length"), [(90, 20), (100, 1), (500, 3)])
def test_a_range_past_the_end_is_corruption(store: Store, offset: int, length: int) -> None:
    store.write("k", bytes(100))
    with pytest.raises(CorruptionError, match="'k'"):
        store.read_range("k", offset, length)


def test_create_takes_only_a_free_key(store: Store) -> None:
    assert store.create("k", b"first")
    assert not store.create("k", b"second")
    assert store.read("k") == b"first"
    store.delete("k")
    assert store.create("k", b"third")


def test_swap_replaces_only_what_was_expected(store: Store) -> None:
    assert store.swap("k", b"1", None)
    assert not store.swap("k", b"x", None)
    _, tag = store.read_tagged("k")
    assert store.swap("k", b"2", tag)
    assert not store.swap("k", b"3", tag)
    assert not store.swap("absent", b"3", tag)
    assert store.read("k") == b"2"
    assert not store.exists("absent")


@pytest.mark.parametrize("store_uri", FILE_AND_SLOW_S3, indirect=True)
def test_of_racing_creates_one_wins(store: Store) -> None:
    for turn in range(4):
        assert _winners(lambda who, turn=turn: store.create(f"race/{turn}", b"%d" % who)) == 1


@pytest.mark.parametrize("store_uri", FILE_AND_SLOW_S3, indirect=True)
def test_of_racing_swaps_one_wins(store: Store) -> None:
    store.write("k", b"start")
    for turn in range(4):
        _, tag = store.read_tagged("k")
        assert _winners(lambda who, turn=turn, tag=tag: store.swap("k", b"%d %d" % (turn, who), tag)) == 1


def test_no_increment_is_lost_between_racing_writers(store: Store) -> None:
    store.write("counter", b"0")

    def increment(_: int) -> bool:
        for _attempt in range(100):
            value, tag = store.read_tagged("counter")
            if store.swap("counter", b"%d" % (int(value) + 1), tag):
                return True
        return False

    assert _winners(increment) == 4
    assert store.read("counter") == b"4"


def test_files_go_up_and_come_down_whole(store: Store, tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "deep" / "target"
    source.write_bytes(os.urandom(3_000_000))
    store.upload(source, "big")
    store.download("big", target)
    assert target.read_bytes() == source.read_bytes()
    assert [path.name for path in target.parent.iterdir()] == ["target"]


def test_a_file_larger_than_a_part_goes_up_in_parts(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_s3, "PART", 5 << 20)
    source = tmp_path / "source"
    source.write_bytes(os.urandom(12 << 20))
    store.upload(source, "big")
    assert store.read("big") == source.read_bytes()


def test_listing_is_sorted_by_key_and_bounded_by_the_prefix(store: Store) -> None:
    keys = ["o/Z", "o/a-b/x", "o/a.b", "o/a/x", "o/a0", "o/é +%&.txt", "p"]
    for key in keys:
        store.write(key, key.encode())
    assert [entry.key for entry in store.list("")] == keys
    assert [entry.key for entry in store.list("o/a")] == ["o/a-b/x", "o/a.b", "o/a/x", "o/a0"]
    assert [entry.key for entry in store.list("o/a/")] == ["o/a/x"]
    assert list(store.list("none/")) == []
    assert [entry.size for entry in store.list("p")] == [1]
    before = next(iter(store.list("p"))).tag
    store.write("p", b"other")
    assert next(iter(store.list("p"))).tag != before


@pytest.mark.parametrize("store_uri", FILE_AND_SLOW_S3, indirect=True)
def test_a_listing_tells_when_an_object_was_written_or_touched(store: Store) -> None:
    before = time.time() - 2  # a store may keep whole seconds
    store.write("k", b"data")
    written = next(iter(store.list("k"))).modified
    assert before <= written <= time.time() + 1
    time.sleep(0.01 if store.uri.startswith("file:") else 1.1)  # S3 counts whole seconds
    assert store.touch("k")
    assert next(iter(store.list("k"))).modified > written
    assert store.read("k") == b"data"
    assert not store.touch("absent")
    assert not store.exists("absent")


def test_what_a_killed_writer_left_is_listed_apart_and_can_be_discarded(store: Store) -> None:
    store.write("shards/whole", b"data")
    begin_a_write(store, "shards/half")
    (leftover,) = store.leftovers()
    assert leftover.key.startswith("shards/")
    assert leftover.modified > time.time() - 60
    assert [entry.key for entry in store.list("")] == ["shards/whole"]
    store.discard(leftover)
    store.discard(leftover)
    assert list(store.leftovers()) == []
    assert store.read("shards/whole") == b"data"


def begin_a_write(store: Store, key: str) -> None:
    """Leave behind what a writer leaves that is killed half-way."""
    if isinstance(store, FileStore):
        path = store.root / key
        path.with_name(f".tmp-{path.name}").write_bytes(b"half")
    else:
        assert isinstance(store, S3Store)
        store._client._create_multipart_upload(store._bucket, store._name(key), {})


def test_a_file_store_discards_no_object(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    store.write("k", b"data")
    with pytest.raises(StoreError, match="no leftover"):
        store.discard(next(iter(store.list("k"))))


@pytest.mark.parametrize(
    "key", ["", "/etc/passwd", "../x", "a/../x", "a//b", "./a", "a/", "a\nb", ".tmp-1", ".locks/00"]
)
def test_a_key_that_leaves_the_root_is_refused(store: Store, key: str) -> None:
    for use in (store.read, store.exists, store.delete, lambda key: store.write(key, b"x")):
        with pytest.raises(StoreError, match="cannot be used"):
            use(key)


def test_a_file_store_has_one_address_however_it_was_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    expected = (tmp_path / "my store").as_uri()
    for written in ("my store", "file://my store", f"file://{tmp_path}/my store", expected, str(tmp_path / "my store")):
        assert open_store(written).uri == expected


@pytest.mark.parametrize("uri", ["gs://bucket", "minio://bucket/x", "s3://", "s3://B/x", "s3://bucket/../x", "file://"])
def test_a_wrong_address_is_refused_with_advice(uri: str) -> None:
    with pytest.raises(ConfigError, match=r"write|clean path"):
        open_store(uri)


@pytest.mark.parametrize(
    "endpoint", ["seaweedfs:9000", "ftp://host", "http://me:hunter2@host", "http://h:x", "http://h/p"]
)
def test_a_wrong_endpoint_is_refused_without_showing_a_password(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("S3_ENDPOINT_URL", endpoint)
    with pytest.raises(ConfigError, match="S3_ENDPOINT_URL") as caught:
        open_store("s3://bucket")
    assert "hunter2" not in str(caught.value)


def test_half_a_key_pair_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "only-half")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY", raising=False)
    with pytest.raises(ConfigError, match="AWS_SECRET_ACCESS_KEY is not set"):
        open_store("s3://bucket")


@pytest.mark.parametrize("store_uri", ["s3"], indirect=True)
def test_a_missing_bucket_says_how_to_make_it(store_uri: str) -> None:
    del store_uri
    with pytest.raises(StoreError, match="aws s3 mb s3://no-such-bucket"):
        open_store("s3://no-such-bucket").write("k", b"x")


@pytest.mark.parametrize("store_uri", ["s3"], indirect=True)
def test_a_wrong_secret_is_named_but_not_shown(store_uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hunter2-hunter2")
    store = open_store(store_uri)
    with pytest.raises(StoreError, match="AWS_SECRET_ACCESS_KEY") as caught:
        store.read("k")
    assert "hunter2" not in f"{caught.value} {caught.value.__cause__} {store!r} {vars(store)}"


def test_minio_still_has_the_methods_we_use_for_want_of_public_ones() -> None:
    names = Minio._put_object.__code__.co_varnames
    assert names[1:5] == ("bucket_name", "object_name", "data", "headers")
    assert Minio._abort_multipart_upload.__code__.co_varnames[1:4] == ("bucket_name", "object_name", "upload_id")
    assert {"prefix", "key_marker", "upload_id_marker"} <= {*Minio._list_multipart_uploads.__code__.co_varnames}


@pytest.mark.parametrize("seconds", ["0", "-1", "soon", "1e9"])
def test_a_timeout_that_is_none_is_refused(seconds: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("S3_TIMEOUT_SECONDS", seconds)
    with pytest.raises(ConfigError, match="S3_TIMEOUT_SECONDS"):
        open_store("s3://bucket")


def test_temporary_files_of_a_killed_writer_are_invisible(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    code = (
        "import sys, os; from components.shared.store import open_store; store = open_store(sys.argv[1])\n"
        "print('go', flush=True)\nwhile True: store.write('k', os.urandom(1 << 20))"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE)
    assert process.stdout
    process.stdout.readline()
    time.sleep(0.2)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    (tmp_path / ".tmp-left-behind").write_bytes(b"half")
    assert {(entry.key, entry.size) for entry in store.list("")} <= {("k", 1 << 20)}


KILLED_WHILE_SENDING = """
import http.client, os, signal, sys
from components.shared.store import open_store
store, sent, real = open_store(sys.argv[1]), [], http.client.HTTPConnection.send
tag = store.read_tagged("k")[1]
def send_once(self, data):
    if sent:
        os.kill(os.getpid(), signal.SIGKILL)
    sent.append(real(self, data))
http.client.HTTPConnection.send = send_once
store.swap("k", b"new" * int(sys.argv[2]), tag)
"""


@pytest.mark.parametrize("times", [10, 10_000])
def test_a_writer_killed_between_the_calls_that_send_a_request_leaves_the_old_object(store: Store, times: int) -> None:
    store.write("k", b"old")
    subprocess.run([sys.executable, "-c", KILLED_WHILE_SENDING, store.uri, str(times)], check=False)
    time.sleep(0.3)  # the server may only now notice that nobody goes on
    assert store.read("k") in {b"old", b"new" * times}


def _winners(attempt: Callable[[int], bool], threads: int = 4) -> int:
    barrier = threading.Barrier(threads)

    def run(who: int) -> bool:
        barrier.wait()
        return attempt(who)

    with ThreadPoolExecutor(threads) as pool:
        return sum(pool.map(run, range(threads)))
