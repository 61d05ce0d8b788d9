"""Turn a dataset into the folders a YOLO-style trainer reads: one image file and one label file an image."""

import errno
import hashlib
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from components.shared.dataset import Dataset
from components.shared.errors import CorruptionError, InputError, StoreError
from components.shared.image_files import (
    AS_THEY_ARE,
    ImageOptions,
    default_cache,
    fetch_missing,
    image_table,
    writable_cache,
)
from components.shared.progress import Notify, silent
from components.shared.store import Store

__all__ = ["AS_THEY_ARE", "ImageOptions", "MaterialisedDataset", "default_cache", "materialise"]

MOST_REPEATS = 100  # of an image in an epoch, whatever its weight


@dataclass(frozen=True)
class MaterialisedDataset:
    """A dataset on local disk.

    Attributes:
        directory: holds the two folders below.
        images: ``<image_id:08d>.<ext>``, one file an image.
        labels: ``<image_id:08d>.txt``, one file an image, empty when it shows nothing.
        classes: class names; a label's first number is an index into them.
        image_count: files in ``images``.
        annotation_count: lines in ``labels``.
        paths: image id -> image file.
        repeats: image id -> how often an epoch shows it, at least 1; an image that is not here, once.
    """

    directory: Path
    images: Path
    labels: Path
    classes: tuple[str, ...]
    image_count: int
    annotation_count: int
    paths: Mapping[int, Path] = field(repr=False)
    repeats: Mapping[int, int] = field(default_factory=dict, repr=False)

    @property
    def epoch_image_count(self) -> int:
        """Images an epoch shows, repeated ones as often as it shows them."""
        return sum(self.repeats.get(image_id, 1) for image_id in self.paths)


def materialise(
    dataset: Dataset,
    store: Store,
    directory: Path,
    *,
    options: ImageOptions = AS_THEY_ARE,
    cache: Path | None = None,
    notify: Notify = silent,
) -> MaterialisedDataset:
    """Write a dataset's images and labels into ``directory``.

    A label line is ``class centre_x centre_y width height``, the box as shares of the image (EXIF-oriented). Only
    ground truth counts, clipped to the image; crowd regions and boxes without any area in it are left out. An image
    is fetched once into ``cache`` (by default a folder of ``$PIPELINE_CACHE``, ``$XDG_CACHE_HOME`` or ``~/.cache``),
    read-only, and linked from there; one that trainers do not read, or not the right way up, is stored as PNG, or as
    ``options`` say. ``images``, ``labels`` and ``*.cache`` of an earlier call in ``directory`` are replaced.

    Raises:
        ConfigError: an option cannot be used.
        InputError: an image cannot be decoded, or an annotation has a category outside ``dataset.classes``.
        CorruptionError: an image's bytes are not those the dataset names.
        StoreError: the store failed or the disk is full.
    """
    images, labels = directory / "images", directory / "labels"
    options.check()
    table = image_table(dataset.images, options)
    lines = _label_lines(dataset)
    with _disk_explained(directory):
        _clear(directory, images, labels)
        folder = writable_cache(cache)
        fetch_missing(table, store, folder, options, notify)
        paths = _link_images(table, folder, images)
        _write_labels(table, lines, labels)
    notify(1.0, f"{table.height} images on local disk")
    return MaterialisedDataset(
        directory=directory,
        images=images,
        labels=labels,
        classes=dataset.classes,
        image_count=table.height,
        annotation_count=int(lines.get_column("count").sum()),
        paths=paths,
        repeats=_repeats(dataset.images),
    )


