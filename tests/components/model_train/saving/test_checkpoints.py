"""A checkpoint is whole or not there, the newest usable one is found, and nobody loses another's."""

import hashlib
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from components.model_train.saving.checkpoints import ABANDONED, FRESH, Checkpoints
from components.model_train.saving.files import FILES, MANIFEST
from components.model_train.story import Attempt, Epoch, Story
from components.shared.errors import CheckpointError, StoreError
from components.shared.store import Store, open_store
from components.shared.store_file import FileStore

KEY, OTHER = "ab" * 32, "cd" * 32


def story_of(epochs: int) -> Story:
    values = {"train/box": 0.5, "val/box": float("nan"), "map50": float("inf")}
    done = [Epoch(number=number, seconds=number, values=values) for number in range(1, epochs + 1)]
    return Story(epochs=done, attempts=[Attempt(first_epoch=1, last_epoch=epochs, batch=4)])


@pytest.fixture
def store(store_uri: str) -> Store:
    return open_store(store_uri)


@pytest.fixture
def local(tmp_path: Path) -> FileStore:
    return FileStore(tmp_path / "local")


Save = Callable[..., str]


@pytest.fixture
def save(tmp_path: Path) -> Save:
    """``save(checkpoints, epoch)`` saves two files and one without bytes, and gives the key of its folder."""

    def do(checkpoints: Checkpoints, epoch: int, *, finished: bool = False) -> str:
        folder = tmp_path / f"snapshot-{epoch}"
        (folder / "deep").mkdir(parents=True, exist_ok=True)
        (folder / "weights").write_bytes(b"weights of %d" % epoch)
        (folder / "deep" / "state").write_bytes(b"state of %d" % epoch)
        (folder / "empty").touch()
        files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
        before = set(homes(checkpoints._store, checkpoints._key))
        checkpoints.save(files, epoch=epoch, batch=4, story=story_of(epoch), finished=finished)
        (home,) = set(homes(checkpoints._store, checkpoints._key)) - before
        return home

    return do


def homes(store: Store, key: str = KEY) -> list[str]:
    return [entry.key.removesuffix(MANIFEST) for entry in store.list(f"checkpoints/{key}/") if MANIFEST in entry.key]


def age(store: FileStore, home: str, seconds: float) -> None:
    for entry in list(store.list(home)):
        then = time.time() - seconds
        os.utime(store.root / entry.key, (then, then))


def found_epoch(store: Store, folder: Path) -> int:
    found = Checkpoints(store, KEY).newest(folder)
    return found.checkpoint.epoch if found else 0


def test_a_checkpoint_comes_back_as_it_was_saved(store: Store, save: Save, tmp_path: Path) -> None:
    save(Checkpoints(store, KEY), 3)
    found = Checkpoints(store, KEY).newest(tmp_path / "found")
    assert found is not None
    assert (found.folder / "weights").read_bytes() == b"weights of 3"
    assert (found.folder / "deep" / "state").read_bytes() == b"state of 3"
    assert (found.folder / "empty").read_bytes() == b""
    assert found.checkpoint.story.model_dump_json() == story_of(3).model_dump_json()
    assert (found.checkpoint.batch, found.checkpoint.finished, found.warnings) == (4, False, ())


def test_there_is_none_at_first(store: Store, tmp_path: Path) -> None:
    assert Checkpoints(store, KEY).newest(tmp_path / "found") is None


def test_the_last_two_are_kept(store: Store, save: Save) -> None:
    checkpoints = Checkpoints(store, KEY)
    saved = [save(checkpoints, epoch) for epoch in (1, 2, 3, 4)]
    assert homes(store) == saved[-2:]
    assert {entry.key.split("/")[2] for entry in store.list(f"checkpoints/{KEY}/")} == {
        home.split("/")[2] for home in saved[-2:]
    }


def test_what_was_in_the_folder_before_is_gone(local: FileStore, save: Save, tmp_path: Path) -> None:
    save(Checkpoints(local, KEY), 1)
    (tmp_path / "found").mkdir()
    (tmp_path / "found" / "stale").touch()
    Checkpoints(local, KEY).newest(tmp_path / "found")
    assert not (tmp_path / "found" / "stale").exists()


def test_a_process_that_goes_on_keeps_two_in_all(local: FileStore, save: Save) -> None:
    first = Checkpoints(local, KEY)
    old = [save(first, epoch) for epoch in (1, 2)]
    for home in old:
        age(local, home, FRESH + 5)
    second = Checkpoints(local, KEY)
    new = save(second, 3)
    assert homes(local) == [old[1], new]


