import shutil
import tarfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from components.shared.archive import ArchiveManifest
from components.shared.dataset import ANNOTATIONS, IMAGES, Dataset
from components.shared.detection.detector import Detections
from components.shared.detection.inference import Inference
from components.shared.detection.manifest import load_manifest
from components.shared.evaluation.outcomes import DETECTIONS
from components.shared.files import digest_of_digests, sha256_tree
from components.shared.images import encode_jpeg

Box = tuple[float, float, float, float]
SIZE = (320, 240)


@dataclass(frozen=True)
class Truth:
    image_id: int
    category: str
    box: Box
    crowd: bool = False
    difficult: bool = False
    attributes: str | None = None


@dataclass(frozen=True)
class Found:
    image_id: int
    category: str
    score: float
    box: Box


@dataclass(frozen=True)
class Case:
    dataset: Dataset
    detections: pl.DataFrame


def make_dataset(truths: Sequence[Truth], classes: Sequence[str], image_count: int, first_id: int = 0) -> Dataset:
    ids = range(first_id, first_id + image_count)
    images = pl.DataFrame(
        [
            {
                "image_id": image_id,
                "name": f"images/{image_id:03}.jpg",
                "sha256": f"{image_id:064x}",
                "width": SIZE[0],
                "height": SIZE[1],
                "format": "jpeg",
                "orientation": 1,
                "bytes": 1000,
                "shard": "0" * 64,
                "offset": 512,
                "split": "test",
            }
            for image_id in ids
        ],
        schema=IMAGES,
    )
    annotations = pl.DataFrame(
        [
            {
                "annotation_id": number,
                "image_id": truth.image_id,
                "category": truth.category,
                **dict(zip(("x", "y", "width", "height"), truth.box, strict=True)),
                "crowd": truth.crowd,
                "difficult": truth.difficult,
                "truncated": False,
                "kind": "ground_truth",
                "attributes": truth.attributes,
            }
            for number, truth in enumerate(truths)
        ],
        schema=ANNOTATIONS,
    )
    return Dataset("shapes", tuple(classes), images, annotations, split="test")


def make_detections(found: Sequence[Found]) -> pl.DataFrame:
    rows = [(one.image_id, one.category, one.score, *one.box) for one in found]
    return pl.DataFrame(rows, schema=DETECTIONS, orient="row")


def random_case(seed: int, *, classes: int = 3, images: int = 12, crowd: float = 0.15, boxes: int = 6) -> Case:
    """Boxes of every size with predictions around them: shifted, of the wrong class, twice, or of nothing."""
    random = np.random.default_rng(seed)
    names = [f"class {index}" for index in range(classes)]
    truths, found = [], []
    for image_id in range(images):
        for _ in range(random.integers(0, boxes + 1)):
            side = random.choice([12.0, 30.0, 60.0, 150.0], size=2) * random.uniform(0.8, 1.2, 2)
            corner = random.uniform(0, (SIZE[0] - side[0], SIZE[1] - side[1]))
            box = np.concatenate([corner, side])
            name = names[random.integers(classes)]
            flags = random.random(2) < (crowd, crowd / 2)
            truths.append(Truth(image_id, name, tuple(box.tolist()), bool(flags[0]), bool(flags[1])))
            for _ in range(random.integers(0, 4)):
                guess = name if random.random() < 0.8 else names[random.integers(classes)]
                moved = box + random.normal(0, 0.08, 4) * np.tile(side, 2)
                score = round(float(random.uniform(0.01, 1)), 2)
                found.append(Found(image_id, guess, score, tuple(np.maximum(moved, 1.0).tolist())))
    return Case(make_dataset(truths, names, images), make_detections(found))


@pytest.fixture
def shapes() -> Callable[..., Dataset]:
    return make_dataset


@pytest.fixture
def truth() -> type[Truth]:
    return Truth


@pytest.fixture
def found() -> type[Found]:
    return Found


@pytest.fixture
def detections() -> Callable[[Sequence[Found]], pl.DataFrame]:
    return make_detections


@pytest.fixture
def random_set() -> Callable[..., Case]:
    return random_case


class PaintedImages:
    """A source of images that paints each one when asked, with its id in the corner pixel."""

    def read_many(self, images: pl.DataFrame) -> Iterator[tuple[int, bytes]]:
        for image_id, width, height in images.select("image_id", "width", "height").iter_rows():
            pixels = np.full((height, width, 3), 200, dtype=np.uint8)
            pixels[:16, :16] = image_id
            yield image_id, encode_jpeg(pixels, quality=95)


class Oracle:
    """A detector that says what a table of detections says about the image it recognises."""

    def __init__(self, detections: pl.DataFrame, classes: Sequence[str]) -> None:
        self._detections = detections
        self._classes = tuple(classes)

    @property
    def classes(self) -> tuple[str, ...]:
        return self._classes

    def predict(
        self,
        images: Sequence[np.ndarray],
        *,
        conf: float = 0.001,
        iou: float = 0.7,
        max_det: int = 300,
        tiling: object = None,
    ) -> list[Detections]:
        del iou, tiling
        return [self._one(int(pixels[4, 4, 0]), conf, max_det) for pixels in images]

    def _one(self, image_id: int, conf: float, max_det: int) -> Detections:
        chosen = pl.col("score") >= conf
        rows = self._detections.filter((pl.col("image_id") == image_id) & chosen)
        rows = rows.sort("score", descending=True, maintain_order=True).head(max_det)
        sizes = rows.select("x", "y", "width", "height").to_numpy().astype(np.float64)
        labels = [self._classes.index(name) for name in rows.get_column("category")]
        corners = np.concatenate([sizes[:, :2], sizes[:, :2] + sizes[:, 2:]], axis=1)
        return Detections(corners, rows.get_column("score").to_numpy(), np.array(labels, dtype=np.int64))


@pytest.fixture
def painted_images() -> PaintedImages:
    return PaintedImages()


@pytest.fixture
def oracle() -> type[Oracle]:
    return Oracle


def make_light_archive(model: Path, folder: Path, *, name: str = "shapes", inference: Inference | None = None) -> Path:
    """An archive around a model folder that says how it predicts; without a service, so that none is built."""
    bento = folder.with_name(f"{folder.name}-bento")
    shutil.copytree(model, bento / "src" / "model")
    how = inference or Inference()
    how.save(bento / "src")
    inner = load_manifest(model)
    source_files = sha256_tree(bento / "src")
    digest = digest_of_digests(source_files)
    (bento / "bento.yaml").write_text(f"name: {name}\n")
    manifest = ArchiveManifest(
        name=name,
        tag=f"{name}:{digest[:16]}",
        model_digest=inner.digest,
        content_digest=digest,
        source_files=source_files,
        bento_files=sha256_tree(bento, ["bento.yaml"]),
        classes=inner.classes,
        imgsz=inner.imgsz,
        requirements=("bentoml==1.4.39",),
        licences=(),
        inference=how,
        datasets=inner.datasets,
    )
    manifest.save(bento / "src")
    folder.mkdir(parents=True)
    manifest.save(folder)
    with tarfile.open(folder / "model.bento", "w:xz", preset=0) as tar:
        for path in sorted(bento.rglob("*")):
            tar.add(path, path.relative_to(bento).as_posix(), recursive=False)
    return folder


@pytest.fixture(scope="session")
def light_archive() -> Callable[..., Path]:
    return make_light_archive
