"""Telling a Kubeflow Model Registry, over HTTP through its own client."""

import runpy
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from components.model_publish.publish import Published, publish
from components.shared.archive import load_archive_manifest
from components.shared.errors import ConfigError, StoreError
from components.shared.registry import find_champion, model_versions, read_record
from components.shared.store import Store, open_store

HERE = Path(__file__).parent
SMALL: dict[str, Any] = runpy.run_path(str(HERE / "small_archive.py"))
REGISTRY: dict[str, Any] = runpy.run_path(str(HERE / "small_registry.py"))
Tell = Callable[..., Published]


@pytest.fixture
def registry() -> Iterator[Any]:
    small = REGISTRY["SmallRegistry"]()
    small.start()
    yield small
    small.stop()


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store((tmp_path / "store").as_uri())


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    return SMALL["make_archive"](tmp_path / "archive")


@pytest.fixture
def tell(archive: Path, store: Store, tmp_path: Path) -> Tell:
    predictions = SMALL["make_predictions"](tmp_path / "predictions", archive)

    def call(address: str, folder: Path = archive) -> Published:
        judged = predictions
        if folder != archive:
            judged = SMALL["make_predictions"](tmp_path / f"{folder.name}-predictions", folder)
        proof = {"tensors_compared": 1.0}
        return publish(folder, judged, store.uri, passed=True, proof=proof, model_registry=address)

    return call


def test_the_registry_gets_the_model_its_version_and_where_the_archive_is(
    registry: Any, tell: Tell, archive: Path, store: Store
) -> None:
    published = tell(registry.address)

    (model,), (version,), (artifact,) = registry.models, registry.versions, registry.artifacts
    manifest = load_archive_manifest(archive)
    assert model["name"] == "shapes"
    assert version["name"] == manifest.version
    kept = {
        name: next(v for k, v in value.items() if k.endswith("_value"))
        for name, value in version["customProperties"].items()
    }
    assert kept["version"] == published.version
    assert (kept["map50"], kept["map50_95"]) == (0.9, 0.45)
    assert (kept["train dataset"], kept["test dataset"]) == ("a" * 64, "e" * 64)
    assert kept["gate passed"] is True
    assert artifact["modelFormatName"] == "bento"
    assert store.exists(str(artifact["uri"]).removeprefix(f"{store.uri}/"))


def test_telling_it_again_changes_nothing(registry: Any, tell: Tell) -> None:
    tell(registry.address)
    before = [list(table) for table in (registry.models, registry.versions, registry.artifacts)]

    tell(registry.address)

    assert [registry.models, registry.versions, registry.artifacts] == before


def test_a_second_version_goes_to_the_same_model(registry: Any, tell: Tell, tmp_path: Path) -> None:
    tell(registry.address)
    tell(registry.address, SMALL["make_archive"](tmp_path / "two", "two"))

    assert len(registry.models) == 1
    assert len({version["name"] for version in registry.versions}) == 2
    assert {version["registeredModelId"] for version in registry.versions} == {registry.models[0]["id"]}


@pytest.mark.parametrize("kind", ["model", "version", "artifact"])
def test_a_registry_that_fails_leaves_the_version_published_and_a_retry_completes_it(
    registry: Any, tell: Tell, store: Store, kind: str
) -> None:
    registry.fail_on = kind
    with pytest.raises(StoreError, match=r"could not be told of shapes@\w{12} \(it answered 500 .*run the step again"):
        tell(registry.address)
    (version,) = model_versions(store, "shapes")
    assert find_champion(store, "shapes") == version
    assert read_record(store, "shapes", version).version == version

    registry.fail_on = ""
    assert tell(registry.address).champion
    assert [len(table) for table in (registry.models, registry.versions, registry.artifacts)] == [1, 1, 1]


def test_a_registry_that_is_not_there_is_named(tell: Tell, store: Store) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(StoreError, match=address):
            tell(address)
    assert model_versions(store, "shapes")


def test_the_token_comes_from_the_environment(
    registry: Any, tell: Tell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "token"
    path.write_text("from-the-file\n")
    monkeypatch.setenv("KF_PIPELINES_SA_TOKEN_PATH", str(path))
    tell(registry.address)
    monkeypatch.setenv("MODEL_REGISTRY_TOKEN", "from-the-variable")
    tell(registry.address)

    assert registry.tokens == {"Bearer from-the-file", "Bearer from-the-variable"}


@pytest.mark.parametrize("address", ["registry.example", "ftp://registry.example", "http://me:secret@registry.example"])
def test_an_address_that_is_none_is_refused_before_anything_is_published(
    tell: Tell, store: Store, address: str
) -> None:
    with pytest.raises(ConfigError, match="give an address such as") as caught:
        tell(address)
    assert "secret" not in str(caught.value)
    assert not list(store.list(""))


def test_without_the_client_the_extra_is_named_before_anything_is_published(
    tell: Tell, store: Store, registry: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "model_registry", None)
    monkeypatch.setitem(sys.modules, "model_registry.core", None)
    with pytest.raises(ConfigError, match=r"pip install 'kubeflow-detection-pipeline\[registry\]'"):
        tell(registry.address)
    assert not list(store.list(""))
