"""Shards are plain tars named by their digest, and images come back from them checked and in few requests."""

import hashlib
import os
import tarfile
import time
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import polars as pl
import pytest

from components.shared import shards
from components.shared.dataset import Dataset
from components.shared.errors import CorruptionError, NotFoundError, StoreError
from components.shared.shards import ImageReader, ShardWriter, shard_key
from components.shared.store import Store, open_store

MakeDataset = Callable[..., Dataset]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(str(tmp_path / "store"))


class _Counting:
    """A store that counts what is asked of it."""

    def __init__(self, store: Store, uri: str = "") -> None:
        self._store = store
        self.uri = uri or store.uri
        self.reads: list[tuple[str, int, int]] = []
        self.uploads: list[str] = []

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)

    def read_range(self, key: str, offset: int, length: int) -> bytes:
        self.reads.append((key, offset, length))
        return self._store.read_range(key, offset, length)

    def create(self, key: str, data: bytes) -> bool:
        self.uploads.append(key)
        return self._store.create(key, data)


def digest_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def write(store: Store, blobs: list[bytes], target_bytes: int = 4096) -> ShardWriter:
    with ShardWriter(store, target_bytes=target_bytes) as writer:
        for blob in blobs:
            writer.add(blob, digest_of(blob))
    return writer


def test_a_shard_is_a_tar_named_by_its_digest_with_fixed_headers(store: Store, picture: Callable[..., bytes]) -> None:
    blobs = [picture(1), picture(2, "PNG"), b"not an image"]
    writer = write(store, blobs, 1 << 20)
    [reference] = writer.shards
    data = store.read(shard_key(reference.sha256))
    assert digest_of(data) == reference.sha256
    assert len(data) == reference.size
    with tarfile.open(fileobj=BytesIO(data)) as tar:
        members = tar.getmembers()
        assert [member.name for member in members] == [
            f"{digest_of(blob)}.{suffix}" for blob, suffix in zip(blobs, ("jpg", "png", "bin"), strict=True)
        ]
        assert {(m.mtime, m.uid, m.gid, m.mode, m.uname) for m in members} == {(0, 0, 0, 0o644, "")}
    for blob in blobs:
        place = writer.locations[digest_of(blob)]
        assert data[place.offset : place.offset + place.length] == blob


def test_shards_roll_over_at_their_target_and_hold_larger_images_alone(store: Store) -> None:
    blobs = [bytes([n]) * 1500 for n in range(5)] + [b"x" * 20_000]
    writer = write(store, blobs, 6000)
    per_shard = [sum(place.shard == s.sha256 for place in writer.locations.values()) for s in writer.shards]
    assert per_shard == [2, 2, 1, 1]
    assert writer.locations[digest_of(blobs[-1])].shard == writer.shards[-1].sha256


def test_a_shard_on_its_way_is_not_touched_by_the_next_ones(store: Store) -> None:
    class Late(_Counting):
        def create(self, key: str, data: bytes) -> bool:
            time.sleep(0.02 * (len(self.uploads) % 2))
            return super().create(key, data)

    blobs = [bytes([n]) * (1500 if n % 7 else 9000) for n in range(60)]
    writer = write(Late(store), blobs, 6000)
    assert len(writer.shards) > 10
    for reference in writer.shards:
        assert digest_of(store.read(shard_key(reference.sha256))) == reference.sha256
    for blob in blobs:
        place = writer.locations[digest_of(blob)]
        assert store.read_range(shard_key(place.shard), place.offset, place.length) == blob


def test_a_duplicate_is_stored_once(store: Store) -> None:
    blobs = [bytes([n % 3]) * 3000 for n in range(9)]
    writer = write(store, blobs)
    assert len(writer.locations) == 3
    members = []
    for entry in store.list("shards/"):
        with tarfile.open(fileobj=BytesIO(store.read(entry.key))) as tar:
            members += tar.getnames()
    assert len(members) == 3


def test_the_same_images_give_the_same_shards_and_upload_nothing(store: Store) -> None:
    counting = _Counting(store)
    blobs = [bytes([n]) * 3000 for n in range(7)]
    first = write(counting, blobs)
    uploaded = list(counting.uploads)
    again = write(counting, blobs)
    assert again.shards == first.shards
    assert again.locations == first.locations
    assert counting.uploads == uploaded


def test_no_images_give_no_shards(store: Store) -> None:
    writer = write(store, [])
    assert writer.shards == ()
    assert list(store.list("")) == []


def test_a_shard_that_is_there_already_is_made_young_and_counts_as_no_upload(store: Store, tmp_path: Path) -> None:
    first = write(store, [b"a" * 3000, b"b" * 3000])
    assert first.uploaded == first.shards
    path = tmp_path / "store" / shard_key(first.shards[0].sha256)
    os.utime(path, (1, 1))
    again = write(store, [b"a" * 3000, b"b" * 3000, b"c" * 3000])
    assert again.uploaded == again.shards[2:]
    assert path.stat().st_mtime > 1


def test_a_shard_that_vanishes_after_it_was_listed_is_written_again(store: Store) -> None:
    class Forgetful(_Counting):
        def touch(self, key: str) -> bool:
            self._store.delete(key)
            return self._store.touch(key)

    first = write(store, [b"a" * 3000])
    again = write(Forgetful(store), [b"a" * 3000])
    assert again.uploaded == first.shards
    assert store.exists(shard_key(first.shards[0].sha256))


