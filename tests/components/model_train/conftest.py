"""A small prepared dataset, two splits of one load, whose images lie in a real store."""

import hashlib
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image

from components.model_train.trainers.base import Hyperparameters
from components.shared.dataset import ANNOTATIONS, IMAGES, Dataset
from components.shared.images import probe
from components.shared.shards import ShardWriter
from components.shared.store import Store, open_store

sys.path.insert(0, str(Path(__file__).parent))  # fake_trainer.py is shared by the tests beside it

CLASSES = ("bar", "block")
EDGE = 64


@dataclass(frozen=True)
class Splits:
    """Two datasets in their folders, and the store that holds their images.

    Attributes:
        pictures: encoded images by name.
    """

    store: str
    root: Path
    train: Dataset
    val: Dataset
    pictures: dict[str, bytes]

    def save(self, *, train: Dataset | None = None, val: Dataset | None = None) -> tuple[Path, Path, str]:
        """Write both splits; the first three arguments of ``train_model``."""
        (train or self.train).save(self.root / "train")
        (val or self.val).save(self.root / "val")
        return self.root / "train", self.root / "val", self.store


def picture(seed: int, boxes: list[tuple[int, int, int, int]], kind: str) -> bytes:
    generator = np.random.default_rng(seed)
    pixels = generator.integers(0, 60, (EDGE, EDGE, 3), dtype=np.uint8)
    for left, top, width, height in boxes:
        pixels[top : top + height, left : left + width] = generator.integers(150, 255, 3)
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


def draw(count: int, kind: str, first_seed: int) -> list[tuple[str, bytes, list[tuple[int, int, int, int]]]]:
    """``count`` images; the one at ``n`` shows ``n % 3`` boxes."""
    drawn = []
    for number in range(count):
        boxes = [(4 + 30 * place, 6 + number, 24, 20 + number) for place in range(number % 3)]
        name = f"{first_seed + number:04}.{'jpg' if kind == 'JPEG' else kind.lower()}"
        drawn.append((name, picture(first_seed + number, boxes, kind), boxes))
    return drawn


def build(store: Store, split: str, count: int, kind: str, first_seed: int) -> tuple[Dataset, list[bytes]]:
    drawn = draw(count, kind, first_seed)
    with ShardWriter(store) as writer:
        for _, data, _ in drawn:
            writer.add(data, hashlib.sha256(data).hexdigest())
    images, annotations = [], []
    for number, (name, data, boxes) in enumerate(drawn):
        look, digest = probe(data), hashlib.sha256(data).hexdigest()
        place = writer.locations[digest]
        row: dict[str, object] = {"image_id": number, "name": name, "sha256": digest, "split": split}
        row |= {"width": look.width, "height": look.height, "format": look.format, "orientation": 1}
        images.append(row | {"bytes": len(data), "shard": place.shard, "offset": place.offset})
        for left, top, width, height in boxes:
            box = {"x": float(left), "y": float(top), "width": float(width), "height": float(height)}
            flags = {"crowd": False, "difficult": False, "truncated": False, "kind": "ground_truth"}
            ids = {"annotation_id": len(annotations), "image_id": number, "category": CLASSES[len(annotations) % 2]}
            annotations.append({**ids, **box, **flags})
    tables = pl.DataFrame(images, schema=IMAGES), pl.DataFrame(annotations, schema=ANNOTATIONS)
    dataset = Dataset(
        name="shapes",
        classes=CLASSES,
        images=tables[0],
        annotations=tables[1],
        shards=writer.shards,
        split=split,
    )
    return dataset, [data for _, data, _ in drawn]


MakeSplits = Callable[..., Splits]


def make(root: Path, *, kind: str = "JPEG") -> Splits:
    store = open_store((root / "store").as_uri())
    train, train_pictures = build(store, "train", 8, kind, 0)
    val, val_pictures = build(store, "val", 4, kind, 100)
    names = [*train.images["name"], *val.images["name"]]
    pictures = dict(zip(names, train_pictures + val_pictures, strict=True))
    return Splits(store.uri, root, train, val, pictures)


@pytest.fixture
def make_splits(tmp_path: Path) -> MakeSplits:
    return lambda **options: make(tmp_path, **options)


@pytest.fixture(scope="module")
def module_splits(tmp_path_factory: pytest.TempPathFactory) -> Splits:
    return make(tmp_path_factory.mktemp("splits"))


@pytest.fixture(autouse=True, scope="module")
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PIPELINE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def parameters() -> Callable[..., Hyperparameters]:
    """Hyperparameters of the smallest training, with changes."""
    smallest = Hyperparameters(
        model="yolo11n.yaml",
        epochs=2,
        batch=4,
        imgsz=32,
        lr0=0.002,
        optimizer="AdamW",
        warmup_epochs=1.0,
        close_mosaic=5,
        freeze=0,
        device="cpu",
        seed=0,
    )
    return lambda **changes: replace(smallest, **changes)
