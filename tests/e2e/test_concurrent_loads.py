"""Loads into one dataset name at the same time, and while garbage is collected: every version whole, none lost."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from fork_server import ForkServer
from tiny_data import write_noise

from components.shared import dataset_store, lease
from components.shared.dataset_reference import Reference
from components.shared.dataset_verify import verify
from components.shared.errors import ConflictError
from components.shared.garbage import collect
from components.shared.store import Store, open_store

pytestmark = pytest.mark.e2e
NAME = "crashed"  # what the fork server calls its dataset
TURNS = 3


@pytest.fixture
def servers(store_uri: str) -> Iterator[list[ForkServer]]:
    del store_uri  # it sets the environment
    started = [ForkServer(), ForkServer()]
    yield started
    for server in started:
        server.close()


def load_at_once(servers: list[ForkServer], sources: list[Path], uri: str, home: Path) -> list[str]:
    """The versions that two processes give, each loading one of the sources."""
    with ThreadPoolExecutor(2) as pool:
        homes = [home / str(place) / "home" for place in range(2)]
        ended = list(pool.map(lambda server, *rest: server.attempt("load", *rest), servers, sources, [uri] * 2, homes))
    assert all("version" in each for each in ended), ended
    return [each["version"] for each in ended]


def assert_whole(store: Store, expected: set[str]) -> None:
    versions = dataset_store.versions(store, NAME)
    assert set(versions) == expected
    assert verify(store, [Reference(NAME, version) for version in versions]).problems == ()
    assert dataset_store.get_alias(store, NAME).version in expected


def test_two_loads_of_the_same_data_give_one_version(servers: list[ForkServer], store_uri: str, tmp_path: Path) -> None:
    source = write_noise(tmp_path / "source")
    for turn in range(TURNS):
        uri = f"{store_uri}/{turn}"
        first, second = load_at_once(servers, [source, source], uri, tmp_path / str(turn))
        assert first == second
        assert_whole(open_store(uri), {first})


def test_two_loads_of_different_data_into_one_name_give_two_versions(
    servers: list[ForkServer], store_uri: str, tmp_path: Path
) -> None:
    sources = [write_noise(tmp_path / "one", 10), write_noise(tmp_path / "two", 10, first=5)]
    for turn in range(TURNS):
        uri = f"{store_uri}/{turn}"
        versions = load_at_once(servers, sources, uri, tmp_path / str(turn))
        assert len(set(versions)) == 2
        assert_whole(open_store(uri), set(versions))


@pytest.mark.parametrize("older_than", [24 * 3600.0, 0.0])
def test_loads_go_on_while_garbage_is_collected(
    servers: list[ForkServer], store_uri: str, tmp_path: Path, older_than: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "POLL", 0.02)
    sources = [write_noise(tmp_path / "one", 10), write_noise(tmp_path / "two", 10, first=5)]
    versions: set[str] = set()
    for turn in range(TURNS):
        store = open_store(f"{store_uri}/{turn}")
        with collecting_all_the_time(store, older_than) as collections:
            home = tmp_path / str(turn)
            versions = set(load_at_once(servers, sources, store.uri, home))
        assert collections
        if versions:
            assert_whole(store, versions)


@contextmanager
def collecting_all_the_time(store: Store, older_than: float) -> Iterator[list[int]]:
    """Collect garbage again and again; gives what each collection removed."""
    over, removed = threading.Event(), list[int]()

    def go_on() -> None:
        while not over.wait(0.05):
            try:
                removed.append(len(collect(store, older_than=older_than).garbage))
            except ConflictError:
                continue

    thread = threading.Thread(target=go_on)
    thread.start()
    try:
        yield removed
    finally:
        over.set()
        thread.join()
