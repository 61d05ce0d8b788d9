"""Folders of a file store: those that a deletion empties go, and no writer fails because they do."""

import errno
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from components.shared.errors import StoreError
from components.shared.store_file import FileStore

ROUNDS = 150


@pytest.fixture
def store(tmp_path: Path) -> FileStore:
    return FileStore(tmp_path / "store")


def folders(store: FileStore) -> set[str]:
    return {path.relative_to(store.root).as_posix() for path in store.root.rglob("*") if path.is_dir()} - {".locks"}


def test_folders_that_a_deletion_leaves_empty_go_and_others_stay(store: FileStore) -> None:
    for key in ("a/b/c/one", "a/b/c/two", "a/other"):
        store.write(key, b"-")
    store.delete("a/b/c/one")
    assert "a/b/c" in folders(store)
    store.delete("a/b/c/two")
    assert [name for name in folders(store) if name.startswith("a")] == ["a"]
    store.delete("a/other")
    assert store.root.is_dir()
    assert not (store.root / "a").exists()


def test_a_discarded_leftover_takes_its_empty_folders_along(store: FileStore) -> None:
    store.write("a/b/one", b"-")
    (store.root / "a/b/one").rename(store.root / "a/b/.tmp-torn")
    (leftover,) = store.leftovers()
    store.discard(leftover)
    assert not (store.root / "a").exists()


def test_a_folder_that_cannot_be_removed_stays_without_a_word(
    store: FileStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: Path) -> None:
        raise OSError(errno.EACCES, "Permission denied")

    store.write("a/one", b"-")
    monkeypatch.setattr(Path, "rmdir", refuse)
    store.delete("a/one")
    assert not store.exists("a/one")


def test_a_file_in_a_folders_place_is_told(store: FileStore) -> None:
    store.write("a", b"-")
    with pytest.raises(StoreError, match="Cannot write 'a/b'"):
        store.write("a/b", b"-")


def test_writers_beside_deleters_of_their_folders_lose_nothing(store: FileStore, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"file")
    problems: list[BaseException] = []

    def writing(number: int, put: Callable[[str], object]) -> None:
        for turn in range(ROUNDS):
            key = f"deep/er/and/deeper/{number}-{turn}"
            put(key)
            assert store.read(key)
            store.delete(key)
            assert not store.exists(key)
            list(store.list("deep/"))

    def noting(number: int, put: Callable[[str], object]) -> None:
        try:
            writing(number, put)
        except BaseException as error:  # noqa: BLE001 - a thread's is told by the test
            problems.append(error)

    puts: list[Callable[[str], object]] = [
        lambda key: store.write(key, b"written"),
        lambda key: store.create(key, b"created"),
        lambda key: store.upload(tmp_path / "file", key),
        lambda key: store.swap(key, b"swapped", None),
    ]
    threads = [threading.Thread(target=noting, args=(number, put)) for number, put in enumerate(puts)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    assert not (store.root / "deep").exists()
