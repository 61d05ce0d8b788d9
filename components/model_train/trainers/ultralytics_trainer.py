"""Train YOLO models with ultralytics: offline, quiet, repeatable, on all the CPUs there are."""

import importlib.metadata
import logging
import math
import shutil
import time
from pathlib import Path
from typing import Any

import yaml

from components.model_train.trainers.base import Epoch, Hyperparameters, TrainingRun
from components.model_train.trainers.ultralytics_start import start_model
from components.shared.cpus import usable_cpus
from components.shared.detection.environment import limit_threads, prepare_environment
from components.shared.errors import TrainingError
from components.shared.materialise import MaterialisedDataset
from components.shared.progress import Notify

logger = logging.getLogger(__name__)
CACHE_LIMIT = 2 * 1024**3  # decoded training images up to this many bytes are kept in memory
METRICS = {"precision(B)": "precision", "recall(B)": "recall", "mAP50(B)": "map50", "mAP50-95(B)": "map50_95"}
ADAM_FAMILY = frozenset({"Adam", "Adamax", "AdamW", "NAdam", "RAdam"})
LIBRARIES = ("ultralytics", "torch", "torchvision", "numpy", "opencv-python-headless")


class UltralyticsTrainer:
    """The ``Trainer`` for every detection model ultralytics can build."""

    framework = "ultralytics"

    def train(
        self,
        train: MaterialisedDataset,
        val: MaterialisedDataset,
        classes: tuple[str, ...],
        parameters: Hyperparameters,
        work: Path,
        notify: Notify,
    ) -> TrainingRun:
        """Train and validate after each epoch; see ``Trainer``."""
        prepare_environment()
        device = choose_device(parameters.device)
        if device == "cpu":
            limit_threads(usable_cpus())
        model = start_model(parameters.model, classes)
        data = write_data_yaml(work / "data.yaml", train, val, classes)
        watcher = _Watcher(parameters.epochs, expected=train.epoch_image_count, notify=notify)
        watcher.attach(model)
        _silence_amp_check()
        try:
            model.train(data=str(data), **_arguments(parameters, device, train.epoch_image_count, work))
        except (RuntimeError, FileNotFoundError, AssertionError, ValueError) as error:
            raise TrainingError(
                f"The training stopped after {len(watcher.epochs)} of {parameters.epochs} epochs: "
                f"{' '.join(str(error).split())}."
            ) from error
        return _collect(Path(model.trainer.save_dir), watcher)


def choose_device(device: str) -> str:
    """``auto`` becomes the first GPU when there is one, else ``cpu``.

    Raises:
        TrainingError: a GPU was asked for that is not there.
    """
    import torch  # noqa: PLC0415 - heavy, and only needed here

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if device == "auto":
        return "0" if count else "cpu"
    if device == "cpu":
        return device
    missing = [number for number in device.split(",") if int(number) >= count]
    if missing:
        raise TrainingError(
            f"device={device!r} asks for GPU {missing[0]}, this machine shows {count}: use auto or cpu."
        )
    return device


