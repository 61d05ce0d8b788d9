"""Turn a dataset into the folders a YOLO-style trainer reads: one image file and one label file an image."""

import errno
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path

import polars as pl
from PIL import Image

from components.shared.dataset import Dataset
from components.shared.errors import CorruptionError, InputError, StoreError
from components.shared.images import decode
from components.shared.progress import Notify, silent
from components.shared.shards import ImageReader
from components.shared.store import Store

CACHE_VARIABLE = "PIPELINE_CACHE"

_SUFFIXES = {"jpeg": "jpg", "png": "png", "bmp": "bmp", "webp": "webp"}  # formats every trainer reads as we do
_RECODED = "recoded.png"
_NOTIFY_EVERY = 200
_COLUMNS = ("image_id", "name", "sha256", "bytes", "shard", "offset", "width", "height", "format", "orientation")


@dataclass(frozen=True)
class ImageOptions:
    """How images are written.

    Attributes:
        longest_edge: larger images are scaled down to this, pixels; 0: none is.
        format: ``keep``, ``jpeg`` or ``png``.
    """

    longest_edge: int = 0
    format: str = "keep"


AS_THEY_ARE = ImageOptions()


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
    """

    directory: Path
    images: Path
    labels: Path
    classes: tuple[str, ...]
    image_count: int
    annotation_count: int
    paths: Mapping[int, Path] = field(repr=False)


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
    ground truth counts, crowd regions are left out. An image is fetched once into ``cache`` (by default a folder of
    ``$PIPELINE_CACHE``, ``$XDG_CACHE_HOME`` or ``~/.cache``), read-only, and linked from there; one that trainers do
    not read, or not the right way up, is stored as PNG. ``images``, ``labels`` and ``*.cache`` of an earlier call in
    ``directory`` are replaced.

    Raises:
        InputError: an image cannot be decoded, or an annotation has a category outside ``dataset.classes``.
        CorruptionError: an image's bytes are not those the dataset names.
        StoreError: the store failed or the disk is full.
    """
    images, labels = directory / "images", directory / "labels"
    del options
    table = _image_table(dataset.images)
    lines = _label_lines(dataset)
    with _disk_explained(directory):
        _clear(directory, images, labels)
        folder = _writable_cache(cache)
        _fetch_missing(table, store, folder, notify)
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
    )


def default_cache() -> Path:
    """The image cache of this machine's user: ``$PIPELINE_CACHE``, else below ``$XDG_CACHE_HOME`` or ``~/.cache``."""
    if chosen := os.environ.get(CACHE_VARIABLE):
        return Path(chosen)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path("~/.cache").expanduser()) / "detection-pipeline" / "images"


def _image_table(images: pl.DataFrame) -> pl.DataFrame:
    """The images with the suffix they get (``suffix``) and their name in the cache (``cached``)."""
    table = images.select(_COLUMNS)
    broken = table.filter((pl.col("width") == 0) | (pl.col("height") == 0) | pl.col("sha256").is_null())
    if broken.height:
        raise InputError(
            f"The image {broken.item(0, 'name')!r} and {broken.height - 1} others of the dataset are missing or"
            " cannot be decoded: prepare the dataset first."
        )
    known = pl.col("format").is_in(list(_SUFFIXES))
    # Readers agree on turning a JPEG by its EXIF tag; for the other formats they do not.
    as_is = known & ((pl.col("orientation") == 1) | (pl.col("format") == "jpeg"))
    suffix = pl.when(as_is).then(pl.col("format").replace(_SUFFIXES)).otherwise(pl.lit(_RECODED))
    digest = pl.col("sha256")
    return table.with_columns(suffix=suffix.fill_null(_RECODED)).with_columns(
        cached=pl.format("{}/{}.{}", digest.str.head(2), digest, pl.col("suffix"))
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
    across, down = pl.col("image_width").cast(pl.Float64), pl.col("image_height").cast(pl.Float64)
    shares = (
        (pl.col("x") + pl.col("width") / 2) / across,
        (pl.col("y") + pl.col("height") / 2) / down,
        pl.col("width") / across,
        pl.col("height") / down,
    )
    line = pl.format("{} {} {} {} {}\n", index, *(share.round_sig_figs(9).cast(pl.String) for share in shares))
    joined = boxes.join(sizes, on="image_id", how="inner").sort("image_id", "annotation_id")
    return joined.group_by("image_id").agg(text=line.str.join(""), count=pl.len())


def _fetch_missing(table: pl.DataFrame, store: Store, cache: Path, notify: Notify) -> None:
    """Bring the images that the cache lacks into it."""
    columns = table.select("cached", "bytes", "suffix").iter_rows()
    present = [_is_cached(cache / name, None if suffix == _RECODED else size) for name, size, suffix in columns]
    missing = table.filter(~pl.Series(present, dtype=pl.Boolean)).unique("sha256").sort("shard", "offset")
    if missing.is_empty():
        return
    for prefix in missing.get_column("cached").str.head(2).unique():
        (cache / prefix).mkdir(exist_ok=True)
    targets = dict(missing.select("image_id", pl.struct("cached", "suffix", "name")).iter_rows())
    for done, (image_id, data) in enumerate(ImageReader(store).read_many(missing)):
        target = targets[image_id]
        _put_into_cache(cache / target["cached"], _as_png(data, target) if target["suffix"] == _RECODED else data)
        if done % _NOTIFY_EVERY == 0:
            notify(done / missing.height, f"fetched {done} of {missing.height} images")


def _as_png(data: bytes, target: Mapping[str, str]) -> bytes:
    try:
        pixels = decode(data)
    except InputError as error:
        raise InputError(f"The image {target['name']!r} cannot be used: {error}") from error
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=1)  # this copy never travels, so speed before size
    return buffer.getvalue()


def _is_cached(path: Path, size: int | None) -> bool:
    try:
        found = path.stat().st_size
    except FileNotFoundError:
        return False
    return found == size if size is not None else found > 0


def _put_into_cache(path: Path, data: bytes) -> None:
    """Write a cache file under a temporary name; read-only, because training folders link to it."""
    temporary = path.with_name(f".{uuid.uuid4().hex}.tmp")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o444)
        with os.fdopen(descriptor, "wb") as handle:
            handle.write(data)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _link_images(table: pl.DataFrame, cache: Path, images: Path) -> dict[int, Path]:
    paths = {}
    for image_id, name, suffix in table.select("image_id", "cached", "suffix").iter_rows():
        path = images / f"{image_id:08d}.{suffix.rpartition('.')[2]}"
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


def _writable_cache(chosen: Path | None) -> Path:
    """The wanted cache, or a private one of the temporary folder where that cannot be written."""
    wanted = chosen or default_cache()
    own = Path(tempfile.gettempdir()) / f"detection-images-{os.getuid()}"
    for folder in (wanted, own):
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError:
            continue
        # Anybody may have made the folder with the guessable name, so it counts only when it is ours.
        if os.access(folder, os.W_OK | os.X_OK) and (folder == wanted or folder.stat().st_uid == os.getuid()):
            return folder
    return Path(tempfile.mkdtemp(prefix="detection-images-"))


@contextmanager
def _disk_explained(directory: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreError(
            f"Cannot write images and labels to {str(directory)!r} ({error.strerror or error}):"
            " check its permissions and the free space there and in the image cache."
        ) from error
