"""What model_train leaves, whatever the training library: a stub stands for it."""

import math
import signal
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from components.model_train import train
from components.model_train.care import Care
from components.model_train.model_folder import Outputs
from components.model_train.story import Epoch
from components.model_train.train import Trained, train_model
from components.model_train.trainers.base import Hyperparameters, Trainer, TrainingJob, TrainingRun, Watch
from components.shared.dataset import Dataset
from components.shared.detection.manifest import load_manifest, verify_files
from components.shared.errors import ConfigError, PreemptedError, TrainingError
from components.shared.files import digest_of_digests, sha256_file, sha256_tree
from components.shared.splits import check_splits
from components.shared.sweep import read_failure

pytestmark = pytest.mark.slow

Parameters = Callable[..., Hyperparameters]


class NoSnapshot:
    """Nothing to go on from."""

    def write(self, folder: Path) -> None:
        (folder / "nothing").write_bytes(b"-")


@dataclass
class StubTrainer:
    """Remembers what it was given and leaves two files and three epochs."""

    framework: str = "stub"
    scores: tuple[float, ...] = (0.2, 0.7, 0.6)
    leaves_start: bool = True
    seen: dict[str, Any] = field(default_factory=dict)

    def train(self, job: TrainingJob, watch: Watch) -> TrainingRun:
        train, val = job.train, job.val
        self.seen = {"classes": job.classes, "parameters": job.parameters, "work": job.work}
        self.seen |= {"train": (train.image_count, train.annotation_count), "labels": sha256_tree(train.labels)}
        self.seen |= {"val": (val.image_count, val.annotation_count)}
        for name in ("best", "last"):
            (job.work / f"{name}.bin").write_bytes(name.encode())
        watch.begun(images=train.image_count, batch=4, batches=1, first_epoch=1)
        for number, map50 in enumerate(self.scores, start=1):
            watch.batch_done(number, 1, {"box_loss": 0.3 / number})
            values = {"map50": map50, "map50_95": map50 / 2, "train/box_loss": 0.3 / number}
            values |= {"lr": 0.1, "images_per_second": 9.0}
            watch.epoch_done(Epoch(number=number, seconds=number, values=values), NoSnapshot())
        files = {"weights/best.bin": job.work / "best.bin", "weights/last.bin": job.work / "last.bin"}
        best = min(2, len(self.scores))
        untrained = job.work / "untrained.bin" if self.leaves_start else None
        if untrained:
            untrained.write_bytes(b"untrained")
        return TrainingRun(files, "weights/best.bin", "weights/last.bin", best, {"stub": "1"}, untrained)


class FailingTrainer(StubTrainer):
    def train(self, job: TrainingJob, watch: Watch) -> TrainingRun:
        del job, watch
        raise TrainingError("The training stopped after 0 of 2 epochs: the library gave up.")


def run(
    splits: Any,
    parameters: Hyperparameters,
    trainer: Trainer | None = None,
    notify: Any = None,
    resume: str = "never",
    **changed: Dataset,
) -> Trained:
    train, val, store = splits.save(**changed)
    return train_model(
        (train, val),
        store,
        (parameters, Care(resume=resume)),
        Outputs(splits.root / "model", splits.root / "report.html", splits.root / "start"),
        trainer=trainer or StubTrainer(),
        **({"notify": notify} if notify else {}),
    )


def test_the_model_folder_holds_what_the_trainer_left_a_test_image_and_the_manifest(
    make_splits: Any, parameters: Parameters
) -> None:
    splits = make_splits()
    run(splits, parameters())
    found = sha256_tree(splits.root / "model")
    assert set(found) == {"weights/best.bin", "weights/last.bin", "test_image.jpg", "manifest.json"}
    assert (splits.root / "model" / "weights" / "best.bin").read_bytes() == b"best"


def test_the_manifest_describes_every_file_and_what_the_model_rests_on(
    make_splits: Any, parameters: Parameters
) -> None:
    splits = make_splits()
    trained = run(splits, parameters(imgsz=100, seed=7))
    manifest = load_manifest(splits.root / "model")
    verify_files(splits.root / "model", manifest)
    files = {name: sha256_file(splits.root / "model" / name) for name in manifest.files}
    assert manifest == trained.manifest
    assert manifest.files == files
    assert manifest.digest == digest_of_digests(files)
    assert (manifest.name, manifest.framework, manifest.classes) == ("shapes", "ultralytics", ("bar", "block"))
    assert (manifest.weights, manifest.last) == ("weights/best.bin", "weights/last.bin")
    assert manifest.imgsz == 128  # the next multiple of 32
    assert manifest.parameters["seed"] == 7
    assert manifest.datasets == {"train": splits.train.version, "val": splits.val.version}
    assert manifest.libraries == {"stub": "1"}


