"""Datasets in memory, as a reader would leave them."""

import hashlib
from collections.abc import Callable, Mapping, Sequence

import polars as pl
import pytest

from components.shared.dataset import ANNOTATIONS, IMAGES, Dataset

Record = Mapping[str, object]
MakeDataset = Callable[..., Dataset]


def content(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def build(
    images: Sequence[Record], annotations: Sequence[Record] = (), classes: Sequence[str] = ("cat", "dog")
) -> Dataset:
    """A dataset of 100 x 80 images and cat boxes of 10 x 10; each record says only what differs."""
    image_rows = [
        {
            **dict.fromkeys(IMAGES),
            "image_id": place,
            "name": f"{place}.jpg",
            "sha256": content(f"{place}"),
            "width": 100,
            "height": 80,
            "format": "jpeg",
            "orientation": 1,
            "bytes": 1,
            **image,
        }
        for place, image in enumerate(images)
    ]
    annotation_rows = [
        {
            **dict.fromkeys(ANNOTATIONS),
            "annotation_id": place,
            "image_id": 0,
            "category": "cat",
            "x": 10.0,
            "y": 10.0,
            "width": 10.0,
            "height": 10.0,
            "crowd": False,
            "difficult": False,
            "truncated": False,
            "kind": "ground_truth",
            "source_id": f"a{place}",
            **annotation,
        }
        for place, annotation in enumerate(annotations)
    ]
    return Dataset(
        "small",
        tuple(classes),
        pl.DataFrame(image_rows, schema=IMAGES),
        pl.DataFrame(annotation_rows, schema=ANNOTATIONS),
    )


@pytest.fixture(scope="session")
def make_dataset() -> MakeDataset:
    return build


@pytest.fixture(scope="session")
def make_many() -> MakeDataset:
    """``count`` different images with one cat each."""
    return lambda count: build([{}] * count, [{"image_id": place} for place in range(count)])
