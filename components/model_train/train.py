"""Train a detector on a prepared dataset and leave a model folder that proves what is in it."""

import logging
import math
import shutil
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

import polars as pl

from components.model_train.report import write_report
from components.model_train.trainers.base import Hyperparameters, Trainer, TrainingRun
from components.model_train.trainers.ultralytics_trainer import UltralyticsTrainer
from components.shared.dataset import Dataset
from components.shared.detection.manifest import ModelManifest
from components.shared.errors import TrainingError
from components.shared.files import sha256_tree, write_atomically
from components.shared.materialise import ImageOptions, materialise
from components.shared.progress import Notify, silent
from components.shared.shards import ImageReader
from components.shared.store import Store, open_store

logger = logging.getLogger(__name__)
SUFFIXES = {"jpeg": ".jpg", "tiff": ".tif"}  # where the format's name is not the usual suffix


@dataclass(frozen=True)
class Trained:
    """A trained model: its manifest and the run that made it."""

    manifest: ModelManifest
    run: TrainingRun


def train_model(
    train_dir: Path,
    val_dir: Path,
    store_uri: str,
    parameters: Hyperparameters,
    model_dir: Path,
    report: Path,
    notify: Notify = silent,
    trainer: Trainer | None = None,
) -> Trained:
    """Train on one dataset, validate on another, and leave the model folder in ``model_dir``.

    Args:
        train_dir: the dataset to train on (its four files).
        val_dir: the dataset to validate on.
        store_uri: where the images of both lie.
        parameters: what the training is asked for.
        model_dir: receives weights, test image and manifest.
        report: receives the HTML report.
        notify: hears how far it is.
        trainer: the training library; ultralytics when not given.

    Raises:
        TrainingError: the data cannot be trained on, or the training failed.
    """
    chosen = trainer or UltralyticsTrainer()
    train, val = Dataset.load(train_dir), Dataset.load(val_dir)
    check_datasets(train, val)
    store = open_store(store_uri)
    with tempfile.TemporaryDirectory(prefix="model-train-") as scratch:
        work = Path(scratch)
        notify(0.0, "writing images and labels")
        images = ImageOptions(longest_edge=parameters.longest_edge, format=parameters.image_format)
        train_files = materialise(train, store, work / "train", options=images)
        val_files = materialise(val, store, work / "val", options=images)
        run = chosen.train(train_files, val_files, train.classes, parameters, work, notify)
        manifest = _collect(chosen, run, train, val, store, parameters, model_dir)
    write_report(report, run, manifest, train, val)
    return Trained(manifest, run)


def check_datasets(train: Dataset, val: Dataset) -> None:
    """Refuse data that no training should see.

    Raises:
        TrainingError: a split is empty or has no boxes, the classes differ, or both hold the same image.
    """
    for dataset in (train, val):
        if dataset.images.is_empty() or dataset.ground_truth().is_empty():
            raise TrainingError(f"The {dataset.split} split has no boxes: there is nothing to learn from.")
    if train.classes != val.classes:
        raise TrainingError(f"train has the classes {train.classes}, val {val.classes}: prepare both together.")
    shared = train.images.get_column("sha256").drop_nulls().unique().implode()
    overlap = val.images.filter(pl.col("sha256").is_in(shared))
    if not overlap.is_empty():
        raise TrainingError(
            f"{overlap.height} of {val.images.height} validation images are also trained on, "
            f"{overlap.item(0, 'name')!r} first: the metrics would mean nothing."
        )


def _collect(
    trainer: Trainer,
    run: TrainingRun,
    train: Dataset,
    val: Dataset,
    store: Store,
    parameters: Hyperparameters,
    model_dir: Path,
) -> ModelManifest:
    shutil.rmtree(model_dir, ignore_errors=True)  # what an earlier, killed attempt left is no part of this model
    for name, source in run.files.items():
        target = model_dir / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
    test_image = _keep_test_image(val, store, model_dir)
    best = next(epoch for epoch in run.epochs if epoch.number == run.best_epoch)
    metrics = {name: value for name, value in best.values.items() if math.isfinite(value)}
    manifest = ModelManifest(
        name=train.name,
        framework=trainer.framework,
        weights=run.weights,
        last=run.last,
        test_image=test_image,
        classes=train.classes,
        imgsz=-(-parameters.imgsz // 32) * 32,
        parameters=asdict(parameters),
        datasets={"train": train.version, "val": val.version},
        libraries=dict(run.libraries),
        metrics={**metrics, "best_epoch": run.best_epoch, "epochs": len(run.epochs)},
        files=sha256_tree(model_dir),
    )
    manifest.save(model_dir)
    return manifest


def _keep_test_image(val: Dataset, store: Store, model_dir: Path) -> str:
    """Copy, as encoded, the validation image with the most boxes (first by name among equals) into the model folder."""
    counts = val.ground_truth().group_by("image_id").len()
    row = val.images.join(counts, on="image_id").sort(["len", "name"], descending=[True, False]).head(1)
    ((_, data),) = ImageReader(store).read_many(row.select(val.images.columns))
    kind = row.item(0, "format")
    name = f"test_image{SUFFIXES.get(kind, f'.{kind}')}"
    with write_atomically(model_dir / name) as temporary:
        temporary.write_bytes(data)
    return name
