"""Writing a dataset and reading it back gives the version of what the format holds, and the losses say the rest."""

import hashlib
import json
import tempfile
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from odd_datasets import CLASSES, PIXEL, dataset_of, stems

from components.shared.dataset import ANNOTATIONS, IMAGES, Dataset
from components.shared.errors import ConfigError
from components.shared.formats.base import Parsed
from components.shared.formats.losses import HOLDS, held, losses
from components.shared.formats.registry import FORMATS

TAGS = ["weather", "größe", "image_quality", "x-1"]

# A version counts ten-thousandths of a pixel: numbers half way between two of them tell whether all bits come back.
ties = st.integers(0, 50_000_000).map(lambda value: value / 10_000 + 0.00005)
coordinates = st.floats(-50, 5000, allow_nan=False) | ties | st.integers(-50, 5000).map(float)
lengths = st.just(0.0) | st.floats(0.001, 5000, allow_nan=False) | ties
texts = st.sampled_from(["x", "sunny day", "größe", "1", "a<b&c"])
attributes = st.fixed_dictionaries(
    {},
    optional={
        "segmentation": st.just([[1.5, 2, 3, 4, 5, 6]]), "area": st.just(2.5), "pose": st.just("Left"),
        "occluded": st.just("1"), "cm": st.just("TP"), "rotate_angle": st.just("0.22"), "box_quality": st.just("0.5"),
        "confidence": st.sampled_from([0.25, 0.5]), "tags": st.just({"colour": "red"}), "größe": texts,
        "nested": st.just({"a": [1, None, {"b": True}]}),
    },
)  # fmt: skip


def text_of(value: dict[str, object]) -> str | None:
    return json.dumps(value, sort_keys=True, separators=(",", ":")) if value else None


@st.composite
def images_of(draw: st.DrawFn) -> list[dict[str, object]]:
    names = draw(stems)
    names = [name for name in names if not any(other.startswith((f"{name}.", f"{name}/")) for other in names)]
    rows: list[dict[str, object]] = []
    for image_id, stem in enumerate(names):
        state = draw(st.sampled_from(["whole"] * 6 + ["missing", "undecodable", "twin"]))
        # Files that are not there have names of their own: readers look for them by their base names too.
        name = f"{stem}-{image_id}/gone-{image_id}" if state == "missing" else stem
        name += "" if state == "missing" and image_id % 2 else ".png"
        size = (draw(st.integers(1, 5000)), draw(st.integers(1, 5000))) if state == "whole" else (0, 0)
        content = image_id
        if state == "twin" and rows and rows[0]["sha256"]:
            content, size = 0, (rows[0]["width"], rows[0]["height"])
        tags = draw(st.dictionaries(st.sampled_from(TAGS), texts, max_size=2))
        rows.append({
            "image_id": image_id + 7, "name": name, "width": size[0], "height": size[1],
            "sha256": None if state == "missing" else hashlib.sha256(PIXEL + bytes([content])).hexdigest(),
            "split": draw(st.sampled_from(["train", "val", "test", None])), "tags": text_of(dict(tags)),
        })  # fmt: skip
    return rows


@st.composite
def datasets(draw: st.DrawFn) -> Dataset:
    classes = draw(st.lists(st.sampled_from(CLASSES), min_size=1, max_size=4, unique=True))
    images = draw(images_of())
    annotations = []
    for image in images:
        for _ in range(draw(st.integers(0, 3))):
            kind = draw(st.sampled_from(["ground_truth", "prediction"]))
            kept = draw(attributes)
            if kind == "prediction":
                kept.pop("confidence", None)  # it is what the ground truth has in place of a score
            annotations.append({
                "annotation_id": len(annotations), "image_id": image["image_id"],
                "category": draw(st.sampled_from(classes)), "kind": kind,
                "x": draw(coordinates), "y": draw(coordinates), "width": draw(lengths), "height": draw(lengths),
                "crowd": draw(st.booleans()), "difficult": draw(st.booleans()), "truncated": draw(st.booleans()),
                "score": draw(st.none() | st.floats(0, 1)), "attributes": text_of(kept),
            })  # fmt: skip
    return dataset_of(classes, images, annotations)


def loaded(parsed: Parsed, original: Dataset) -> Dataset:
    """What loading makes of it: sizes from the files (here by their digest), boxes in pixels."""
    sizes = {
        digest: (width, height) for digest, width, height in original.images.select("sha256", "width", "height").rows()
    }
    digests = [
        None if path is None else hashlib.sha256(Path(path).read_bytes()).hexdigest() for path in parsed.images["path"]
    ]
    found = [sizes[digest] if digest else (0, 0) for digest in digests]
    images = parsed.images.drop("path", "uri").with_columns(
        pl.Series("sha256", digests, dtype=pl.String),
        pl.Series("width", [width for width, _ in found], dtype=pl.UInt32),
        pl.Series("height", [height for _, height in found], dtype=pl.UInt32),
    )
    joined = parsed.annotations.join(images.select("image_id", across="width", down="height"), on="image_id")
    across = pl.when("relative").then(pl.col("across").cast(pl.Float64)).otherwise(1.0)
    down = pl.when("relative").then(pl.col("down").cast(pl.Float64)).otherwise(1.0)
    annotations = joined.with_columns(
        pl.col("x", "width") * across, pl.col("y", "height") * down, annotation_id=pl.int_range(pl.len())
    )
    return Dataset(
        name="set",
        classes=parsed.classes,
        images=pl.concat([pl.DataFrame(schema=IMAGES), images], how="diagonal_relaxed")
        .select(IMAGES.keys())
        .cast(IMAGES),
        annotations=annotations.select(ANNOTATIONS.keys()).cast(ANNOTATIONS),
    )


