"""What no version reaches goes, what is being written stays, and no version ever loses a shard."""

import os
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from components.shared import dataset_store, garbage, lease
from components.shared.dataset import Dataset
from components.shared.errors import ConflictError, CorruptionError, NotFoundError
from components.shared.garbage import Kind, collect
from components.shared.shards import shard_key
from components.shared.store import Store, open_store
from components.shared.store_file import FileStore

MakeDataset = Callable[..., Dataset]
HOUR = 3600.0


@pytest.fixture
def store(store_uri: str) -> Store:
    return open_store(store_uri)


@pytest.fixture
def local(tmp_path: Path) -> FileStore:
    return FileStore(tmp_path / "local")


def age(store: FileStore, key: str, seconds: float) -> None:
    then = time.time() - seconds
    os.utime(store.root / key, (then, then))


def shards_of(dataset: Dataset) -> set[str]:
    return {shard_key(shard.sha256) for shard in dataset.shards}


def keys(store: Store, prefix: str = "") -> set[str]:
    return {entry.key for entry in store.list(prefix)}


def test_shards_that_no_version_reaches_are_removed_and_others_stay(store: Store, make_dataset: MakeDataset) -> None:
    kept, orphaned = make_dataset(store, count=6, seed=1), make_dataset(store, count=6, seed=2)
    dataset_store.commit(store, kept)
    time.sleep(0.01 if store.uri.startswith("file:") else 1.1)  # S3 counts whole seconds
    found = collect(store, older_than=0)
    assert {piece.entry.key for piece in found.garbage} == shards_of(orphaned)
    assert found.bytes == sum(shard.size for shard in orphaned.shards)
    assert keys(store, "shards/") == shards_of(kept)
    assert dataset_store.read(store, "demo").version == kept.version
    assert keys(store, "leases/") == set()


def test_a_dry_run_names_the_same_and_touches_nothing(local: FileStore, make_dataset: MakeDataset) -> None:
    make_dataset(local)
    before = keys(local)
    dry = collect(local, older_than=0, dry_run=True)
    assert keys(local) == before
    assert {piece.entry.key for piece in dry.garbage} == before
    assert not dry.removed
    wet = collect(local, older_than=0)
    assert {piece.entry.key for piece in wet.garbage} == before


def test_what_is_young_stays(local: FileStore, make_dataset: MakeDataset) -> None:
    old, young = sorted(shards_of(make_dataset(local, count=9)))[:2]
    age(local, old, 25 * HOUR)
    age(local, young, 23 * HOUR)
    found = collect(local)
    assert [piece.entry.key for piece in found.garbage] == [old]
    assert young in {piece.entry.key for piece in found.young}
    assert young in keys(local)


def test_a_running_load_keeps_what_it_brought_however_long_it_takes(
    local: FileStore, make_dataset: MakeDataset
) -> None:
    with lease.loading(local):
        dataset = make_dataset(local)
        assert collect(local, older_than=0).garbage == ()
        dataset_store.commit(local, dataset)
    assert collect(local, older_than=0).garbage == ()
    assert dataset_store.read(local, "demo").version == dataset.version


