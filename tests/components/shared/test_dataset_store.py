"""A committed dataset is whole, the same whoever commits it, and aliases never lose a move."""

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from components.shared import dataset_store
from components.shared.dataset import Dataset
from components.shared.errors import ConfigError, ConflictError, CorruptionError, NotFoundError
from components.shared.shards import Location
from components.shared.store import Store, open_store

MakeDataset = Callable[..., Dataset]
COMMIT = """
import sys
from pathlib import Path
from components.shared import dataset_store
from components.shared.dataset import Dataset
from components.shared.shards import Location
from components.shared.store import open_store
dataset, store = Dataset.load(Path(sys.argv[1])), open_store(sys.argv[2])
print("ready", flush=True)
sys.stdin.readline()
dataset_store.commit(store, dataset)
"""


@pytest.fixture
def store(store_uri: str) -> Store:
    return open_store(store_uri)


@pytest.fixture
def local(tmp_path: Path) -> Store:
    return open_store(str(tmp_path / "local"))


def test_what_was_committed_is_read_by_version_and_by_alias(store: Store, make_dataset: MakeDataset) -> None:
    dataset = make_dataset(store)
    manifest = dataset_store.commit(store, dataset)
    for pointer in ("latest", manifest.version):
        found = dataset_store.read(store, "demo", pointer)
        assert_frame_equal(found.images, dataset.images)
        assert_frame_equal(found.annotations, dataset.annotations)
        assert (found.version, found.shards, found.classes) == (dataset.version, dataset.shards, dataset.classes)
    assert dataset_store.versions(store, "demo") == (manifest.version,)
    assert dataset_store.names(store) == ("demo",)


def test_committing_again_changes_nothing(store: Store, make_dataset: MakeDataset) -> None:
    dataset = make_dataset(store)
    first = dataset_store.commit(store, dataset)
    before = {entry.key: entry.tag for entry in store.list("")}
    assert dataset_store.commit(store, dataset) == first
    assert {entry.key: entry.tag for entry in store.list("")} == before


def test_two_writers_of_one_version_leave_one_whole_version(store: Store, make_dataset: MakeDataset) -> None:
    dataset = make_dataset(store)
    # The same content in another row order and with other names: equal versions, different tables.
    twins = [replace(dataset, images=dataset.images.sample(fraction=1, shuffle=True, seed=n)) for n in range(3)]
    barrier = threading.Barrier(3)

    def commit(twin: Dataset) -> str:
        barrier.wait()
        return dataset_store.commit(store, twin).version

    with ThreadPoolExecutor(3) as pool:
        assert set(pool.map(commit, twins)) == {dataset.version}
    assert dataset_store.read(store, "demo").version == dataset.version


def test_a_dataset_without_a_manifest_does_not_exist(local: Store, make_dataset: MakeDataset) -> None:
    manifest = dataset_store.commit(local, make_dataset(local))
    local.delete(f"datasets/demo/versions/{manifest.version}/dataset.json")
    assert dataset_store.versions(local, "demo") == ()
    with pytest.raises(NotFoundError, match=manifest.version):
        dataset_store.read(local, "demo", manifest.version)


def test_a_commit_without_its_shards_is_refused(local: Store, make_dataset: MakeDataset) -> None:
    dataset = make_dataset(local)
    local.delete(f"shards/{dataset.shards[0].sha256}.tar")
    with pytest.raises(NotFoundError, match=dataset.shards[0].sha256):
        dataset_store.commit(local, dataset)
    assert dataset_store.versions(local, "demo") == ()


def test_a_tampered_or_missing_table_is_corruption(local: Store, make_dataset: MakeDataset) -> None:
    dataset_store.commit(local, make_dataset(local))
    [key] = [entry.key for entry in local.list("datasets/") if "annotations" in entry.key]
    local.write(key, local.read(key) + b"\0")
    with pytest.raises(CorruptionError, match="annotations"):
        dataset_store.read(local, "demo")
    local.delete(key)
    with pytest.raises(CorruptionError, match="annotations"):
        dataset_store.read(local, "demo")


@pytest.mark.parametrize("name", ["", "Demo", "../x", "a/b", ".hidden", "a" * 64, "naïve", "a\n"])
def test_a_name_that_cannot_be_a_key_is_refused(local: Store, make_dataset: MakeDataset, name: str) -> None:
    with pytest.raises(ConfigError, match="is no dataset name"):
        dataset_store.commit(local, replace(make_dataset(local, count=1), name=name))
    with pytest.raises(ConfigError, match="is no dataset name"):
        dataset_store.versions(local, name)


def test_unknown_datasets_versions_and_aliases_are_not_found(local: Store, make_dataset: MakeDataset) -> None:
    with pytest.raises(NotFoundError, match="'nobody' has no alias 'latest'"):
        dataset_store.read(local, "nobody")
    dataset_store.commit(local, make_dataset(local))
    with pytest.raises(NotFoundError, match="'champion'"):
        dataset_store.read(local, "demo", "champion")
    with pytest.raises(NotFoundError, match="commit it first"):
        dataset_store.set_alias(local, "demo", "champion", "0" * 64)