def damage_bytes(store: FileStore, home: str, name: str) -> None:
    path = store.root / home / name
    path.write_bytes(bytes([path.read_bytes()[0] ^ 1]) + path.read_bytes()[1:])


def remove(store: FileStore, home: str, name: str) -> None:
    store.delete(home + name)


def cut(store: FileStore, home: str, name: str) -> None:
    path = store.root / home / name
    path.write_bytes(path.read_bytes()[:-1])


def change(**values: Any) -> Callable[[FileStore, str, str], None]:
    def do(store: FileStore, home: str, name: str) -> None:
        path = store.root / home / name
        changed = json.loads(path.read_bytes()) | values
        del changed["sha256"]
        digest = hashlib.sha256(json.dumps(changed, sort_keys=True).encode()).hexdigest()
        path.write_text(json.dumps(changed | {"sha256": digest}))

    return do


def replace_with(data: bytes) -> Callable[[FileStore, str, str], None]:
    return lambda store, home, name: (store.root / home / name).write_bytes(data) and None


def replace_text(old: bytes, new: bytes) -> Callable[[FileStore, str, str], None]:
    def do(store: FileStore, home: str, name: str) -> None:
        path = store.root / home / name
        path.write_bytes(path.read_bytes().replace(old, new))

    return do


def file_named(name: str) -> list[dict[str, Any]]:
    return [{"name": name, "size": 3, "sha256": "0" * 64}]


DAMAGES: list[tuple[str, Callable[[FileStore, str, str], None], str]] = [
    (f"{FILES}weights", damage_bytes, "'weights' is damaged"),
    (f"{FILES}deep/state", damage_bytes, "'deep/state' is damaged"),
    (f"{FILES}weights", remove, "'weights' is missing"),
    (f"{FILES}weights", cut, "'weights' has 11 bytes, not 12"),
    (MANIFEST, cut, "is broken"),
    (MANIFEST, replace_with(b"\x00\xff\x80"), "is broken"),
    (MANIFEST, replace_with(b"[" * 100_000), "is broken"),
    (MANIFEST, replace_with(b"[]"), "is broken"),
    (MANIFEST, replace_text(b'"batch": 4', b'"batch": 5'), "does not have the digest"),
    (MANIFEST, change(key=OTHER), "belongs to another training, cdcdcdcdcdcd"),
    (MANIFEST, change(format=2), "has the format 2, this release reads 1"),
    (MANIFEST, change(epoch=7), "tells of epochs 7 and 2, its name of 2"),
    (MANIFEST, change(story=json.loads(story_of(1).model_dump_json())), "tells of epochs 2 and 1"),
    (MANIFEST, change(surprise=1), "surprise"),
    (MANIFEST, change(files=file_named("../../etc/passwd")), "is broken"),
    (MANIFEST, change(files=file_named("/etc/passwd")), "is broken"),
    (MANIFEST, change(files=file_named("weights") * 2), "names a file twice"),
    (MANIFEST, change(files=file_named("absent")), "'absent' is missing"),
]


@pytest.mark.parametrize(("name", "damage", "words"), DAMAGES, ids=[words for _, _, words in DAMAGES])
def test_a_corrupt_newest_one_gives_way_to_the_one_before(
    local: FileStore, save: Save, tmp_path: Path, name: str, damage: Callable[..., None], words: str
) -> None:
    checkpoints = Checkpoints(local, KEY)
    save(checkpoints, 1)
    damage(local, save(checkpoints, 2), name)
    found = Checkpoints(local, KEY).newest(tmp_path / "found")
    assert found is not None
    assert found.checkpoint.epoch == 1
    assert (found.folder / "weights").read_bytes() == b"weights of 1"
    assert len(found.warnings) == 1
    assert words in found.warnings[0]
    assert local.uri in found.warnings[0]


@pytest.mark.parametrize(("name", "damage", "words"), DAMAGES, ids=[words for _, _, words in DAMAGES])
def test_when_none_can_be_used_it_says_what_is_wrong_where_and_what_to_do(
    local: FileStore, save: Save, tmp_path: Path, name: str, damage: Callable[..., None], words: str
) -> None:
    home = save(Checkpoints(local, KEY), 2)
    damage(local, home, name)
    with pytest.raises(CheckpointError) as raised:
        Checkpoints(local, KEY).newest(tmp_path / "found")
    for part in (words, home.rstrip("/"), local.uri, "resume=never"):
        assert part in str(raised.value)
    assert not (tmp_path / "etc").exists()