def test_a_shard_a_load_found_in_place_and_touched_stays(
    local: FileStore, make_dataset: MakeDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    orphans = shards_of(make_dataset(local))
    for key in orphans:
        age(local, key, 48 * HOUR)
    taken = min(orphans)
    real = garbage._find

    def found_then_touched(*arguments: Any) -> garbage.Collection:
        found = real(*arguments)
        assert local.touch(taken)
        return found

    monkeypatch.setattr(garbage, "_find", found_then_touched)
    found = collect(local)
    assert {piece.entry.key for piece in found.garbage} == orphans - {taken}
    assert keys(local, "shards/") == {taken}


def test_a_commit_waits_for_a_collection_and_then_sees_what_it_removed(
    store: Store, make_dataset: MakeDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "POLL", 0.05)
    dataset = make_dataset(store)
    outcome: list[object] = []

    def commit() -> None:
        try:
            outcome.append(dataset_store.commit(store, dataset).version)
        except NotFoundError as error:
            outcome.append(error)

    with lease.collecting(store):
        thread = threading.Thread(target=commit)
        thread.start()
        time.sleep(0.3)
        assert outcome == []
        store.delete(min(shards_of(dataset)))
    thread.join(timeout=30)
    assert isinstance(outcome[0], NotFoundError)
    assert dataset_store.names(store) == ()


def test_a_collection_steps_back_from_a_commit(
    local: FileStore, make_dataset: MakeDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "POLL", 0.02)
    make_dataset(local)
    before = keys(local, "shards/")
    with lease.committing(local):
        with pytest.raises(ConflictError, match="being committed"), lease.collecting(local, patience=0.1):
            pass
        assert len(keys(local, "leases/")) == 1, "only the commit's"
    assert keys(local, "shards/") == before


def test_the_lease_of_a_killed_commit_runs_out_and_is_removed(
    local: FileStore, make_dataset: MakeDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "POLL", 0.02)
    make_dataset(local)
    local.write("leases/commit-killed.json", b'{"since": 0}')
    age(local, "leases/commit-killed.json", lease.EXPIRY + 5)
    found = collect(local, older_than=0)
    assert {piece.kind for piece in found.garbage} == {Kind.SHARD, Kind.LEASE}
    assert keys(local) == set()


def test_a_lease_is_renewed_while_it_is_held(local: FileStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "BEAT", 0.02)
    with lease.loading(local):
        (key,) = keys(local, "leases/")
        age(local, key, lease.EXPIRY * 2)
        time.sleep(0.3)
        (entry,) = local.list("leases/")
        assert entry.modified > time.time() - 5
    assert keys(local) == set()


def test_a_collector_that_was_stopped_for_too_long_removes_nothing(
    local: FileStore, make_dataset: MakeDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_dataset(local)
    before = keys(local, "shards/")
    monkeypatch.setattr(lease, "EXPIRY", -1.0)
    with pytest.raises(ConflictError, match="stopped for too long"):
        collect(local, older_than=0)
    assert keys(local, "shards/") == before


def test_tables_that_no_manifest_names_are_removed(local: FileStore, make_dataset: MakeDataset) -> None:
    dataset = make_dataset(local)
    manifest = dataset_store.commit(local, dataset)
    home = f"datasets/demo/versions/{manifest.version}"
    stray = [f"{home}/images.0123456789abcdef.parquet", f"datasets/gone/versions/{'a' * 64}/ledger.{'b' * 16}.parquet"]
    for key in stray:
        local.write(key, b"x")
    found = collect(local, older_than=0)
    assert sorted(piece.entry.key for piece in found.garbage) == sorted(stray)
    assert dataset_store.read(local, "demo").version == dataset.version


def test_models_checkpoints_progress_and_foreign_files_are_left_alone(local: FileStore) -> None:
    left = {f"models/m/versions/{'a' * 64}/archive/model.bento", "checkpoints/k/last.pt", "progress/r/s.json"}
    left |= {"shards/notes.txt", "datasets/d/aliases/latest.json", "raw/x/y"}
    for key in left:
        local.write(key, b"x")
        age(local, key, 1000 * HOUR)
    for folder, seconds in (("models/m", 1 * HOUR), ("models/n", 25 * HOUR), ("shards", 1 * HOUR)):
        path = local.root / folder / ".tmp-half"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"half")
        os.utime(path, (time.time() - seconds, time.time() - seconds))
    found = collect(local, older_than=0)
    assert {piece.entry.key for piece in found.garbage} == {"models/n/.tmp-half", "shards/.tmp-half"}
    assert keys(local) == left


def test_a_manifest_that_cannot_be_read_stops_the_collection(local: FileStore, make_dataset: MakeDataset) -> None:
    make_dataset(local)
    before = keys(local, "shards/")
    local.write(f"datasets/demo/versions/{'c' * 64}/dataset.json", b'{"schema_version": 99}')
    with pytest.raises(CorruptionError, match="nothing"):
        collect(local, older_than=0)
    assert keys(local, "shards/") == before


def test_a_removed_version_gives_up_only_the_shards_that_no_other_needs(
    local: FileStore, make_dataset: MakeDataset
) -> None:
    both = make_dataset(local, count=9)
    first = both.subset(both.images.filter(shard=both.shards[0].sha256).get_column("image_id"))
    one, two = (dataset_store.commit(local, dataset).version for dataset in (both, first))
    with pytest.raises(ConflictError, match="move it with"):
        dataset_store.remove(local, "demo", two)
    dataset_store.remove(local, "demo", one)
    assert dataset_store.versions(local, "demo") == (two,)
    collect(local, older_than=0)
    assert keys(local, "shards/") == shards_of(first)


def test_a_version_that_lost_a_table_or_its_manifest_is_mended_by_the_next_commit(
    local: FileStore, make_dataset: MakeDataset
) -> None:
    dataset = make_dataset(local)
    manifest = dataset_store.commit(local, dataset)
    home = f"datasets/demo/versions/{manifest.version}"
    for key, broken in (
        (f"{home}/{dataset_store.table_file('images', manifest)}", None),
        (f"{home}/dataset.json", b"{"),
    ):
        local.delete(key) if broken is None else local.write(key, broken)
        assert dataset_store.commit(local, dataset).version == manifest.version
        assert dataset_store.read(local, "demo").version == manifest.version


def test_a_derived_dataset_is_kept_without_an_alias(local: FileStore, make_dataset: MakeDataset) -> None:
    dataset = make_dataset(local)
    dataset_store.commit(local, replace(dataset, split="train"), alias=None)
    assert dataset_store.aliases(local, "demo") == {}
    assert collect(local, older_than=0).garbage == ()


def training_files(key: str, *checkpoints: str) -> set[str]:
    names = ("checkpoint.json", "files/snapshot/state.pt", "files/batches/batch-1.json")
    return {f"checkpoints/{key}/{checkpoint}/{name}" for checkpoint in checkpoints for name in names}


OLD, NEW = (
    training_files("a" * 64, "000003-0123456789abcdef", "000004-0123456789abcdef"),
    training_files("b" * 64, "000009-0123456789abcdef"),
)


@pytest.fixture
def trained(local: FileStore) -> FileStore:
    """A store with the checkpoints of a training of 15 days ago and of one of 13 days ago."""
    for keys_, days in ((OLD, 15), (NEW, 13)):
        for key in keys_:
            local.write(key, b"weights")
            age(local, key, days * 24 * HOUR)
    return local


def test_checkpoints_of_trainings_to_which_nothing_happened_for_two_weeks_are_removed(trained: FileStore) -> None:
    found = collect(trained, older_than=0)
    assert {piece.entry.key for piece in found.garbage} == OLD
    assert {piece.kind for piece in found.garbage} == {Kind.CHECKPOINT}
    assert keys(trained, "checkpoints/") == NEW


def test_the_age_of_old_checkpoints_can_be_chosen(trained: FileStore) -> None:
    assert collect(trained, checkpoints_older_than=16 * 24 * HOUR).garbage == ()
    assert {piece.entry.key for piece in collect(trained, checkpoints_older_than=HOUR).garbage} == OLD | NEW


def test_a_dry_run_leaves_checkpoints(trained: FileStore) -> None:
    assert {piece.entry.key for piece in collect(trained, dry_run=True).garbage} == OLD
    assert keys(trained, "checkpoints/") == OLD | NEW


def test_one_young_file_keeps_all_of_a_training(trained: FileStore) -> None:
    age(trained, min(OLD), HOUR)
    assert collect(trained).garbage == ()


def test_a_training_that_goes_on_meanwhile_keeps_its_checkpoints(
    trained: FileStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = garbage._find

    def found_then_touched(*arguments: Any) -> garbage.Collection:
        found = real(*arguments)
        assert trained.touch(min(OLD))
        return found

    monkeypatch.setattr(garbage, "_find", found_then_touched)
    assert collect(trained).garbage == ()
    assert keys(trained, "checkpoints/") == OLD | NEW


def test_an_interrupted_collection_leaves_no_manifest_without_its_files(
    trained: FileStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    deleted: list[str] = []
    real = FileStore.delete

    def delete(store: FileStore, key: str) -> None:
        deleted.append(key)
        real(store, key)

    monkeypatch.setattr(FileStore, "delete", delete)
    collect(trained)
    manifests = [key.endswith("/checkpoint.json") for key in deleted if key.startswith("checkpoints/")]
    assert manifests == sorted(manifests, reverse=True)
