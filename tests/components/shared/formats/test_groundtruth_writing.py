"""What is written as SageMaker manifests comes back, and what they cannot hold is said."""

import tempfile
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.shared.dataset import ANNOTATIONS, IMAGES, Dataset, content_version
from components.shared.formats import groundtruth
from components.shared.formats.base import Parsed
from components.shared.formats.groundtruth_writer import write_manifests


@st.composite
def datasets(draw: st.DrawFn) -> Dataset:
    classes = draw(st.lists(st.sampled_from(["1", "no", "a: b", "größe", "日本", '"'])) | st.just(["cat"]))
    classes = list(dict.fromkeys(classes))
    names = draw(st.lists(st.sampled_from(["a.png", "x/a.png", "u\u00fc.b.jpg", "train/c.gif", "d"]), min_size=1))
    images, annotations = [], []
    for image_id, name in enumerate(dict.fromkeys(names)):
        exists = draw(st.booleans())
        images.append({
            "image_id": image_id, "name": name, "sha256": f"{image_id:064x}" if exists or name == "d" else None,
            "width": 30, "height": 20, "split": draw(st.sampled_from(["train", "val", "test", None])),
            "tags": draw(st.sampled_from([None, '{"camera":"7"}', '{"human-annotated":"no","\\u00fcber":"1"}'])),
        })  # fmt: skip
        for _ in range(draw(st.integers(0, 3)) if classes else 0):
            side = st.integers(-50, 500).map(float) | st.floats(-50, 500)
            annotations.append({
                "annotation_id": len(annotations), "image_id": image_id, "category": draw(st.sampled_from(classes)),
                "x": draw(side), "y": draw(side), "width": draw(side), "height": draw(side), "crowd": False,
                "difficult": False, "truncated": False, "score": None, "kind": "ground_truth",
                "attributes": draw(st.sampled_from([None, '{"confidence":0.25}'])),
            })  # fmt: skip
    return Dataset(
        name="set",
        classes=tuple(classes),
        images=pl.DataFrame(images, schema=IMAGES),
        annotations=pl.DataFrame(annotations, schema=ANNOTATIONS),
    )


def version_of(parsed: Parsed, dataset: Dataset) -> str:
    """The version a load of ``parsed`` would have, whose images are those of ``dataset`` by their bytes."""
    digests = [None if path is None else f"{Path(path).read_bytes()[-1]:064x}" for path in parsed.images["path"]]
    images = parsed.images.with_columns(
        pl.Series("sha256", digests, dtype=pl.String),
        pl.lit(30, dtype=pl.UInt32).alias("width"),
        pl.lit(20, dtype=pl.UInt32).alias("height"),
    )
    return content_version(dataset.classes, images, parsed.annotations)


@given(dataset=datasets(), prefix=st.sampled_from(["", "s3://bucket/some/place"]))
def test_what_is_written_comes_back_as_the_same_version(dataset: Dataset, prefix: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "set"
        write_manifests(dataset, root, lambda image_id: bytes([image_id]), prefix=prefix)
        parsed = groundtruth.read(root)
        assert parsed.ledger == ()
        assert parsed.classes == dataset.classes
        assert version_of(parsed, dataset) == dataset.version


def test_what_a_manifest_cannot_hold_is_left_out_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    images = [{"image_id": 0, "name": "a.png", "sha256": "0" * 64, "width": 9, "height": 9}]
    base = {"image_id": 0, "x": 1.0, "y": 1.0, "width": 2.0, "height": 2.0, "kind": "ground_truth"}
    rows = [
        base | {"category": "cat"},
        base | {"category": "cat", "kind": "prediction"},
        base | {"category": None},
        base | {"category": "cat", "x": float("inf")},
        base | {"category": None, "attributes": '{"class_id":9}'},
    ]
    dataset = Dataset(
        name="set",
        classes=("cat",),
        images=pl.DataFrame(images, schema=IMAGES),
        annotations=pl.DataFrame([row | {"annotation_id": i} for i, row in enumerate(rows)], schema=ANNOTATIONS),
    )
    groundtruth.write(dataset, tmp_path, lambda _: b"x")
    assert "3 predictions" in caplog.text
    assert groundtruth.read(tmp_path).annotations["category"].to_list() == ["cat", None]
