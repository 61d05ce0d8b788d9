"""Killed at any point of a load or of a prepare: a reader sees nothing or all of it, and running again succeeds."""

import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from fork_server import ForkServer
from tiny_data import write_noise

pytestmark = pytest.mark.e2e
ROOT = Path(__file__).parents[2]
SPLITS = ("train", "val", "test")
POINTS = 52
ENOUGH = 50


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_noise(tmp_path_factory.mktemp("source") / "data")


@pytest.fixture
def server(store_uri: str) -> Iterator[ForkServer]:
    del store_uri  # it sets the environment
    started = ForkServer()
    yield started
    started.close()


def test_a_load_killed_at_any_point_leaves_nothing_or_all_and_succeeds_again(
    server: ForkServer, source: Path, store_uri: str, tmp_path: Path
) -> None:
    whole = server.attempt("load", source, f"{store_uri}/whole", tmp_path / "whole" / "home")
    assert "error" not in whole
    survivors, stores = 0, []
    for point in chosen(whole["points"]):
        store, home = place(store_uri, tmp_path, point)
        ended = server.attempt("load", source, store, home, die_at=point)
        if "killed" not in ended:
            survivors += 1  # threads make the number of points vary a little
        found = server.attempt("recover", source, store, home)
        assert "error" not in found, (point, found)
        assert found["before"]["problems"] == [], (point, found)
        assert set(found["before"]["versions"]) <= {whole["version"]}, (point, found)
        assert found["version"] == whole["version"], (point, found)
        after = {"problems": [], "versions": [whole["version"]], "outputs": {"dataset": whole["version"]}}
        assert found["after"] == after, (point, found)
        stores.append((point, store))
    assert len(stores) - survivors >= ENOUGH
    assert_gc_leaves_what_an_undisturbed_load_leaves(server, f"{store_uri}/whole", stores, tmp_path)


def test_a_prepare_killed_at_any_point_writes_whole_splits_when_it_runs_again(
    server: ForkServer, source: Path, store_uri: str, tmp_path: Path
) -> None:
    loaded = server.attempt("load", source, store_uri, tmp_path / "load")
    assert "error" not in loaded
    dataset = tmp_path / "load" / "dataset"
    whole = server.attempt("prepare", dataset, store_uri, tmp_path / "whole" / "home")
    assert "error" not in whole
    killed = 0
    for point in chosen(whole["points"]):
        home = tmp_path / f"point-{point}" / "home"
        ended = server.attempt("prepare", dataset, store_uri, home, die_at=point)
        killed += "killed" in ended
        found = server.attempt("recover", dataset, store_uri, home)
        assert "error" not in found, (point, found)
        outputs = found["outputs"]
        assert found["version"] == whole["version"] == " ".join(map(outputs.get, SPLITS)), (point, found)
        assert (home / "prepare.html").stat().st_size > 1000
    assert killed >= ENOUGH


def chosen(count: int) -> list[int]:
    """Points spread over nearly all there are; threads make the last ones vary."""
    last = round(0.97 * count)
    return sorted({1 + round(step * (last - 1) / (POINTS - 1)) for step in range(POINTS)})


def place(store_uri: str, tmp_path: Path, point: int) -> tuple[str, Path]:
    name = f"point-{point}"
    if store_uri.startswith("file"):
        return (tmp_path / name / "store").as_uri(), tmp_path / name / "home"
    return f"{store_uri}/{name}-{uuid.uuid4().hex[:6]}", tmp_path / name / "home"


def assert_gc_leaves_what_an_undisturbed_load_leaves(
    server: ForkServer, whole: str, stores: list[tuple[int, str]], tmp_path: Path
) -> None:
    expected = server.attempt("collect", tmp_path, whole, tmp_path / "gc")
    time.sleep(2.1)  # the leases of the killed run out, and S3 counts whole seconds
    for point, store in stores:
        left = server.attempt("collect", tmp_path, store, tmp_path / "gc")
        assert (left.get("keys"), left.get("leftovers")) == (expected["keys"], []), (point, left)
