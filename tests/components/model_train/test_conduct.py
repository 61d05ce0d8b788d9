"""A training comes to the same end however it gets there: resumed, finished before, or at half the batch."""

import json
import logging
import math
import os
import shutil
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fake_trainer import KEY, FakeTrainer, NoJournal, make_plan, weights_of

from components.model_train.conduct import Outcome, Plan, conduct, make_trainer
from components.model_train.pages.pictures import FirstBatches
from components.model_train.saving.checkpoints import Checkpoints
from components.model_train.saving.files import find_places, read_manifest
from components.model_train.saving.training_key import training_key
from components.model_train.trainers.base import LARGEST_BATCH, TrainingJob, TrainingRun, Watch
from components.shared.errors import (
    CheckpointError,
    ConfigError,
    DivergedError,
    OutOfMemoryError,
    PreemptedError,
    StoreError,
    TrainingError,
)
from components.shared.progress import silent
from components.shared.store_file import FileStore

pytestmark = pytest.mark.slow


class Listener:
    """Hears everything a training tells."""

    def __init__(self) -> None:
        self.shares: list[float] = []
        self.messages: list[str] = []
        self.warnings: list[str] = []
        self.metrics: list[Mapping[str, float]] = []
        self.etas: list[float | None] = []

    def __call__(
        self,
        share: float,
        message: str,
        /,
        *,
        metrics: Mapping[str, float] | None = None,
        eta: float | None = None,
        warning: str = "",
    ) -> None:
        self.shares.append(share)
        self.messages.append(message)
        self.etas.append(eta)
        self.metrics += [metrics] if metrics else []
        self.warnings += [warning] if warning else []


@pytest.fixture
def store(tmp_path: Path) -> FileStore:
    return FileStore(tmp_path / "store")


@pytest.fixture(autouse=True)
def _no_journal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("components.model_train.watching.supervisor.Journal", NoJournal)


MakePlan = Callable[..., Plan]


@pytest.fixture
def plan(store: FileStore, tmp_path: Path) -> MakePlan:
    """``plan(epochs=5, ...)``: of the same training, each time in a work folder of its own."""
    count = iter(range(100))
    return lambda **changes: make_plan(store.uri, tmp_path / f"work-{next(count)}", **changes)


class Killed(BaseException):
    """What no one catches, as a kill."""


class Dying(FakeTrainer):
    """Dies after so many batches, without a word to its watch."""

    def __init__(self, batches: int, error: BaseException | None = None, **options: Any) -> None:
        super().__init__(**options)
        self.left = batches
        self.error = error or Killed()

    def train(self, job: TrainingJob, watch: Watch) -> TrainingRun:
        real = watch.batch_done

        def batch_done(*arguments: Any, **named: Any) -> None:
            real(*arguments, **named)
            self.left -= 1
            if self.left == 0:
                raise self.error

        watch.batch_done = batch_done  # type: ignore[method-assign]
        return super().train(job, watch)


def uninterrupted(tmp_path: Path, **changes: Any) -> Outcome:
    other = make_plan((tmp_path / "other-store").as_uri(), tmp_path / "other", **changes)
    return conduct(other, silent, trainer=FakeTrainer())


def manifests(store: FileStore) -> list[dict[str, Any]]:
    entries = store.list(f"checkpoints/{KEY}/")
    return [json.loads(store.read(entry.key)) for entry in entries if entry.key.endswith("/checkpoint.json")]


def test_a_training_that_nothing_happens_to_ends_with_its_result(plan: MakePlan, store: FileStore) -> None:
    listener = Listener()
    outcome = conduct(plan(), listener, trainer=FakeTrainer())
    assert [epoch.number for epoch in outcome.story.epochs] == [1, 2, 3, 4, 5]
    assert [(one.first_epoch, one.last_epoch, one.batch, one.end) for one in outcome.story.attempts] == [
        (1, 5, 8, "finished")
    ]
    assert outcome.story.notes == []
    assert len(FirstBatches.load(outcome.batches)) == 1
    assert listener.shares[-1] == 1.0
    assert [one["finished"] for one in manifests(store)] == [True]


