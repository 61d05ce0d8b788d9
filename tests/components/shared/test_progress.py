import logging
import math
from itertools import pairwise
from pathlib import Path

import pytest

from components.shared import progress
from components.shared.progress import INTERVAL, Reporter, StepProgress, progress_key, read_progress, silent
from components.shared.store import Store, open_store


class Clock:
    """The time, which passes only when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def time(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(progress, "time", made)
    return made


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store((tmp_path / "store").as_uri())


def shown(store: Store) -> StepProgress:
    found = read_progress(store, "run1", "model_train")
    assert found
    return found


def test_a_step_that_has_not_begun_shows_nothing(store: Store) -> None:
    Reporter(store, "run1", "model_train")
    assert read_progress(store, "run1", "model_train") is None


def test_a_started_step_shows_that_it_runs(store: Store, clock: Clock) -> None:
    Reporter(store, "run1", "model_train").start()
    assert shown(store) == StepProgress(
        step="model_train", state="running", started=clock.now, updated=clock.now, share=0.0
    )
    assert store.exists(progress_key("run1", "model_train"))


def test_the_time_left_follows_from_the_share_done(store: Store, clock: Clock) -> None:
    reporter = Reporter(store, "run1", "model_train")
    clock.now += 30
    reporter.notify(0.25, "epoch 1/4")
    told = shown(store)
    assert (told.share, told.message, told.eta) == (0.25, "epoch 1/4", 90.0)
    assert (told.started, told.updated, told.finished) == (1000.0, 1030.0, None)


def test_nothing_is_said_of_the_time_left_before_anything_is_done(store: Store, clock: Clock) -> None:
    reporter = Reporter(store, "run1", "model_train")
    clock.now += 30
    reporter.notify(0.0, "waiting")
    assert shown(store).eta is None


def test_a_fast_loop_writes_at_most_once_an_interval(
    store: Store, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    writes: list[float] = []
    original = type(store).write

    def write(self: Store, key: str, data: bytes) -> None:
        writes.append(clock.now)
        original(self, key, data)

    monkeypatch.setattr(type(store), "write", write)
    reporter = Reporter(store, "run1", "model_train")
    for step in range(100):
        clock.now += 0.02
        reporter.notify(step / 100, f"{step}")
    assert 3 <= len(writes) <= 5
    assert all(later - earlier >= INTERVAL for earlier, later in pairwise(writes))
    assert reporter.current.share == 0.99


@pytest.mark.parametrize(
    ("told", "kept"), [(-0.5, 0.0), (1.5, 1.0), (math.nan, 0.5), (math.inf, 0.5), (-math.inf, 0.5)]
)
def test_a_share_out_of_range_is_brought_back_and_one_that_is_no_number_is_ignored(
    store: Store, clock: Clock, told: float, kept: float
) -> None:
    reporter = Reporter(store, "run1", "model_train")
    reporter.notify(0.5, "half")
    clock.now += 1
    reporter.notify(told, "odd")
    assert shown(store).share == kept


def test_a_step_that_ends_well_is_shown_as_done(store: Store, clock: Clock) -> None:
    reporter = Reporter(store, "run1", "model_train")
    reporter.notify(0.4, "epoch 2/5")
    clock.now += 10
    reporter.finish()
    told = shown(store)
    assert (told.state, told.share, told.finished, told.eta, told.error) == ("succeeded", 1.0, 1010.0, None, None)


def test_a_step_that_fails_shows_its_sentence_and_how_far_it_came(store: Store, clock: Clock) -> None:
    reporter = Reporter(store, "run1", "model_train")
    clock.now += 1
    reporter.notify(0.4, "epoch 2/5")
    reporter.finish("The disk is full.")
    told = shown(store)
    assert (told.state, told.share, told.error, told.eta) == ("failed", 0.4, "The disk is full.", None)


def test_a_store_that_cannot_be_reached_costs_the_display_but_not_the_step(
    tmp_path: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "progress").write_text("in the way")
    reporter = Reporter(open_store(str(tmp_path)), "run1", "model_train")
    with caplog.at_level(logging.WARNING):
        reporter.start()
        clock.now += 10
        reporter.notify(0.5, "half")
        reporter.finish()
    assert caplog.text.count("The progress is not shown") == 1
    assert reporter.current.state == "succeeded"


def test_a_step_without_a_store_keeps_its_progress_to_itself() -> None:
    reporter = Reporter(None, "run1", "model_train")
    reporter.start()
    reporter.notify(0.5, "half")
    reporter.finish()
    assert reporter.current.share == 1.0


@pytest.mark.parametrize("content", [b"{", b"[]", b'{"step": "model_train", "state": "sleeping"}', b"\xff"])
def test_a_progress_file_that_cannot_be_read_shows_nothing(store: Store, content: bytes) -> None:
    store.write(progress_key("run1", "model_train"), content)
    assert read_progress(store, "run1", "model_train") is None


def test_runs_and_steps_do_not_see_each_others_progress(store: Store) -> None:
    Reporter(store, "run1", "model_train").start()
    assert read_progress(store, "run2", "model_train") is None
    assert read_progress(store, "run1", "model_pack") is None


def test_the_silent_listener_takes_anything() -> None:
    silent(math.nan, "")
