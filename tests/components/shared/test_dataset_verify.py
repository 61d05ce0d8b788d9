"""Each damage is found and named: a table, a shard, an image."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from components.shared import dataset_store, shard_check
from components.shared.dataset import Dataset
from components.shared.dataset_reference import Reference
from components.shared.dataset_verify import Verification, verify
from components.shared.shards import shard_key
from components.shared.store import Store, open_store

MakeDataset = Callable[..., Dataset]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(str(tmp_path / "store"))


@pytest.fixture
def dataset(store: Store, make_dataset: MakeDataset) -> Dataset:
    made = make_dataset(store, count=8)
    dataset_store.commit(store, made)
    return made


def check(store: Store, *datasets: Dataset) -> Verification:
    return verify(store, [Reference(each.name, each.version) for each in datasets])


def change(store: Store, key: str, position: int) -> None:
    data = bytearray(store.read(key))
    data[position] ^= 1
    store.write(key, bytes(data))


@pytest.mark.parametrize("window", [1 << 20, 1000, 512])
def test_a_sound_version_has_no_problem(
    store: Store, dataset: Dataset, window: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shard_check, "WINDOW", window)
    heard: list[float] = []
    found = verify(store, [Reference("demo", dataset.version)], lambda share, _: heard.append(share))
    assert found == Verification(1, len(dataset.shards), 8, sum(s.size for s in dataset.shards), (), ())
    assert heard[-1] == 1


@pytest.mark.parametrize("window", [1 << 20, 700])
def test_one_changed_bit_names_the_image_and_its_shard(
    store: Store, dataset: Dataset, window: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shard_check, "WINDOW", window)
    row = dataset.images.row(5, named=True)
    change(store, shard_key(row["shard"]), row["offset"] + row["bytes"] - 1)
    found = check(store, dataset)
    assert [(problem.kind, problem.where) for problem in found.problems] == [
        ("shard", shard_key(row["shard"])),
        ("image", row["name"]),
    ]
    assert found.damaged == (shard_key(row["shard"]),)


def test_a_change_between_images_hurts_the_shard_alone(store: Store, dataset: Dataset) -> None:
    change(store, shard_key(dataset.shards[0].sha256), 0)
    assert [problem.kind for problem in check(store, dataset).problems] == ["shard"]


def test_a_missing_and_a_cut_shard_are_named(store: Store, dataset: Dataset) -> None:
    gone, cut = (shard_key(shard.sha256) for shard in dataset.shards[:2])
    store.delete(gone)
    store.write(cut, store.read(cut)[:1500])
    found = check(store, dataset)
    shards = {problem.where: problem.detail for problem in found.problems if problem.kind == "shard"}
    assert "is missing" in shards[gone]
    assert "1500 bytes instead of" in shards[cut]
    assert any("cut off" in problem.detail for problem in found.problems)
    assert found.damaged == (cut,)


def test_a_changed_table_is_named_and_other_versions_are_still_read(
    store: Store, dataset: Dataset, make_dataset: MakeDataset
) -> None:
    other = make_dataset(store, count=3, seed=9)
    dataset_store.commit(store, other)
    key = next(entry.key for entry in store.list(f"datasets/demo/versions/{dataset.version}/annotations"))
    change(store, key, 40)
    found = check(store, dataset, other)
    assert [problem.kind for problem in found.problems] == ["version"]
    assert "annotations" in found.problems[0].detail
    assert found.images == 3


def test_tables_that_agree_with_a_manifest_that_lies_are_found_out(store: Store, dataset: Dataset) -> None:
    forged = replace(dataset, annotations=dataset.annotations.with_columns(pl.col("x") + 1))
    home, place = (f"datasets/demo/versions/{each.version}" for each in (forged, dataset))
    manifest = dataset_store.commit(store, forged)
    for entry in list(store.list(home)):
        store.write(entry.key.replace(forged.version, dataset.version), store.read(entry.key))
    store.write(
        f"{place}/dataset.json", manifest.model_copy(update={"version": dataset.version}).model_dump_json().encode()
    )
    (problem,) = check(store, dataset).problems
    assert forged.version in problem.detail


def test_a_shard_of_two_versions_is_read_once(store: Store, dataset: Dataset) -> None:
    part = dataset.subset([0, 1, 2])
    dataset_store.commit(store, part)
    found = check(store, dataset, part)
    assert found.bytes == sum(shard.size for shard in dataset.shards)
    assert (found.versions, found.images, found.problems) == (2, 8, ())