@pytest.mark.slow
def test_every_byte_of_a_checkpoint_counts(local: FileStore, save: Save, tmp_path: Path) -> None:
    home = save(Checkpoints(local, KEY), 1)
    for entry in list(local.list(home)):
        path = local.root / entry.key
        whole = path.read_bytes()
        for position in range(len(whole)):
            path.write_bytes(whole[:position] + bytes([whole[position] ^ 0x01]) + whole[position + 1 :])
            with pytest.raises(CheckpointError):
                Checkpoints(local, KEY).newest(tmp_path / "found")
        path.write_bytes(whole)


def test_one_the_trainer_refused_is_passed_over(local: FileStore, save: Save, tmp_path: Path) -> None:
    checkpoints = Checkpoints(local, KEY)
    save(checkpoints, 1)
    newer = save(checkpoints, 2)
    found = checkpoints.newest(tmp_path / "found", {newer: "it holds no optimiser"})
    assert found is not None
    assert found.checkpoint.epoch == 1
    assert "it holds no optimiser" in found.warnings[0]
    with pytest.raises(CheckpointError, match="it holds no optimiser"):
        checkpoints.newest(tmp_path / "found", dict.fromkeys(homes(local), "it holds no optimiser"))


def test_a_torn_one_counts_for_nothing(local: FileStore, save: Save, tmp_path: Path) -> None:
    checkpoints = Checkpoints(local, KEY)
    save(checkpoints, 1)
    remove(local, save(checkpoints, 2), MANIFEST)
    found = Checkpoints(local, KEY).newest(tmp_path / "found")
    assert found is not None
    assert (found.checkpoint.epoch, found.warnings) == (1, ())


def test_what_an_earlier_process_tore_is_removed_when_it_is_surely_dead(local: FileStore, save: Save) -> None:
    dead, alive = Checkpoints(local, KEY), Checkpoints(local, KEY)
    old, young = save(dead, 1), save(alive, 2)
    remove(local, old, MANIFEST)
    remove(local, young, MANIFEST)
    age(local, old, ABANDONED + 5)
    age(local, young, ABANDONED - 60)
    save(Checkpoints(local, KEY), 3)
    assert list(local.list(old)) == []
    assert list(local.list(young)) != []