def content_of(original: Dataset):  # noqa: ANN201 - ReadImage
    digests = dict(original.images.select("image_id", "sha256").rows())
    contents = {hashlib.sha256(PIXEL + bytes([number])).hexdigest(): PIXEL + bytes([number]) for number in range(256)}
    return lambda image_id: contents[digests[image_id]]


def round_trip(dataset: Dataset, name: str) -> Dataset:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "set"
        root.mkdir()
        FORMATS[name].write(dataset, root, content_of(dataset))
        parsed = FORMATS[name].read(root)
        assert [entry for entry in parsed.ledger if entry.action.value == "rejected"] == []
        return loaded(parsed, dataset)


def readable(dataset: Dataset) -> list[object]:
    names = dict(dataset.images.select("image_id", "sha256").rows())
    boxes = dataset.annotations.drop("annotation_id", "source_id").rows(named=True)
    return [
        dataset.classes,
        sorted(dataset.images.select("sha256", "width", "height", "split", "tags").rows(), key=str),
        sorted(({**row, "image_id": names[row["image_id"]]} for row in boxes), key=str),
    ]


def _split_folders_shadow(dataset: Dataset) -> bool:
    names = set(dataset.images["name"])
    return any(f"{split}/{name}" in names for name in names for split in ("train", "val", "test"))


@pytest.mark.parametrize("name", HOLDS)
@settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
@given(dataset=datasets())
def test_what_is_read_back_has_the_version_of_what_the_format_holds(name: str, dataset: Dataset) -> None:
    expected = held(dataset, name)
    if expected.images.is_empty():
        return
    if name == "coco":  # a file_name of val's JSON that is there twice means the one in val's folder
        assume(not _split_folders_shadow(expected))
    found = round_trip(dataset, name)
    assert found.version == expected.version, (readable(found), readable(expected))


@pytest.mark.parametrize("name", HOLDS)
@given(dataset=datasets())
def test_a_dataset_without_losses_comes_back_whole(name: str, dataset: Dataset) -> None:
    left = [loss for loss in losses(held(dataset, name), name) if "folder" not in loss]  # names are not content
    assert left == []
    if not losses(dataset, name):
        assert held(dataset, name).version == dataset.version


def test_every_loss_is_counted() -> None:
    images = [
        {"image_id": 0, "name": "a.png", "sha256": "0" * 64, "width": 9, "height": 9, "tags": '{"x":"y"}'},
        {"image_id": 1, "name": "b.png", "sha256": None, "width": 0, "height": 0},
        {"image_id": 2, "name": "c.png", "sha256": "1" * 64, "width": 0, "height": 0, "weight": 2.0},
    ]
    box = {"image_id": 0, "category": "cat", "x": 0.0, "y": 0.0, "width": 1.0, "height": 1.0, "kind": "ground_truth",
           "crowd": False, "difficult": False, "truncated": False}  # fmt: skip
    annotations = [
        {**box, "annotation_id": 0, "crowd": True, "attributes": '{"pose":"Left","x":1}'},
        {**box, "annotation_id": 1, "score": 0.5, "difficult": True},
        {**box, "annotation_id": 2, "kind": "prediction", "truncated": True, "category": None},
    ]
    dataset = dataset_of(["dog", "cat"], images, annotations)
    assert losses(dataset, "yolo") == [
        "1 images lose how often an epoch should show them",
        "1 images lose their tags",
        "1 images without a file are left out, with their boxes",
        "1 images of unknown size are left out, with their boxes",
        "1 boxes around a crowd become plain boxes",
        "1 boxes are no longer marked as difficult",
        "1 boxes are no longer marked as truncated",
        "1 boxes have no class and may be left out",
        "1 predictions without a score become ground truth",
        "1 boxes of the ground truth with a score become predictions",
        "1 boxes lose their attribute 'pose'",
        "1 boxes lose their attribute 'x'",
    ]
    assert "the order of the 2 classes becomes alphabetical" in losses(dataset, "voc")
    assert "1 predictions are left out" in losses(dataset, "groundtruth")
    assert losses(dataset_of(["cat"], images[:1], []), "labelstudio") == []


def test_a_format_that_is_only_read_has_no_losses_to_tell() -> None:
    with pytest.raises(ConfigError, match="'cvat' cannot be written"):
        losses(dataset_of([], [], []), "cvat")
