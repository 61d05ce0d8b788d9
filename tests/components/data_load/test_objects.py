import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from components.data_load import objects
from components.data_load.objects import fetch_objects
from components.data_load.remote_images import RemoteImages
from components.shared.errors import ConfigError, NotFoundError, SourceError, UnsafeInputError
from components.shared.ledger import Rule
from components.shared.store import StoredObject
from components.shared.store_s3 import S3Store

pytestmark = pytest.mark.slow

PLENTY = 1 << 30


class Bucket:
    """A prefix of its own in the test server's bucket."""

    def __init__(self, name: str) -> None:
        self.uri = f"s3://{name}/{uuid.uuid4().hex}"
        self._store = S3Store.from_environment(self.uri)

    def put(self, name: str, data: bytes) -> str:
        self._store.write(name, data)
        return f"{self.uri}/{name}"


@pytest.fixture
def bucket(s3_server: Any, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    for name, value in s3_server.environment.items():
        monkeypatch.setenv(name, value)
    return Bucket(s3_server.bucket)


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_all_objects_below_a_prefix_are_brought_with_their_paths(bucket: Bucket, tmp_path: Path) -> None:
    for number in range(40):
        bucket.put(f"cats/images/{number}.jpg", bytes([number]) * (number + 1))
    bucket.put("cats/instances.json", b"{}")
    bucket.put("cats2/other.jpg", b"no")
    heard: list[tuple[float, str]] = []
    told = lambda share, text: heard.append((share, text))  # noqa: E731 - a listener
    found = fetch_objects(f"{bucket.uri}/cats", tmp_path / "out", max_bytes=PLENTY, notify=told)
    files = files_of(tmp_path / "out")
    assert files == {f"images/{n}.jpg": bytes([n]) * (n + 1) for n in range(40)} | {"instances.json": b"{}"}
    assert (found.single, found.base, found.ledger) == (None, f"{bucket.uri}/cats", ())
    assert heard[-1][0] == 1.0
    assert "of 41 objects" in heard[-1][1]


def test_a_key_that_no_store_would_take_is_read(bucket: Bucket, tmp_path: Path) -> None:
    store = bucket._store
    store._client._put_object(store._bucket, f"{store._base}odd/.tmp-a/x.jpg", b"x", {})
    fetch_objects(f"{bucket.uri}/odd", tmp_path / "out", max_bytes=PLENTY)
    assert files_of(tmp_path / "out") == {".tmp-a/x.jpg": b"x"}
    assert RemoteImages(allow_private=False, max_bytes=9).fetch(f"{bucket.uri}/odd/.tmp-a/x.jpg") == b"x"


def test_an_empty_object_such_as_the_labels_of_a_negative_image_is_brought(bucket: Bucket, tmp_path: Path) -> None:
    bucket.put("yolo/images/a.jpg", b"a")
    store = bucket._store
    store._client._put_object(store._bucket, f"{store._base}yolo/labels/a.txt", b"", {})
    fetch_objects(f"{bucket.uri}/yolo", tmp_path / "out", max_bytes=PLENTY)
    assert files_of(tmp_path / "out") == {"images/a.jpg": b"a", "labels/a.txt": b""}


def test_a_large_object_is_brought_in_parts_at_once(
    bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(objects, "PIECE", 100_000)
    data = bytes(range(256)) * 2000
    uri = bucket.put("big.tar", data)
    found = fetch_objects(uri, tmp_path / "out", max_bytes=PLENTY)
    assert found.single is not None
    assert found.single.read_bytes() == data
    assert found.base == bucket.uri


def test_keys_that_are_no_paths_are_left_out_and_in_the_ledger(tmp_path: Path) -> None:
    good = ["d/a.jpg/b.jpg", "d/c/\u00e9.jpg", "d/x y.jpg"]
    bad = ["d/a.jpg", "d/c/e\u0301.jpg", "d/back\\..\\x", "d/tab\t.jpg", "d/../x", "d//x", "d/./x", "d//etc/passwd"]
    bad.append(f"d/{'n' * 300}.jpg")
    found = [StoredObject(key, 1, "", 0.0) for key in (*good, *bad)]
    placed, ledger = objects._places(found, "d/", tmp_path)
    assert [entry.key for entry, _ in placed] == good
    assert all(path.is_relative_to(tmp_path) for _, path in placed)
    assert sorted(entry.image for entry in ledger) == sorted(bad)
    assert {entry.rule for entry in ledger} == {Rule.UNSAFE_NAME}


@pytest.mark.parametrize("key", ["nothing", "nothing/", "nothing/here.zip"])
def test_a_prefix_without_objects_is_one_sentence(bucket: Bucket, tmp_path: Path, key: str) -> None:
    with pytest.raises(SourceError, match="There is nothing at 's3://"):
        fetch_objects(f"{bucket.uri}/{key}", tmp_path / "out", max_bytes=PLENTY)


def test_a_bucket_that_does_not_exist_is_one_sentence(bucket: Bucket, tmp_path: Path) -> None:
    del bucket
    with pytest.raises(SourceError, match=r"bucket 'no-such-bucket' of .* does not exist"):
        fetch_objects("s3://no-such-bucket/cats", tmp_path / "out", max_bytes=PLENTY)
    with pytest.raises(SourceError, match="no bucket name"):
        fetch_objects("s3://No_Bucket/cats", tmp_path / "out", max_bytes=PLENTY)


def test_wrong_keys_and_half_a_pair_are_one_sentence_without_them(
    bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "not-the-secret")
    with pytest.raises(SourceError, match=r"credentials|may not be read") as caught:
        fetch_objects(f"{bucket.uri}/cats", tmp_path / "out", max_bytes=PLENTY)
    assert "not-the-secret" not in str(caught.value)
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(ConfigError, match="AWS_SECRET_ACCESS_KEY is not set"):
        fetch_objects(f"{bucket.uri}/cats", tmp_path / "other", max_bytes=PLENTY)


def test_a_prefix_larger_than_allowed_is_refused_before_a_byte_comes(bucket: Bucket, tmp_path: Path) -> None:
    bucket.put("cats/a.jpg", bytes(600))
    bucket.put("cats/b.jpg", bytes(600))
    with pytest.raises(SourceError, match="max_download_gb"):
        fetch_objects(f"{bucket.uri}/cats", tmp_path / "out", max_bytes=1000)
    assert not files_of(tmp_path / "out")


def test_an_image_is_fetched_from_a_bucket_and_from_the_web(bucket: Bucket, site: Any) -> None:
    images = RemoteImages(allow_private=True, max_bytes=1000)
    assert images.fetch(bucket.put("a b.jpg", b"from s3")) == b"from s3"
    assert images.fetch(site.file("/a.jpg", b"from the web")) == b"from the web"
    images.close()


def test_an_image_that_is_missing_too_large_private_or_of_another_scheme_is_told_apart(
    bucket: Bucket, site: Any
) -> None:
    images = RemoteImages(allow_private=False, max_bytes=10)
    expected = {
        f"{bucket.uri}/none.jpg": NotFoundError,
        bucket.put("large.jpg", bytes(11)): UnsafeInputError,
        "s3://Bad_Bucket/x.jpg": SourceError,
        "s3://no-such-bucket/x.jpg": SourceError,
        f"https://127.0.0.1:{site.port}/x.jpg": UnsafeInputError,
        site.file("/x.jpg", b"x"): SourceError,
        "file:///etc/passwd": SourceError,
        "/etc/passwd": SourceError,
    }
    for uri, error in expected.items():
        with pytest.raises(error) as caught:
            images.fetch(uri)
        assert str(caught.value).endswith(".")
    with pytest.raises(NotFoundError):
        RemoteImages(allow_private=True, max_bytes=10).fetch(site.url("/none.jpg"))
    with pytest.raises(UnsafeInputError):
        RemoteImages(allow_private=True, max_bytes=10).fetch(site.file("/large.jpg", bytes(11)))


def test_images_are_fetched_from_several_threads_over_few_connections(bucket: Bucket, site: Any) -> None:
    images = RemoteImages(allow_private=True, max_bytes=1000)
    uris = [bucket.put(f"{n}.jpg", b"%d" % n) for n in range(20)]
    uris += [site.file(f"/{n}.jpg", b"%d" % n) for n in range(20)]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(images.fetch, uris)) == [b"%d" % n for n in (*range(20), *range(20))]
