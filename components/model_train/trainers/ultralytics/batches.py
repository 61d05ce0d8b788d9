"""What a running training shows: its batches as pictures with boxes, its epochs as numbers."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from components.model_train.trainers.base import Watch

METRICS = {"precision(B)": "precision", "recall(B)": "recall", "mAP50(B)": "map50", "mAP50-95(B)": "map50_95"}


def show_batch(batch: Mapping[str, Any], watch: Watch) -> None:
    """Show the watch a batch that is ready for the model.

    Args:
        batch: ``img`` float ``(N, 3, height, width)`` RGB 0..1; ``bboxes`` ``(M, 4)`` centre x, centre y, width, height
            as shares of the image; ``cls`` ``(M, 1)``; ``batch_idx`` ``(M,)`` the image of each box.
        watch: who is shown it.
    """
    images = (batch["img"] * 255).round().clamp(0, 255).byte().permute(0, 2, 3, 1).cpu().numpy()
    height, width = images.shape[1:3]
    centred = batch["bboxes"].cpu().numpy().astype(np.float64).reshape(-1, 4)
    boxes = np.concatenate((centred[:, :2] - centred[:, 2:] / 2, centred[:, 2:]), axis=1)
    boxes *= (width, height, width, height)
    labels = batch["cls"].cpu().numpy().reshape(-1).astype(np.int64)
    owners = batch["batch_idx"].cpu().numpy().reshape(-1)
    chosen = [owners == number for number in range(len(images))]
    watch.batch_seen(images, [boxes[rows] for rows in chosen], [labels[rows] for rows in chosen])


def epoch_values(trainer: Any) -> dict[str, float]:  # noqa: ANN401 - ultralytics ships no types
    """The losses and metrics of the epoch that a library's trainer has just validated, by our names."""
    losses = trainer.label_loss_items(trainer.tloss, prefix="train")
    values = {str(name): float(value) for name, value in losses.items()}
    for name, value in trainer.metrics.items():
        short = str(name).removeprefix("metrics/")
        values[METRICS.get(short, short)] = float(value)
    values.pop("fitness", None)
    values["lr"] = float(next(iter(trainer.lr.values()), math.nan))
    values["gpu_memory"] = _peak_memory(trainer.device)
    return values


def _peak_memory(device: Any) -> float:  # noqa: ANN401 - a torch device
    import torch  # noqa: PLC0415 - heavy

    return float(torch.cuda.max_memory_reserved(device)) if device.type == "cuda" else 0.0
