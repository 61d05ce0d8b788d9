"""The registry: a version is there as a whole or not at all, and the champion is always a whole version."""

import hashlib
import json
import os
import runpy
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from components.model_publish.publish import Published, publish
from components.shared.alias_history import Why, read_moves
from components.shared.aliases import find_alias
from components.shared.archive import load_archive_manifest
from components.shared.errors import ArchiveError, FormatError, ProofError
from components.shared.model_lineage import Gate, code_version
from components.shared.registry import ModelRecord, archive_key, fetch_archive, find_champion
from components.shared.store import Store, open_store

ROOT = Path(__file__).parents[3]
PROOF = {"tensors_compared": 12.0, "boxes_compared": 30.0}
MODELS = "models/shapes"


SMALL: dict[str, Any] = runpy.run_path(str(Path(__file__).with_name("small_archive.py")))
make_archive: Callable[..., Path] = SMALL["make_archive"]
make_predictions: Callable[..., Path] = SMALL["make_predictions"]


def version_of(folder: Path) -> str:
    return load_archive_manifest(folder).content_digest


def bento_of(store: Store, version: str) -> bytes:
    """The one archive of a version, under the name of its digest."""
    (key,) = (k for k in keys(store) if k.startswith(f"{MODELS}/versions/{version}/archive/") and k.endswith(".bento"))
    data = store.read(key)
    assert key.split("/")[-2] == hashlib.sha256(data).hexdigest()
    return data


def record_of(store: Store, version: str) -> ModelRecord:
    return ModelRecord.model_validate_json(store.read(f"{MODELS}/versions/{version}/model.json"))


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
    store, version = open_store(store_uri), version_of(archive)
    home, sha256 = f"{MODELS}/versions/{version}", hashlib.sha256((archive / "model.bento").read_bytes()).hexdigest()
    found = [key.removeprefix(f"{home}/") for key in keys(store) if key.startswith(home)]
    evaluation = found[2].split("/")[1]
    assert found == [
        f"archive/{sha256}/manifest.json",
        f"archive/{sha256}/model.bento",
        f"evaluations/{evaluation}/coco/detections.json",
        f"evaluations/{evaluation}/evaluation.json",
        "model.json",
    ]
    assert bento_of(store, version) == (archive / "model.bento").read_bytes()
    kept = store.read(f"{home}/evaluations/{evaluation}/evaluation.json")
    assert kept == (predictions / "evaluation.json").read_bytes()
    assert published == Published("shapes", version, champion=True)
    champion = find_alias(store, MODELS, "champion")
    assert champion
    assert champion.version == version


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
    assert names.index("model.json") == len(names) - 3
    assert names[-2].startswith("00000000-"), "the note of the champion's move"
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
    register(local.uri, predictions=make_predictions(tmp_path / "later", map50=0.8))
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
    assert champion.version == version_of(two)


@pytest.mark.parametrize("proof", [{}, {"boxes_compared": 3.0}, {"tensors_compared": 0.0}])
def test_nothing_is_published_without_a_proof(
    local: Store, archive: Path, predictions: Path, proof: dict[str, float]
) -> None:
    with pytest.raises(
        ProofError, match=f"'shapes:{version_of(archive)[:16]}' was not proved .*: run model_test first"
    ):
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
    assert versions == [version_of(folder) for folder in archives]
    for version in versions:
        assert hashlib.sha256(bento_of(local, version)).hexdigest() == record_of(local, version).bento_sha256
    champion = find_alias(local, MODELS, "champion")
    assert champion
    assert champion.version in versions
    assert champion.sequence == 5, "no move was lost"


