"""Export: a dataset of the store written as files people and other tools use, whole or not at all."""

import difflib
import logging
import shutil
import tarfile
import uuid
import zipfile
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import polars as pl

from components.shared.dataset import Dataset
from components.shared.errors import ConfigError
from components.shared.files import CHUNK
from components.shared.formats.base import Format
from components.shared.formats.losses import HOLDS, held, losses
from components.shared.formats.registry import get
from components.shared.formats.rescale import count_unscalable, rescaled, shrink
from components.shared.images import SUFFIXES
from components.shared.progress import Notify, silent
from components.shared.shards import ImageReader
from components.shared.store import Store

logger = logging.getLogger(__name__)

ARCHIVES = (".zip", ".tar")
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time a zip knows; the same data gives the same archive


@dataclass(frozen=True)
class Exported:
    """What was written, and what of the dataset the format could not hold (one sentence each)."""

    path: Path
    images: int
    boxes: int
    losses: tuple[str, ...]


def export(
    dataset: Dataset,
    store: Store,
    folder: Path,
    format_name: str,
    *,
    longest_edge: int = 0,
    notify: Notify = silent,
) -> Exported:
    """Write a dataset and its images to ``folder`` in a format that other tools read.

    The files appear under a temporary name beside ``folder``, which takes its place only when all are written.
    Images are read in the order of their shards, so that neighbours share a request, and never held at once.

    Args:
        dataset: what to write; its images lie in ``store``.
        store: holds the shards.
        folder: a new or an empty folder, or a new file whose name ends in ``.zip`` or ``.tar``.
        format_name: one of the formats of ``registry`` that can be written.
        longest_edge: shrink larger images, and their boxes with them, to this edge in pixels; 0 leaves them.
        notify: hears how far it is.

    Raises:
        ConfigError: there is no such format, or ``folder`` is in use.
        UnsafeInputError: an image's name would leave ``folder``.
        StoreError: an image's bytes are gone or damaged.
    """
    chosen = _writable(format_name)
    folder = folder.absolute()
    _check_free(folder)
    ordered = _in_shard_order(dataset)
    found = losses(ordered, chosen.name)
    masks = count_unscalable(ordered, longest_edge)
    found += [f"{masks} run-length masks are left out: they cannot be scaled"] if masks else []
    for loss in found:
        logger.warning("%s: %s", chosen.name, loss)
    with _beside(folder) as temporary, closing(_Stream(ordered, store, longest_edge, notify)) as stream:
        content = temporary / "content"
        content.mkdir(parents=True)
        chosen.write(rescaled(ordered, longest_edge), content, stream.read)
        notify(0.95, "finishing")
        _finish(content, temporary / folder.name, folder)
    written = held(ordered, chosen.name)
    notify(1.0, f"{written.images.height} images written as {chosen.name}")
    return Exported(folder, written.images.height, written.annotations.height, tuple(found))


def _writable(name: str) -> Format:
    if name in HOLDS:
        return get(name)
    near = difflib.get_close_matches(name.lower(), HOLDS, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}? There are" if near else "there are"
    raise ConfigError(f"The format {name!r} cannot be written: {hint} {', '.join(HOLDS)}.")


class _Stream:
    """Gives a writer each image's bytes; one that asks in the table's order gets them read ahead, many a request."""

    def __init__(self, dataset: Dataset, store: Store, longest_edge: int, notify: Notify) -> None:
        self._images = dataset.images.filter(pl.col("sha256").is_not_null())
        self._rows = {image_id: row for row, image_id in enumerate(self._images.get_column("image_id"))}
        self._reader = ImageReader(store)
        self._longest_edge = longest_edge
        self._notify = notify
        self._ahead = _pairs(self._reader, self._images)
        self._next = 0
        self._done = 0

    def read(self, image_id: int) -> bytes:
        """The image's bytes, as the format's files hold them."""
        row = self._rows[image_id]
        data = b""
        if row < self._next:
            data = self._reader.read(self._images.row(row, named=True))
        while self._next <= row:
            _, data = next(self._ahead)
            self._next += 1
        self._done += 1
        self._notify(0.95 * self._done / len(self._rows), f"image {self._done} of {len(self._rows)}")
        return shrink(data, self._longest_edge)

    def close(self) -> None:
        """Stop reading ahead."""
        self._ahead.close()


def _pairs(reader: ImageReader, images: pl.DataFrame) -> Generator[tuple[int, bytes], None, None]:
    yield from reader.read_many(images)


def _in_shard_order(dataset: Dataset) -> Dataset:
    return replace(dataset, images=dataset.images.sort("shard", "offset", nulls_last=True, maintain_order=True))


def _check_free(folder: Path) -> None:
    if folder.is_dir() and folder.suffix.lower() not in ARCHIVES:
        if any(folder.iterdir()):
            raise ConfigError(f"The folder {str(folder)!r} is not empty: give a new one, or empty it.")
    elif folder.exists():
        raise ConfigError(f"{str(folder)!r} exists: give a new name, or remove it.")


@contextmanager
def _beside(folder: Path) -> Iterator[Path]:
    """A scratch folder beside the target, on the same disk, so that taking its place is one rename."""
    temporary = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}.tmp")
    temporary.mkdir(parents=True)
    try:
        yield temporary
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _finish(content: Path, packed: Path, target: Path) -> None:
    suffix = target.suffix.lower()
    if suffix == ".zip":
        _pack_zip(content, packed)
    elif suffix == ".tar":
        _pack_tar(content, packed)
    else:
        packed = content
    packed.replace(target)


def _files(content: Path) -> list[tuple[str, Path]]:
    return sorted((path.relative_to(content).as_posix(), path) for path in content.rglob("*") if path.is_file())


def _pack_zip(content: Path, packed: Path) -> None:
    with zipfile.ZipFile(packed, "w") as archive:
        for name, path in _files(content):
            member = zipfile.ZipInfo(name, _EPOCH)
            member.external_attr = 0o644 << 16
            # Images are compressed already.
            member.compress_type = zipfile.ZIP_STORED if path.suffix.lower() in SUFFIXES else zipfile.ZIP_DEFLATED
            with path.open("rb") as source, archive.open(member, "w", force_zip64=True) as target:
                shutil.copyfileobj(source, target, CHUNK)
            path.unlink()


def _pack_tar(content: Path, packed: Path) -> None:
    with tarfile.open(packed, "w") as archive:
        for name, path in _files(content):
            member = tarfile.TarInfo(name)
            member.size = path.stat().st_size
            with path.open("rb") as source:
                archive.addfile(member, source)
            path.unlink()