def _label_lines(dataset: Dataset) -> pl.DataFrame:
    """Columns ``image_id``, ``text`` (all lines of an image) and ``count``, for images that have boxes."""
    boxes = dataset.ground_truth().filter(~pl.col("crowd").fill_null(value=False))
    foreign = boxes.filter(~pl.col("category").is_in(list(dataset.classes)).fill_null(value=False))
    if foreign.height:
        raise InputError(
            f"The annotation {foreign.item(0, 'annotation_id')} has the category {foreign.item(0, 'category')!r},"
            f" which is not among the dataset's {len(dataset.classes)} classes: prepare the dataset first."
        )
    sizes = dataset.images.select("image_id", image_width="width", image_height="height")
    index = pl.col("category").replace_strict(list(dataset.classes), range(len(dataset.classes)), return_dtype=pl.Int64)
    left, right = _sides("x", "width", "image_width")
    top, bottom = _sides("y", "height", "image_height")
    shares = (left + right) / 2, (top + bottom) / 2, right - left, bottom - top
    line = pl.format("{} {} {} {} {}\n", index, *(share.round_sig_figs(9).cast(pl.String) for share in shares))
    joined = boxes.join(sizes, on="image_id", how="inner").sort("image_id", "annotation_id")
    # A box beyond the frame would make a trainer drop the whole image, with a line in its log at most.
    finite = pl.all_horizontal(pl.col("x", "y", "width", "height").is_finite())
    joined = joined.filter(finite & (right > left) & (bottom > top))
    return joined.group_by("image_id").agg(text=line.str.join(""), count=pl.len())


def _sides(start: str, length: str, size: str) -> tuple[pl.Expr, pl.Expr]:
    """Both sides of a box along one axis as shares of the image, inside of it."""
    extent = pl.col(size).cast(pl.Float64)
    return (pl.col(start) / extent).clip(0.0, 1.0), ((pl.col(start) + pl.col(length)) / extent).clip(0.0, 1.0)


def _repeats(images: pl.DataFrame) -> dict[int, int]:
    """How often an epoch shows each image: its weight, the fraction settled by a hash of its content."""
    rows = images.select("image_id", "sha256", pl.col("weight").fill_nan(None).fill_null(1.0).clip(1.0, MOST_REPEATS))
    return {image_id: _rounded(weight, digest) for image_id, digest, weight in rows.iter_rows()}


def _rounded(weight: float, digest: str) -> int:
    """One of the two whole numbers around ``weight``, so that over many images their mean is the weights' mean."""
    place = int(hashlib.sha256(f"repeat {digest}".encode()).hexdigest()[:12], 16) / 2**48
    return int(weight + place)


def _link_images(table: pl.DataFrame, cache: Path, images: Path) -> dict[int, Path]:
    paths = {}
    for image_id, name, suffix in table.select("image_id", "cached", "suffix").iter_rows():
        path = images / f"{image_id:08d}.{suffix}"
        _link(cache / name, path)
        paths[image_id] = path
    return paths


def _link(source: Path, path: Path) -> None:
    try:
        path.hardlink_to(source)
    except FileNotFoundError as error:
        raise CorruptionError(f"{str(source)!r} vanished from the image cache: run the step again.") from error
    except OSError as error:  # another file system, or one without links
        if error.errno == errno.ENOSPC:
            raise
        shutil.copyfile(source, path)


def _write_labels(table: pl.DataFrame, lines: pl.DataFrame, labels: Path) -> None:
    rows = table.select("image_id").join(lines, on="image_id", how="left").select("image_id", "text").iter_rows()
    for image_id, text in rows:
        descriptor = os.open(labels / f"{image_id:08d}.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        os.write(descriptor, (text or "").encode())
        os.close(descriptor)


def _clear(directory: Path, *folders: Path) -> None:
    for folder in folders:
        if folder.exists():
            shutil.rmtree(folder)
        folder.mkdir(parents=True)
    for stale in directory.glob("*.cache"):  # a trainer's index of the labels that were here
        stale.unlink()


@contextmanager
def _disk_explained(directory: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreError(
            f"Cannot write images and labels to {str(directory)!r} ({error.strerror or error}):"
            " check its permissions and the free space there and in the image cache."
        ) from error