def write_data_yaml(path: Path, train: MaterialisedDataset, val: MaterialisedDataset, classes: tuple[str, ...]) -> Path:
    """The library's data file, written by us with known keys only, because it runs code it finds in one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {
        "path": str(path.parent),
        "train": str(_train_images(path.with_name("train.txt"), train)),
        "val": str(val.images),
        "nc": len(classes),
        "names": dict(enumerate(classes)),
    }
    path.write_text(yaml.safe_dump(content, sort_keys=False, allow_unicode=True), encoding="utf-8")
    return path


def _train_images(path: Path, train: MaterialisedDataset) -> Path:
    """What the library trains on: the folder, or where an epoch shows an image more than once, a list at ``path``."""
    if train.epoch_image_count == train.image_count:
        return train.images
    lines = (f"{file}\n" * train.repeats.get(image_id, 1) for image_id, file in sorted(train.paths.items()))
    path.write_text("".join(lines), encoding="utf-8")
    return path


def _arguments(parameters: Hyperparameters, device: str, images: int, work: Path) -> dict[str, object]:
    decoded = images * parameters.imgsz * parameters.imgsz * 3
    adam = parameters.optimizer in ADAM_FAMILY
    return {
        "epochs": parameters.epochs,
        "batch": parameters.batch,
        "nbs": parameters.batch,  # no hidden accumulation: a batch is an optimiser step
        "imgsz": parameters.imgsz,
        "lr0": parameters.lr0,
        "optimizer": parameters.optimizer,
        "momentum": 0.9 if adam else 0.937,
        "warmup_epochs": parameters.warmup_epochs,
        "warmup_bias_lr": 0.0 if adam else 0.1,
        "close_mosaic": min(parameters.close_mosaic, max(0, parameters.epochs - 1)),
        "patience": parameters.patience,
        "freeze": parameters.freeze or None,
        "seed": parameters.seed,
        "deterministic": True,
        "device": device,
        "workers": 0 if device == "cpu" else min(8, usable_cpus()),
        "cache": "ram" if decoded < CACHE_LIMIT else False,
        "amp": device != "cpu",
        "rect": False,
        "plots": False,
        "verbose": False,
        "val": True,
        "single_cls": False,  # a weights file may remember otherwise
        "project": str(work),
        "name": "run",
        "exist_ok": True,
    }


class _Watcher:
    """Listens to the library's callbacks: one ``Epoch`` and one log line an epoch."""

    def __init__(self, epochs: int, *, expected: int, notify: Notify) -> None:
        self.epochs: list[Epoch] = []
        self.best: int | None = None  # number of the epoch whose weights the library keeps as its best
        self._total = epochs
        self._expected = expected
        self._notify = notify
        self._began = time.monotonic()
        self._batches = 0
        self._trained = False

    def attach(self, model: Any) -> None:  # noqa: ANN401 - ultralytics ships no types
        model.add_callback("on_train_start", self._check_labels)
        model.add_callback("on_train_batch_end", self._batch_done)
        model.add_callback("on_train_epoch_end", self._epoch_trained)
        model.add_callback("on_fit_epoch_end", self._epoch_done)

    def _check_labels(self, trainer: Any) -> None:  # noqa: ANN401 - same
        """The library drops images it dislikes with a mere log line; we prepared them all, so none may go."""
        found = len(trainer.train_loader.dataset.labels)
        if found != self._expected:
            raise TrainingError(f"The training library kept {found} of {self._expected} images; see the log for which.")
        self._began = time.monotonic()

    def _batch_done(self, trainer: Any) -> None:  # noqa: ANN401 - same
        self._batches += 1
        done = self._batches / (len(trainer.train_loader) * self._total)
        self._notify(0.99 * min(done, 1.0), f"epoch {trainer.epoch + 1}/{self._total}{self._latest()}")

    def _latest(self) -> str:
        return f", mAP50 {self.epochs[-1].values.get('map50', math.nan):.3f}" if self.epochs else ""

    def _epoch_trained(self, _trainer: Any) -> None:  # noqa: ANN401 - same
        self._trained = True

    def _epoch_done(self, trainer: Any) -> None:  # noqa: ANN401 - same
        if not self._trained:
            return  # the library calls once more after the last epoch, for its final validation
        self._trained = False
        number = trainer.epoch + 1
        if trainer.fitness == trainer.best_fitness:  # so it chooses what to keep: the last one among equals
            self.best = number
        values = {
            str(key): float(value) for key, value in trainer.label_loss_items(trainer.tloss, prefix="train").items()
        }
        for key, value in trainer.metrics.items():
            short = str(key).removeprefix("metrics/")
            values[METRICS.get(short, short)] = float(value)
        values["lr"] = float(next(iter(trainer.lr.values()), math.nan))
        values.pop("fitness", None)
        epoch = Epoch(number=number, seconds=time.monotonic() - self._began, values=values)
        self.epochs.append(epoch)
        logger.info("%s", self.line(epoch))

    def line(self, epoch: Epoch) -> str:
        """The progress line of an epoch."""
        losses = ", ".join(
            f"{name.removeprefix('train/').removesuffix('_loss')} {value:.3f}"
            for name, value in epoch.values.items()
            if name.startswith("train/")
        )
        left = epoch.seconds / epoch.number * (self._total - epoch.number)
        return (
            f"epoch {epoch.number}/{self._total}: loss {losses}; "
            f"mAP50 {epoch.values.get('map50', math.nan):.3f}, mAP50-95 {epoch.values.get('map50_95', math.nan):.3f}; "
            f"{left:.0f} s left"
        )


def _silence_amp_check() -> None:
    """The library's mixed-precision check downloads a model to try it on; torch knows the answer without."""
    from ultralytics.engine import trainer  # noqa: PLC0415 - heavy, and only after the environment is set

    trainer.check_amp = lambda _model: True


def _collect(save_dir: Path, watcher: _Watcher) -> TrainingRun:
    epochs = watcher.epochs
    best, last = save_dir / "weights" / "best.pt", save_dir / "weights" / "last.pt"
    if not last.is_file() or not epochs:
        raise TrainingError("The training ended without writing weights; see the log for the library's own words.")
    if not best.is_file():
        shutil.copy2(last, best)  # no epoch was better than nothing: serve the last
    files = {"weights/best.pt": best, "weights/last.pt": last}
    files |= {name: save_dir / name for name in ("results.csv", "args.yaml") if (save_dir / name).is_file()}
    return TrainingRun(
        files=files,
        weights="weights/best.pt",
        last="weights/last.pt",
        epochs=tuple(epochs),
        best_epoch=watcher.best or epochs[-1].number,
        libraries={name: importlib.metadata.version(name) for name in LIBRARIES},
    )