def test_racing_publishers_of_one_version_agree(local: Store, register: Publish, archive: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        results = set(pool.map(lambda _: register(local.uri), range(4)))
    assert results == {Published("shapes", version_of(archive), champion=True)}
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
        ("upload", "/manifest.json"),
        ("upload", "/model.bento"),
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
    record_of(local, version_of(archive))
    assert find_alias(local, MODELS, "champion") is None
    assert register(local.uri).champion


@pytest.fixture
def repacked(tmp_path: Path) -> Path:
    """The same model, packed into other bytes by another release."""
    return make_archive(tmp_path / "repacked", "one", preset=6)


def test_another_packing_of_the_same_content_replaces_what_a_killed_attempt_left(
    local: Store, register: Publish, archive: Path, predictions: Path, repacked: Path, tmp_path: Path
) -> None:
    assert version_of(repacked) == version_of(archive)
    kill(archive, predictions, local.uri, "create", "/model.json")
    version = register(local.uri, archive=repacked).version
    record = record_of(local, version)
    assert record.bento_sha256 == hashlib.sha256((repacked / "model.bento").read_bytes()).hexdigest()
    fetched = fetch_archive(local, record, tmp_path / "fetched")
    assert (fetched / "model.bento").read_bytes() == (repacked / "model.bento").read_bytes()


def test_a_record_and_its_archive_are_never_rewritten(local: Store, register: Publish, repacked: Path) -> None:
    version = register(local.uri).version
    before, kept = record_of(local, version), bento_of(local, version)
    register(local.uri, archive=repacked)
    assert record_of(local, version) == before
    assert bento_of(local, version) == kept, "the other packing is not left beside it"


def test_an_archive_damaged_in_the_store_is_replaced_by_publishing_again(
    local: Store, register: Publish, archive: Path, tmp_path: Path
) -> None:
    version = register(local.uri).version
    record = record_of(local, version)
    local.write(f"{archive_key(record)}/model.bento", b"damaged")
    register(local.uri)
    fetched = fetch_archive(local, record, tmp_path / "fetched")
    assert (fetched / "model.bento").read_bytes() == (archive / "model.bento").read_bytes()


RACER = """
import sys, time
from pathlib import Path
from components.model_publish.publish import publish

Path(sys.argv[4]).touch()
while not Path(sys.argv[5]).exists():
    time.sleep(0.001)
publish(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], passed=True, proof={"tensors_compared": 1.0})
"""


@pytest.mark.slow
def test_two_processes_racing_with_other_packings_of_one_version_leave_one_whole_champion(
    store_uri: str, archive: Path, repacked: Path, predictions: Path, tmp_path: Path
) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    ready, go = [tmp_path / "ready-0", tmp_path / "ready-1"], tmp_path / "go"
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", RACER, str(folder), str(predictions), store_uri, str(flag), str(go)], env=environment
        )
        for folder, flag in zip((archive, repacked), ready, strict=True)
    ]
    deadline = time.monotonic() + 60
    while not all(flag.exists() for flag in ready) and time.monotonic() < deadline:
        time.sleep(0.01)
    go.touch()
    assert [racer.wait(60) for racer in racers] == [0, 0]
    store, version = open_store(store_uri), version_of(archive)
    record = record_of(store, version)
    assert hashlib.sha256(bento_of(store, version)).hexdigest() == record.bento_sha256
    assert find_champion(store, "shapes") == version
    fetch_archive(store, record, tmp_path / "fetched")
    (move,) = read_moves(store, MODELS, "champion")
    assert (move.version, move.former, move.why) == (version, None, Why.PUBLISH)


def test_the_record_says_where_the_model_comes_from_and_how_it_was_judged(
    local: Store, register: Publish, archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIPELINE_RUN_ID", "20261121-run")
    lineage = record_of(
        local, register(local.uri, predictions=make_predictions(tmp_path / "judged", archive)).version
    ).lineage
    assert (lineage.run, lineage.code, lineage.framework) == ("20261121-run", code_version(), "ultralytics")
    assert lineage.datasets == {"train": "a" * 64, "val": "b" * 64, "test": "e" * 64}
    assert (lineage.parameters, lineage.libraries) == ({"lr0": 0.01, "epochs": 3}, {"torch": "2.15"})
    assert (lineage.training, lineage.evaluation) == ({"map50": 0.8}, {"map50": 0.9, "map50_95": 0.45})
    assert lineage.gate == Gate(passed=True)
    assert [key for key in keys(local) if f"/evaluations/{lineage.evaluation_id}/quality.json" in key]


def test_an_evaluation_that_did_not_pass_has_the_last_word(
    local: Store, register: Publish, archive: Path, tmp_path: Path
) -> None:
    judged = make_predictions(tmp_path / "judged", archive, passed=False, reasons=("mAP50 is too low.",))
    published = register(local.uri, predictions=judged, passed=True)
    assert not published.champion
    assert record_of(local, published.version).lineage.gate == Gate(passed=False, reasons=("mAP50 is too low.",))


def test_the_evaluation_of_another_model_is_refused(local: Store, register: Publish, tmp_path: Path) -> None:
    other = make_predictions(tmp_path / "other", make_archive(tmp_path / "two", "two"))
    with pytest.raises(ProofError, match=r"is of model .*, not of 'shapes:"):
        register(local.uri, predictions=other)
    assert keys(local) == []


def test_an_evaluation_that_is_none_is_refused(local: Store, register: Publish, predictions: Path) -> None:
    (predictions / "quality.json").write_text("[]")
    with pytest.raises(FormatError, match="is no evaluation"):
        register(local.uri)
    assert keys(local) == []


def test_an_evaluation_may_say_more_than_the_registry_reads(
    local: Store, register: Publish, archive: Path, tmp_path: Path
) -> None:
    judged = make_predictions(tmp_path / "judged", archive)
    quality = json.loads((judged / "quality.json").read_text())
    quality["metrics"] |= {"map_small": None, "interval": {"low": 0.1}, "images": 12}
    (judged / "quality.json").write_text(json.dumps(quality | {"slices": [], "intervals": {}}))
    lineage = record_of(local, register(local.uri, predictions=judged).version).lineage
    assert lineage.evaluation == {"map50": 0.9, "map50_95": 0.45, "images": 12}


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"no tar", "is not a complete xz tar"), (None, "'model.bento' is missing")],
)
def test_a_broken_archive_is_refused(
    local: Store, register: Publish, archive: Path, content: bytes | None, message: str
) -> None:
    (archive / "model.bento").unlink()
    if content is not None:
        (archive / "model.bento").write_bytes(content)
    with pytest.raises(ArchiveError, match=message):
        register(local.uri)
    assert keys(local) == []


