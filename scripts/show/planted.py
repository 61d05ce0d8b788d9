"""Plant a fault inside the training library and see what model_train does: ``planted.py nan`` or ``planted.py oom``."""

# ruff: noqa: ANN401, PLC0415 - the library ships no types, and is loaded once its surroundings are set

import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from stage import SMALL, folder, hold, prepared, say

from components.model_train.model_folder import Outputs
from components.model_train.settings import read_settings
from components.model_train.train import Trained, train_model
from components.shared.detection.environment import prepare_environment
from components.shared.errors import DivergedError
from components.shared.store import open_store

BASE = {
    "preset": "quick", "model": "yolo11n.yaml", "start_from": "", "epochs": 6, "batch": 8, "imgsz": 64, "lr0": 0.0,
    "optimizer": "preset", "warmup_epochs": -1.0, "close_mosaic": -1, "freeze": 0, "hyperparameters": {}, "seed": 0,
    "device": "cpu", "gpus": 1, "patience": -1, "max_hours": 0.0, "attempt_hours": 0.0, "resume": "auto",
    "checkpoint_minutes": 60.0, "checkpoint_epochs": 1, "overfitting": "warn", "overfit_patience": 10,
    "longest_edge": 0, "image_format": "keep",
}  # fmt: skip
POISONED = 20  # the batch, counted over all epochs


def plant(fault: Callable[[int, int, Any], Any]) -> None:
    """Let ``fault(call, images in the batch, loss)`` have its way with every training loss of the library."""
    prepare_environment()
    from ultralytics.utils.loss import v8DetectionLoss

    original, calls = v8DetectionLoss.__call__, [0]

    def planted(self: Any, predictions: Any, batch: Any) -> Any:
        loss, items = original(self, predictions, batch)
        if not loss.requires_grad:
            return loss, items
        calls[0] += 1
        return fault(calls[0], len(batch["img"]), loss), items

    v8DetectionLoss.__call__ = planted


def train(work: Path) -> Trained:
    """A small training of the sample."""
    train_dir, val_dir, store = prepared(work, images=int(SMALL["sample_images"]), edge=int(SMALL["sample_edge"]))
    return train_model(
        (train_dir, val_dir), store, read_settings(BASE, {}), Outputs(work / "model", work / "report.html")
    )


def nan(work: Path) -> None:
    """The loss is no number from a batch of the fourth epoch on: there are 6 batches an epoch."""
    plant(lambda call, _, loss: loss * float("nan") if call >= POISONED else loss)
    try:
        train(work)
    except DivergedError as error:
        say(f"   {error}")
        hold("it stopped at once, in epoch 4", true="epoch 4" in str(error))
        kept = [item.key for item in open_store((work / "store").as_uri()).list("checkpoints/")]
        hold("the last good checkpoint is in the store", true=any(key.endswith("checkpoint.json") for key in kept))
        return
    hold("it stopped", true=False)


def oom(work: Path) -> None:
    """More than four images do not fit."""

    def fault(_call: int, images: int, loss: Any) -> Any:
        import torch

        if images > int(SMALL["batch"]) // 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return loss

    plant(fault)
    trained = train(work)
    for note in trained.story.notes:
        say(f"   {note}")
    hold("it went on with half the batch", true=trained.story.attempts[-1].batch == int(SMALL["batch"]) // 2)
    hold("to its end", true=trained.story.epochs[-1].number == BASE["epochs"])
    hold("and said so in its story", true=any("batch" in note for note in trained.story.notes))


def main() -> None:
    """Show the fault that the command line names."""
    fault = {"nan": nan, "oom": oom}.get(next(iter(sys.argv[1:]), ""))
    if fault is None:
        sys.exit(__doc__)
    logging.basicConfig(level=logging.INFO, format="   %(message)s")
    with folder() as work:
        fault(work)


if __name__ == "__main__":
    main()
