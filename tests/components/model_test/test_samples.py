"""Samples come from the dataset's shards, the same ones each time."""

import hashlib
import io
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from PIL import Image

from components.model_test.samples import read_samples
from components.shared.dataset import ANNOTATIONS, IMAGES, Dataset
from components.shared.errors import PipelineError
from components.shared.shards import ShardWriter
from components.shared.store import open_store


def png(shade: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 6), (shade, shade, shade)).save(buffer, "PNG")
    return buffer.getvalue()


def row(number: int, data: bytes, location: Any) -> dict[str, Any]:
    known = {
        "image_id": number,
        "name": f"{number}.png",
        "sha256": hashlib.sha256(data).hexdigest(),
        "width": 8,
        "height": 6,
        "orientation": 1,
        "bytes": location.length,
        "shard": location.shard,
        "offset": location.offset,
    }
    return dict.fromkeys(IMAGES) | known


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    images = [png(10), png(20), png(30), png(10)]
    digests = [hashlib.sha256(data).hexdigest() for data in images]
    with ShardWriter(open_store((tmp_path / "store").as_uri())) as writer:
        for data, digest in zip(images, digests, strict=True):
            writer.add(data, digest)
        shards = writer.finish()
        rows = [row(i, data, writer.locations[digests[i]]) for i, data in enumerate(images)]
    broken = rows[1] | {"image_id": 9, "name": "broken.png", "sha256": "0" * 64, "problem": "truncated"}
    gone = dict.fromkeys(IMAGES) | {"image_id": 10, "name": "gone.png", "width": 0, "height": 0, "orientation": 1}
    table = pl.DataFrame([*rows, broken, gone], schema=IMAGES)
    whole = Dataset("few", ("cat",), table, pl.DataFrame(schema=ANNOTATIONS), shards=shards)
    whole.save(tmp_path / "dataset")
    return tmp_path / "dataset"


@pytest.mark.parametrize(("asked", "given"), [(0, 0), (2, 2), (50, 3)])
def test_as_many_different_readable_images_as_asked_for(dataset: Path, tmp_path: Path, asked: int, given: int) -> None:
    samples = read_samples(dataset, (tmp_path / "store").as_uri(), asked)
    assert len(set(samples)) == len(samples) == given
    assert samples == read_samples(dataset, (tmp_path / "store").as_uri(), asked)
    assert all(Image.open(io.BytesIO(sample)).size == (8, 6) for sample in samples)


def test_a_store_without_the_shards_is_an_error(dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(PipelineError, match="shard"):
        read_samples(dataset, (tmp_path / "empty").as_uri(), 1)
