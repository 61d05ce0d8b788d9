"""A handful of drawn images on disk, a network small enough to train in a second, and somebody who watches."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from components.model_train.story import Epoch
from components.model_train.trainers.base import Hyperparameters, Start, TrainingJob
from components.shared.materialise import MaterialisedDataset, materialise
from components.shared.store import open_store

TINY = """
nc: 80
scales:
  n: [0.33, 0.125, 512]
backbone:
  - [-1, 1, Conv, [64, 3, 2]]
  - [-1, 1, Conv, [128, 3, 2]]
  - [-1, 1, C2f, [128, True]]
  - [-1, 1, Conv, [256, 3, 2]]
  - [-1, 1, C2f, [256, True]]
  - [-1, 1, Conv, [512, 3, 2]]
  - [-1, 1, SPPF, [512, 5]]
head:
  - [-1, 1, nn.Upsample, [None, 2, "nearest"]]
  - [[-1, 4], 1, Concat, [1]]
  - [-1, 1, C2f, [256]]
  - [[9, 6], 1, Detect, [nc]]
"""
TINY_RTDETR = """
nc: 80
scales:
  l: [1.0, 1.0, 1024]
backbone:
  - [-1, 1, HGStem, [8, 16]]
  - [-1, 1, HGBlock, [8, 16, 3]]
  - [-1, 1, DWConv, [16, 3, 2, 1, False]]
  - [-1, 1, HGBlock, [8, 32, 3]]
  - [-1, 1, DWConv, [32, 3, 2, 1, False]]
  - [-1, 1, HGBlock, [8, 32, 3, True, False]]
head:
  - [-1, 1, Conv, [32, 1, 1, None, 1, 1, False]]
  - [-1, 1, AIFI, [64, 4]]
  - [[3, 7], 1, RTDETRDecoder, [nc, 32, 20, 2, 4, 2, 64]]
"""


@dataclass
class Listener:
    """A ``Watch`` that remembers what it is told.

    Attributes:
        folder: where every epoch's snapshot is written, by the epoch's number; ``None``: nowhere.
        stop_after: the epoch after which it ends the training.
        raises: raised when the batch of this epoch and number is done.
    """

    folder: Path | None = None
    stop_after: int = 0
    raises: tuple[int, int, BaseException] | None = None
    begins: list[dict[str, int]] = field(default_factory=list)
    shown: list[tuple[Any, Any, Any]] = field(default_factory=list)
    batches: list[tuple[int, int, dict[str, float], float]] = field(default_factory=list)
    epochs: list[Epoch] = field(default_factory=list)

    def begun(self, **numbers: int) -> None:
        self.begins.append(numbers)

    def batch_seen(self, images: Any, boxes: Any, labels: Any) -> None:
        self.shown.append((images, boxes, labels))

    def batch_done(self, epoch: int, batch: int, losses: Mapping[str, float], *, memory: float = 0.0) -> None:
        self.batches.append((epoch, batch, dict(losses), memory))
        if self.raises and self.raises[:2] == (epoch, batch):
            raise self.raises[2]

    def epoch_done(self, epoch: Epoch, snapshot: Any) -> bool:
        self.epochs.append(epoch)
        if self.folder:
            snapshot.write(self.folder / str(epoch.number))
        return epoch.number == self.stop_after


@pytest.fixture
def listener() -> type[Listener]:
    return Listener


@pytest.fixture(scope="module")
def module_files(module_splits: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[MaterialisedDataset, ...]:
    """Both splits on disk, 8 and 4 images of 64 pixels; nobody changes them."""
    store, folder = open_store(module_splits.store), tmp_path_factory.mktemp("files")
    return (
        materialise(module_splits.train, store, folder / "train"),
        materialise(module_splits.val, store, folder / "val"),
    )


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A YOLO with a tenth of the smallest one's weights."""
    path = tmp_path_factory.mktemp("models") / "tiny.yaml"
    path.write_text(TINY)
    return path


@pytest.fixture(scope="session")
def tiny_rtdetr(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "rtdetr-tiny.yaml"
    path.write_text(TINY_RTDETR)
    return path


MakeJob = Callable[..., TrainingJob]


@pytest.fixture
def make_job(module_files: Any, tiny: Path, parameters: Callable[..., Hyperparameters], tmp_path: Path) -> MakeJob:
    """A job on those images; what is no hyperparameter is the job's."""

    def build(folder: str = "work", **changes: Any) -> TrainingJob:
        own = {name: changes.pop(name) for name in ("start", "train", "val", "resume", "classes") if name in changes}
        job = TrainingJob(
            train=module_files[0],
            val=module_files[1],
            classes=("bar", "block"),
            parameters=parameters(**{"imgsz": 64, **changes}),
            start=Start("ultralytics", str(tiny)),
            work=tmp_path / folder,
        )
        return replace(job, **own)

    return build
