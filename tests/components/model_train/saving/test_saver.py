"""Saving never holds the training up, comes as often as asked for, and its failures are told once."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from fake_trainer import KEY

from components.model_train.saving.checkpoints import Checkpoints
from components.model_train.saving.saver import Cadence, Folders, Saver
from components.model_train.story import Attempt, Epoch, Story
from components.shared.errors import StoreError
from components.shared.store_file import FileStore


@dataclass
class Slow:
    """A snapshot whose writing waits until it may go on."""

    text: str = "state"
    go: threading.Event = field(default_factory=threading.Event)
    begun: threading.Event = field(default_factory=threading.Event)

    def write(self, folder: Path) -> None:
        self.begun.set()
        assert self.go.wait(10)
        (folder / "state").write_text(self.text)


@dataclass
class Quick:
    """A snapshot that is written at once."""

    text: str = "state"

    def write(self, folder: Path) -> None:
        (folder / "state").write_text(self.text)


def story_of(epoch: int) -> Story:
    epochs = [Epoch(number=number, seconds=number, values={}) for number in range(1, epoch + 1)]
    return Story(epochs=epochs, attempts=[Attempt(first_epoch=1, last_epoch=epoch, batch=4)])


@pytest.fixture
def store(tmp_path: Path) -> FileStore:
    return FileStore(tmp_path / "store")


@pytest.fixture
def warnings() -> list[str]:
    return []


MakeSaver = Callable[..., Saver]


@pytest.fixture
def saver(store: FileStore, tmp_path: Path, warnings: list[str]) -> Iterator[MakeSaver]:
    made: list[Saver] = []

    def make(*, epochs: int = 1, seconds: float = 0.0) -> Saver:
        folders = Folders(tmp_path / "scratch", tmp_path / "batches")
        made.append(Saver(Checkpoints(store, KEY), Cadence(epochs, seconds), folders, warnings.append))
        return made[-1]

    yield make
    for one in made:
        one.close(5)


def saved(store: FileStore) -> list[dict[str, Any]]:
    entries = store.list(f"checkpoints/{KEY}/")
    return [json.loads(store.read(entry.key)) for entry in entries if entry.key.endswith("/checkpoint.json")]


def wait_until(happened: Callable[[], object], seconds: float = 5.0) -> None:
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def offer(saver: Saver, epoch: int, snapshot: Any = None) -> None:
    saver.offer(epoch, snapshot or Quick(f"state of {epoch}"), story_of(epoch), 4)


def test_an_offer_returns_at_once_and_only_the_newest_waits(saver: MakeSaver, store: FileStore) -> None:
    one, first = saver(), Slow()
    offer(one, 1, first)
    assert first.begun.wait(5)
    began = time.monotonic()
    for epoch in range(2, 50):
        offer(one, epoch)
    assert time.monotonic() - began < 0.5
    first.go.set()
    wait_until(lambda: one.saved == 49)
    assert [content["epoch"] for content in saved(store)] == [1, 49]


def test_what_is_saved_is_what_was_offered(saver: MakeSaver, store: FileStore, tmp_path: Path) -> None:
    (tmp_path / "batches").mkdir()
    (tmp_path / "batches" / "batch-1.json").write_text("picture")
    one = saver()
    story = story_of(1)
    one.offer(1, Quick("state of 1"), story, 4)
    story.epochs.append(Epoch(number=2, seconds=2, values={}))
    story.notes.append("later")
    wait_until(lambda: one.saved == 1)
    found = Checkpoints(store, KEY).newest(tmp_path / "found")
    assert found is not None
    assert (found.folder / "snapshot" / "state").read_text() == "state of 1"
    assert (found.folder / "batches" / "batch-1.json").read_text() == "picture"
    assert found.checkpoint.story == story_of(1)
    assert not (tmp_path / "scratch").exists()


def test_epochs_between_two_checkpoints_are_kept(saver: MakeSaver, store: FileStore) -> None:
    one = saver(epochs=3)
    for epoch in range(1, 8):
        offer(one, epoch)
        wait_until(lambda epoch=epoch: one.saved == epoch // 3 * 3)
    time.sleep(0.05)
    assert [content["epoch"] for content in saved(store)] == [3, 6]


def test_minutes_between_two_uploads_are_kept_and_the_newest_is_saved_when_they_are_over(
    saver: MakeSaver, store: FileStore
) -> None:
    began = time.monotonic()
    one = saver(seconds=0.4)
    offer(one, 1)
    offer(one, 2)
    time.sleep(0.15)
    assert saved(store) == []
    wait_until(lambda: one.saved == 2)
    assert 0.4 <= time.monotonic() - began < 2
    offer(one, 3)
    time.sleep(0.1)
    assert one.saved == 2
    wait_until(lambda: one.saved == 3)
    assert time.monotonic() - began >= 0.8


def test_what_shall_wait_is_saved_after_that_time_or_on_request(saver: MakeSaver) -> None:
    began, one, other = time.monotonic(), saver(), saver()
    for each, after in ((one, 0.3), (other, 3600.0)):
        each.offer(1, Quick(), story_of(1), 4, after=after)
    wait_until(lambda: one.saved == 1)
    assert time.monotonic() - began >= 0.3
    assert other.saved == 0
    assert other.flush(5)
    assert other.saved == 1


def test_a_flush_saves_the_newest_whatever_the_cadence(saver: MakeSaver, store: FileStore) -> None:
    one = saver(epochs=100, seconds=3600)
    offer(one, 1)
    offer(one, 2)
    assert one.flush(5, "preempted")
    (content,) = saved(store)
    assert (content["epoch"], content["story"]["attempts"][0]["end"]) == (2, "preempted")


def test_a_flush_during_an_upload_saves_the_newest_after_it(saver: MakeSaver, store: FileStore) -> None:
    one, first = saver(), Slow()
    offer(one, 1, first)
    assert first.begun.wait(5)
    offer(one, 2)
    one.request()
    first.go.set()
    assert one.flush(5)
    assert [content["epoch"] for content in saved(store)] == [1, 2]


def test_a_flush_with_nothing_to_save_is_done_at_once(saver: MakeSaver) -> None:
    began = time.monotonic()
    assert saver(seconds=3600).flush(5)
    assert time.monotonic() - began < 1


def test_a_flush_waits_no_longer_than_it_may(saver: MakeSaver) -> None:
    one, slow = saver(seconds=3600), Slow()
    offer(one, 1, slow)
    assert not one.flush(0.1)
    assert not one.idle
    slow.go.set()
    wait_until(lambda: one.idle)
    assert one.saved == 1


def fail(error: Exception) -> Callable[..., None]:
    def upload(*_: object) -> None:
        raise error

    return upload


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (StoreError("the store is away."), "Nothing is saved since the beginning: the store is away."),
        (OSError(28, "No space left on device"), "No space left on device: check that"),
        (RuntimeError("file write failed"), "cannot be written (RuntimeError: file write failed)"),
    ],
)
def test_what_cannot_be_saved_is_told_once_and_tried_with_the_next_epoch(
    saver: MakeSaver,
    store: FileStore,
    warnings: list[str],
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    words: str,
) -> None:
    one = saver()
    with monkeypatch.context() as patch:
        patch.setattr(FileStore, "upload", fail(error))
        for epoch in (1, 2, 3):
            offer(one, epoch)
            wait_until(lambda epoch=epoch: one._tried == epoch and one.problem)
            time.sleep(0.02)
        assert len(warnings) == 1
        assert words in warnings[0]
        assert one.saved == 0
    offer(one, 4)
    wait_until(lambda: one.saved == 4)
    assert one.problem == ""
    assert [content["epoch"] for content in saved(store)] == [4]


def test_each_kind_of_problem_is_told(saver: MakeSaver, warnings: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    one = saver()
    for epoch, error in enumerate([StoreError("away"), OSError(28, "full"), StoreError("away again")], 1):
        monkeypatch.setattr(FileStore, "upload", fail(error))
        offer(one, epoch)
        wait_until(lambda epoch=epoch, error=error: one._tried == epoch and str(error.args[-1]) in one.problem)
    assert len(warnings) == 2


def test_a_store_that_is_away_is_tried_again_when_the_minutes_are_over_without_a_new_epoch(
    saver: MakeSaver, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = saver(seconds=0.2)
    with monkeypatch.context() as patch:
        patch.setattr(FileStore, "upload", fail(StoreError("away")))
        offer(one, 1)
        wait_until(lambda: one.problem)
    wait_until(lambda: one.saved == 1)


def test_a_failed_flush_says_so(saver: MakeSaver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FileStore, "upload", fail(StoreError("away")))
    one = saver(seconds=3600)
    offer(one, 1)
    assert not one.flush(5)
    assert one.idle
    assert one.problem == "away"


def test_after_the_end_nothing_is_saved(saver: MakeSaver, store: FileStore) -> None:
    one = saver(seconds=0.05)
    offer(one, 1)
    one.close(5)
    time.sleep(0.1)
    assert saved(store) == []


def test_the_end_waits_for_an_upload_under_way(saver: MakeSaver, store: FileStore) -> None:
    one, slow = saver(), Slow()
    offer(one, 1, slow)
    assert slow.begun.wait(5)
    threading.Timer(0.1, slow.go.set).start()
    one.close(5)
    assert [content["epoch"] for content in saved(store)] == [1]
