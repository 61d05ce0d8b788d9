"""Who looks after a training tells what it sees, keeps its course, and ends it when it must."""

import math
import os
import signal
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fake_trainer import FakeSnapshot, FakeTrainer, NoJournal, make_plan

from components.model_train.conduct import attempt
from components.model_train.plan import Plan
from components.model_train.story import Attempt, Epoch, Estimate, Story
from components.model_train.trainers.base import TrainingJob, TrainingRun, Watch
from components.model_train.watching import supervisor as module
from components.model_train.watching.pace import Pace
from components.model_train.watching.supervisor import Supervisor
from components.shared.errors import DivergedError, PreemptedError, TrainingError


class Told:
    """What was told, call by call."""

    def __init__(self) -> None:
        self.calls: list[dict[str, Any]] = []

    def __call__(self, share: float, message: str, /, **named: Any) -> None:
        self.calls.append({"share": share, "message": message, **named})

    def of(self, name: str) -> list[Any]:
        return [call[name] for call in self.calls if call.get(name)]


@pytest.fixture(autouse=True)
def _no_journal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "Journal", NoJournal)


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    return make_plan((tmp_path / "store").as_uri(), tmp_path / "work", checkpoint_minutes=60.0)


def learn(watch: Watch, epoch: int, **values: float) -> bool:
    """One epoch of two batches."""
    losses = {"train/cls_loss": 1.0}
    for batch in (1, 2):
        watch.batch_done(epoch, batch, losses)
    done = Epoch(number=epoch, seconds=0.0, values={**losses, **values})
    return watch.epoch_done(done, FakeSnapshot({"weights": [1.0]}))


def begin(watch: Watch, first: int = 1) -> None:
    watch.begun(images=8, batch=4, batches=2, first_epoch=first)


def test_it_tells_share_score_and_metrics_of_each_epoch(plan: Plan, told: Told) -> None:
    with Supervisor(plan, Story(), told) as watch:
        begin(watch)
        learn(watch, 1, map50=0.4124, **{"val/cls_loss": math.nan})
    last = told.calls[-1]
    assert (last["message"], last["share"]) == ("epoch 1/5, mAP50 0.412", 0.2)
    assert last["metrics"]["map50"] == 0.4124
    assert math.isnan(last["metrics"]["val/cls_loss"])


def test_words_about_batches_are_not_too_many(plan: Plan, told: Told) -> None:
    with Supervisor(plan, Story(), told) as watch:
        watch.begun(images=8000, batch=1, batches=8000, first_epoch=1)
        for batch in range(1, 2001):
            watch.batch_done(1, batch, {})
    assert len(told.calls) < 10


def test_an_epoch_costs_the_training_next_to_nothing(plan: Plan, told: Told) -> None:
    with Supervisor(plan, Story(), told) as watch:
        watch.begun(images=8000, batch=1, batches=8000, first_epoch=1)
        began = time.process_time()
        for batch in range(1, 8001):
            watch.batch_done(1, batch, {"train/box": 1.0, "train/cls": 1.0, "train/dfl": 1.0})
        assert (time.process_time() - began) / 8000 < 0.0005


