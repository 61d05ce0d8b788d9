"""A real model, never trained, in an archive without a service, on real images in a real store."""

import runpy
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from components.model_eval.evaluate import EvaluateOptions, Evaluation, Inputs, Outputs, evaluate
from components.model_eval.export import PREDICTIONS
from components.model_eval.quality_document import QualityDocument
from components.model_publish.publish import publish
from components.shared.archive import BENTO, open_archive
from components.shared.dataset import ANNOTATIONS, IMAGES, Dataset
from components.shared.detection.detector import Detector
from components.shared.detection.inference import Inference
from components.shared.errors import ArchiveError
from components.shared.images import decode
from components.shared.shards import ShardWriter
from components.shared.store import open_store

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("packed model")]
TINY = runpy.run_path(str(Path(__file__).parents[1] / "model_pack" / "tiny_model.py"))
WIDTH, HEIGHT, COUNT = 80, 60, 4
SURE = 0.5  # the model's own finds from this score on are taken for the truth


@pytest.fixture(scope="module")
def archive(light_archive: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("packed")
    inference = Inference(confidence=SURE, class_confidence={"star": 0.6})
    return light_archive(TINY["make_tiny_model"](folder / "model"), folder / "archive", inference=inference)


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


@pytest.fixture
def step(archive: Path, own_finds: Path, tmp_path: Path) -> Callable[..., Evaluation]:
    def run(packed: Path = archive, start: Path | None = None, **options: float) -> Evaluation:
        return evaluate(
            Inputs(test=own_finds / "test", archive=packed, store=(own_finds / "store").as_uri(), start=start),
            Outputs(tmp_path / "predictions", tmp_path / "report.html", tmp_path / "overview.md"),
            EvaluateOptions(**{"min_map50": 0.99, "champion_margin": 0.05, **options}),
        )

    return run


def test_a_model_judged_by_its_own_finds_is_perfect(step: Callable[..., Evaluation], tmp_path: Path) -> None:
    evaluation = step()

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
    assert evaluation.reasons[-1] == "The model 'shapes' has no champion yet to compare with."
    assert evaluation.confidence == SURE
    assert (evaluation.metrics["precision"], evaluation.metrics["recall"]) == (1.0, 1.0)
    assert evaluation.metrics["served_recall"] < evaluation.metrics["served_precision"] == 1.0


def test_the_archive_is_compared_with_a_published_champion_and_with_what_it_started_from(
    step: Callable[..., Evaluation], light_archive: Callable[..., Path], own_finds: Path, tmp_path: Path
) -> None:
    other = TINY["make_tiny_model"](tmp_path / "other")
    TINY["write_weights"](other / "weights" / "best.pt", seed=3)
    TINY["write_manifest"](other)
    light_archive(other, tmp_path / "champion")
    store = (own_finds / "store").as_uri()
    (tmp_path / "judged").mkdir()
    proof = {"tensors_compared": 1.0}
    version = publish(tmp_path / "champion", tmp_path / "judged", store, passed=True, proof=proof).version

    better = step(start=other)
    worse = step(tmp_path / "champion", min_map50=0.0)
    forget(store)

    assert better.champion is not None
    assert better.champion_seen.version == version
    assert better.champion.ours == pytest.approx(1.0)
    assert better.start is not None
    assert better.start.map50_95 == pytest.approx(better.champion.theirs)
    assert better.passed
    assert worse.champion is not None
    assert (worse.champion.same, worse.passed) == (True, True)
    quality = QualityDocument.model_validate_json((tmp_path / "predictions" / "quality.json").read_bytes())
    assert quality.training is not None
    assert quality.facts["runtime"] == "torch"
    assert quality.facts["champion's own test set"].startswith("not recorded")


def forget(uri: str) -> None:
    store = open_store(uri)
    for entry in list(store.list("models/")):
        store.delete(entry.key)


@pytest.mark.parametrize("start", ["absent", "empty", "damaged"])
def test_start_weights_that_cannot_be_run_are_left_out_with_a_warning(
    step: Callable[..., Evaluation], tmp_path: Path, caplog: pytest.LogCaptureFixture, start: str
) -> None:
    folder = tmp_path / "start"
    if start == "damaged":
        TINY["make_tiny_model"](folder)
        (folder / "weights" / "best.pt").write_bytes(b"no weights")
    elif start == "empty":
        folder.mkdir()

    evaluation = step(start=folder)

    assert evaluation.start is None
    assert evaluation.passed
    assert "nothing is compared with them" in caplog.text


def test_a_damaged_archive_is_refused_before_anything_is_predicted(
    step: Callable[..., Evaluation], archive: Path, tmp_path: Path
) -> None:
    damaged = tmp_path / "archive"
    damaged.mkdir()
    for path in archive.iterdir():
        data = path.read_bytes()
        (damaged / path.name).write_bytes(data[: len(data) // 2] if path.name == BENTO else data)

    with pytest.raises(ArchiveError):
        step(damaged)

    assert not (tmp_path / "predictions").exists()
