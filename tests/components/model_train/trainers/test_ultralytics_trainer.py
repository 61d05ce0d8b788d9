"""The real training library on a handful of drawn images."""

import csv
import json
import math
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from components.model_train.train import Trained, train_model
from components.model_train.trainers.base import Hyperparameters
from components.model_train.trainers.ultralytics_trainer import (
    UltralyticsTrainer,
    _Watcher,
    choose_device,
    write_data_yaml,
)
from components.shared.detection.detector import Detector
from components.shared.detection.environment import prepare_environment
from components.shared.detection.manifest import verify_files
from components.shared.detection.ultralytics_runtime import load_state
from components.shared.errors import TrainingError
from components.shared.images import decode
from components.shared.materialise import MaterialisedDataset, materialise
from components.shared.store import open_store

prepare_environment(2)
import torch  # noqa: E402 - after the environment is prepared

pytestmark = pytest.mark.xdist_group("training")
Parameters = Callable[..., Hyperparameters]
WEIGHTS = Path(__file__).parents[5] / "shared" / "data" / "weights" / "yolo11n-coco-dequant.pt"
NAMES = {"precision", "recall", "map50", "map50_95", "lr"}
NAMES |= {f"{split}/{loss}_loss" for split in ("train", "val") for loss in ("box", "cls", "dfl")}


@dataclass(frozen=True)
class Finished:
    """A real training: what it gave back, its model folder and what was heard on the way."""

    trained: Trained
    model: Path
    heard: list[tuple[float, str]]


def train(splits: Any, folder: Path, parameters: Hyperparameters) -> Finished:
    heard: list[tuple[float, str]] = []
    trained = train_model(
        *splits.save(), parameters, folder, folder.with_suffix(".html"), lambda *told: heard.append(told)
    )
    return Finished(trained, folder, heard)


@pytest.fixture(scope="module")
def first(module_splits: Any, parameters: Parameters) -> Finished:
    return train(module_splits, module_splits.root / "first", parameters())


@pytest.fixture(scope="module")
def again(module_splits: Any, parameters: Parameters) -> Finished:
    return train(module_splits, module_splits.root / "again", parameters())


def differing(one: Path, other: Path) -> set[str]:
    former, latter = load_state(one), load_state(other)
    assert former.keys() == latter.keys()
    return {name for name, tensor in former.items() if not torch.equal(tensor, latter[name])}


@pytest.mark.slow
def test_each_epoch_is_recorded_once_without_the_final_validation(first: Finished) -> None:
    assert [epoch.number for epoch in first.trained.run.epochs] == [1, 2]


@pytest.mark.slow
def test_an_epochs_values_are_those_the_library_wrote_down(first: Finished) -> None:
    with (first.model / "results.csv").open() as handle:
        rows = [{name.strip(): float(value) for name, value in row.items()} for row in csv.DictReader(handle)]
    assert len(rows) == 2
    for row, epoch in zip(rows, first.trained.run.epochs, strict=True):
        assert set(epoch.values) == NAMES
        assert all(math.isfinite(value) for value in epoch.values.values())
        for ours, theirs in (("train/box_loss", "train/box_loss"), ("val/cls_loss", "val/cls_loss"), ("lr", "lr/pg0")):
            assert epoch.values[ours] == pytest.approx(row[theirs], rel=1e-3)
        assert epoch.values["map50"] == pytest.approx(row["metrics/mAP50(B)"], abs=1e-4)


@pytest.mark.slow
def test_the_times_of_epochs_grow(first: Finished) -> None:
    one, two = (epoch.seconds for epoch in first.trained.run.epochs)
    assert 0 < one < two


@pytest.mark.slow
def test_best_and_last_weights_both_serve_in_the_detector(first: Finished, tmp_path: Path) -> None:
    manifest = first.trained.manifest
    verify_files(first.model, manifest)
    image = decode((first.model / manifest.test_image).read_bytes())
    for name in (manifest.weights, manifest.last):
        served = shutil.copytree(first.model, tmp_path / Path(name).stem)
        manifest.model_copy(update={"weights": name}).save(served)
        detector = Detector(served)
        assert detector.classes == ("bar", "block")
        assert len(detector.predict([image])) == 1


@pytest.mark.slow
def test_the_manifest_names_the_libraries_that_shaped_the_weights(first: Finished) -> None:
    libraries = first.trained.manifest.libraries
    assert libraries["ultralytics"] == "8.4.190"
    assert libraries["torch"] == torch.__version__.partition("+")[0] or libraries["torch"] == torch.__version__