@pytest.mark.parametrize("batches", range(1, 15))
def test_wherever_it_breaks_off_it_ends_with_the_same_weights(plan: MakePlan, tmp_path: Path, batches: int) -> None:
    with pytest.raises(TrainingError):
        conduct(plan(), silent, trainer=Dying(batches, TrainingError("a cable")))
    again = FakeTrainer()
    outcome = conduct(plan(), silent, trainer=again)
    whole = uninterrupted(tmp_path)
    assert weights_of(outcome.run) == weights_of(whole.run)
    assert outcome.run.best_epoch == whole.run.best_epoch
    finished = (batches - 1) // 3
    assert again.trained == 5 - finished, "what was saved is not learned twice"
    assert [epoch.values["map50"] for epoch in outcome.story.epochs] == [
        epoch.values["map50"] for epoch in whole.story.epochs
    ]
    assert [attempt.end for attempt in outcome.story.attempts] == (["", "finished"] if finished else ["finished"])


def test_a_finished_training_is_not_trained_again(plan: MakePlan) -> None:
    first = conduct(plan(), silent, trainer=FakeTrainer())
    again = FakeTrainer()
    second = conduct(plan(), silent, trainer=again)
    assert again.trained == 0
    assert second.run.files.keys() == first.run.files.keys()
    assert all(second.run.files[name].read_bytes() == path.read_bytes() for name, path in first.run.files.items())
    assert second.run.untrained is not None
    assert first.run.untrained is not None
    assert second.run.untrained.read_bytes() == first.run.untrained.read_bytes()
    assert replace(second.run, files={}, untrained=None) == replace(first.run, files={}, untrained=None)
    assert second.story.epochs == first.story.epochs or second.story.model_dump_json(
        exclude={"notes"}
    ) == first.story.model_dump_json(exclude={"notes"})
    assert "finished before" in second.story.notes[-1]
    assert len(FirstBatches.load(second.batches)) == 1


