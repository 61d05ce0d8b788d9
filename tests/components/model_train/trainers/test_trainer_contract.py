"""What every trainer promises, whatever its library: the watch hears everything, and a resumed training is the same."""

import importlib
import inspect
import shutil
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from components.model_train.story import Epoch
from components.model_train.trainers.base import Hyperparameters, Snapshot, Start, Trainer, TrainingJob, TrainingRun
from components.shared.detection.frameworks import find_framework
from components.shared.errors import CheckpointError, ConfigError, PreemptedError
from components.shared.materialise import MaterialisedDataset, materialise
from components.shared.store import open_store

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("trainers")]
EPOCHS = 3
METRICS = {"precision", "recall", "map50", "map50_95"}
MEASURES = {"lr", "images_per_second", "gpu_memory"}


@dataclass(frozen=True)
class Kind:
    """A trainer, and the smallest model it can build."""

    framework: str
    module: str
    name: str
    model: str
    other_model: str

    def make(self) -> Trainer:
        trainer: Trainer = getattr(importlib.import_module(self.module), self.name)()
        if list(inspect.signature(trainer.train).parameters) != ["job", "watch"]:
            pytest.skip(f"{self.name} does not follow the contract yet")
        return trainer


KINDS = (
    Kind(
        "torchvision",
        "components.model_train.trainers.torchvision.trainer",
        "TorchvisionTrainer",
        "retinanet_mobilenet_v3_small_fpn",
        "fasterrcnn_mobilenet_v3_large_320_fpn",
    ),
    Kind(
        "ultralytics",
        "components.model_train.trainers.ultralytics.trainer",
        "UltralyticsTrainer",
        "yolo11n.yaml",
        "yolov8n.yaml",
    ),
)


class Killed(BaseException):
    """Nothing a trainer could mean to catch."""


@dataclass
class Recorder:
    """A watch that keeps what it is told, keeps each epoch's snapshot, and ends the training where asked to."""

    folder: Path
    stop_after: int = 0
    kill: Callable[[str, int, int], BaseException | None] = lambda *_: None
    told: list[str] = field(default_factory=list)
    begin: dict[str, int] = field(default_factory=dict)
    batches: list[tuple[int, int]] = field(default_factory=list)
    losses: list[Mapping[str, float]] = field(default_factory=list)
    seen: list[tuple[Any, Any, Any]] = field(default_factory=list)
    epochs: list[Epoch] = field(default_factory=list)
    snapshots: dict[int, Snapshot] = field(default_factory=dict)

    def begun(self, **named: int) -> None:
        self.told.append("begun")
        self.begin = named

    def batch_seen(self, images: Any, boxes: Any, labels: Any) -> None:
        self.told.append("batch_seen")
        self.seen.append((images, boxes, labels))
        self._kill("batch_seen", 0, 0)

    def batch_done(self, epoch: int, batch: int, losses: Mapping[str, float], *, memory: float = 0.0) -> None:
        assert memory >= 0
        self.told.append("batch_done")
        self.batches.append((epoch, batch))
        self.losses.append(dict(losses))
        self._kill("batch_done", epoch, batch)

    def epoch_done(self, epoch: Epoch, snapshot: Snapshot) -> bool:
        self.told.append("epoch_done")
        self.epochs.append(epoch)
        self.snapshots[epoch.number] = snapshot
        snapshot.write(self.at(epoch.number))
        self._kill("epoch_done", epoch.number, 0)
        return epoch.number == self.stop_after

    def at(self, epoch: int) -> Path:
        folder = self.folder / f"epoch-{epoch}"
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def _kill(self, where: str, epoch: int, batch: int) -> None:
        error = self.kill(where, epoch, batch)
        if error is not None:
            raise error


@dataclass
class Bench:
    """A trainer with its data."""

    kind: Kind
    train: MaterialisedDataset
    val: MaterialisedDataset
    parameters: Hyperparameters
    root: Path
    runs: int = 0

    def job(self, **changes: Any) -> TrainingJob:
        self.runs += 1
        work = self.root / f"work-{self.runs}"
        work.mkdir(parents=True)
        start = Start(self.kind.framework, changes.pop("model", self.kind.model))
        resume, over = changes.pop("resume", None), changes.pop("over", False)
        parameters = replace(self.parameters, model=start.architecture, **changes)
        return TrainingJob(self.train, self.val, self.train.classes, parameters, start, work, resume, over)

    def recorder(self, **options: Any) -> Recorder:
        return Recorder(self.root / f"snapshots-{self.runs}", **options)

    def fit(self, recorder: Recorder | None = None, **changes: Any) -> tuple[TrainingRun, Recorder]:
        job = self.job(**changes)
        watch = recorder or self.recorder()
        return self.kind.make().train(job, watch), watch

    def tensors(self, path: Path) -> dict[str, Any]:
        return find_framework(self.kind.framework).load_state(path)

    def same(self, first: Path, second: Path) -> bool:
        ours, theirs = self.tensors(first), self.tensors(second)
        return ours.keys() == theirs.keys() and all(ours[name].equal(theirs[name]) for name in ours)


