"""The registry: a version is there as a whole or not at all, and the champion is always a whole version."""

import hashlib
import json
import signal
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from components.model_publish.publish import Published, publish
from components.shared.aliases import find_alias
from components.shared.archive import ArchiveManifest, load_archive_manifest
from components.shared.errors import ArchiveError, ProofError
from components.shared.registry import ModelRecord
from components.shared.store import Store, open_store

ROOT = Path(__file__).parents[3]
PROOF = {"tensors_compared": 12.0, "boxes_compared": 30.0}
MODELS = "models/shapes"


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def make_archive(folder: Path, content: str, bento: bytes = b"") -> Path:
    """An archive folder as model_pack leaves it; what is inside the bento does not matter here."""
    folder.mkdir(parents=True)
    (folder / "model.bento").write_bytes(bento or content.encode() * 1000)
    ArchiveManifest(
        name="shapes",
        tag=f"shapes:{digest(content)[:16]}",
        model_digest=digest(f"{content} model"),
        content_digest=digest(content),
        source_files={},
        bento_files={},
        classes=("bar", "block"),
        imgsz=64,
        requirements=("numpy==2",),
        licences=(),
    ).save(folder)
    return folder


def make_predictions(folder: Path, score: float = 0.9) -> Path:
    (folder / "coco").mkdir(parents=True)
    (folder / "evaluation.json").write_text(json.dumps({"map50": score}))
    (folder / "coco" / "detections.json").write_text("[]")
    return folder


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    return make_archive(tmp_path / "archive", "one")


@pytest.fixture
def predictions(tmp_path: Path) -> Path:
    return make_predictions(tmp_path / "predictions")


Publish = Callable[..., Published]


@pytest.fixture
def register(archive: Path, predictions: Path) -> Publish:
    def call(uri: str, *, passed: bool = True, **changed: Path) -> Published:
        folders = {"archive": archive, "predictions": predictions, **changed}
        return publish(folders["archive"], folders["predictions"], uri, passed=passed, proof=PROOF)

    return call


@pytest.fixture
def local(tmp_path: Path) -> Store:
    return open_store((tmp_path / "local").as_uri())


def keys(store: Store) -> list[str]:
    return [entry.key for entry in store.list("")]


def test_a_version_holds_the_archive_its_evaluation_and_a_record(
    store_uri: str, register: Publish, archive: Path, predictions: Path
) -> None:
    published = register(store_uri)
    store, home = open_store(store_uri), f"{MODELS}/versions/{digest('one')}"
    found = [key.removeprefix(f"{home}/") for key in keys(store) if key.startswith(home)]
    evaluation = found[2].split("/")[1]
    assert found == [
        "archive/manifest.json",
        "archive/model.bento",
        f"evaluations/{evaluation}/coco/detections.json",
        f"evaluations/{evaluation}/evaluation.json",
        "model.json",
    ]
    assert store.read(f"{home}/archive/model.bento") == (archive / "model.bento").read_bytes()
    kept = store.read(f"{home}/evaluations/{evaluation}/evaluation.json")
    assert kept == (predictions / "evaluation.json").read_bytes()
    assert published == Published("shapes", digest("one"), champion=True)
    champion = find_alias(store, MODELS, "champion")
    assert champion
    assert champion.version == digest("one")


def test_the_record_says_what_the_archive_is_and_what_was_proved(
    local: Store, register: Publish, archive: Path
) -> None:
    version = register(local.uri).version
    record = ModelRecord.model_validate_json(local.read(f"{MODELS}/versions/{version}/model.json"))
    assert record.archive == load_archive_manifest(archive)
    assert record.bento_sha256 == hashlib.sha256((archive / "model.bento").read_bytes()).hexdigest()
    assert (record.name, record.version, record.proof) == ("shapes", version, PROOF)


