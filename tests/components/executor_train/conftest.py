"""A tiny prepared dataset, red and blue boxes on dark noise, and tars as executors leave them."""

import hashlib
import tarfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image

from components.executor_train.settings import read_settings
from components.executor_train.stage import stage_data
from components.shared.dataset import ANNOTATIONS, IMAGES, Dataset
from components.shared.images import probe
from components.shared.shards import ShardWriter
from components.shared.store import Store, open_store

ROOT = Path(__file__).parents[3]
CLASSES = ("red", "blue")
COLOURS = ((220, 30, 30), (30, 40, 220))
EDGE = 64


@dataclass(frozen=True)
class Splits:
    """Two datasets in their folders, and the store that holds their images."""

    store: str
    root: Path
    train: Dataset
    val: Dataset

    def save(self, **changed: Dataset) -> tuple[Path, Path]:
        for name in ("train", "val"):
            changed.get(name, getattr(self, name)).save(self.root / name)
        return self.root / "train", self.root / "val"


def picture(seed: int, boxes: list[tuple[int, int, int, int]], kind: str) -> bytes:
    generator = np.random.default_rng(seed)
    pixels = generator.integers(0, 50, (EDGE, EDGE, 3), dtype=np.uint8)
    for place, (left, top, width, height) in enumerate(boxes):
        pixels[top : top + height, left : left + width] = COLOURS[place % 2]
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


def build(store: Store, split: str, count: int, seed: int, kind: str) -> Dataset:
    drawn = []
    for number in range(count):
        boxes = [(4 + 30 * place, 6 + number, 22, 20 + number) for place in range(number % 3)]
        drawn.append((f"shelf {number}/{seed + number}.{kind.lower()}", picture(seed + number, boxes, kind), boxes))
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
        for position, (left, top, width, height) in enumerate(boxes):
            box = {"x": float(left), "y": float(top), "width": float(width), "height": float(height)}
            flags = {"crowd": False, "difficult": False, "truncated": False, "kind": "ground_truth"}
            ids = {"annotation_id": len(annotations), "image_id": number, "category": CLASSES[position % 2]}
            annotations.append({**ids, **box, **flags})
    tables = pl.DataFrame(images, schema=IMAGES), pl.DataFrame(annotations, schema=ANNOTATIONS)
    return Dataset("shelves", CLASSES, *tables, shards=writer.shards, split=split)


def make(root: Path, kind: str = "PNG") -> Splits:
    store = open_store((root / "store").as_uri())
    return Splits(store.uri, root, build(store, "train", 6, 0, kind), build(store, "val", 3, 100, kind))


@pytest.fixture
def make_splits(tmp_path: Path) -> Callable[..., Splits]:
    return lambda **options: make(tmp_path, **options)


@pytest.fixture(scope="session")
def splits(tmp_path_factory: pytest.TempPathFactory) -> Splits:
    made = make(tmp_path_factory.mktemp("splits"))
    made.save()
    return made


@pytest.fixture(scope="session")
def template() -> str:
    return (ROOT / "images" / "executor" / "img-man" / "training-template.yaml").read_text()


@pytest.fixture(scope="session")
def staged(splits: Splits, template: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tar that ``executor_stage`` makes of the dataset, for our own executor."""
    path = tmp_path_factory.mktemp("staged") / "staged"
    settings = read_settings(template=template, config='{"epochs": 2, "image_size": 64}')
    stage_data((splits.root / "train", splits.root / "val"), splits.store, settings, path)
    return path


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PIPELINE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


Leave = Callable[..., Path]


@pytest.fixture
def leave(tmp_path: Path) -> Leave:
    """A tar of what an executor left: files by their paths below ``/out``."""

    def left(files: Mapping[str, str | bytes], *more: tarfile.TarInfo) -> Path:
        path = tmp_path / "result"
        with tarfile.open(path, "w") as tar:
            for name, content in files.items():
                data = content.encode() if isinstance(content, str) else content
                entry = tarfile.TarInfo(name)
                entry.size = len(data)
                tar.addfile(entry, BytesIO(data))
            for entry in more:
                tar.addfile(entry)
        return path

    return left


@pytest.fixture
def oversampled(splits: Splits) -> Dataset:
    weights = pl.Series("weight", [3.0] + [None] * 5, dtype=pl.Float32)
    return replace(splits.train, images=splits.train.images.with_columns(weights))