def test_an_archive_cut_short_is_refused(local: Store, register: Publish, archive: Path) -> None:
    bento = archive / "model.bento"
    bento.write_bytes(bento.read_bytes()[:200])
    with pytest.raises(ArchiveError, match="is not a complete xz tar"):
        register(local.uri)
    assert keys(local) == []


def test_an_archive_beside_anothers_manifest_is_refused(
    local: Store, register: Publish, archive: Path, tmp_path: Path
) -> None:
    other = make_archive(tmp_path / "two", "two")
    shutil.copyfile(other / "model.bento", archive / "model.bento")
    with pytest.raises(ArchiveError, match="is not the one its manifest describes"):
        register(local.uri)
    assert keys(local) == []


def test_a_proof_that_says_it_failed_is_none(local: Store, archive: Path, predictions: Path) -> None:
    with pytest.raises(ProofError, match="was not proved"):
        publish(archive, predictions, local.uri, passed=True, proof={"tensors_compared": 3.0, "passed": 0.0})
    assert keys(local) == []


def test_a_proof_of_another_archive_is_none(local: Store, archive: Path, predictions: Path, tmp_path: Path) -> None:
    other = make_archive(tmp_path / "two", "two")
    with pytest.raises(ProofError, match=f"is of the archive '{version_of(other)[:12]}', not of 'shapes:"):
        publish(archive, predictions, local.uri, passed=True, proof={**PROOF, "digest": version_of(other)})
    assert keys(local) == []
    proved = {**PROOF, "digest": version_of(archive)}
    assert publish(archive, predictions, local.uri, passed=True, proof=proved).champion


@dataclass
class Compared:
    """Publishes small models, each evaluated beside a champion."""

    store: Store
    folder: Path

    def __call__(self, content: str, state: str, version: str = "") -> Published:
        archive = self.folder / content
        if not archive.exists():
            make_archive(archive, content)
        judged = self.folder / f"{content}-{state}-{version[:6]}"
        if not judged.exists():
            make_predictions(judged, archive, champion={"state": state, "version": version})
        return publish(archive, judged, self.store.uri, passed=True, proof=PROOF)


@pytest.fixture
def compared(local: Store, tmp_path: Path) -> Compared:
    return Compared(local, tmp_path)


def test_the_champion_moves_from_the_one_the_evaluation_compared_with(local: Store, compared: Compared) -> None:
    one = compared("first", "none")
    two = compared("second", "compared", one.version)

    assert (one.champion, two.champion) == (True, True)
    assert find_champion(local, "shapes") == two.version


@pytest.mark.parametrize("state", ["none", "compared", "incomparable", "same"])
def test_a_champion_that_changed_since_the_evaluation_stays(local: Store, compared: Compared, state: str) -> None:
    one = compared("first", "none")
    two = compared("second", "compared", one.version)

    late = compared("third", state, "" if state == "none" else one.version)

    assert not late.champion
    assert late.reason.endswith("the champion changed since the evaluation: evaluate again (--no-cache).")
    assert repr(two.version[:12]) in late.reason
    assert find_champion(local, "shapes") == two.version
    assert record_of(local, late.version).lineage.gate == Gate(passed=True)
    (last,) = read_moves(local, MODELS, "champion")[-1:]
    assert last.version == two.version


def test_without_a_comparison_the_champion_moves_from_wherever_it_is(compared: Compared) -> None:
    compared("first", "none")
    assert compared("second", "off").champion


def test_publishing_the_champion_again_leaves_it_the_champion(compared: Compared) -> None:
    one = compared("first", "none")
    assert compared("first", "none") == one
    assert compared("first", "same", one.version) == one


def test_of_two_that_were_compared_with_the_same_champion_one_wins_a_race(local: Store, compared: Compared) -> None:
    one = compared("first", "none")
    names = [f"racer {number}" for number in range(4)]

    with ThreadPoolExecutor(4) as pool:
        published = list(pool.map(lambda name: compared(name, "compared", one.version), names))

    assert sum(each.champion for each in published) == 1
    (winner,) = (each for each in published if each.champion)
    assert find_champion(local, "shapes") == winner.version
    assert all("changed since the evaluation" in each.reason for each in published if each is not winner)
    assert [move.version for move in read_moves(local, MODELS, "champion")] == [one.version, winner.version]