def test_an_alias_moves_only_from_where_it_is_expected(local: Store, make_dataset: MakeDataset) -> None:
    one, two = (dataset_store.commit(local, make_dataset(local, seed=n)).version for n in (1, 2))
    assert dataset_store.set_alias(local, "demo", "champion", one, expected=None).sequence == 0
    with pytest.raises(ConflictError, match="somebody moved it"):
        dataset_store.set_alias(local, "demo", "champion", two, expected=None)
    with pytest.raises(ConflictError, match="somebody moved it"):
        dataset_store.set_alias(local, "demo", "champion", two, expected=two[::-1])
    assert dataset_store.set_alias(local, "demo", "champion", two, expected=one).sequence == 1
    assert dataset_store.set_alias(local, "demo", "champion", two, expected=one).sequence == 1, "a repeated step"
    assert dataset_store.set_alias(local, "demo", "champion", one).sequence == 2
    assert dataset_store.get_alias(local, "demo", "champion").version == one


def test_no_move_of_an_alias_is_lost_between_racing_writers(store: Store, make_dataset: MakeDataset) -> None:
    versions = [dataset_store.commit(store, make_dataset(store, count=2, seed=n)).version for n in range(3)]
    start = dataset_store.get_alias(store, "demo").sequence

    def move(who: int) -> int:
        return sum(
            dataset_store.set_alias(store, "demo", "latest", versions[(who + turn) % 3]).sequence > start
            for turn in range(3)
        )

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(move, range(2)))
    assert dataset_store.get_alias(store, "demo").version in versions


def test_known_images_spare_the_upload_of_grown_data(local: Store, make_dataset: MakeDataset) -> None:
    assert dataset_store.known_images(local, "demo") == {}
    first, second = make_dataset(local, count=6, seed=1), make_dataset(local, count=4, seed=2)
    for dataset in (first, second):
        dataset_store.commit(local, dataset)
    known = dataset_store.known_images(local, "demo")
    rows = pl.concat([first.images, second.images]).select("sha256", "shard", "offset", "bytes").iter_rows()
    assert known == {digest: Location(*place) for digest, *place in rows}
    references = dataset_store.describe_shards(local, {place.shard for place in known.values()})
    assert set(references) == {*first.shards, *second.shards}


def test_images_of_a_shard_that_is_gone_are_not_known(local: Store, make_dataset: MakeDataset) -> None:
    dataset = make_dataset(local)
    dataset_store.commit(local, dataset)
    gone = dataset.shards[0].sha256
    local.delete(f"shards/{gone}.tar")
    known = dataset_store.known_images(local, "demo")
    assert known
    assert gone not in {place.shard for place in known.values()}
    with pytest.raises(NotFoundError, match=gone):
        dataset_store.describe_shards(local, [gone])


def test_a_look_at_the_known_images_opens_nothing_but_manifests_and_tables_of_images(
    local: Store, make_dataset: MakeDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    for seed in range(3):
        dataset_store.commit(local, make_dataset(local, count=3, seed=seed))
    opened: list[str] = []
    read, download = local.read_tagged, local.download
    monkeypatch.setattr(local, "read_tagged", lambda key: opened.append(key) or read(key))
    monkeypatch.setattr(local, "download", lambda key, path: opened.append(key) or download(key, path))
    assert len(dataset_store.known_images(local, "demo")) == 9
    names = [key.rpartition("/")[2].partition(".")[0] for key in opened if "/versions/" in key]
    assert sorted(names) == ["dataset"] * 3 + ["images"] * 3


def test_a_version_whose_table_is_damaged_lends_no_images(
    local: Store, make_dataset: MakeDataset, caplog: pytest.LogCaptureFixture
) -> None:
    whole, broken = (dataset_store.commit(local, make_dataset(local, count=3, seed=seed)) for seed in (1, 2))
    table = dataset_store.table_file("images", broken)
    local.write(f"datasets/demo/versions/{broken.version}/{table}", b"no table")
    known = dataset_store.known_images(local, "demo")
    assert {place.shard for place in known.values()} == {shard.sha256 for shard in whole.shards}
    assert "is not the table" in caplog.text


@pytest.mark.slow
def test_a_killed_commit_leaves_nothing_or_a_whole_version(
    store: Store, make_dataset: MakeDataset, tmp_path: Path
) -> None:
    dataset = make_dataset(store)
    dataset.save(tmp_path / "dataset")
    attempts = 10 if store.uri.startswith("file:") else 4
    for turn in range(attempts):
        process = subprocess.Popen(
            [sys.executable, "-c", COMMIT, str(tmp_path / "dataset"), store.uri],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )
        assert process.stdin
        assert process.stdout
        assert process.stdout.readline() == b"ready\n"
        process.stdin.write(b"\n")
        process.stdin.flush()
        time.sleep(random.Random(turn).uniform(0, 0.05))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        for version in dataset_store.versions(store, "demo"):
            assert dataset_store.read(store, "demo", version).version == dataset.version
        for entry in list(store.list("datasets/")):
            if turn % 2 and entry.key.endswith(".json"):
                store.delete(entry.key)
    assert dataset_store.commit(store, dataset).version == dataset.version
    assert_frame_equal(dataset_store.read(store, "demo").images, dataset.images)
