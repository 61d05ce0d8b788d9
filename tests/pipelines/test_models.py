"""The model commands on a real store: what they print, what they exit with, what they change."""

import json
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from components.model_publish.publish import publish
from components.shared.alias_history import Why, read_moves
from components.shared.files import sha256_file
from components.shared.registry import find_champion, read_record
from components.shared.store import Store, open_store
from pipelines.models.command import main

SMALL: dict[str, Any] = runpy.run_path(
    str(Path(__file__).parents[1] / "components" / "model_publish" / "small_archive.py")
)
Add = Callable[..., str]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(str(tmp_path / "store"))


@pytest.fixture
def add(store: Store, tmp_path: Path) -> Add:
    """Publishes a model; gives its version."""

    def call(content: str, *, passed: bool = True, map50: float = 0.9, **made: object) -> str:
        archive = SMALL["make_archive"](tmp_path / content / "archive", content, **made)
        reasons = () if passed else ("mAP50 is below 0.95.",)
        judged = SMALL["make_predictions"](
            tmp_path / content / "p", archive, map50=map50, passed=passed, reasons=reasons
        )
        return publish(archive, judged, store.uri, passed=passed, proof={"tensors_compared": 3.0}).version

    return call


class Command:
    """Runs a command on the store and keeps what it printed."""

    def __init__(self, store: Store, capsys: pytest.CaptureFixture[str]) -> None:
        self._store = store
        self._capsys = capsys
        self.out = self.err = ""

    def __call__(self, *arguments: str | Path) -> int:
        code = main([*map(str, arguments), "--store", self._store.uri])
        self.out, self.err = self._capsys.readouterr()
        return code

    def json(self, *arguments: str | Path, code: int = 0) -> dict[str, Any]:
        assert self(*arguments, "--json") == code
        answer: dict[str, Any] = json.loads(self.out)
        return answer


