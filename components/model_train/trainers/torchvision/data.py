"""Images and boxes of a materialised dataset as a torchvision training takes them, in an order that a seed decides."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from components.shared.detection.torchvision_runtime import fit_longest, fitted_size, to_tensor
from components.shared.errors import TrainingError
from components.shared.images import decode
from components.shared.materialise import MaterialisedDataset

CACHE_LIMIT = 2 * 1024**3  # scaled images up to this many bytes are kept in memory
_LABEL_FIELDS = 5


@dataclass(frozen=True)
class Example:
    """An image with its boxes.

    Attributes:
        pixels: RGB uint8 ``(height, width, 3)``.
        boxes: float64 ``(N, 4)``: left, top, right, bottom in these pixels.
        labels: int64 ``(N,)``: class ids from 0.
    """

    pixels: npt.NDArray[np.uint8]
    boxes: npt.NDArray[np.float64]
    labels: npt.NDArray[np.int64]


class Examples:
    """A dataset's images, each scaled so that its longest edge has ``imgsz`` pixels; repeated ones as often as told."""

    def __init__(self, dataset: MaterialisedDataset, imgsz: int) -> None:
        self._imgsz = imgsz
        self._paths = [
            path for image_id, path in sorted(dataset.paths.items()) for _ in range(dataset.repeats.get(image_id, 1))
        ]
        self._labels = {path: _read_labels(dataset.labels / f"{path.stem}.txt") for path in set(self._paths)}
        self._keep = len(self._labels) * imgsz * imgsz * 3 <= CACHE_LIMIT
        self._kept: dict[Path, npt.NDArray[np.uint8]] = {}

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index: int) -> Example:
        """The example at ``index``; its pixels are shared, so they must not be written to."""
        path = self._paths[index]
        pixels = self._pixels(path)
        height, width = pixels.shape[:2]
        rows = self._labels[path]
        centres, halves = rows[:, 1:3], rows[:, 3:5] / 2
        boxes = np.hstack([centres - halves, centres + halves]) * [width, height, width, height]
        return Example(pixels, boxes, rows[:, 0].astype(np.int64))

    def shape(self, index: int) -> tuple[int, int]:
        """Height and width of an example, without decoding it."""
        path = self._paths[index]
        if path in self._kept:
            return self._kept[path].shape[:2]
        with Image.open(path) as image:
            width, height = image.size
        return fitted_size(width, height, self._imgsz)[::-1]

    def _pixels(self, path: Path) -> npt.NDArray[np.uint8]:
        if path not in self._kept:
            pixels = fit_longest(decode(path.read_bytes()), self._imgsz)
            if not self._keep:
                return pixels
            self._kept[path] = pixels
        return self._kept[path]


def epoch_batches(count: int, batch: int, *, seed: int, epoch: int, ranks: int = 1) -> list[npt.NDArray[np.int64]]:
    """Which examples each batch of an epoch shows: a permutation that depends on seed and epoch alone.

    The last batch may be smaller; it is filled from the beginning so that each rank has a share of it, and so that
    no batch is one image alone, of which a normalisation could learn nothing.
    """
    order = np.random.default_rng([seed, epoch]).permutation(count)
    batches = [order[start : start + batch] for start in range(0, count, batch)]
    least = max(min(2, batch), ranks)
    size = max(least, -(-len(batches[-1]) // ranks) * ranks)
    batches[-1] = np.concatenate([batches[-1], np.resize(order, size - len(batches[-1]))])
    return batches


def prepared(make: Callable[[int], Any], count: int, threads: int) -> Iterator[Any]:
    """``make(0)`` to ``make(count - 1)``, in order, made ahead by that many threads; 0: each when it is asked for."""
    if not threads:
        yield from map(make, range(count))
        return
    with ThreadPoolExecutor(threads, thread_name_prefix="images") as pool:
        waiting = iter(range(count))
        ahead = [pool.submit(make, number) for number in islice(waiting, threads + 2)]
        while ahead:
            ready = ahead.pop(0).result()
            ahead += [pool.submit(make, number) for number in islice(waiting, 1)]
            yield ready


def to_targets(examples: Sequence[Example], device: Any, first_label: int) -> tuple[list[Any], list[dict[str, Any]]]:  # noqa: ANN401 - torch is untyped here
    """What the models are trained with: image tensors and ``boxes`` and ``labels``, on the device."""
    import torch  # noqa: PLC0415 - heavy

    images = [to_tensor(example.pixels).to(device, non_blocking=True) for example in examples]
    targets = [
        {
            "boxes": torch.as_tensor(example.boxes, dtype=torch.float32).reshape(-1, 4).to(device),
            "labels": torch.as_tensor(example.labels + first_label).to(device),
        }
        for example in examples
    ]
    return images, targets


def _read_labels(path: Path) -> npt.NDArray[np.float64]:
    """Rows of class, centre and size as shares of the image, ``(N, 5)``."""
    try:
        rows = [[float(word) for word in line.split()] for line in path.read_text(encoding="ascii").splitlines()]
        table = np.array(rows, dtype=np.float64).reshape(-1, _LABEL_FIELDS)
    except (OSError, ValueError) as error:
        raise TrainingError(f"The label file {str(path)!r} cannot be read: {error}.") from error
    if not np.isfinite(table).all():
        raise TrainingError(f"The label file {str(path)!r} holds a number that is none.")
    return table