def test_an_error_in_the_block_uploads_no_unfinished_shard(store: Store) -> None:
    def fill_and_fail() -> None:
        with ShardWriter(store) as writer:
            writer.add(b"data", digest_of(b"data"))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fill_and_fail()
    assert list(store.list("")) == []


def test_a_failed_upload_is_told_at_the_latest_by_finish(store: Store) -> None:
    class Broken(_Counting):
        def create(self, key: str, data: bytes) -> bool:
            raise StoreError(f"Cannot write {len(data)} bytes to {key}.")

    with pytest.raises(StoreError, match="Cannot write"):
        write(Broken(store), [b"data"])


def test_images_come_back_in_the_tables_order(store: Store, make_dataset: MakeDataset) -> None:
    images = make_dataset(store, count=30).images
    reader = ImageReader(store, threads=3)
    for table in (images, images.reverse(), images.sample(fraction=1, shuffle=True, seed=1), images.gather_every(3)):
        found = list(reader.read_many(table))
        assert [image_id for image_id, _ in found] == table.get_column("image_id").to_list()
        assert [digest_of(data) for _, data in found] == table.get_column("sha256").to_list()
    row = images.row(7, named=True)
    assert digest_of(reader.read(row)) == row["sha256"]
    assert list(reader.read_many(images.clear())) == []


def test_images_come_back_over_the_network(store_uri: str, make_dataset: MakeDataset) -> None:
    store = open_store(store_uri)
    images = make_dataset(store, count=10).images
    assert [digest_of(data) for _, data in ImageReader(store).read_many(images)] == images["sha256"].to_list()


def test_whole_shards_cost_one_request_each_piece(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "REQUEST_BYTES", 100_000)
    monkeypatch.setattr(shards, "WINDOW_BYTES", 200_000)
    blobs = [n.to_bytes(2, "big") * 500 for n in range(1000)]
    writer = write(store, blobs, 1 << 22)
    counting = _Counting(store)
    assert [data for _, data in ImageReader(counting).read_many(table_of(writer, blobs))] == blobs
    assert len(counting.reads) <= 25
    assert max(length for _, _, length in counting.reads) <= 100_000


def test_small_gaps_are_read_over_on_a_network_and_skipped_on_a_disk(store: Store) -> None:
    blobs = [bytes([n]) * 5000 for n in range(20)]
    writer = write(store, blobs, 1 << 22)
    every_other = table_of(writer, blobs).gather_every(2)
    for uri, requests in (("s3://bucket", 1), (store.uri, 10)):
        counting = _Counting(store, uri)
        assert len(list(ImageReader(counting).read_many(every_other))) == 10
        assert len(counting.reads) == requests


def test_only_a_bounded_stretch_is_read_ahead(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "WINDOW_BYTES", 10_000)
    blobs = [n.to_bytes(2, "big") * 500 for n in range(300)]
    writer = write(store, blobs, 1 << 22)
    counting = _Counting(store)
    images = ImageReader(counting).read_many(table_of(writer, blobs))
    next(images)
    # ten images a window, each with a tar header of 512 bytes and up to 511 bytes of padding around it
    assert sum(length for _, _, length in counting.reads) <= shards.READ_AHEAD * 10 * (1000 + 1023)
    images.close()


def test_a_flipped_byte_is_found_and_named(store: Store, make_dataset: MakeDataset) -> None:
    images = make_dataset(store, count=3).images
    shard, offset = images.item(1, "shard"), images.item(1, "offset")
    data = bytearray(store.read(shard_key(shard)))
    data[offset + 20] ^= 1
    store.write(shard_key(shard), bytes(data))
    with pytest.raises(CorruptionError, match=f"'1.jpg'.*{shard}"):
        list(ImageReader(store).read_many(images))


def test_a_cut_or_missing_shard_is_named(store: Store, make_dataset: MakeDataset) -> None:
    images = make_dataset(store, count=3).images
    shard = images.item(2, "shard")
    store.write(shard_key(shard), store.read(shard_key(shard))[:600])
    with pytest.raises(CorruptionError, match=shard):
        list(ImageReader(store).read_many(images))
    store.delete(shard_key(shard))
    with pytest.raises(NotFoundError, match=shard):
        list(ImageReader(store).read_many(images))


def test_an_image_without_bytes_is_refused_by_name(store: Store, make_dataset: MakeDataset) -> None:
    images = make_dataset(store, count=3).images.with_columns(shard=pl.lit(None, pl.String))
    with pytest.raises(NotFoundError, match=r"'0\.jpg' has no bytes"):
        list(ImageReader(store).read_many(images))


def table_of(writer: ShardWriter, blobs: list[bytes]) -> pl.DataFrame:
    places = [writer.locations[digest_of(blob)] for blob in blobs]
    return pl.DataFrame(
        {
            "image_id": range(len(blobs)),
            "name": [f"{n}.jpg" for n in range(len(blobs))],
            "sha256": [digest_of(blob) for blob in blobs],
            "shard": [place.shard for place in places],
            "offset": [place.offset for place in places],
            "bytes": [place.length for place in places],
        }
    )


def test_a_shard_that_was_cut_short_is_put_again(store: Store) -> None:
    (shard,) = write(store, [b"a" * 3000]).shards
    store.write(shard_key(shard.sha256), b"a" * 100)
    assert write(store, [b"a" * 3000]).uploaded == (shard,)
    assert len(store.read(shard_key(shard.sha256))) == shard.size
