"""The real training library on a handful of drawn images."""

import csv
import logging
import math
import resource
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from components.model_train.trainers.base import Start, TrainingJob, TrainingRun
from components.model_train.trainers.ultralytics.trainer import UltralyticsTrainer
from components.shared.detection.environment import prepare_environment
from components.shared.detection.ultralytics_runtime import UltralyticsRuntime, load_state
from components.shared.errors import ConfigError, DivergedError, OutOfMemoryError, PreemptedError, TrainingError

prepare_environment(2)
import torch  # noqa: E402 - after the environment is prepared

pytestmark = pytest.mark.xdist_group("training")
Job = Callable[..., TrainingJob]
WEIGHTS = Path(__file__).parents[6] / "shared" / "data" / "weights" / "yolo11n-coco-dequant.pt"
NAMES = {"precision", "recall", "map50", "map50_95", "lr", "images_per_second", "gpu_memory"}
NAMES |= {f"{split}/{loss}_loss" for split in ("train", "val") for loss in ("box", "cls", "dfl")}
MACHINES = {"images_per_second", "gpu_memory"}


@dataclass(frozen=True)
class Finished:
    """A real training: what it left and what the watch heard."""

    job: TrainingJob
    run: TrainingRun
    watch: Any


@pytest.fixture(scope="module")
def first(module_files: Any, tiny: Path, parameters: Any, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """Two epochs of three images a batch."""
    job = TrainingJob(
        train=module_files[0],
        val=module_files[1],
        classes=("bar", "block"),
        parameters=parameters(imgsz=64, batch=3),
        start=Start("ultralytics", str(tiny)),
        work=tmp_path_factory.mktemp("first"),
    )
    watch = Recorder()
    return Finished(job, UltralyticsTrainer().train(job, watch), watch)


class Recorder:
    """A watch for the training all tests share."""

    def __init__(self) -> None:
        self.begins: list[dict[str, int]] = []
        self.shown: list[Any] = []
        self.batches: list[Any] = []
        self.epochs: list[Any] = []

    def begun(self, **numbers: int) -> None:
        self.begins.append(numbers)

    def batch_seen(self, *shown: Any) -> None:
        self.shown.append(shown)

    def batch_done(self, *told: Any, memory: float = 0.0) -> None:
        self.batches.append((*told, memory))

    def epoch_done(self, epoch: Any, _snapshot: Any) -> bool:
        self.epochs.append(epoch)
        return False


def train(job: TrainingJob, watch: Any) -> TrainingRun:
    return UltralyticsTrainer().train(job, watch)


def differing(one: Path, other: Path) -> set[str]:
    former, latter = load_state(one), load_state(other)
    assert former.keys() == latter.keys()
    return {name for name, tensor in former.items() if not torch.equal(tensor, latter[name])}


@pytest.mark.slow
def test_the_watch_hears_what_begins_and_each_batch_and_epoch_once(first: Finished) -> None:
    assert first.watch.begins == [{"images": 8, "batch": 3, "batches": 3, "first_epoch": 1}]
    assert [told[:2] for told in first.watch.batches] == [(epoch, batch) for epoch in (1, 2) for batch in (1, 2, 3)]
    assert all(set(told[2]) == {"box_loss", "cls_loss", "dfl_loss"} for told in first.watch.batches)
    assert [epoch.number for epoch in first.watch.epochs] == [1, 2]


@pytest.mark.slow
def test_an_epochs_values_are_those_in_the_table_of_results(first: Finished) -> None:
    with first.run.files["results.csv"].open() as handle:
        rows = [{name.strip(): float(value) for name, value in row.items()} for row in csv.DictReader(handle)]
    assert len(rows) == 2
    for row, epoch in zip(rows, first.watch.epochs, strict=True):
        assert set(epoch.values) == NAMES
        assert all(math.isfinite(value) for value in epoch.values.values())
        for name in ("train/box_loss", "val/cls_loss"):
            assert epoch.values[name] == pytest.approx(row[name], rel=1e-3)
        assert epoch.values["lr"] == pytest.approx(row["lr/pg0"], rel=1e-3)
        assert epoch.values["map50"] == pytest.approx(row["metrics/mAP50(B)"], abs=1e-4)
        assert epoch.values["images_per_second"] > 0
        assert epoch.values["gpu_memory"] == 0


@pytest.mark.slow
def test_an_epochs_loss_is_the_last_running_mean_of_its_batches(first: Finished) -> None:
    for epoch in first.watch.epochs:
        last = next(told for told in reversed(first.watch.batches) if told[0] == epoch.number)
        assert epoch.values["train/box_loss"] == pytest.approx(last[2]["box_loss"], abs=1e-5)


@pytest.mark.slow
def test_the_times_of_epochs_grow(first: Finished) -> None:
    one, two = (epoch.seconds for epoch in first.watch.epochs)
    assert 0 < one < two


@pytest.mark.slow
def test_the_first_three_batches_are_shown_with_boxes_on_what_is_drawn(first: Finished) -> None:
    assert len(first.watch.shown) == 3
    for images, boxes, labels in first.watch.shown:
        assert images.dtype == np.uint8
        assert images.shape[1:] == (64, 64, 3)
        assert len(images) == len(boxes) == len(labels)
        for sides, kinds in zip(boxes, labels, strict=True):
            assert sides.dtype == np.float64
            assert sides.shape == (len(kinds), 4)
            assert set(kinds.tolist()) <= {0, 1}
            assert (sides[:, :2] >= -0.5).all()
            assert (sides[:, :2] + sides[:, 2:] <= 64.5).all()


def brightness(image: Any, box: Any) -> float:
    left, top, width, height = (round(float(side)) for side in box)
    return float(image[max(top, 0) : top + height, max(left, 0) : left + width].mean())


@pytest.mark.slow
def test_the_boxes_shown_lie_on_the_drawn_shapes(make_job: Job, listener: Any) -> None:
    plain = dict.fromkeys(("mosaic", "hsv_h", "hsv_s", "hsv_v", "scale", "translate", "fliplr"), 0.0)
    watch = listener()
    train(make_job(epochs=1, options=plain), watch)
    pairs = [
        (brightness(image, box), float(image.mean()))
        for images, boxes, _ in watch.shown
        for image, sides in zip(images, boxes, strict=True)
        for box in sides
    ]
    assert pairs
    assert all(inside > outside + 20 for inside, outside in pairs)


@pytest.mark.slow
def test_best_last_and_untrained_weights_all_serve(first: Finished) -> None:
    from ultralytics import YOLO  # noqa: PLC0415 - after the environment is prepared

    assert first.run.untrained is not None
    for path in (first.run.files["weights/best.pt"], first.run.files["weights/last.pt"], first.run.untrained):
        runtime = UltralyticsRuntime(path, imgsz=64, device="cpu")
        assert runtime.names == ("bar", "block")
        assert runtime.predict(np.zeros((64, 64, 3), np.uint8), conf=0.5, iou=0.5, max_det=5).shape[1] == 6
        assert YOLO(str(path)).names == {0: "bar", 1: "block"}
        assert all(not tensor.is_floating_point() or tensor.dtype == torch.half for tensor in load_state(path).values())


@pytest.mark.slow
def test_the_untrained_weights_are_those_before_the_first_step(first: Finished, make_job: Job, listener: Any) -> None:
    assert first.run.untrained is not None
    frozen = {"lr0": 1e-12, "optimizer": "SGD", "warmup_epochs": 0.0, "epochs": 1, "batch": 3}
    still = train(make_job(**frozen), listener())
    assert still.untrained is not None
    assert differing(first.run.untrained, still.untrained) == set()
    moved = differing(first.run.untrained, still.files["weights/last.pt"])
    assert all("running_" in name for name in moved)
    assert not all("running_" in name for name in differing(first.run.untrained, first.run.files["weights/last.pt"]))


@pytest.mark.slow
def test_nothing_of_the_machine_is_in_the_arguments_or_the_weights(first: Finished) -> None:
    arguments = yaml.safe_load(first.run.files["args.yaml"].read_text())
    assert arguments["imgsz"] == 64
    assert arguments["data"] is arguments["project"] is arguments["device"] is None
    for name in ("args.yaml", "weights/best.pt", "weights/last.pt"):
        assert str(first.job.work.parent).encode() not in first.run.files[name].read_bytes()


@pytest.mark.slow
def test_the_run_names_its_files_and_libraries(first: Finished) -> None:
    assert set(first.run.files) == {"weights/best.pt", "weights/last.pt", "results.csv", "args.yaml"}
    assert all(path.is_relative_to(first.job.work) for path in first.run.files.values())
    assert first.run.libraries["ultralytics"] == "8.4.190"
    assert first.run.libraries["torch"] in {torch.__version__, torch.__version__.partition("+")[0]}


@pytest.mark.slow
def test_the_same_seed_trains_the_same_weights(first: Finished, make_job: Job, listener: Any) -> None:
    watch = listener()
    again = train(make_job(batch=3), watch)
    for name in ("weights/best.pt", "weights/last.pt"):
        assert differing(first.run.files[name], again.files[name]) == set()
        assert first.run.files[name].read_bytes() == again.files[name].read_bytes()
    for one, other in zip(first.watch.epochs, watch.epochs, strict=True):
        assert {name: one.values[name] for name in NAMES - MACHINES} == {
            name: other.values[name] for name in NAMES - MACHINES
        }


@pytest.mark.slow
def test_another_seed_trains_other_weights(first: Finished, make_job: Job, listener: Any) -> None:
    other = train(make_job(batch=3, seed=1), listener())
    assert differing(first.run.files["weights/last.pt"], other.files["weights/last.pt"])


@pytest.mark.slow
def test_frozen_layers_keep_the_weights_they_began_with(make_job: Job, listener: Any) -> None:
    run = train(make_job(freeze=5, optimizer="SGD", lr0=0.1), listener())
    assert run.untrained is not None
    moved = differing(run.untrained, run.files["weights/last.pt"])
    assert moved
    assert min(int(name.split(".")[1]) for name in moved) >= 5


@pytest.mark.slow
def test_every_option_reaches_the_library(make_job: Job, listener: Any) -> None:
    options = {"cos_lr": True, "degrees": 45.0, "mixup": 0.5, "momentum": 0.7, "iou": 0.6, "amp": False, "nbs": 8}
    run = train(make_job(epochs=1, options=options), listener())
    arguments = yaml.safe_load(run.files["args.yaml"].read_text())
    assert {name: arguments[name] for name in options} == options


@pytest.mark.slow
def test_many_sizes_are_shown_when_asked_for(make_job: Job, listener: Any) -> None:
    watch = listener()
    train(make_job(batch=2, epochs=1, imgsz=128, options={"multi_scale": 0.6, "mosaic": 0.0}), watch)
    assert len({images.shape[1] for images, _, _ in watch.shown}) > 1


@pytest.mark.slow
def test_as_many_as_fit_are_sixteen_on_a_cpu(make_job: Job, listener: Any) -> None:
    watch = listener()
    train(make_job(batch=-1, epochs=1), watch)
    assert watch.begins == [{"images": 8, "batch": 16, "batches": 1, "first_epoch": 1}]


@pytest.mark.slow
def test_a_watch_can_end_the_training_after_an_epoch(make_job: Job, listener: Any) -> None:
    watch = listener(stop_after=2)
    run = train(make_job(epochs=50), watch)
    assert [epoch.number for epoch in watch.epochs] == [1, 2]
    assert run.files["weights/last.pt"].is_file()


@pytest.mark.slow
@pytest.mark.parametrize(
    "error", [PreemptedError("told to end"), DivergedError("nan"), SystemExit(143), KeyboardInterrupt()]
)
def test_what_a_watch_raises_comes_out_as_it_is(make_job: Job, listener: Any, error: BaseException) -> None:
    watch = listener(raises=(1, 2, error))
    with pytest.raises(type(error)) as caught:
        train(make_job(batch=2), watch)
    assert caught.value is error
    assert watch.batches[-1][:2] == (1, 2)


def plant(monkeypatch: pytest.MonkeyPatch, change: Callable[[Any], Any]) -> None:
    """Change what the real model gives for a training batch."""
    from ultralytics.nn.tasks import DetectionModel  # noqa: PLC0415 - after the environment is prepared

    original = DetectionModel.loss

    def planted(self: Any, *given: Any) -> Any:
        return change(original(self, *given)) if self.training else original(self, *given)

    monkeypatch.setattr(DetectionModel, "loss", planted)


@pytest.mark.slow
def test_a_loss_that_is_no_number_is_told_as_it_is_and_not_mended(
    make_job: Job, listener: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(monkeypatch, lambda told: (told[0] * math.nan, {name: loss * math.nan for name, loss in told[1].items()}))
    watch = listener()
    train(make_job(epochs=3), watch)
    assert [epoch.number for epoch in watch.epochs] == [1, 2, 3]
    assert math.isnan(watch.epochs[1].values["train/box_loss"])
    assert math.isnan(watch.batches[0][2]["cls_loss"])


def raising(error: Exception) -> Callable[[Any], Any]:
    def do(_: Any) -> Any:
        raise error

    return do


@pytest.mark.slow
@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate memory: you tried"),
        RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR"),
        MemoryError(),
    ],
    ids=["cuda", "cpu", "cudnn", "python"],
)
def test_memory_that_does_not_suffice_is_said_at_once_with_what_to_lower(
    make_job: Job, listener: Any, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    plant(monkeypatch, raising(error))
    watch = listener()
    with pytest.raises(OutOfMemoryError, match="batch=4 at imgsz=64: lower batch, imgsz or the size of the model"):
        train(make_job(), watch)
    assert len(watch.begins) == 1
    assert watch.epochs == []


@pytest.mark.slow
def test_any_other_failure_says_how_far_the_training_was(
    make_job: Job, listener: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(monkeypatch, raising(RuntimeError("shapes\n differ.")))
    with pytest.raises(TrainingError, match="stopped after 0 of 2 epochs: shapes differ") as caught:
        train(make_job(), listener())
    assert type(caught.value) is TrainingError


@pytest.mark.slow
def test_a_hyperparameter_the_library_refuses_is_named(make_job: Job, listener: Any) -> None:
    with pytest.raises(ConfigError, match=r"A hyperparameter cannot be used: .*mosaic=7"):
        train(make_job(options={"mosaic": 7}), listener())


@pytest.mark.slow
def test_an_image_the_library_would_drop_stops_the_training(make_job: Job, listener: Any, tmp_path: Path) -> None:
    job = with_a_bad_label(make_job(), tmp_path)
    with pytest.raises(TrainingError, match="kept 7 of 8 images"):
        train(job, listener())


@pytest.mark.slow
def test_an_image_the_library_would_drop_stops_a_training_with_repeats_too(
    make_job: Job, listener: Any, tmp_path: Path
) -> None:
    job = with_a_bad_label(make_job(), tmp_path)
    with pytest.raises(TrainingError, match="kept 7 of 10 images"):
        train(replace(job, train=replace(job.train, repeats={1: 3})), listener())


def with_a_bad_label(job: TrainingJob, folder: Path) -> TrainingJob:
    """The same images beside labels of which the second is beyond its image."""
    import shutil  # noqa: PLC0415 - only here

    moved = shutil.copytree(job.train.directory, folder / "copy", ignore=shutil.ignore_patterns("*.cache"))
    paths = {image_id: moved / "images" / path.name for image_id, path in job.train.paths.items()}
    (moved / "labels" / f"{1:08d}.txt").write_text("0 1.5 0.5 0.1 0.1\n")
    changed = replace(job.train, directory=moved, images=moved / "images", labels=moved / "labels", paths=paths)
    return replace(job, train=changed)


@pytest.mark.slow
def test_an_epoch_shows_an_image_as_often_as_it_is_to_be_repeated(
    make_job: Job, listener: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ultralytics.data.dataset import YOLODataset  # noqa: PLC0415 - after the environment is prepared

    shown: Counter[str] = Counter()
    original = YOLODataset.__getitem__

    def counted(self: Any, index: int) -> Any:
        shown[self.im_files[index]] += 1
        return original(self, index)

    monkeypatch.setattr(YOLODataset, "__getitem__", counted)
    job = make_job(epochs=1)
    watch = listener()
    train(replace(job, train=replace(job.train, repeats={1: 4, 5: 2})), watch)
    assert watch.begins[0]["images"] == 12
    expected = {str(path): {1: 4, 5: 2}.get(image_id, 1) for image_id, path in job.train.paths.items()}
    assert {path: count for path, count in shown.items() if path in expected} == expected


@pytest.mark.slow
def test_transfer_learning_reaches_a_head_for_other_classes(make_job: Job, listener: Any) -> None:
    if not WEIGHTS.is_file():
        pytest.skip("the public weights are not beside the repository")
    start = Start("ultralytics", "", weights=WEIGHTS, origin="the public weights")
    left = train(make_job(epochs=1, lr0=1e-5, optimizer="SGD", start=start), listener())
    before, after = load_state(WEIGHTS), load_state(left.files["weights/best.pt"])
    heads = [name for name in after if name.startswith("model.23.cv3") and name.endswith(".2.weight")]
    assert [before[name].shape[0] for name in heads] == [80, 80, 80]
    assert [after[name].shape[0] for name in heads] == [2, 2, 2]
    same = [name for name in after if name.endswith("conv.weight") and before[name].shape == after[name].shape]
    distance = max(float((before[name].float() - after[name].float()).abs().max()) for name in same)
    assert len(same) > 50
    assert distance < 0.01  # it went on from what was learned


class Filling:
    """A watch that lets this process write no byte more in a file than ``limits`` says for the coming epoch."""

    def __init__(self, limits: dict[int, int]) -> None:
        self.limits = limits

    def begun(self, **_: int) -> None:
        self.set(1)

    def batch_seen(self, *_: Any) -> None:
        """Nothing to do."""

    def batch_done(self, *_: Any, **__: Any) -> None:
        """Nothing to do."""

    def epoch_done(self, epoch: Any, _snapshot: Any) -> bool:
        self.set(epoch.number + 1)
        return False

    def set(self, epoch: int) -> None:
        if epoch in self.limits:
            resource.setrlimit(
                resource.RLIMIT_FSIZE, (self.limits[epoch], resource.getrlimit(resource.RLIMIT_FSIZE)[1])
            )


FULL = """
import importlib.util, logging, pickle, sys
from pathlib import Path
from components.model_train.trainers.ultralytics.trainer import UltralyticsTrainer
from components.shared.detection.environment import prepare_environment
from components.shared.errors import TrainingError
prepare_environment(2)
logging.basicConfig(level=logging.WARNING, stream=sys.stdout, format="%(name)s %(message)s")
module = importlib.util.spec_from_file_location("full", sys.argv[2])
tests = importlib.util.module_from_spec(module)
module.loader.exec_module(tests)
try:
    job = pickle.loads(Path(sys.argv[1]).read_bytes())
    run = UltralyticsTrainer().train(job, tests.Filling(eval(sys.argv[3])))
except TrainingError as error:
    print("refused:", error)
else:
    print("written:", run.best_epoch, run.files["weights/best.pt"])
"""


def train_on_a_full_disk(job: TrainingJob, folder: Path, limits: dict[int, int]) -> str:
    import os  # noqa: PLC0415 - only here
    import pickle  # noqa: PLC0415 - a job of our own, to a process of our own

    (folder / "job").write_bytes(pickle.dumps(job))
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(folder / "job"), __file__, repr(limits)],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[5])},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    return done.stdout + done.stderr[-2000:]


