"""A real packed model, never trained, on real images in a real store."""

import runpy
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from components.model_eval.evaluate import EvaluateOptions, evaluate
from components.model_eval.export import PREDICTIONS
from components.model_pack.pack import pack
from components.shared.archive import BENTO, open_archive
from components.shared.dataset import ANNOTATIONS, IMAGES, Dataset
from components.shared.detection.detector import Detector
from components.shared.errors import ArchiveError
from components.shared.images import decode
from components.shared.shards import ShardWriter
from components.shared.store import open_store

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("packed model")]
TINY = runpy.run_path(str(Path(__file__).parents[1] / "model_pack" / "tiny_model.py"))
WIDTH, HEIGHT, COUNT = 80, 60, 4
SURE = 0.5  # the model's own finds from this score on are taken for the truth


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("packed")
    pack(TINY["make_tiny_model"](folder / "model"), folder / "archive", name="shapes")
    return folder / "archive"


@pytest.fixture(scope="module")
def own_finds(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A test split whose ground truth is what the model itself is sure of, beside the store with its images."""
    folder = tmp_path_factory.mktemp("data")
    blobs = [TINY["encoded_image"](seed, WIDTH, HEIGHT) for seed in range(COUNT)]
    with ShardWriter(open_store((folder / "store").as_uri())) as writer:
        for blob in blobs:
            writer.add(blob, sha256(blob).hexdigest())
    images = pl.DataFrame([image_row(number, blob, writer) for number, blob in enumerate(blobs)], schema=IMAGES)
    detector = Detector(open_archive(archive, folder / "opened").model)
    annotations = pl.DataFrame(
        [row for number, blob in enumerate(blobs) for row in truth_rows(number, detector, decode(blob))],
        schema=ANNOTATIONS,
    ).with_columns(pl.int_range(pl.len(), dtype=pl.UInt32).alias("annotation_id"))
    Dataset("noise", detector.classes, images, annotations, shards=writer.shards, split="test").save(folder / "test")
    return folder


def image_row(number: int, blob: bytes, writer: ShardWriter) -> dict[str, object]:
    digest = sha256(blob).hexdigest()
    place = writer.locations[digest]
    row = {"image_id": number, "name": f"{number}.png", "sha256": digest, "width": WIDTH, "height": HEIGHT}
    row |= {"format": "png", "orientation": 1, "bytes": place.length, "shard": place.shard, "offset": place.offset}
    return row


def truth_rows(number: int, detector: Detector, pixels: np.ndarray) -> Iterator[dict[str, object]]:
    (found,) = detector.predict([pixels])
    for box, score, label in zip(found.boxes.tolist(), found.scores.tolist(), found.labels.tolist(), strict=True):
        if score >= SURE:
            left, top, right, bottom = box
            row = {"image_id": number, "category": detector.classes[label], "kind": "ground_truth", "x": left, "y": top}
            yield row | {"width": right - left, "height": bottom - top, "crowd": False, "difficult": False}


def test_a_model_judged_by_its_own_finds_is_perfect(archive: Path, own_finds: Path, tmp_path: Path) -> None:
    evaluation = evaluate(
        own_finds / "test",
        archive,
        (own_finds / "store").as_uri(),
        tmp_path / "predictions",
        tmp_path / "report.html",
        EvaluateOptions(min_map50=0.99),
    )

    assert evaluation.passed
    assert evaluation.metrics["ground_truths"] > COUNT
    assert evaluation.metrics["map50_95"] == pytest.approx(1.0)
    assert evaluation.metrics["best_confidence"] <= SURE
    assert evaluation.metrics["latency_ms_p50"] > 0
    kept = pl.read_parquet(tmp_path / "predictions" / PREDICTIONS)
    sure = kept.filter(pl.col("score") >= SURE)
    assert sure.height == evaluation.metrics["ground_truths"]
    assert sure.get_column("outcome").unique().to_list() == ["TP"]
    assert "Model Quality Report" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_a_damaged_archive_is_refused_before_anything_is_predicted(
    archive: Path, own_finds: Path, tmp_path: Path
) -> None:
    damaged = tmp_path / "archive"
    damaged.mkdir()
    for path in archive.iterdir():
        data = path.read_bytes()
        (damaged / path.name).write_bytes(data[: len(data) // 2] if path.name == BENTO else data)

    with pytest.raises(ArchiveError):
        evaluate(
            own_finds / "test",
            damaged,
            (own_finds / "store").as_uri(),
            tmp_path / "predictions",
            tmp_path / "report.html",
            EvaluateOptions(),
        )

    assert not (tmp_path / "predictions").exists()