def test_what_this_process_tore_is_removed_with_its_next_save(
    local: FileStore, save: Save, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoints = Checkpoints(local, KEY)
    with monkeypatch.context() as patch:
        patch.setattr(FileStore, "create", broken)
        with pytest.raises(StoreError):
            save(checkpoints, 1)
    assert len(list(local.list("checkpoints/"))) == 2
    with monkeypatch.context() as patch:
        patch.setattr(FileStore, "upload", broken)
        with pytest.raises(StoreError):
            save(checkpoints, 2)
    assert list(local.list("checkpoints/")) == [], "a full disk has its room back"
    home = save(checkpoints, 3)
    assert all(entry.key.startswith(home) for entry in local.list("checkpoints/"))


def broken(*_: object) -> Any:
    raise StoreError("the store is away")


def test_a_save_whose_files_vanish_meanwhile_is_no_checkpoint(
    local: FileStore, save: Save, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    upload = FileStore.upload

    def lose(store: FileStore, path: Path, key: str) -> None:
        upload(store, path, key)
        if key.endswith("weights"):
            store.delete(key)

    monkeypatch.setattr(FileStore, "upload", lose)
    with pytest.raises(StoreError, match="vanished"):
        save(Checkpoints(local, KEY), 1)
    assert found_epoch(local, tmp_path / "found") == 0


def test_a_save_counts_when_old_ones_cannot_be_removed(
    local: FileStore, save: Save, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    checkpoints = Checkpoints(local, KEY)
    monkeypatch.setattr(FileStore, "delete", broken)
    for epoch in (1, 2, 3):
        save(checkpoints, epoch)
    assert found_epoch(local, tmp_path / "found") == 3
    monkeypatch.undo()
    save(checkpoints, 4)
    assert len(homes(local)) == 2


def test_two_runs_of_one_training_leave_each_others_checkpoints_alone(
    local: FileStore, save: Save, tmp_path: Path
) -> None:
    ahead, behind = Checkpoints(local, KEY), Checkpoints(local, KEY)
    of_ahead = [save(ahead, epoch) for epoch in (7, 8)]
    of_behind = [save(behind, epoch) for epoch in (1, 2, 3)]
    of_ahead.append(save(ahead, 9))
    assert set(homes(local)) == {*of_ahead[-2:], *of_behind[-2:]}
    assert found_epoch(local, tmp_path / "found") == 9


def test_the_run_that_goes_on_removes_what_the_dead_one_left(local: FileStore, save: Save) -> None:
    ahead, dead = Checkpoints(local, KEY), Checkpoints(local, KEY)
    for home in (save(dead, 1), save(dead, 2)):
        age(local, home, FRESH + 5)
    kept = [save(ahead, epoch) for epoch in (7, 8)]
    assert homes(local) == kept


def test_a_finished_training_keeps_its_result_alone(local: FileStore, save: Save, tmp_path: Path) -> None:
    checkpoints = Checkpoints(local, KEY)
    earlier = save(Checkpoints(local, KEY), 9)
    age(local, earlier, FRESH + 5)
    for epoch in (3, 4):
        save(checkpoints, epoch)
    home = save(checkpoints, 5, finished=True)
    assert homes(local) == [home]
    found = Checkpoints(local, KEY).newest(tmp_path / "found")
    assert found is not None
    assert found.checkpoint.finished


def test_a_result_is_preferred_to_a_later_epoch_of_another_run(local: FileStore, save: Save, tmp_path: Path) -> None:
    save(Checkpoints(local, KEY), 3, finished=True)
    save(Checkpoints(local, KEY), 4)
    assert found_epoch(local, tmp_path / "found") == 3


def test_beginning_anew_replaces_all_with_the_first_checkpoint_and_not_before(
    local: FileStore, save: Save, tmp_path: Path
) -> None:
    earlier = Checkpoints(local, KEY)
    old = [save(earlier, epoch) for epoch in (8, 9)]
    anew = Checkpoints(local, KEY)
    anew.replace()
    assert homes(local) == old
    new = save(anew, 1)
    assert homes(local) == [new]
    assert found_epoch(local, tmp_path / "found") == 1


def test_another_trainings_checkpoints_are_not_seen(local: FileStore, save: Save, tmp_path: Path) -> None:
    home = save(Checkpoints(local, OTHER), 1)
    assert Checkpoints(local, KEY).newest(tmp_path / "found") is None
    save(Checkpoints(local, KEY), 5, finished=True)
    assert homes(local, OTHER) == [home]


def test_a_checkpoint_that_is_removed_while_it_is_read_makes_it_look_again(
    local: FileStore, save: Save, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = Checkpoints(local, KEY)
    save(running, 1)
    download, busy = FileStore.download, iter([2, 3, 4])

    def meanwhile(store: FileStore, key: str, path: Path) -> None:
        if epoch := next(busy, 0):
            save(running, epoch)
        download(store, key, path)

    monkeypatch.setattr(FileStore, "download", meanwhile)
    found = Checkpoints(local, KEY).newest(tmp_path / "found")
    assert found is not None
    assert found.checkpoint.epoch >= 2
    assert found.warnings == ()


def test_a_store_that_fails_is_no_corrupt_checkpoint(
    local: FileStore, save: Save, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(Checkpoints(local, KEY), 1)
    monkeypatch.setattr(FileStore, "download", broken)
    with pytest.raises(StoreError, match="away"):
        Checkpoints(local, KEY).newest(tmp_path / "found")


def test_going_on_from_a_checkpoint_makes_it_young(local: FileStore, save: Save, tmp_path: Path) -> None:
    home = save(Checkpoints(local, KEY), 1)
    age(local, home, 20 * 86400)
    Checkpoints(local, KEY).newest(tmp_path / "found")
    (manifest,) = local.list(home + MANIFEST)
    assert time.time() - manifest.modified < 3600


def test_processes_of_one_run_count_as_one(local: FileStore, save: Save) -> None:
    save(Checkpoints(local, KEY, "run 1"), 1)
    other = save(Checkpoints(local, KEY, "run 2"), 1)
    result = save(Checkpoints(local, KEY, "run 1"), 2, finished=True)
    assert homes(local) == [other, result]


def test_foreign_objects_are_passed_over_and_stay(local: FileStore, save: Save, tmp_path: Path) -> None:
    left = [f"checkpoints/{KEY}/notes.txt", f"checkpoints/{KEY}/latest/checkpoint.json"]
    for key in left:
        local.write(key, b"somebody else's")
    save(Checkpoints(local, KEY), 1)
    assert found_epoch(local, tmp_path / "found") == 1
    assert all(local.exists(key) for key in left)


def test_a_manifest_says_what_it_holds(local: FileStore, save: Save) -> None:
    home = save(Checkpoints(local, KEY), 2)
    made = json.loads(local.read(home + MANIFEST))
    assert [(file["name"], file["size"]) for file in made["files"]] == [
        ("deep/state", 10),
        ("empty", 0),
        ("weights", 12),
    ]
    assert home.startswith(f"checkpoints/{KEY}/000002-")