@pytest.fixture(scope="module", params=KINDS, ids=lambda kind: kind.framework)
def bench(request: pytest.FixtureRequest, module_splits: Any, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    request.param.make()
    root = tmp_path_factory.mktemp(request.param.framework)
    store = open_store(module_splits.store)
    train, val = (
        materialise(part, store, root / name)
        for name, part in (("train", module_splits.train), ("val", module_splits.val))
    )
    parameters = Hyperparameters(
        model=request.param.model,
        epochs=EPOCHS,
        batch=4,
        imgsz=64,
        lr0=0.002,
        optimizer="AdamW",
        warmup_epochs=1.0,
        close_mosaic=1,
        freeze=0,
        device="cpu",
        seed=3,
    )
    return Bench(request.param, train, val, parameters, root)


@pytest.fixture(scope="module")
def whole(bench: Bench) -> tuple[TrainingRun, Recorder]:
    """A training that nothing interrupts."""
    return bench.fit()


def test_the_watch_hears_of_the_beginning_of_each_batch_and_of_each_epoch(whole: tuple[TrainingRun, Recorder]) -> None:
    _, watch = whole
    assert watch.told[0] == "begun"
    assert watch.begin == {"images": 8, "batch": 4, "batches": 2, "first_epoch": 1}
    assert watch.batches == [(epoch, batch) for epoch in range(1, EPOCHS + 1) for batch in (1, 2)]
    assert [epoch.number for epoch in watch.epochs] == list(range(1, EPOCHS + 1))
    assert watch.told[-1] == "epoch_done"
    seconds = [epoch.seconds for epoch in watch.epochs]
    assert seconds == sorted(seconds)
    assert seconds[0] > 0


def test_an_epoch_has_the_same_losses_for_train_and_val_and_all_metrics(whole: tuple[TrainingRun, Recorder]) -> None:
    for epoch in whole[1].epochs:
        losses = {name for name in epoch.values if "/" in name}
        assert {name.removeprefix("train/") for name in losses if name.startswith("train/")} == {
            name.removeprefix("val/") for name in losses if name.startswith("val/")
        }
        assert losses
        assert set(epoch.values) - losses == METRICS | MEASURES
        assert all(0 <= epoch.values[name] <= 1 for name in METRICS)


def test_the_losses_of_a_batch_are_finite_numbers(whole: tuple[TrainingRun, Recorder]) -> None:
    for losses in whole[1].losses:
        assert losses
        assert all(np.isfinite(value) for value in losses.values())


def test_the_first_batches_are_shown_as_the_model_sees_them(whole: tuple[TrainingRun, Recorder]) -> None:
    _, watch = whole
    assert 1 <= len(watch.seen) <= 3
    for images, boxes, labels in watch.seen:
        assert images.dtype == np.uint8
        assert images.shape == (4, 64, 64, 3)
        assert len(boxes) == len(labels) == len(images)
        assert images.max() > 0
        for found, kinds in zip(boxes, labels, strict=True):
            assert found.shape == (len(kinds), 4)
            assert found.dtype == np.float64
            assert np.issubdtype(kinds.dtype, np.integer)
            assert set(kinds.tolist()) <= {0, 1}
            assert (found[:, 2:] > 0).all()
            assert (found[:, :2] >= -1e-3).all()
            assert (found[:, :2] + found[:, 2:] <= 64 + 1e-3).all()
    assert any(len(found) for _, boxes, _ in watch.seen for found in boxes)


def test_the_run_leaves_best_last_and_untrained_weights_that_the_detector_loads(
    bench: Bench, whole: tuple[TrainingRun, Recorder]
) -> None:
    run, watch = whole
    assert {run.weights, run.last} <= set(run.files)
    scores = {epoch.number: epoch.values["map50_95"] for epoch in watch.epochs}
    assert run.best_epoch == max(scores, key=lambda number: (scores[number], number))
    assert run.untrained is not None
    assert run.untrained not in run.files.values()
    for path in (*run.files.values(), run.untrained):
        assert path.is_file()
        assert path.is_relative_to(bench.root)
    for path in (run.files[run.weights], run.files[run.last], run.untrained):
        runtime = find_framework(bench.kind.framework).open_runtime(path, 64, "cpu")
        assert runtime.names == bench.train.classes
    assert not bench.same(run.untrained, run.files[run.last])
    assert "torch" in run.libraries


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(
    bench: Bench, whole: tuple[TrainingRun, Recorder]
) -> None:
    again, _ = bench.fit()
    other, _ = bench.fit(seed=4)
    assert bench.same(again.files[again.last], whole[0].files[whole[0].last])
    assert not bench.same(other.files[other.last], whole[0].files[whole[0].last])


@pytest.mark.parametrize(
    ("where", "epoch", "batch"),
    [("epoch_done", 1, 0), ("batch_done", 3, 2)],
    ids=["after epoch 1", "within epoch 3"],
)
def test_killed_and_resumed_it_ends_with_the_same_weights_bit_for_bit(
    bench: Bench, whole: tuple[TrainingRun, Recorder], where: str, epoch: int, batch: int
) -> None:
    def kill(*place: object) -> BaseException | None:
        return Killed() if place == (where, epoch, batch) else None

    watch = bench.recorder(kill=kill)
    with pytest.raises(Killed):
        bench.fit(watch)
    saved = watch.at(max(watch.snapshots))
    moved = shutil.move(saved, bench.root / f"moved-{bench.runs}")
    run, resumed = bench.fit(resume=Path(moved))
    assert resumed.begin["first_epoch"] == max(watch.snapshots) + 1
    assert [each.number for each in resumed.epochs] == list(range(max(watch.snapshots) + 1, EPOCHS + 1))
    assert resumed.epochs[0].seconds > watch.epochs[-1].seconds
    uninterrupted, heard = whole
    for name in (run.weights, run.last):
        assert bench.same(run.files[name], uninterrupted.files[name]), name
    assert run.best_epoch == uninterrupted.best_epoch
    assert run.untrained is not None
    assert uninterrupted.untrained is not None
    assert bench.same(run.untrained, uninterrupted.untrained)
    left_out = {"images_per_second", "gpu_memory"}
    for ours, theirs in zip(resumed.epochs, heard.epochs[max(watch.snapshots) :], strict=True):
        assert {name: ours.values[name] for name in ours.values if name not in left_out} == {
            name: theirs.values[name] for name in theirs.values if name not in left_out
        }


def test_a_snapshot_is_the_end_of_its_epoch_whenever_and_wherever_it_is_written(
    bench: Bench, whole: tuple[TrainingRun, Recorder]
) -> None:
    late = bench.root / "written-late"
    late.mkdir()
    writer = threading.Thread(target=whole[1].snapshots[1].write, args=(late,))
    writer.start()
    writer.join()
    run, _ = bench.fit(resume=late)
    assert bench.same(run.files[run.last], whole[0].files[whole[0].last])


def test_a_finished_training_resumes_to_its_own_end(bench: Bench, whole: tuple[TrainingRun, Recorder]) -> None:
    run, watch = bench.fit(resume=whole[1].at(EPOCHS))
    assert watch.epochs == []
    assert run.best_epoch == whole[0].best_epoch
    for name in (run.weights, run.last):
        assert bench.same(run.files[name], whole[0].files[name])


def test_it_stops_where_the_watch_says_so_as_if_that_had_been_the_last_epoch(bench: Bench) -> None:
    run, watch = bench.fit(bench.recorder(stop_after=2))
    assert [epoch.number for epoch in watch.epochs] == [1, 2]
    assert run.best_epoch in {1, 2}
    assert all(path.is_file() for path in run.files.values())
    again, silence = bench.fit(resume=watch.at(2), over=True)
    assert silence.told == []
    assert again.best_epoch == run.best_epoch
    for name in (run.weights, run.last):
        assert bench.same(again.files[name], run.files[name])


@pytest.mark.parametrize("where", ["batch_seen", "batch_done", "epoch_done"])
def test_what_the_watch_raises_passes_unchanged(bench: Bench, where: str) -> None:
    error = PreemptedError("told to end")
    watch = bench.recorder(kill=lambda place, *_: error if place == where else None)
    with pytest.raises(PreemptedError) as caught:
        bench.fit(watch)
    assert caught.value is error


def test_an_architecture_that_is_none_is_refused(bench: Bench) -> None:
    with pytest.raises(ConfigError, match="no_such_model"):
        bench.fit(model="no_such_model.yaml" if bench.kind.framework == "ultralytics" else "no_such_model")


def test_a_torn_checkpoint_is_refused_whichever_file_is_torn(bench: Bench, whole: tuple[TrainingRun, Recorder]) -> None:
    intact = whole[1].at(1)
    for path in sorted(intact.rglob("*")):
        if not path.is_file():
            continue
        torn = bench.root / "torn"
        shutil.rmtree(torn, ignore_errors=True)
        shutil.copytree(intact, torn)
        target = torn / path.relative_to(intact)
        target.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        with pytest.raises(CheckpointError):
            bench.fit(resume=torn)
        target.unlink()
        with pytest.raises(CheckpointError):
            bench.fit(resume=torn)


def test_a_checkpoint_of_another_model_or_of_nothing_is_refused(
    bench: Bench, whole: tuple[TrainingRun, Recorder], tmp_path: Path
) -> None:
    with pytest.raises(CheckpointError):
        bench.fit(resume=whole[1].at(1), model=bench.kind.other_model)
    with pytest.raises(CheckpointError):
        bench.fit(resume=tmp_path)
    with pytest.raises(CheckpointError):
        bench.fit(resume=tmp_path / "nowhere")