def test_the_journal_hears_each_epoch_and_the_end(plan: Plan, told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    journals: list[NoJournal] = []

    class Kept(NoJournal):
        def __init__(self, *arguments: object, **named: object) -> None:
            super().__init__(*arguments, **named)
            self.warnings = ["MLflow is away."]
            journals.append(self)

    monkeypatch.setattr(module, "Journal", Kept)
    outcome = attempt(plan, Story(), told, FakeTrainer(), lambda _: None)
    assert (journals[0].epochs, journals[0].end) == ([1, 2, 3, 4, 5], "finished")
    assert outcome.story.notes == ["MLflow is away."]


def test_the_journal_hears_of_the_epochs_before_a_checkpoint_and_of_the_datasets(
    plan: Plan, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[NoJournal] = []
    named: list[dict[str, Any]] = []

    def make(*_: object, **given: object) -> NoJournal:
        kept.append(NoJournal())
        named.append(given)
        return kept[-1]

    monkeypatch.setattr(module, "Journal", make)
    done = [Epoch(number=number, seconds=number, values={}) for number in (1, 2, 3)]
    plan = replace(plan, versions={"train": "ab12", "val": "cd34"})
    with Supervisor(plan, Story(epochs=done), told) as watch:
        assert kept[0].epochs == []
        begin(watch, first=3)
        learn(watch, 3)
    assert kept[0].epochs == [1, 2, 3]
    assert named[0]["parameters"]["datasets"] == {"train": "ab12", "val": "cd34"}
    assert named[0]["parameters"]["optimizer"] == "SGD"


@pytest.mark.parametrize(
    ("error", "end"),
    [
        (PreemptedError("x"), "preempted"),
        (DivergedError("x"), "diverged"),
        (TrainingError("x"), ""),
        (ValueError(), ""),
    ],
)
def test_the_course_says_how_an_attempt_ended(plan: Plan, told: Told, error: Exception, end: str) -> None:
    story = Story()

    def fail(watch: Watch) -> None:
        begin(watch)
        learn(watch, 1)
        raise error

    with pytest.raises(type(error)), Supervisor(plan, story, told) as watch:
        fail(watch)
    assert story.attempts == [Attempt(first_epoch=1, last_epoch=1, batch=4, end=end)]  # type: ignore[arg-type]


def test_an_attempt_that_never_began_is_not_in_the_course(plan: Plan, told: Told) -> None:
    story = Story(
        epochs=[Epoch(number=1, seconds=1, values={})], attempts=[Attempt(first_epoch=1, last_epoch=1, batch=4)]
    )
    before = story.model_copy(deep=True)
    with pytest.raises(TrainingError), Supervisor(plan, story, told):
        raise TrainingError("the model cannot be built")
    assert story == before


def test_the_estimate_is_told_kept_and_compared_with_max_hours(tmp_path: Path, told: Told) -> None:
    plan = make_plan((tmp_path / "store").as_uri(), tmp_path / "work", epochs=1000, max_hours=0.00001)
    with Supervisor(plan, Story(), told) as watch:
        begin(watch)
        for batch in (1, 2):
            time.sleep(0.02)
            watch.batch_done(1, batch, {})
        assert watch.story.estimate is not None
    assert any("max_hours" in warning for warning in told.of("warning"))
    assert any("max_hours" in note for note in watch.story.notes)
    assert any(message.startswith("about ") for message in told.of("message"))


def overfitting_values(epoch: int) -> dict[str, float]:
    return {"train/cls_loss": 1 / epoch, "val/cls_loss": 1.0 + 0.2 * abs(epoch - 5), "map50_95": 0.1}


@pytest.mark.parametrize(("mode", "stops"), [("stop", True), ("warn", False), ("off", False)])
def test_overfitting_stops_warns_or_is_let_be(tmp_path: Path, told: Told, mode: str, stops: bool) -> None:
    plan = make_plan((tmp_path / "store").as_uri(), tmp_path / "work", epochs=30, overfitting=mode, overfit_patience=4)
    with Supervisor(plan, Story(), told) as watch:
        begin(watch)
        stopped = 0
        for number in range(1, 21):
            epoch = Epoch(number=number, seconds=0.0, values=overfitting_values(number))
            if watch.epoch_done(epoch, FakeSnapshot({"weights": [1.0]})):
                stopped = number
                break
    assert bool(stopped) is stops
    assert bool(watch.story.stopped) is stops
    assert (watch.story.overfitting is not None) is (mode != "off")
    assert len([warning for warning in told.of("warning") if "by heart" in warning]) == (mode != "off")


def test_a_signal_ends_it_at_the_next_batch_with_everything_saved(plan: Plan, told: Told) -> None:
    def run(watch: Supervisor) -> None:
        begin(watch)
        learn(watch, 1)
        os.kill(os.getpid(), signal.SIGTERM)
        while not watch.told_to_end:
            time.sleep(0.005)
        watch.batch_done(2, 1, {})

    with pytest.raises(PreemptedError) as raised, Supervisor(plan, Story(), told) as watch:
        run(watch)
    assert (
        str(raised.value) == "Told to end in epoch 2 of 5 after 0 s: saved up to epoch 1; run the same again to go on."
    )
    assert watch.saver.saved == 1


def test_a_signal_in_the_last_epoch_lets_it_come_to_its_end(plan: Plan, told: Told) -> None:
    with Supervisor(plan, Story(), told) as watch:
        begin(watch)
        for number in range(1, 5):
            learn(watch, number)
        watch.batch_done(5, 1, {})
        os.kill(os.getpid(), signal.SIGTERM)
        while not watch.told_to_end:
            time.sleep(0.005)
        last = Epoch(number=5, seconds=0.0, values={})
        assert watch.epoch_done(last, FakeSnapshot({"weights": [1.0]})) is False
    assert watch.story.attempts[-1].end == "finished"
    assert watch.saver.saved == 5


def test_a_signal_after_the_last_epoch_has_it_saved_as_the_result_may_not_be_kept_in_time(
    plan: Plan, told: Told
) -> None:
    with Supervisor(plan, Story(), told) as watch:
        begin(watch)
        for number in range(1, 6):
            learn(watch, number)
        os.kill(os.getpid(), signal.SIGTERM)
        while not watch.told_to_end:
            time.sleep(0.005)
    assert (watch.saver.saved, watch.story.attempts[-1].end) == (5, "finished")


def test_of_a_training_that_comes_to_its_end_no_checkpoint_is_saved_after_the_last_epoch(
    tmp_path: Path, told: Told
) -> None:
    plan = make_plan((tmp_path / "store").as_uri(), tmp_path / "work", epochs=1)
    with Supervisor(plan, Story(), told) as watch:
        begin(watch)
        learn(watch, 1)
        time.sleep(0.1)
    assert watch.saver.saved == 0


def test_what_the_library_says_when_a_signal_ended_its_own_processes_is_not_the_reason(plan: Plan, told: Told) -> None:
    class Signalled(FakeTrainer):
        def train(self, job: TrainingJob, watch: Watch) -> TrainingRun:  # noqa: ARG002
            begin(watch)
            learn(watch, 1)
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.3)
            raise RuntimeError("DataLoader worker (pid 7) is killed by signal: Terminated.")

    with pytest.raises(PreemptedError, match="saved up to epoch 1"):
        attempt(plan, Story(), told, Signalled(), lambda _: None)


def test_losses_that_are_no_numbers_are_found_in_the_epochs_values_too(plan: Plan, told: Told) -> None:
    def run(watch: Watch) -> None:
        begin(watch)
        watch.epoch_done(Epoch(number=1, seconds=0.0, values={"train/box_loss": math.nan}), FakeSnapshot({}))

    with (
        pytest.raises(DivergedError, match=r"The loss is no number \(box nan\) in epoch 1:"),
        Supervisor(plan, Story(), told) as watch,
    ):
        run(watch)


def test_values_that_are_no_numbers_but_no_training_losses_are_let_be(plan: Plan, told: Told) -> None:
    values = {"val/box_loss": math.nan, "map50": math.nan, "lr": math.inf}
    with Supervisor(plan, Story(), told) as watch:
        begin(watch)
        assert watch.epoch_done(Epoch(number=1, seconds=0.0, values=values), FakeSnapshot({"weights": [1.0]})) is False
    assert told.calls[-1]["message"] == "epoch 1/5"


def test_going_back_to_an_earlier_epoch_takes_the_later_ones_from_the_course(plan: Plan, told: Told) -> None:
    done = [Epoch(number=number, seconds=number, values={}) for number in (1, 2, 3)]
    with Supervisor(plan, Story(epochs=done), told) as watch:
        begin(watch, first=3)
        learn(watch, 3)
    assert [epoch.number for epoch in watch.story.epochs] == [1, 2, 3]


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_the_time_left_comes_from_this_attempts_pace() -> None:
    clock = Clock()
    pace = Pace(10, 0, 0.0, clock)
    assert pace.left() is None
    clock.now += 5  # loading
    pace.begin()
    pace.part(1, 0.5)
    clock.now += 10
    assert pace.left() == pytest.approx(9.5 * 20)
    clock.now += 20
    pace.finish(1)
    assert pace.left() == pytest.approx(9 * 30)
    pace.part(2, 0.5)
    assert pace.left() == pytest.approx(8.5 * 30)


def test_after_a_resume_the_time_left_comes_from_the_earlier_pace_first() -> None:
    clock = Clock()
    pace = Pace(10, 4, 400.0, clock)
    pace.begin()
    assert (pace.left(), pace.share) == (pytest.approx(600), 0.4)
    clock.now += 10
    pace.finish(5)
    assert pace.left() == pytest.approx(50)
    assert (pace.seconds, pace.attempt_seconds) == (410, 10)


def test_at_the_end_nothing_is_left() -> None:
    pace = Pace(3, 2, 10.0, Clock())
    pace.finish(3)
    assert (pace.left(), pace.share) == (0.0, 1.0)


def test_an_estimate_survives_the_course_as_json(tmp_path: Path) -> None:
    estimate = Estimate(seconds_per_epoch=1, hours=1, memory=1, device="cpu", batches=2)
    story = Story(estimate=estimate, epochs=[Epoch(number=1, seconds=1, values={"a": math.nan, "b": -math.inf})])
    path = tmp_path / "story.json"
    path.write_text(story.model_dump_json())
    back = Story.model_validate_json(path.read_bytes())
    values: Mapping[str, float] = back.epochs[0].values
    assert math.isnan(values["a"])
    assert values["b"] == -math.inf
    assert back.estimate == estimate
