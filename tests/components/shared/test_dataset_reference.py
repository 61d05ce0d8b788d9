"""People name versions as they like, and a slip is answered with what they meant."""

from collections.abc import Callable
from pathlib import Path

import pytest

from components.shared import dataset_store
from components.shared.dataset import Dataset
from components.shared.dataset_catalogue import catalogue
from components.shared.dataset_reference import find
from components.shared.errors import ConfigError
from components.shared.store import Store, open_store

MakeDataset = Callable[..., Dataset]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(str(tmp_path / "store"))


def test_a_version_is_found_by_name_alias_digits_and_piece(store: Store, make_dataset: MakeDataset) -> None:
    one, two = (dataset_store.commit(store, make_dataset(store, seed=seed)).version for seed in (1, 2))
    dataset_store.set_alias(store, "demo", "reviewed", one)
    assert find(store, "demo").version == two
    assert find(store, "demo@latest").version == two
    assert find(store, "demo@reviewed").version == one
    assert find(store, f"demo@{one}").version == one
    assert find(store, f"demo@{one[:6]}").version == one
    assert str(find(store, "demo")) == f"demo@{two[:12]}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("dmo", r"did you mean 'demo'\?"),
        ("zebras", "it has 'demo'"),
        ("demo@revewed", r"did you mean 'demo@reviewed'\?"),
        ("demo@champion", "no alias 'champion'"),
        ("demo@00000000", "no version '00000000'"),
        ("demo@", "names no version"),
        ("@latest", "no dataset name"),
        ("../x", "no dataset name"),
    ],
)
def test_a_slip_is_answered_with_what_was_meant(
    store: Store, make_dataset: MakeDataset, text: str, message: str
) -> None:
    version = dataset_store.commit(store, make_dataset(store)).version
    dataset_store.set_alias(store, "demo", "reviewed", version)
    with pytest.raises(ConfigError, match=message):
        find(store, text)


def test_a_short_or_ambiguous_piece_is_refused(store: Store, make_dataset: MakeDataset) -> None:
    version = dataset_store.commit(store, make_dataset(store)).version
    with pytest.raises(ConfigError, match="too short"):
        find(store, f"demo@{version[:4]}")
    twin = version[:10] + version[10:][::-1]
    store.write(f"datasets/demo/versions/{twin}/dataset.json", b"{}")
    with pytest.raises(ConfigError, match="fits 2 versions"):
        find(store, f"demo@{version[:8]}")


def test_an_empty_store_says_how_to_fill_it(store: Store) -> None:
    with pytest.raises(ConfigError, match="holds no dataset yet: load one"):
        find(store, "demo")


def test_the_catalogue_shows_a_version_that_cannot_be_read(store: Store, make_dataset: MakeDataset) -> None:
    version = dataset_store.commit(store, make_dataset(store)).version
    store.write(f"datasets/demo/versions/{'a' * 64}/dataset.json", b"{}")
    found = {entry.version: entry for entry in catalogue(store)}
    assert found[version].aliases == ("latest",)
    assert found[version].bytes > 0
    assert found["a" * 64].manifest is None
    assert "manifest" in found["a" * 64].problem
    assert next(entry.newest for entry in catalogue(store, "demo"))
