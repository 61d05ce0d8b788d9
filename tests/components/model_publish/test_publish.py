import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from components.model_publish.publish import publish
from components.shared.aliases import find_alias
from components.shared.archive import ArchiveManifest
from components.shared.errors import ProofError
from components.shared.store import Store, open_store

ROOT = Path(__file__).parents[3]
PROOF = {"tensors_compared": 3.0}


def make_archive(folder: Path, digit: str = "a") -> Path:
    folder.mkdir(parents=True)
    (folder / "model.bento").write_bytes(digit.encode() * 1000)
    digest = digit * 64
    ArchiveManifest(
        name="tools",
        tag=f"tools:{digest[:16]}",
        model_digest=digest,
        content_digest=digest,
        source_files={},
        bento_files={},
        classes=("drill",),
        imgsz=64,
        requirements=(),
        licences=(),
    ).save(folder)
    return folder


@pytest.fixture
def predictions(tmp_path: Path) -> Path:
    folder = tmp_path / "predictions"
    folder.mkdir()
    (folder / "quality.json").write_text("{}")
    return folder


def champion(store: Store) -> str | None:
    alias = find_alias(store, "models/tools", "champion")
    return alias.version if alias else None


def test_a_model_that_passed_is_registered_whole_and_becomes_the_champion(
    tmp_path: Path, predictions: Path, store_uri: str
) -> None:
    archive = make_archive(tmp_path / "archive")
    published = publish(archive, predictions, store_uri, passed=True, proof=PROOF)
    assert (published.name, published.version, published.champion) == ("tools", "a" * 64, True)
    store = open_store(store_uri)
    root = f"models/tools/versions/{'a' * 64}"
    assert store.read(f"{root}/archive/model.bento") == (archive / "model.bento").read_bytes()
    assert json.loads(store.read(f"{root}/model.json"))["proof"] == PROOF
    assert next(found.key for found in store.list(f"{root}/evaluations/")).endswith("/quality.json")
    assert champion(store) == "a" * 64


def test_a_model_that_did_not_pass_is_registered_and_the_champion_stays(tmp_path: Path, predictions: Path) -> None:
    uri = f"file://{tmp_path}/store"
    publish(make_archive(tmp_path / "first"), predictions, uri, passed=True, proof=PROOF)
    second = publish(make_archive(tmp_path / "second", "b"), predictions, uri, passed=False, proof=PROOF)
    assert second.champion is False
    assert open_store(uri).exists(f"models/tools/versions/{'b' * 64}/model.json")
    assert champion(open_store(uri)) == "a" * 64


def test_nothing_is_published_without_a_proof(tmp_path: Path, predictions: Path) -> None:
    with pytest.raises(ProofError, match="not proved"):
        publish(make_archive(tmp_path / "archive"), predictions, f"file://{tmp_path}/store", passed=True, proof={})
    assert not list((tmp_path / "store").rglob("models/**/*.json"))


def test_publishing_again_changes_nothing(tmp_path: Path, predictions: Path) -> None:
    uri, archive = f"file://{tmp_path}/store", make_archive(tmp_path / "archive")
    publish(archive, predictions, uri, passed=True, proof=PROOF)
    before = {found.key: found.tag for found in open_store(uri).list("models/")}
    publish(archive, predictions, uri, passed=True, proof=PROOF)
    assert {found.key: found.tag for found in open_store(uri).list("models/")} == before


def test_racing_publishers_leave_one_whole_champion(tmp_path: Path, predictions: Path) -> None:
    uri = f"file://{tmp_path}/store"
    archives = [make_archive(tmp_path / digit, digit) for digit in "abcdef"]
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda archive: publish(archive, predictions, uri, passed=True, proof=PROOF), archives))
    store = open_store(uri)
    version = champion(store)
    assert version in {digit * 64 for digit in "abcdef"}
    assert json.loads(store.read(f"models/tools/versions/{version}/model.json"))["version"] == version
    alias = find_alias(store, "models/tools", "champion")
    assert alias is not None
    assert alias.sequence == 5, "no move was lost"


def test_a_publisher_killed_before_the_record_leaves_no_version(tmp_path: Path, predictions: Path) -> None:
    uri, archive = f"file://{tmp_path}/store", make_archive(tmp_path / "archive")
    code = f"""
import os, signal
from pathlib import Path
from components.model_publish import publish as module
from components.shared import store_file
store_file.FileStore.create = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
module.publish(Path({str(archive)!r}), Path({str(predictions)!r}), {uri!r}, passed=True, proof={PROOF!r})
"""
    killed = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=os.environ, check=False)
    assert killed.returncode == -9
    store = open_store(uri)
    assert not store.exists(f"models/tools/versions/{'a' * 64}/model.json")
    assert champion(store) is None
    assert publish(archive, predictions, uri, passed=True, proof=PROOF).champion