@pytest.mark.slow
def test_a_full_disk_costs_a_warning_while_it_is_full(first: Finished, make_job: Job, tmp_path: Path) -> None:
    job = make_job(batch=3)
    output = train_on_a_full_disk(job, tmp_path, {1: 10_000, 2: -1})
    assert output.count("cannot be written (File too large)") == 1
    assert "written: 2" in output
    for name in ("best.pt", "last.pt"):
        written = job.work / "run" / "weights" / name
        assert differing(first.run.files[f"weights/{name}"], written) == set()
    assert sorted(path.name for path in (job.work / "run" / "weights").iterdir()) == ["best.pt", "last.pt"]


@pytest.mark.slow
def test_a_disk_that_stays_full_fails_at_the_end_with_a_sentence(make_job: Job, tmp_path: Path) -> None:
    output = train_on_a_full_disk(make_job(), tmp_path, {1: 10_000})
    assert output.count("cannot be written (File too large): the training goes on") == 1
    assert "refused: The weights cannot be written to" in output
    assert "make room and run it again" in output


@pytest.mark.slow
def test_the_optimiser_steps_when_enough_batches_are_gathered_and_at_an_epochs_end(
    make_job: Job, listener: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ultralytics.engine.trainer import BaseTrainer  # noqa: PLC0415 - after the environment is prepared

    steps: list[int] = []
    original = BaseTrainer.optimizer_step

    def counted(self: Any) -> None:
        steps.append(self._batch)
        original(self)

    monkeypatch.setattr(BaseTrainer, "optimizer_step", counted)
    train(make_job(batch=2, options={"nbs": 6}, warmup_epochs=0.0), listener())
    assert steps == [3, 4, 3, 4]


@pytest.mark.slow
def test_the_library_says_nothing_of_its_own_accord(make_job: Job, listener: Any, caplog: Any) -> None:
    with caplog.at_level(logging.WARNING, logger="components"):
        train(make_job(epochs=1), listener())
    assert caplog.records == []