@pytest.fixture
def models(store: Store, capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(store, capsys)


def test_an_empty_store_says_so(models: Command) -> None:
    assert models("list") == 0
    assert "holds no model yet" in models.out
    assert models.json("list")["models"] == []


def test_list_shows_each_version_with_its_date_quality_data_and_the_champion(
    models: Command, add: Add, store: Store
) -> None:
    one, two = add("one"), add("two", passed=False, map50=0.7, train="c" * 64)
    other = add("other", name="cats")
    assert models("list") == 0
    assert all(text in models.out for text in ("shapes", "cats", one[:12], two[:12], "champion", "0.700", "not passed"))
    found = {entry["version"]: entry for entry in models.json("list")["models"]}
    assert set(found) == {one, two, other}
    assert (found[one]["champion"], found[two]["champion"]) == (True, False)
    assert (found[two]["map50"], found[two]["passed"]) == (0.7, False)
    assert found[two]["datasets"]["train"] == "c" * 64
    stored = {entry.key: entry.modified for entry in store.list("models/")}
    assert found[one]["published"] == stored[f"models/shapes/versions/{one}/model.json"]
    assert [entry["version"] for entry in models.json("list", "cats")["models"]] == [other]


def test_a_broken_record_does_not_hide_the_others(models: Command, add: Add, store: Store) -> None:
    one, broken = add("one"), "f" * 64
    store.write(f"models/shapes/versions/{broken}/model.json", b"{}")
    found = {entry["version"]: entry["problem"] for entry in models.json("list")["models"]}
    assert found[one] is None
    assert "is no record of a model" in found[broken]
    assert models("list") == 0


def test_show_tells_where_a_version_comes_from_and_how_it_was_judged(models: Command, add: Add) -> None:
    one = add("one")
    data = models.json("show", "shapes")
    assert (data["version"], data["champion"], data["gate"]) == (one, True, {"passed": True, "reasons": []})
    assert data["lineage"]["parameters"] == {"lr0": 0.01, "epochs": 3}
    assert data["average_precision"] == {"bar": 0.45}
    assert [move["why"] for move in data["moves"]] == ["publish"]
    assert models("show", f"shapes@{one[:8]}") == 0
    for text in (one, "map50 0.9", "a" * 64, "tensors_compared 3", "model/best.pt", "is $free, and so", "lr0=0.01"):
        assert text.replace("is $free", "are $free") in models.out


def test_a_record_of_an_earlier_release_is_shown_and_exported(
    models: Command, add: Add, store: Store, tmp_path: Path
) -> None:
    one = add("one")
    key = f"models/shapes/versions/{one}/model.json"
    record = json.loads(store.read(key))
    bento = record["bento_sha256"]
    (old_home, home) = (f"models/shapes/versions/{one}/archive", f"models/shapes/versions/{one}/archive/{bento}")
    store.write(f"{old_home}/model.bento", store.read(f"{home}/model.bento"))
    store.delete(f"{home}/model.bento")
    del record["lineage"]
    store.write(key, json.dumps(record | {"schema_version": 1}).encode())
    for entry in list(store.list(f"models/shapes/versions/{one}/evaluations/")):
        store.delete(entry.key)
    assert models("show", "shapes") == 0
    assert "not known: published by an earlier release" in models.out
    assert models("list") == 0
    assert models("compare", "shapes", "shapes") == 0
    assert models("export", "shapes", tmp_path / "out") == 0
    assert models("promote", "shapes@" + one) == 2
    assert "says: not known" in models.err


def test_compare_puts_two_versions_side_by_side(models: Command, add: Add) -> None:
    one = add("one")
    two = add("two", map50=0.8, classes=("bar", "cube"), lr0=0.02, train="c" * 64)
    data = models.json("compare", f"shapes@{one}", f"shapes@{two}")
    assert data["classes"] == {"added": ["cube"], "removed": ["block"]}
    assert data["metrics"]["map50"] == [0.9, 0.8]
    assert data["average_precision"] == {"bar": [0.45, 0.4]}
    assert data["datasets"] == {"train": ["a" * 64, "c" * 64]}
    assert (data["parameters"], data["libraries"]) == ({"lr0": [0.01, 0.02]}, {})
    assert data["same_test_data"]
    assert models("compare", f"shapes@{one}", f"shapes@{two}") == 0
    assert all(text in models.out for text in ("added: cube", "removed: block", "-0.1", "lr0", "a" * 12, "library"))


def test_a_version_that_passed_is_promoted_and_rolled_back_step_by_step(
    models: Command, add: Add, store: Store
) -> None:
    one, two, three = add("one"), add("two"), add("three")
    data = models.json("promote", f"shapes@{one}", "--reason", "faster")
    assert (data["champion"], data["former"], data["moved"]) == (one, three, True)
    assert read_moves(store, "models/shapes", "champion")[-1].reason == "faster"
    for expected in (three, two, one):
        assert models("rollback", "shapes") == 0
        assert find_champion(store, "shapes") == expected
    assert models("rollback", "shapes") == 2
    assert "No champion of 'shapes' before" in models.err
    assert not models.json("promote", "shapes@champion")["moved"]


def test_a_version_that_did_not_pass_is_promoted_only_by_force_with_a_reason(
    models: Command, add: Add, store: Store
) -> None:
    one, two = add("one"), add("two", passed=False)
    assert models("promote", f"shapes@{two}") == 2
    assert "NOT passed. mAP50 is below 0.95." in models.err
    assert models("promote", f"shapes@{two}", "--force", "--reason", " ") == 2
    assert "--force needs a --reason" in models.err
    assert find_champion(store, "shapes") == one
    assert models("promote", f"shapes@{two}", "--force", "--reason", "the customer waits") == 0
    last = read_moves(store, "models/shapes", "champion")[-1]
    assert (last.version, last.why, last.forced, last.reason) == (two, Why.PROMOTE, True, "the customer waits")
    assert models("show", "shapes") == 0
    assert "forced: the customer waits" in models.out


def test_the_newest_evaluation_decides_whether_a_version_passed(
    models: Command, add: Add, store: Store, tmp_path: Path
) -> None:
    add("one")
    two = add("two", passed=False)
    archive = tmp_path / "two" / "archive"
    again = SMALL["make_predictions"](tmp_path / "again", archive, map50=0.97)
    publish(archive, again, store.uri, passed=False, proof={"tensors_compared": 3.0})
    assert models.json("show", f"shapes@{two}")["gate"]["passed"]
    assert models("promote", f"shapes@{two}") == 0


def test_a_rollback_to_a_version_that_is_gone_is_refused(models: Command, add: Add, store: Store) -> None:
    one, two = add("one"), add("two")
    store.delete(f"models/shapes/versions/{one}/model.json")
    assert models("rollback", "shapes") == 2
    assert "is not in" in models.err
    assert find_champion(store, "shapes") == two


def test_export_brings_the_archive_whole(models: Command, add: Add, store: Store, tmp_path: Path) -> None:
    version = add("one")
    target = tmp_path / "new" / "folder"
    assert models.json("export", "shapes", target)["files"] == ["manifest.json", "model.bento"]
    assert sha256_file(target / "model.bento") == read_record(store, "shapes", version).bento_sha256
    assert models("export", "shapes", target) == 2
    assert "is there already" in models.err


def test_export_extracts_the_inference_files(models: Command, add: Add, tmp_path: Path) -> None:
    add("one")
    assert models("export", "shapes", "--extract", tmp_path / "out") == 0
    assert (tmp_path / "out/model/best.pt").read_bytes() == b"one" * 1000
    files = {path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.*")}
    assert files == {"manifest.json", *(f"model/{n}" for n in ("best.pt", "last.pt", "manifest.json", "test.png"))}


def test_a_damaged_archive_is_not_exported(models: Command, add: Add, store: Store, tmp_path: Path) -> None:
    add("one")
    (key,) = (entry.key for entry in store.list("models/") if entry.key.endswith(".bento"))
    store.write(key, b"damaged")
    for options in ((), ("--extract",)):
        assert models("export", "shapes", *options, tmp_path / "out") == 1
        assert "has other bytes than were published" in models.err
    assert not list(tmp_path.glob("*out*"))


@pytest.mark.parametrize("command", [("show",), ("promote",), ("rollback",), ("list",)])
def test_an_unknown_model_is_answered_with_the_near_one(models: Command, add: Add, command: tuple[str, ...]) -> None:
    add("one")
    assert models(*command, "shape") == 2
    assert models.err.startswith("error: There is no published model 'shape'")
    assert "did you mean 'shapes'?" in models.err
    assert "did you mean" in models.json(*command, "shape", code=2)["error"]