def test_told_to_end_while_the_result_is_stored_it_is_stored_first(
    plan: MakePlan, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    whole = Checkpoints.save

    def save(self: Checkpoints, *arguments: Any, **named: Any) -> Any:
        os.kill(os.getpid(), signal.SIGTERM)
        while "Told to end" not in caplog.text:
            time.sleep(0.005)
        return whole(self, *arguments, **named)

    with monkeypatch.context() as patch:
        patch.setattr(Checkpoints, "save", save)
        conduct(plan(checkpoint_minutes=60.0), silent, trainer=FakeTrainer())
    again = FakeTrainer()
    assert conduct(plan(), silent, trainer=again).story.attempts[-1].end == "finished"
    assert again.trained == 0


def test_resume_never_trains_again_and_replaces_the_result(plan: MakePlan, store: FileStore) -> None:
    conduct(plan(), silent, trainer=FakeTrainer())
    again = FakeTrainer()
    with pytest.raises(TrainingError):
        conduct(anew(plan(), "second"), silent, trainer=Dying(4, TrainingError("a cable")))
    assert [(one["epoch"], one["finished"], one["run_id"]) for one in manifests(store)] == [(1, False, "second")]
    conduct(anew(plan(), "third"), silent, trainer=again)
    assert again.trained == 5
    assert [one["finished"] for one in manifests(store)] == [True]


def anew(plan: Plan, run_id: str, step: str = "model_train") -> Plan:
    return replace(plan, care=replace(plan.care, resume="never"), run_id=run_id, step=step)


@pytest.mark.parametrize("error", [TrainingError("a cable"), PreemptedError("told to end"), Killed()])
def test_with_resume_never_a_retry_of_the_same_run_goes_on_from_its_own_checkpoint(
    plan: MakePlan, store: FileStore, tmp_path: Path, error: BaseException
) -> None:
    conduct(plan(), silent, trainer=FakeTrainer())
    with pytest.raises(type(error)):
        conduct(anew(plan(), "second"), silent, trainer=Dying(8, error, seconds=0.02))
    again = FakeTrainer()
    outcome = conduct(anew(plan(), "second"), silent, trainer=again)
    assert again.trained == 3
    assert weights_of(outcome.run) == weights_of(uninterrupted(tmp_path).run)
    assert [(one["finished"], one["run_id"]) for one in manifests(store)][-1] == (True, "second")
    third = FakeTrainer()
    conduct(anew(plan(), "second"), silent, trainer=third)
    assert third.trained == 0, "its result is its own, too"


@pytest.mark.parametrize(
    "run", [("other", "model_train"), ("run", "model_train-2"), ("", ""), ("unnamed", "model_train")]
)
def test_with_resume_never_what_another_run_or_step_or_a_nameless_one_left_counts_for_nothing(
    plan: MakePlan, run: tuple[str, str]
) -> None:
    left = run[0] if run[0] in {"", "unnamed"} else "run"
    with pytest.raises(TrainingError):
        conduct(replace(plan(), run_id=left), silent, trainer=Dying(8, TrainingError("a cable"), seconds=0.02))
    again = FakeTrainer()
    conduct(anew(plan(), *run), silent, trainer=again)
    assert again.trained == 5


def test_with_resume_never_a_damaged_checkpoint_of_its_own_is_no_end(plan: MakePlan, store: FileStore) -> None:
    with pytest.raises(TrainingError):
        conduct(anew(plan(), "second"), silent, trainer=Dying(5, TrainingError("a cable")))
    for entry in list(store.list(f"checkpoints/{KEY}/")):
        if entry.key.endswith("state.json"):
            store.write(entry.key, b"r" * entry.size)
    again = FakeTrainer()
    outcome = conduct(anew(plan(), "second"), silent, trainer=again)
    assert again.trained == 5
    (note,) = outcome.story.notes
    assert note.startswith("What an earlier attempt of this run learned is lost: The checkpoint ")
    assert note.endswith("sha256. There is no other one of this run.")


def test_another_training_starts_at_its_beginning(plan: MakePlan) -> None:
    conduct(plan(), silent, trainer=FakeTrainer())
    again = FakeTrainer()
    conduct(replace(plan(), key="cd" * 32), silent, trainer=again)
    assert again.trained == 5


def test_other_epochs_are_another_training_and_other_patience_is_not_and_the_log_says_which(
    plan: MakePlan, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    with pytest.raises(Killed):
        conduct(plan(), silent, trainer=Dying(8))
    go_on, longer = FakeTrainer(), plan(epochs=7)
    key = training_key({}, longer.job.parameters, longer.job.start)
    assert key != training_key({}, plan().job.parameters, plan().job.start)
    caplog.clear()
    conduct(replace(longer, key=key), silent, trainer=(anew := FakeTrainer()))
    assert (anew.trained, "begins at its first epoch" in caplog.text) == (7, True)
    caplog.clear()
    conduct(plan(patience=3), silent, trainer=go_on)
    assert (go_on.trained < 5, "going on after epoch" in caplog.text) == (True, True)


def test_epoch_times_go_on_where_the_last_attempt_ended(plan: MakePlan) -> None:
    with pytest.raises(TrainingError):
        conduct(plan(), silent, trainer=Dying(8, TrainingError("a cable"), seconds=0.01))
    seconds = [epoch.seconds for epoch in conduct(plan(), silent, trainer=FakeTrainer()).story.epochs]
    assert seconds == sorted(seconds)
    assert seconds[2] > seconds[1] > 0.05


def test_the_eta_is_right_at_once_after_a_resume(plan: MakePlan) -> None:
    with pytest.raises(TrainingError):
        conduct(plan(epochs=10), silent, trainer=Dying(16, TrainingError("a cable"), seconds=0.02))
    listener = Listener()
    conduct(plan(epochs=10), listener, trainer=FakeTrainer(seconds=0.02))
    begun = listener.messages.index("epoch 6/10")
    eta = listener.etas[begun]
    assert eta is not None
    assert 0.2 < eta < 1.5, "five epochs of three batches of 0.02 s are left"
    assert listener.shares[begun] == 0.5


def test_out_of_memory_is_tried_once_more_at_half_the_batch_from_the_last_epoch(
    plan: MakePlan, store: FileStore
) -> None:
    listener, trainer = Listener(), FakeTrainer(fits=4, fails=3)
    outcome = conduct(plan(), listener, trainer=trainer)
    assert trainer.trained == 5, "no epoch is learned twice"
    assert [(one.first_epoch, one.last_epoch, one.batch, one.end) for one in outcome.story.attempts] == [
        (1, 2, 8, "out of memory"),
        (3, 5, 4, "finished"),
    ]
    sentence = "Out of memory with batch 8 in epoch 3: went on after epoch 2 with batch 4."
    assert sentence in outcome.story.notes
    assert sentence in listener.warnings
    assert [one["batch"] for one in manifests(store)] == [4]


def test_out_of_memory_in_the_first_epoch_begins_again(plan: MakePlan, tmp_path: Path) -> None:
    outcome = conduct(plan(), silent, trainer=FakeTrainer(fits=4))
    assert weights_of(outcome.run) == weights_of(uninterrupted(tmp_path).run)
    assert outcome.story.notes == ["Out of memory with batch 8 in epoch 1: began again with batch 4."]


def test_out_of_memory_is_survived_without_a_store(
    plan: MakePlan, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def broken(*_: object) -> None:
        raise StoreError("the store is away")

    with monkeypatch.context() as patch:
        patch.setattr(FileStore, "upload", broken)
        trainer = FakeTrainer(fits=4, fails=3)
        outcome = conduct(plan(), silent, trainer=trainer)
    assert trainer.trained == 5
    assert weights_of(outcome.run) == weights_of(uninterrupted(tmp_path).run)


def test_out_of_memory_at_half_the_batch_too_is_the_end(plan: MakePlan) -> None:
    with pytest.raises(OutOfMemoryError, match="batch=4"):
        conduct(plan(), silent, trainer=FakeTrainer(fits=2))


def test_a_single_image_that_does_not_fit_is_the_end_at_once(plan: MakePlan) -> None:
    trainer = FakeTrainer(fits=0)
    with pytest.raises(OutOfMemoryError, match="batch=1"):
        conduct(plan(batch=1), silent, trainer=trainer)


def test_the_batch_that_fitted_is_used_when_it_goes_on_later(plan: MakePlan) -> None:
    with pytest.raises(TrainingError):
        conduct(plan(), silent, trainer=Dying(12, TrainingError("a cable"), fits=4, fails=3))
    outcome = conduct(plan(), silent, trainer=FakeTrainer(fits=4))
    assert [attempt.batch for attempt in outcome.story.attempts] == [8, 4, 4]


def test_the_largest_batch_is_learned_from_the_trainer_and_used_again(plan: MakePlan) -> None:
    class Choosing(Dying):
        """Takes six images where as many as fit are asked for."""

        def train(self, job: TrainingJob, watch: Watch) -> TrainingRun:
            asked = job.parameters.batch
            self.asked = asked
            parameters = replace(job.parameters, batch=6 if asked == LARGEST_BATCH else asked)
            return super().train(replace(job, parameters=parameters), watch)

    with pytest.raises(TrainingError):
        conduct(plan(batch=LARGEST_BATCH), silent, trainer=Choosing(5, TrainingError("a cable")))
    later = Choosing(100)
    outcome = conduct(plan(batch=LARGEST_BATCH), silent, trainer=later)
    assert later.asked == 6
    assert [attempt.batch for attempt in outcome.story.attempts] == [6, 6]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_no_number_ends_it_with_the_last_good_epoch_saved(
    plan: MakePlan, store: FileStore, value: float
) -> None:
    trainer = FakeTrainer(losses={(4, 2): value})
    with pytest.raises(DivergedError) as raised:
        conduct(plan(checkpoint_minutes=60.0), silent, trainer=trainer)
    assert str(raised.value) == (
        f"The loss is no number (cls {value}) in epoch 4, batch 2: the weights of epoch 3 are the last good ones and"
        " saved as a checkpoint; lower lr0 (now 0.01), or let it rise more slowly (warmup_epochs, now 1)."
    )
    (saved,) = manifests(store)
    assert saved["epoch"] == 3
    assert saved["story"]["attempts"][-1]["end"] == "diverged"


def test_a_loss_that_is_no_number_in_the_first_epoch_leaves_nothing(plan: MakePlan) -> None:
    with pytest.raises(DivergedError, match="no epoch was finished before"):
        conduct(plan(), silent, trainer=FakeTrainer(losses={(1, 1): math.nan}))


def test_a_loss_that_is_no_number_with_the_store_away_says_that_nothing_is_saved(
    plan: MakePlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise StoreError("the store is away")

    monkeypatch.setattr(FileStore, "upload", broken)
    with pytest.raises(DivergedError, match=r"epoch 2 are the last good ones, but not saved \(the store is away\)"):
        conduct(plan(), silent, trainer=FakeTrainer(losses={(3, 1): math.nan}))


def test_a_validation_loss_that_is_no_number_is_shown_and_no_reason_to_stop(plan: MakePlan) -> None:
    listener = Listener()
    outcome = conduct(plan(), listener, trainer=FakeTrainer())
    assert all(math.isnan(epoch.values["val/cls_loss"]) for epoch in outcome.story.epochs)
    assert any(math.isnan(metrics["val/cls_loss"]) for metrics in listener.metrics)


@pytest.mark.parametrize("error", [StoreError("the store is away"), OSError(28, "No space left on device")])
def test_what_cannot_be_saved_is_said_once_and_the_training_goes_on(
    plan: MakePlan, monkeypatch: pytest.MonkeyPatch, store: FileStore, tmp_path: Path, error: Exception
) -> None:
    def broken(*_: object) -> None:
        raise error

    listener = Listener()
    with monkeypatch.context() as patch:
        patch.setattr(FileStore, "upload", broken)
        outcome = conduct(plan(), listener, trainer=FakeTrainer(seconds=0.02))
    assert weights_of(outcome.run) == weights_of(uninterrupted(tmp_path).run)
    said = [note for note in outcome.story.notes if note.startswith("Nothing is saved since the beginning")]
    assert len(said) == 1
    assert said[0] in listener.warnings
    assert any(note.startswith("The result is not kept") for note in outcome.story.notes)
    assert manifests(store) == []


def test_a_store_that_comes_back_has_the_later_checkpoints(
    plan: MakePlan, monkeypatch: pytest.MonkeyPatch, store: FileStore
) -> None:
    upload, failures = FileStore.upload, iter([1, 2])

    def flaky(self: FileStore, path: Path, key: str) -> None:
        if next(failures, 0):
            raise StoreError("the store is away")
        upload(self, path, key)

    monkeypatch.setattr(FileStore, "upload", flaky)
    with pytest.raises(TrainingError):
        conduct(plan(), silent, trainer=Dying(14, TrainingError("a cable"), seconds=0.03))
    assert manifests(store)[-1]["epoch"] == 4
    assert "Nothing is saved" in manifests(store)[-1]["story"]["notes"][0]


def test_a_snapshot_that_cannot_be_written_costs_no_training(plan: MakePlan, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise RuntimeError("PytorchStreamWriter failed writing file data/0: file write failed")

    monkeypatch.setattr("fake_trainer.FakeSnapshot.write", full)
    outcome = conduct(plan(), silent, trainer=FakeTrainer(seconds=0.02))
    assert len(outcome.story.epochs) == 5
    assert "PytorchStreamWriter" in outcome.story.notes[0]


def test_a_checkpoint_the_trainer_cannot_use_gives_way_to_the_one_before(
    plan: MakePlan, store: FileStore, tmp_path: Path
) -> None:
    with pytest.raises(TrainingError):
        conduct(plan(), silent, trainer=Dying(11, TrainingError("a cable"), seconds=0.02))
    assert [one["epoch"] for one in manifests(store)] == [2, 3]
    (tmp_path / "state.json").write_text("no state")
    Checkpoints(store, KEY).save(
        {"snapshot/state.json": tmp_path / "state.json"},
        epoch=3,
        batch=8,
        story=_story(store),
    )
    listener = Listener()
    outcome = conduct(plan(), listener, trainer=FakeTrainer())
    assert weights_of(outcome.run) == weights_of(uninterrupted(tmp_path).run)
    assert any("no snapshot of this trainer" in warning for warning in listener.warnings)
    assert any("no snapshot of this trainer" in note for note in outcome.story.notes)


def _story(store: FileStore) -> Any:
    place = max(find_places(store, f"checkpoints/{KEY}/"), key=lambda one: one.epoch)
    return read_manifest(store, place, KEY).story


def test_when_no_checkpoint_can_be_used_it_does_not_begin_anew_by_itself(plan: MakePlan, store: FileStore) -> None:
    with pytest.raises(TrainingError):
        conduct(plan(), silent, trainer=Dying(11, TrainingError("a cable")))
    for entry in store.list(f"checkpoints/{KEY}/"):
        (store.root / entry.key).write_bytes(b"rust")
    with pytest.raises(CheckpointError, match="resume=never"):
        conduct(plan(), silent, trainer=FakeTrainer())
    outcome = conduct(plan(resume="never"), silent, trainer=FakeTrainer())
    assert len(outcome.story.epochs) == 5
    assert [one["finished"] for one in manifests(store)] == [True]


def test_a_result_that_lacks_a_file_is_refused(plan: MakePlan, store: FileStore) -> None:
    conduct(plan(), silent, trainer=FakeTrainer())
    for entry in store.list(f"checkpoints/{KEY}/"):
        if entry.key.endswith("best.json"):
            store.delete(entry.key)
    with pytest.raises(CheckpointError, match="is missing"):
        conduct(plan(), silent, trainer=FakeTrainer())


def test_max_hours_ends_it_with_the_best_so_far_and_counts_all_attempts(plan: MakePlan) -> None:
    hours = 0.4 / 3600
    with pytest.raises(TrainingError):
        conduct(plan(epochs=50, max_hours=hours), silent, trainer=Dying(13, TrainingError("a cable"), seconds=0.02))
    outcome = conduct(plan(epochs=50, max_hours=hours), silent, trainer=FakeTrainer(seconds=0.02))
    assert "max_hours" in outcome.story.stopped
    assert 5 <= len(outcome.story.epochs) <= 8
    assert outcome.story.attempts[-1].end == "stopped"


def test_a_stopped_training_is_finished_too(plan: MakePlan) -> None:
    first = conduct(plan(epochs=50, patience=3), silent, trainer=FakeTrainer())
    assert first.story.stopped
    again = FakeTrainer()
    assert conduct(plan(epochs=50, patience=3), silent, trainer=again).story.stopped == first.story.stopped
    assert again.trained == 0


def test_a_training_that_was_to_stop_at_its_checkpoint_learns_nothing_more(plan: MakePlan) -> None:
    with pytest.raises(TrainingError):
        conduct(plan(epochs=50), silent, trainer=Dying(20, TrainingError("a cable"), seconds=0.02))
    again = FakeTrainer()
    outcome = conduct(plan(epochs=50, max_hours=1e-9), silent, trainer=again)
    assert again.trained == 0
    assert outcome.story.stopped.startswith("max_hours=1e-09 is used up after epoch 6")
    assert [epoch.number for epoch in outcome.story.epochs] == [1, 2, 3, 4, 5, 6]
    assert outcome.run.best_epoch in range(1, 7)
    later = FakeTrainer()
    assert conduct(plan(epochs=50, max_hours=1e-9), silent, trainer=later).run.best_epoch == outcome.run.best_epoch
    assert later.trained == 0


def test_attempt_hours_ends_the_attempt_with_all_saved_and_a_retry_goes_on(plan: MakePlan, tmp_path: Path) -> None:
    hours, ends = 0.25 / 3600, []
    for _ in range(10):
        try:
            outcome = conduct(plan(attempt_hours=hours), silent, trainer=FakeTrainer(seconds=0.03))
            break
        except PreemptedError as error:
            ends.append(str(error))
    assert 1 <= len(ends) <= 4
    assert all(end.startswith("attempt_hours=") and "saved up to epoch" in end for end in ends)
    assert weights_of(outcome.run) == weights_of(uninterrupted(tmp_path).run)


def test_an_attempt_learns_an_epoch_however_short_it_is(plan: MakePlan) -> None:
    for _ in range(4):
        with pytest.raises(PreemptedError):
            conduct(plan(attempt_hours=1e-9), silent, trainer=FakeTrainer())
    assert len(conduct(plan(attempt_hours=1e-9), silent, trainer=FakeTrainer()).story.attempts) == 5


def test_several_attempts_in_one_folder_do_not_mix(store: FileStore, tmp_path: Path) -> None:
    plan = make_plan(store.uri, tmp_path / "work")
    with pytest.raises(TrainingError):
        conduct(plan, silent, trainer=Dying(8, TrainingError("a cable")))
    outcome = conduct(plan, silent, trainer=FakeTrainer())
    assert weights_of(outcome.run) == weights_of(uninterrupted(tmp_path).run)


def test_a_store_in_which_nothing_can_be_looked_up_is_no_reason_to_begin_anew(plan: MakePlan, store: FileStore) -> None:
    shutil.rmtree(store.root, ignore_errors=True)
    store.root.write_text("a file")
    with pytest.raises(Exception, match="store"):
        conduct(plan(), silent, trainer=FakeTrainer())


def test_an_unknown_framework_is_refused() -> None:
    with pytest.raises(ConfigError, match="ultralytics or torchvision"):
        make_trainer("tensorflow")
