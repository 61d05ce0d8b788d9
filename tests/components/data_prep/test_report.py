"""The whole step on images in a file store: three datasets and a report with pictures."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from components.data_prep.advice import ADVICE
from components.data_prep.examples import rule_examples
from components.data_prep.prepare import Prepared, PrepareOptions, prepare, run
from components.data_prep.statistics import class_table, flags
from components.shared.dataset import Dataset
from components.shared.errors import DataQualityError
from components.shared.images import encode_jpeg
from components.shared.ledger import Rule
from components.shared.shards import ShardWriter
from components.shared.store import open_store

MakeDataset = Callable[..., Dataset]
SPLITS = ("train", "val", "test")
DEFECTS = [{"x": -6.0}, {"x": -20.0}, {"width": 0.0}, {"category": "yak"}, {"x": float("nan")}, {}, {}]


@pytest.fixture
def store_uri(tmp_path: Path) -> str:
    return f"file://{tmp_path}/store"


@pytest.fixture
def dirty(make_dataset: MakeDataset, store_uri: str, tmp_path: Path) -> Path:
    """Twelve real images with defects, one cut off, saved as data_load would."""
    generator = np.random.default_rng(0)
    encoded = [encode_jpeg(generator.integers(0, 255, (80, 100, 3), dtype=np.uint8)) for _ in range(12)]
    encoded[11] = encoded[11][:300]
    digests = [hashlib.sha256(data).hexdigest() for data in encoded]
    with ShardWriter(open_store(store_uri)) as writer:
        for data, digest in zip(encoded, digests, strict=True):
            writer.add(data, digest)
        shards = writer.finish()
    places = [writer.locations[digest] for digest in digests]
    images: list[dict[str, object]] = [
        {"sha256": digest, "bytes": place.length, "shard": place.shard, "offset": place.offset}
        for digest, place in zip(digests, places, strict=True)
    ]
    images[11] |= {"problem": "image file is truncated", "width": 0, "height": 0}
    boxes = [{"image_id": image, "x": 10.0 + 20 * place} for image in range(12) for place in range(3)]
    dataset = make_dataset(images, [*boxes, *DEFECTS])
    directory = tmp_path / "dataset"
    Dataset(dataset.name, dataset.classes, dataset.images, dataset.annotations, shards=shards).save(directory)
    return directory


def reports_in(folder: Path) -> tuple[Path, Path]:
    return folder / "report.html", folder / "overview.md"


def prepared_in(folder: Path, dirty: Path, store_uri: str, options: PrepareOptions) -> Prepared:
    return run(dirty, store_uri, {split: folder / split for split in SPLITS}, reports_in(folder), options)


def test_a_run_leaves_three_datasets_and_a_report(dirty: Path, store_uri: str, tmp_path: Path) -> None:
    heard: list[float] = []
    outputs = {split: tmp_path / "out" / split for split in SPLITS}
    report, _ = reports = reports_in(tmp_path / "out")
    options = PrepareOptions(max_rejected_share=0.5)
    prepared = run(dirty, store_uri, outputs, reports, options, lambda share, _: heard.append(share))
    saved = [Dataset.load(outputs[split]) for split in SPLITS]
    assert [part.version for part in saved] == [part.version for part in prepared.splits.values()]
    assert {part.parent for part in saved} == {Dataset.load(dirty).version}
    assert sum(part.images.height for part in saved) == 11
    assert heard == sorted(heard)
    page = report.read_text()
    assert "Dataset report" in page
    assert page.count("data:image/jpeg") >= 11
    for rule in ("clipped", "outside", "zero area", "unknown category", "non-finite", "unreadable image"):
        assert rule in page


def test_the_same_run_writes_the_same_bytes(dirty: Path, store_uri: str, tmp_path: Path) -> None:
    options = PrepareOptions(max_rejected_share=0.5)
    folders = [tmp_path / "a", tmp_path / "b"]
    for folder in folders:
        prepared_in(folder, dirty, store_uri, options)
    names = sorted(path.relative_to(folders[0]) for path in folders[0].rglob("*") if path.is_file())
    assert len(names) == 14
    assert all((folders[0] / name).read_bytes() == (folders[1] / name).read_bytes() for name in names)


def test_refused_data_leaves_no_output(dirty: Path, store_uri: str, tmp_path: Path) -> None:
    with pytest.raises(DataQualityError):
        prepared_in(tmp_path / "out", dirty, store_uri, PrepareOptions(max_rejected_share=0.01))
    assert not (tmp_path / "out").exists()


def test_each_rule_is_explained() -> None:
    assert set(ADVICE) == set(Rule)


def test_at_most_three_examples_a_rule_are_drawn(make_dataset: MakeDataset) -> None:
    boxes = [{"image_id": image, "x": -5.0} for image in range(6)]
    prepared = prepare(make_dataset([{}] * 6, boxes), PrepareOptions())
    examples = rule_examples(prepared)
    assert len(examples) == 3
    assert [len(example.boxes) for example in examples] == [2, 2, 2]
    assert len({example.image["image_id"] for example in examples}) == 3


def test_the_class_table_counts_boxes_and_images(make_dataset: MakeDataset) -> None:
    images = [{"split": split} for split in SPLITS]
    prepared = prepare(make_dataset(images, [{}, {"x": 40.0}, {"image_id": 1}]), PrepareOptions())
    row = class_table(prepared).row(0, named=True)
    assert (row["class"], row["train_boxes"], row["train_images"], row["val_boxes"], row["test_boxes"]) == (
        *("cat", 2, 1, 1, 0),
    )


def test_classes_that_a_split_lacks_are_flagged(make_dataset: MakeDataset) -> None:
    cats = [{"image_id": image, "x": float(place * 5)} for image in range(3) for place in range(12)]
    images = [{"split": split} for split in SPLITS]
    dataset = make_dataset(images, [*cats, {"category": "dog"}], classes=("cat", "dog", "yak"))
    found = {flag.title: flag.detail for flag in flags(prepare(dataset, PrepareOptions()), PrepareOptions())}
    assert found["classes absent from val"] == "dog: nothing measures them there."
    assert found["classes absent from test"] == "dog: nothing measures them there."
    assert found["classes with fewer than 100 boxes in train"].startswith("cat, dog: ")


def test_predictions_are_no_ground_truth(make_dataset: MakeDataset) -> None:
    boxes = [{"image_id": image} for image in range(4)]
    guesses = [{**box, "kind": "prediction", "score": 0.5} for box in boxes]
    prepared = prepare(make_dataset([{}] * 4, [*boxes, *guesses]), PrepareOptions())
    assert prepared.counts["boxes"] == 4
    kinds = pl.concat(part.annotations for part in prepared.splits.values()).get_column("kind")
    assert kinds.value_counts().sort("kind").rows() == [("ground_truth", 4), ("prediction", 4)]
