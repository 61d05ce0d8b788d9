"""What every training does with its two splits: refuses those that would fool it, and keeps an image to test with."""

from pathlib import Path

import polars as pl

from components.shared.dataset import Dataset
from components.shared.errors import TrainingError
from components.shared.files import write_atomically
from components.shared.shards import ImageReader
from components.shared.store import Store

_SUFFIXES = {"jpeg": ".jpg", "tiff": ".tif"}  # where the format's name is not the usual suffix


def check_splits(train: Dataset, val: Dataset) -> None:
    """Refuse data that no training should see.

    Raises:
        TrainingError: a split is empty or has no boxes, the classes differ, or both hold the same image.
    """
    for dataset in (train, val):
        if dataset.images.is_empty() or dataset.ground_truth().is_empty():
            raise TrainingError(f"The {dataset.split} split has no boxes: there is nothing to learn from.")
    if train.classes != val.classes:
        raise TrainingError(f"train has the classes {train.classes}, val {val.classes}: prepare both together.")
    shared = train.images.get_column("sha256").drop_nulls().unique().implode()
    overlap = val.images.filter(pl.col("sha256").is_in(shared))
    if not overlap.is_empty():
        raise TrainingError(
            f"{overlap.height} of {val.images.height} validation images are also trained on, "
            f"{overlap.item(0, 'name')!r} first: the metrics would mean nothing."
        )


def keep_test_image(val: Dataset, store: Store, folder: Path) -> str:
    """Copy, as encoded, the validation image with the most boxes (first by name among equals); give its name."""
    counts = val.ground_truth().group_by("image_id").len()
    row = val.images.join(counts, on="image_id").sort(["len", "name"], descending=[True, False]).head(1)
    ((_, data),) = ImageReader(store).read_many(row.select(val.images.columns))
    kind = row.item(0, "format")
    name = f"test_image{_SUFFIXES.get(kind, f'.{kind}')}"
    with write_atomically(folder / name) as temporary:
        temporary.write_bytes(data)
    return name