def test_the_record_is_written_after_everything_it_speaks_of(
    local: Store, register: Publish, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    for method in ("upload", "create", "swap", "write"):
        original = getattr(type(local), method)

        def record(self: Store, *arguments: object, _do: Callable[..., object] = original) -> object:
            order.extend(str(argument) for argument in arguments if str(argument).startswith("models/"))
            return _do(self, *arguments)

        monkeypatch.setattr(type(local), method, record)
    register(local.uri)
    names = [key.rpartition("/")[2] for key in dict.fromkeys(order)]
    assert names.index("model.json") == len(names) - 2
    assert names[-1] == "champion.json"


def test_publishing_again_changes_nothing(store_uri: str, register: Publish) -> None:
    first = register(store_uri)
    store = open_store(store_uri)
    before = {entry.key: entry for entry in store.list("")}
    assert register(store_uri) == first
    assert {entry.key: entry for entry in store.list("")} == before


def test_a_second_evaluation_of_a_version_is_kept_beside_the_first(
    local: Store, register: Publish, tmp_path: Path
) -> None:
    register(local.uri)
    register(local.uri, predictions=make_predictions(tmp_path / "later", 0.8))
    assert len({key.split("/")[5] for key in keys(local) if "/evaluations/" in key}) == 2


def test_a_model_that_did_not_pass_is_registered_but_never_the_champion(local: Store, register: Publish) -> None:
    published = register(local.uri, passed=False)
    assert not published.champion
    assert local.exists(f"{MODELS}/versions/{published.version}/model.json")
    assert find_alias(local, MODELS, "champion") is None


def test_the_champion_stays_when_a_worse_model_comes_and_moves_when_a_better_one_does(
    local: Store, register: Publish, tmp_path: Path
) -> None:
    one = register(local.uri).version
    two = make_archive(tmp_path / "two", "two")
    assert not register(local.uri, passed=False, archive=two).champion
    champion = find_alias(local, MODELS, "champion")
    assert champion
    assert champion.version == one
    assert register(local.uri, archive=two).champion
    champion = find_alias(local, MODELS, "champion")
    assert champion
    assert champion.version == digest("two")


@pytest.mark.parametrize("proof", [{}, {"boxes_compared": 3.0}, {"tensors_compared": 0.0}])
def test_nothing_is_published_without_a_proof(
    local: Store, archive: Path, predictions: Path, proof: dict[str, float]
) -> None:
    with pytest.raises(ProofError, match=f"'shapes:{digest('one')[:16]}' was not proved .*: run model_test first"):
        publish(archive, predictions, local.uri, passed=True, proof=proof)
    assert keys(local) == []


def test_a_folder_without_an_archive_is_refused(local: Store, register: Publish, tmp_path: Path) -> None:
    with pytest.raises(ArchiveError, match="holds no packed model"):
        register(local.uri, archive=tmp_path)
    assert keys(local) == []


def test_racing_publishers_leave_every_version_whole_and_one_champion(
    local: Store, register: Publish, tmp_path: Path
) -> None:
    archives = [make_archive(tmp_path / f"racer{number}", f"racer {number}") for number in range(6)]
    with ThreadPoolExecutor(6) as pool:
        versions = [result.version for result in pool.map(lambda folder: register(local.uri, archive=folder), archives)]
    assert versions == [digest(f"racer {number}") for number in range(6)]
    for version in versions:
        record = ModelRecord.model_validate_json(local.read(f"{MODELS}/versions/{version}/model.json"))
        bento = local.read(f"{MODELS}/versions/{version}/archive/model.bento")
        assert hashlib.sha256(bento).hexdigest() == record.bento_sha256
    champion = find_alias(local, MODELS, "champion")
    assert champion
    assert champion.version in versions
    assert champion.sequence == 5, "no move was lost"


def test_racing_publishers_of_one_version_agree(local: Store, register: Publish) -> None:
    with ThreadPoolExecutor(4) as pool:
        results = set(pool.map(lambda _: register(local.uri), range(4)))
    assert results == {Published("shapes", digest("one"), champion=True)}
    champion = find_alias(local, MODELS, "champion")
    assert champion
    assert champion.sequence == 0


KILLED = """
import os, signal, sys
from pathlib import Path
from components.model_publish.publish import publish
from components.shared.store_file import FileStore

original = getattr(FileStore, sys.argv[4])
def die(self, first, *rest):
    if any(str(part).endswith(sys.argv[5]) for part in (first, *rest)):
        os.kill(os.getpid(), signal.SIGKILL)
    return original(self, first, *rest)

setattr(FileStore, sys.argv[4], die)
publish(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], passed=True, proof={"tensors_compared": 1.0})
"""


def kill(archive: Path, predictions: Path, uri: str, method: str, key: str) -> None:
    """Publish in a process that is killed as it is about to call ``method`` of the store on ``key``."""
    command = [sys.executable, "-c", KILLED, str(archive), str(predictions), uri, method, key]
    done = subprocess.run(command, env={"PYTHONPATH": str(ROOT)}, check=False, timeout=60)
    assert done.returncode == -signal.SIGKILL


@pytest.mark.parametrize(
    ("method", "key"),
    [
        ("upload", "/archive/manifest.json"),
        ("upload", "/evaluation.json"),
        ("create", "/model.json"),
    ],
)
def test_a_kill_before_the_record_leaves_no_version_and_publishing_again_completes_it(
    local: Store, register: Publish, archive: Path, predictions: Path, method: str, key: str
) -> None:
    kill(archive, predictions, local.uri, method, key)
    assert not [name for name in keys(local) if name.endswith(("/model.json", "/champion.json"))]
    assert register(local.uri).champion
    assert len([name for name in keys(local) if name.endswith("/model.json")]) == 1


def test_a_kill_after_the_record_leaves_a_whole_version_that_is_not_yet_the_champion(
    local: Store, register: Publish, archive: Path, predictions: Path
) -> None:
    kill(archive, predictions, local.uri, "swap", "/champion.json")
    ModelRecord.model_validate_json(local.read(f"{MODELS}/versions/{digest('one')}/model.json"))
    assert find_alias(local, MODELS, "champion") is None
    assert register(local.uri).champion


def test_another_packing_of_the_same_content_replaces_what_a_killed_attempt_left(
    local: Store, register: Publish, archive: Path, predictions: Path, tmp_path: Path
) -> None:
    kill(archive, predictions, local.uri, "create", "/model.json")
    repacked = make_archive(tmp_path / "repacked", "one", bento=b"the same model, packed by another release")
    version = register(local.uri, archive=repacked).version
    record = ModelRecord.model_validate_json(local.read(f"{MODELS}/versions/{version}/model.json"))
    kept = local.read(f"{MODELS}/versions/{version}/archive/model.bento")
    assert hashlib.sha256(kept).hexdigest() == record.bento_sha256


def test_a_record_is_never_rewritten(local: Store, register: Publish, tmp_path: Path) -> None:
    version = register(local.uri).version
    key = f"{MODELS}/versions/{version}/model.json"
    before = local.read(key)
    register(local.uri, archive=make_archive(tmp_path / "repacked", "one", bento=b"other bytes"))
    assert local.read(key) == before
    kept = local.read(f"{MODELS}/versions/{version}/archive/model.bento")
    assert hashlib.sha256(kept).hexdigest() == json.loads(before)["bento_sha256"]
