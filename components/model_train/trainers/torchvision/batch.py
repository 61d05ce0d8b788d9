"""The batch a torchvision training learns from: its augmented images, and how many of them fit a GPU."""

import copy
import logging
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from components.model_train.trainers.base import Hyperparameters
from components.model_train.trainers.torchvision.augment import Augmentation, augment
from components.model_train.trainers.torchvision.data import Example, Examples, epoch_batches, prepared, to_targets
from components.model_train.trainers.torchvision.ranks import Ranks
from components.shared.detection.torchvision_models import first_label

logger = logging.getLogger(__name__)
STRIDE = 32  # image sizes are multiples of this
WITHOUT_GPU = 8  # images a batch where there is no GPU to fill
MEMORY_SHARE = 0.7  # of the GPU's free memory that a batch may take
_TRIED = (1, 2, 4, 8)
_OBJECTS = 20  # in an image the memory is measured with


class Lessons:
    """The batches of each epoch, as this process learns them.

    Args:
        examples: what to learn from.
        parameters: seed, epochs and augmentation; ``batch`` is not read.
        imgsz: edge in pixels of an image.
        ranks: this process among those that share a batch.
        threads: that prepare images ahead; 0: none.
    """

    def __init__(self, examples: Examples, parameters: Hyperparameters, imgsz: int, ranks: Ranks, threads: int) -> None:
        self._examples, self._asked, self._imgsz = examples, parameters, imgsz
        self._ranks, self._threads = ranks, threads
        self._how = Augmentation.of(parameters.options)
        self._spread = float(parameters.options.get("multi_scale", 0.0))

    def __len__(self) -> int:
        return len(self._examples)

    def epoch(self, number: int, batch: int) -> Iterator[tuple[int, list[Example]]]:
        """Image size and this process's examples of each batch; every choice depends on seed and epoch alone."""
        seed = self._asked.seed
        plan = epoch_batches(len(self), batch, seed=seed, epoch=number, ranks=self._ranks.world)
        closing = number > self._asked.epochs - self._asked.close_mosaic
        how = replace(self._how, mosaic=0.0) if closing else self._how

        def make(index: int) -> tuple[int, list[Example]]:
            size = self._size(np.random.default_rng([seed, number, index]))
            places = range(self._ranks.rank, len(plan[index]), self._ranks.world)
            return size, [
                augment(self._examples, int(plan[index][place]), size, how, (seed, number, index * batch + place, 1))
                for place in places
            ]

        return prepared(make, len(plan), self._threads)

    def _size(self, random: np.random.Generator) -> int:
        if not self._spread:
            return self._imgsz
        edge = self._imgsz * random.uniform(1 - self._spread, 1 + self._spread)
        return max(STRIDE, round(edge / STRIDE) * STRIDE)


def largest_batch(model: Any, imgsz: int, limit: int) -> int:  # noqa: ANN401 - torchvision is untyped here
    """How many images of ``imgsz`` pixels a step of this process may have: at most ``limit``.

    Steps of a few images are taken with a copy of the model; memory grows with their number on a line.
    """
    import torch  # noqa: PLC0415 - heavy

    device = next(model.parameters()).device
    if device.type != "cuda":
        return min(WITHOUT_GPU, limit)
    free, _ = torch.cuda.mem_get_info(device)
    counts, used = [], []
    trial = copy.deepcopy(model).train()
    for count in _TRIED:
        torch.cuda.reset_peak_memory_stats(device)
        try:
            _try(trial, imgsz, count, device)
        except torch.OutOfMemoryError:
            break
        counts.append(count)
        used.append(float(torch.cuda.max_memory_reserved(device)))
    del trial
    torch.cuda.empty_cache()
    chosen = fitting(counts, used, MEMORY_SHARE * free, limit)
    logger.info("batch: %d images a GPU", chosen)
    return chosen


def fitting(counts: list[int], used: list[float], memory: float, limit: int) -> int:
    """The count at which a line through the measured uses reaches ``memory``; between 1 and ``limit``."""
    if len(counts) < 2:  # noqa: PLR2004 - no line through one point
        return 1
    slope, start = np.polyfit(counts, used, 1)
    return int(np.clip((memory - start) / slope + 1e-6, 1, limit)) if slope > 0 else limit


def _try(model: Any, imgsz: int, count: int, device: Any) -> None:  # noqa: ANN401 - same
    random = np.random.default_rng(0)
    corners = random.uniform(0, imgsz * 0.7, (_OBJECTS, 2))
    boxes = np.hstack([corners, corners + imgsz * 0.2])
    example = Example(random.integers(0, 255, (imgsz, imgsz, 3), dtype=np.uint8), boxes, np.zeros(_OBJECTS, np.int64))
    losses = model(*to_targets([example] * count, device, first_label(model)))
    sum(losses.values()).backward()
    model.zero_grad(set_to_none=True)