@pytest.mark.slow
def test_the_same_seed_trains_the_same_weights(first: Finished, again: Finished) -> None:
    for name in ("weights/best.pt", "weights/last.pt"):
        assert differing(first.model / name, again.model / name) == set()
    assert [epoch.values for epoch in first.trained.run.epochs] == [epoch.values for epoch in again.trained.run.epochs]


@pytest.mark.slow
def test_nothing_of_this_machine_is_in_the_metrics_or_parameters(first: Finished, again: Finished) -> None:
    one, two = first.trained.manifest, again.trained.manifest
    assert one.model_copy(update={"files": {}}) == two.model_copy(update={"files": {}})
    assert str(first.model.parent) not in json.dumps([one.parameters, one.metrics, one.libraries])


@pytest.mark.slow
def test_progress_grows_from_batch_to_batch_and_names_the_epoch(first: Finished) -> None:
    shares = [share for share, _ in first.heard]
    assert shares == sorted(shares)
    assert shares[-1] == pytest.approx(0.99)
    assert first.heard[1][1] == "epoch 1/2"
    assert first.heard[-1][1].startswith("epoch 2/2, mAP50 0.")


@pytest.mark.slow
def test_nothing_is_left_beside_the_model(first: Finished) -> None:
    found = {path.relative_to(first.model).as_posix() for path in first.model.rglob("*") if path.is_file()}
    assert found == {
        *("weights/best.pt", "weights/last.pt", "results.csv", "args.yaml", "test_image.jpg", "manifest.json"),
    }


@pytest.fixture
def files(module_splits: Any, tmp_path: Path) -> tuple[MaterialisedDataset, MaterialisedDataset]:
    store = open_store(module_splits.store)
    return (
        materialise(module_splits.train, store, tmp_path / "train"),
        materialise(module_splits.val, store, tmp_path / "val"),
    )


def run(files: Any, parameters: Hyperparameters, work: Path) -> Any:
    return UltralyticsTrainer().train(*files, ("bar", "block"), parameters, work, lambda *_: None)


@pytest.mark.slow
def test_another_seed_trains_other_weights(first: Finished, files: Any, parameters: Parameters, tmp_path: Path) -> None:
    other = run(files, parameters(seed=1), tmp_path)
    assert differing(first.model / "weights/last.pt", other.files["weights/last.pt"])


@pytest.mark.slow
def test_frozen_layers_keep_the_weights_they_began_with(files: Any, parameters: Parameters, tmp_path: Path) -> None:
    short = run(files, parameters(freeze=10, epochs=1), tmp_path / "short")
    long = run(files, parameters(freeze=10, epochs=2), tmp_path / "long")
    moved = differing(short.files["weights/last.pt"], long.files["weights/last.pt"])
    trained = {name for name in moved if name.endswith(("weight", "bias"))}
    assert trained
    assert min(int(name.split(".")[1]) for name in trained) >= 10


@pytest.mark.slow
def test_an_image_the_library_would_drop_stops_the_training(files: Any, parameters: Parameters, tmp_path: Path) -> None:
    label = next(path for path in sorted(files[0].labels.iterdir()) if path.stat().st_size)
    label.write_text("0 1.5 0.5 0.1 0.1\n")
    with pytest.raises(TrainingError, match="kept 7 of 8 images"):
        run(files, parameters(epochs=1), tmp_path)


@pytest.mark.slow
def test_transfer_learning_reaches_a_head_for_other_classes(files: Any, parameters: Parameters, tmp_path: Path) -> None:
    if not WEIGHTS.is_file():
        pytest.skip("the public weights are not beside the repository")
    left = run(files, parameters(model=str(WEIGHTS), epochs=1, lr0=1e-5, optimizer="SGD"), tmp_path)
    before, after = load_state(WEIGHTS), load_state(left.files["weights/best.pt"])
    heads = [name for name in after if name.startswith("model.23.cv3") and name.endswith(".2.weight")]
    assert [before[name].shape[0] for name in heads] == [80, 80, 80]
    assert [after[name].shape[0] for name in heads] == [2, 2, 2]
    same = [name for name in after if name.endswith("conv.weight") and before[name].shape == after[name].shape]
    distance = max(float((before[name].float() - after[name].float()).abs().max()) for name in same)
    assert len(same) > 50
    assert distance < 0.01  # it went on from what was learned