def test_the_metrics_are_the_best_epochs_and_finite(make_splits: Any, parameters: Parameters) -> None:
    metrics = run(make_splits(), parameters()).manifest.metrics
    assert metrics == {
        "map50": 0.7, "map50_95": 0.35, "train/box_loss": 0.15, "lr": 0.1, "best_epoch": 2, "epochs": 3
    }  # fmt: skip


def test_what_it_started_from_is_a_model_folder_of_its_own(make_splits: Any, parameters: Parameters) -> None:
    splits = make_splits()
    trained = run(splits, parameters(imgsz=100))
    start = load_manifest(splits.root / "start")
    verify_files(splits.root / "start", start)
    assert start == trained.start
    assert set(start.files) == {"weights/start.bin", "test_image.jpg"}
    assert (splits.root / "start" / start.weights).read_bytes() == b"untrained"
    model = trained.manifest
    assert (start.name, start.classes, start.imgsz) == (model.name, model.classes, model.imgsz)
    assert (start.framework, start.metrics, start.datasets) == (model.framework, {}, {})
    first = sha256_tree(splits.root / "start")
    run(splits, parameters(imgsz=100))
    assert sha256_tree(splits.root / "start") == first


def test_a_finished_training_that_is_asked_for_again_leaves_the_same_start(
    make_splits: Any, parameters: Parameters
) -> None:
    splits = make_splits()
    run(splits, parameters(), resume="auto")
    first = sha256_tree(splits.root / "start")
    again = run(splits, parameters(), FailingTrainer(), resume="auto")
    assert again.start is not None
    assert sha256_tree(splits.root / "start") == first


def test_a_training_does_not_fail_when_the_start_cannot_be_kept(make_splits: Any, parameters: Parameters) -> None:
    splits = make_splits()
    assert run(splits, parameters(), StubTrainer(leaves_start=False)).start is None
    assert "The training library left none." in read_failure(splits.root / "start")
    (splits.root / "start").rename(splits.root / "elsewhere")
    (splits.root / "start").write_bytes(b"a file where the folder should be")
    assert run(splits, parameters()).start is None


@pytest.mark.parametrize(("kind", "suffix"), [("JPEG", "jpg"), ("PNG", "png"), ("TIFF", "tif")])
def test_the_test_image_is_the_validation_image_with_the_most_boxes_byte_for_byte(
    make_splits: Any, parameters: Parameters, kind: str, suffix: str
) -> None:
    splits = make_splits(kind=kind)
    manifest = run(splits, parameters()).manifest
    assert manifest.test_image == f"test_image.{suffix}"
    counts = splits.val.annotations.group_by("image_id").len().sort("len", descending=True)
    name = splits.val.images.filter(pl.col("image_id") == counts.item(0, "image_id")).item(0, "name")
    assert (splits.root / "model" / manifest.test_image).read_bytes() == splits.pictures[name]


def test_the_trainer_gets_both_splits_on_disk_and_the_parameters_as_they_are(
    make_splits: Any, parameters: Parameters
) -> None:
    splits, stub = make_splits(), StubTrainer()
    run(splits, parameters(), stub)
    assert stub.seen["train"] == (8, splits.train.annotations.height)
    assert stub.seen["val"] == (4, splits.val.annotations.height)
    assert stub.seen["classes"] == ("bar", "block")
    assert stub.seen["parameters"] == parameters()
    assert not stub.seen["work"].exists()


def test_training_again_in_the_same_place_leaves_the_same_model_and_nothing_of_the_first(
    make_splits: Any, parameters: Parameters
) -> None:
    splits = make_splits()
    first = run(splits, parameters()).manifest
    (splits.root / "model" / "half-written.bin").write_bytes(b"x")
    second = run(splits, parameters()).manifest
    verify_files(splits.root / "model", second)
    assert second == first


def test_a_training_that_fails_leaves_no_model_and_no_report(make_splits: Any, parameters: Parameters) -> None:
    splits = make_splits()
    with pytest.raises(TrainingError, match="gave up"):
        run(splits, parameters(), FailingTrainer())
    assert not (splits.root / "model").exists()
    assert not (splits.root / "report.html").exists()


