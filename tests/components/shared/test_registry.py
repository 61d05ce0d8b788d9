"""Published models are found as people name them, and fetched only when their bytes are what was published."""

import json
from pathlib import Path

import pytest

from components.shared.aliases import move_alias
from components.shared.archive import ArchiveManifest
from components.shared.errors import ConfigError, CorruptionError, NotFoundError, StoreError
from components.shared.files import sha256_file
from components.shared.registry import (
    ModelRecord,
    fetch_archive,
    fetch_file,
    find_champion,
    find_model,
    model_names,
    model_versions,
    read_record,
)
from components.shared.store import Store, open_store

ONE, TWO, TWIN = "a1b2c3" + "0" * 58, "d4e5f6" + "1" * 58, "a1b2c3" + "2" * 58


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(str(tmp_path / "store"))


def publish(store: Store, tmp_path: Path, version: str, name: str = "cats") -> ModelRecord:
    """A version as model_publish leaves it; what is in the archive does not matter here."""
    bento = tmp_path / f"{version}.bento"
    bento.write_bytes(version.encode() * 50)
    manifest = ArchiveManifest(
        name=name,
        tag=f"{name}:{version[:16]}",
        model_digest="0" * 64,
        content_digest=version,
        source_files={},
        bento_files={},
        classes=("cat",),
        imgsz=64,
        requirements=(),
        licences=(),
    )
    record = ModelRecord(
        name=name, version=version, bento_sha256=sha256_file(bento), archive=manifest, proof={"tensors_compared": 1.0}
    )
    home = f"models/{name}/versions/{version}"
    store.upload(bento, f"{home}/archive/model.bento")
    store.write(f"{home}/evaluations/0/model.json", b"{}")  # no record: it lies deeper
    store.create(f"{home}/model.json", record.model_dump_json().encode())
    return record


def test_models_and_versions_are_listed_by_their_records_alone(store: Store, tmp_path: Path) -> None:
    publish(store, tmp_path, TWO)
    publish(store, tmp_path, ONE)
    publish(store, tmp_path, ONE, name="dogs")
    store.write(f"models/cats/versions/{TWIN}/archive/model.bento", b"half a version")
    store.write(f"models/birds/versions/{TWIN}/archive/model.bento", b"half a version")
    assert model_names(store) == ("cats", "dogs")
    assert model_versions(store, "cats") == (ONE, TWO)
    assert model_versions(store, "birds") == ()


def test_a_version_is_found_by_alias_digits_and_piece_of_this_model_and_of_another(
    store: Store, tmp_path: Path
) -> None:
    publish(store, tmp_path, ONE)
    publish(store, tmp_path, TWO, name="dogs")
    assert find_champion(store, "dogs") is None
    move_alias(store, "models/dogs", "champion", TWO)
    assert find_champion(store, "dogs") == TWO
    for reference in (ONE, ONE[:6], f"cats@{ONE[:9]}"):
        assert find_model(store, "cats", reference).version == ONE
    for reference in ("dogs@champion", f"dogs@{TWO}", f"dogs@{TWO[:6]}"):
        assert str(find_model(store, "cats", reference)) == f"dogs@{TWO[:12]}"
    assert find_model(store, "dogs", "champion").version == TWO


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("champion", r"has no champion yet, .* name a version, such as a1b2c3"),
        ("champoin", r"did you mean 'champion'\?"),
        ("cat@champion", r"no published model 'cat' .* did you mean 'cats'\?"),
        ("zebras@champion", "it has 'cats'"),
        ("cats@", r"names no version after the '@': write 'cats@champion'"),
        ("a1b2", "too short a piece of a version: give 6 digits"),
        ("a1b2c3", r"fits 2 versions of the model 'cats' .*\('a1b2c30000', 'a1b2c32222'\): give more digits"),
        ("ffffff", "has no version 'ffffff' .* it has a1b2c3000000"),
        ("../x@champion", "is no model name"),
        ("@champion", "is no model name"),
        ("cats@../../x", "no alias"),
    ],
)
def test_a_slip_is_answered_with_what_was_meant(store: Store, tmp_path: Path, reference: str, message: str) -> None:
    publish(store, tmp_path, ONE)
    publish(store, tmp_path, TWIN)
    with pytest.raises(ConfigError, match=message):
        find_model(store, "cats", reference)


def test_an_empty_registry_says_so(store: Store) -> None:
    with pytest.raises(ConfigError, match=r"no published model 'cats' .*: it has none yet"):
        find_model(store, "cats", "champion")


def test_a_champion_that_is_gone_is_refused(store: Store, tmp_path: Path) -> None:
    publish(store, tmp_path, ONE)
    move_alias(store, "models/cats", "champion", TWO)
    with pytest.raises(ConfigError, match=f"The champion of 'cats' is version '{TWO[:12]}', which is not in"):
        find_model(store, "cats", "champion")


@pytest.mark.parametrize("content", [b"{", b"[]", b"{}", b"\xff"])
def test_a_record_that_is_none_is_refused(store: Store, content: bytes) -> None:
    store.write(f"models/cats/versions/{ONE}/model.json", content)
    with pytest.raises(CorruptionError, match="is no record of a model"):
        read_record(store, "cats", ONE)


def test_a_record_of_another_version_is_refused(store: Store, tmp_path: Path) -> None:
    record = publish(store, tmp_path, ONE)
    store.write(f"models/cats/versions/{TWO}/model.json", record.model_dump_json().encode())
    with pytest.raises(CorruptionError, match="is the record of cats@a1b2c3"):
        read_record(store, "cats", TWO)
    with pytest.raises(NotFoundError):
        read_record(store, "cats", TWIN)


def test_a_record_of_a_later_release_with_more_in_it_is_read(store: Store, tmp_path: Path) -> None:
    record = publish(store, tmp_path, ONE)
    more = json.loads(record.model_dump_json()) | {"added_later": 1}
    store.write(f"models/cats/versions/{ONE}/model.json", json.dumps(more).encode())
    assert read_record(store, "cats", ONE) == record


def test_an_archive_comes_with_its_manifest(store_uri: str, tmp_path: Path) -> None:
    store = open_store(store_uri)
    record = publish(store, tmp_path, ONE)
    folder = fetch_archive(store, record, tmp_path / "fetched")
    assert sorted(path.name for path in folder.iterdir()) == ["manifest.json", "model.bento"]
    assert sha256_file(folder / "model.bento") == record.bento_sha256


def test_an_archive_with_other_bytes_is_refused(store: Store, tmp_path: Path) -> None:
    record = publish(store, tmp_path, ONE)
    store.write(f"models/cats/versions/{ONE}/archive/model.bento", b"other bytes")
    with pytest.raises(CorruptionError, match="has other bytes than were published"):
        fetch_archive(store, record, tmp_path / "fetched")


def test_what_is_too_large_is_not_downloaded(store: Store, tmp_path: Path) -> None:
    store.write("big/one.pt", bytes(100))
    with pytest.raises(StoreError, match="has 100 bytes, more than the 99 allowed"):
        fetch_file(store, "big/one.pt", tmp_path / "one.pt", max_bytes=99)
    assert not (tmp_path / "one.pt").exists()
    with pytest.raises(NotFoundError):
        fetch_file(store, "big/one", tmp_path / "one.pt")