def test_a_gpu_that_is_not_there_is_refused() -> None:
    count = torch.cuda.device_count()
    with pytest.raises(TrainingError, match=f"asks for GPU {count}, this machine shows {count}: use auto or cpu"):
        choose_device(str(count))


def test_auto_takes_the_gpu_where_there_is_one() -> None:
    assert choose_device("auto") == ("0" if torch.cuda.is_available() else "cpu")
    assert choose_device("cpu") == "cpu"


def test_the_data_file_holds_known_keys_only_and_any_class_name(files: Any, tmp_path: Path) -> None:
    classes = ("yes", "1", "größe: x", "{a}")
    path = write_data_yaml(tmp_path / "new" / "data.yaml", *files, classes)
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert set(content) == {"path", "train", "val", "nc", "names"}
    assert content["names"] == dict(enumerate(classes))
    assert (content["train"], content["val"]) == (str(files[0].images), str(files[1].images))


@pytest.mark.slow
def test_an_epoch_shows_an_image_as_often_as_it_is_to_be_repeated(
    files: Any, parameters: Parameters, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ultralytics.data.dataset import YOLODataset  # noqa: PLC0415 - after the environment is prepared

    shown: Counter[str] = Counter()
    original = YOLODataset.__getitem__

    def counted(self: Any, index: int) -> Any:
        shown[self.im_files[index]] += 1
        return original(self, index)

    monkeypatch.setattr(YOLODataset, "__getitem__", counted)
    train_files = replace(files[0], repeats=dict.fromkeys(files[0].paths, 1) | {1: 4, 5: 2})
    left = run((train_files, files[1]), parameters(epochs=1), tmp_path)
    assert len(left.epochs) == 1
    expected = {str(path): {1: 4, 5: 2}.get(image_id, 1) for image_id, path in files[0].paths.items()}
    assert {path: count for path, count in shown.items() if path in expected} == expected


@pytest.mark.slow
def test_an_image_the_library_would_drop_stops_a_training_with_repeats_too(
    files: Any, parameters: Parameters, tmp_path: Path
) -> None:
    label = next(path for path in sorted(files[0].labels.iterdir()) if path.stat().st_size)
    label.write_text("0 1.5 0.5 0.1 0.1\n")
    train_files = replace(files[0], repeats={int(label.stem): 3})
    with pytest.raises(TrainingError, match="kept 7 of 10 images"):
        run((train_files, files[1]), parameters(epochs=1), tmp_path)


def finish_epoch(watcher: _Watcher, epoch: int, fitness: float, best: float, *, final: bool = False) -> None:
    """The library's callbacks at the end of an epoch (from 0), or of its final validation."""
    trainer = SimpleNamespace(
        epoch=epoch,
        fitness=fitness,
        best_fitness=best,
        tloss={},
        label_loss_items=lambda _loss, prefix: {f"{prefix}/box_loss": 1.0},
        metrics={"metrics/mAP50-95(B)": fitness},
        lr={"lr/pg0": 0.1},
    )
    if not final:
        watcher._epoch_trained(trainer)
    watcher._epoch_done(trainer)


def test_a_training_that_stops_early_records_no_epoch_for_the_final_validation() -> None:
    watcher = _Watcher(100, expected=1, notify=lambda *_: None)
    finish_epoch(watcher, 0, 0.5, 0.5)
    finish_epoch(watcher, 1, 0.4, 0.5)
    finish_epoch(watcher, 2, 0.5, 0.5, final=True)
    assert [epoch.number for epoch in watcher.epochs] == [1, 2]
    assert watcher.best == 1


def test_among_equal_epochs_the_last_is_the_best_because_the_library_keeps_its_weights() -> None:
    watcher = _Watcher(3, expected=1, notify=lambda *_: None)
    for epoch in range(2):
        finish_epoch(watcher, epoch, 0.0, 0.0)
    assert watcher.best == 2


def test_the_line_of_an_epoch_shows_losses_that_are_not_numbers() -> None:
    watcher = _Watcher(4, expected=1, notify=lambda *_: None)
    finish_epoch(watcher, 0, 0.25, 0.25)
    epoch = replace(watcher.epochs[0], seconds=2.0, values={"train/box_loss": math.nan, "map50": 0.5, "map50_95": 0.25})
    assert watcher.line(epoch) == "epoch 1/4: loss box nan; mAP50 0.500, mAP50-95 0.250; 6 s left"