@pytest.mark.parametrize(
    ("changes", "words"),
    [({"freeze": 100}, "freeze=100, but 'yolo11n.yaml' has only 23 layers"), ({"device": "77"}, "'77' is not here")],
)
def test_layers_and_gpus_that_are_not_there_are_refused_before_an_image_is_written(
    make_splits: Any, parameters: Parameters, changes: dict[str, Any], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("images are written")

    monkeypatch.setattr(train, "materialise", refuse)
    with pytest.raises(ConfigError) as caught:
        run(make_splits(), parameters(**changes))
    assert words in str(caught.value)


def test_the_report_shows_epochs_losses_and_the_verdict(make_splits: Any, parameters: Parameters) -> None:
    splits = make_splits()
    run(splits, parameters())
    page = (splits.root / "report.html").read_text()
    for text in ("It has learned: mAP50 0.700", "more epochs may help", "Box loss", "epoch 2", splits.train.version):
        assert text in page


@pytest.mark.parametrize(("map50", "words"), [(math.nan, "not a number"), (0.1, "hardly"), (0.4, "begun to learn")])
def test_the_verdict_follows_the_best_epoch(make_splits: Any, parameters: Parameters, map50: float, words: str) -> None:
    splits = make_splits()
    manifest = run(splits, parameters(), StubTrainer(scores=(map50,))).manifest
    assert words in (splits.root / "report.html").read_text()
    assert all(math.isfinite(value) for value in manifest.metrics.values())


def test_an_image_that_is_trained_on_and_validated_on_is_refused_by_name(
    make_splits: Any, parameters: Parameters
) -> None:
    splits = make_splits()
    stolen = pl.concat([splits.val.images, splits.train.images.head(1).with_columns(image_id=pl.lit(9, pl.UInt32))])
    stub = StubTrainer()
    with pytest.raises(TrainingError, match=r"1 of 5 validation images are also trained on, '0000\.jpg'"):
        run(splits, parameters(), stub, val=replace(splits.val, images=stolen, shards=()))
    assert stub.seen == {}


@pytest.mark.parametrize("split", ["train", "val"])
@pytest.mark.parametrize("lacking", ["images", "annotations"])
def test_an_empty_split_is_refused_by_name(make_splits: Any, split: str, lacking: str) -> None:
    splits = make_splits()
    sides = {"train": splits.train, "val": splits.val}
    sides[split] = replace(sides[split], **{lacking: getattr(sides[split], lacking).clear()})
    with pytest.raises(TrainingError, match=f"The {split} split has no boxes"):
        check_splits(**sides)


def test_splits_with_different_classes_are_refused(make_splits: Any) -> None:
    splits = make_splits()
    with pytest.raises(TrainingError, match=r"classes \('bar', 'block'\), val \('block', 'bar'\)"):
        check_splits(splits.train, replace(splits.val, classes=("block", "bar")))


@pytest.mark.parametrize("moment", ["writing images and labels", "looking for", "epoch 3/3", "writing the report"])
def test_told_to_end_at_any_moment_it_is_preempted(make_splits: Any, parameters: Parameters, moment: str) -> None:
    def notify(_share: float, message: str, /, **_: Any) -> None:
        if message.startswith(moment):
            raise SystemExit(128 + signal.SIGTERM)  # as run_step answers the signal

    with pytest.raises(PreemptedError, match="run the same again to go on"):
        run(make_splits(), parameters(epochs=3), notify=notify, resume="auto")


def test_an_exit_for_another_reason_stays_one(make_splits: Any, parameters: Parameters) -> None:
    def notify(*_: Any, **__: Any) -> None:
        raise SystemExit(3)

    with pytest.raises(SystemExit):
        run(make_splits(), parameters(), notify=notify)


def test_progress_tells_of_preparing_and_of_epochs(make_splits: Any, parameters: Parameters) -> None:
    heard: list[tuple[str, dict[str, Any]]] = []
    run(make_splits(), parameters(epochs=3), notify=lambda _, text, /, **more: heard.append((text, more)))
    texts = [text for text, _ in heard]
    assert texts[0] == "writing images and labels"
    assert [text for text in texts if text.startswith("epoch") and "mAP50" in text] == [
        "epoch 1/3, mAP50 0.200",
        "epoch 2/3, mAP50 0.700",
        "epoch 3/3, mAP50 0.600",
    ]
    assert any(more.get("metrics", {}).get("images_per_second") == 9 for _, more in heard if more.get("metrics"))
