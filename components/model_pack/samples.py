"""The validation images that runtimes are calibrated and measured on: always the same, kept on the local disk."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from components.shared.dataset import Dataset
from components.shared.detection.frameworks import Pixels
from components.shared.errors import InputError
from components.shared.evaluation.outcomes import truth_table, usable_images
from components.shared.images import decode
from components.shared.shards import ImageReader
from components.shared.store import open_store

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Samples:
    """Images that can be decoded, and what is in them.

    Attributes:
        images: the images' rows of the data set, ordered by digest.
        truths: ground truth of these images; columns ``outcomes.UNMATCHED``.
        classes: the data set's class names.
        folder: holds the encoded images, named by their ids.
    """

    images: pl.DataFrame
    truths: pl.DataFrame
    classes: tuple[str, ...]
    folder: Path

    @property
    def image_ids(self) -> list[int]:
        """The images' ids, in their order."""
        return self.images.get_column("image_id").to_list()

    @property
    def objects(self) -> int:
        """How many ground truth boxes count."""
        return self.truths.filter(~pl.col("ignore")).height

    def pixels(self, most: int | None = None) -> Iterator[tuple[int, Pixels]]:
        """Ids and RGB pixels of the first ``most`` images, one in memory at a time."""
        for image_id in self.image_ids[:most]:
            yield image_id, decode((self.folder / str(image_id)).read_bytes())


def read_samples(val: Path, store: str, folder: Path, count: int) -> Samples:
    """Bring ``count`` images of the data set in ``val`` (0: all) into ``folder``: the first by digest.

    An image that cannot be decoded after all is left out, and logged.

    Raises:
        FormatError: ``val`` holds no data set of ours.
        NotFoundError: the store does not have an image's shard.
        CorruptionError: the store gives other bytes than the data set names.
    """
    dataset = Dataset.load(val)
    usable = usable_images(dataset).sort("sha256", "image_id")
    chosen = usable.unique("sha256", keep="first", maintain_order=True).head(count or usable.height)
    folder.mkdir(parents=True, exist_ok=True)
    kept = [image_id for image_id, data in _read(store, chosen) if _keep(folder / str(image_id), data)]
    images = chosen.filter(pl.col("image_id").is_in(kept))
    return Samples(images, truth_table(dataset, images), dataset.classes, folder)


def _read(store: str, images: pl.DataFrame) -> Iterator[tuple[int, bytes]]:
    return ImageReader(open_store(store)).read_many(images) if images.height else iter(())


def _keep(path: Path, data: bytes) -> bool:
    try:
        decode(data)
    except InputError as error:
        logger.warning("The validation image %s is left out of the measuring: %s", path.name, error)
        return False
    path.write_bytes(data)
    return True
