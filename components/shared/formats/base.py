"""What every annotation reader gives back: classes, images and boxes as found, before any image is opened."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import polars as pl

from components.shared.dataset import Dataset
from components.shared.ledger import Entry

ReadImage = Callable[[int], bytes]  # image_id of a dataset -> the encoded image's bytes

PARSED_IMAGES: dict[str, pl.DataType] = {
    "image_id": pl.UInt32(),  # position in this table; what annotations refer to
    "name": pl.String(),  # posix path below the source root, NFC, unique
    "path": pl.String(),  # absolute path on disk; null when no such file was found
    "declared_width": pl.UInt32(),  # as the annotation file says; null when it says nothing
    "declared_height": pl.UInt32(),
    "split": pl.String(),  # train, val or test when the source says so, else null
    "source_id": pl.String(),  # the source's own id of the image, or null
    "uri": pl.String(),  # s3:// or https:// address of an image that is not on disk, or null
    "tags": pl.String(),  # JSON object of the image's own tags, text to text, keys sorted; null when it has none
}
PARSED_ANNOTATIONS: dict[str, pl.DataType] = {
    "image_id": pl.UInt32(),
    "category": pl.String(),  # null when the source's category does not exist (then see attributes)
    "x": pl.Float64(),  # left; pixels, or a share of the image's width when relative
    "y": pl.Float64(),
    "width": pl.Float64(),
    "height": pl.Float64(),
    "relative": pl.Boolean(),  # True: coordinates are shares of the image (YOLO)
    "crowd": pl.Boolean(),
    "difficult": pl.Boolean(),
    "truncated": pl.Boolean(),
    "score": pl.Float64(),  # null for ground truth
    "kind": pl.String(),  # ground_truth or prediction
    "source_id": pl.String(),  # annotation id, or file:line, for messages
    "attributes": pl.String(),  # JSON object of what else the format holds, or null
}


@dataclass(frozen=True)
class ReadOptions:
    """What a person may say about a source beyond its format.

    Attributes:
        label_attribute: which label attribute of a Ground Truth manifest to read; empty: the newest.
        image_base: folder or address (``s3://bucket/prefix``) that relative image names stand below when their files
            are not beside the annotations.
    """

    label_attribute: str = ""
    image_base: str | None = None


DEFAULT_OPTIONS = ReadOptions()


@dataclass(frozen=True)
class Parsed:
    """What a reader found in a source.

    Attributes:
        classes: class names in the source's order (YOLO index, COCO id, else alphabetical).
        images: columns of ``PARSED_IMAGES``.
        annotations: columns of ``PARSED_ANNOTATIONS``; boxes are left, top, width, height, half-open,
            top-left origin. Values are as the source gives them: nothing is clipped, dropped or repaired here.
        ledger: records that cannot be expressed as a row at all (malformed line, second image with one id, ...).
        notes: what the source says about itself as a whole, for people: ``{"model.mAP": "0.6"}``.
    """

    classes: tuple[str, ...]
    images: pl.DataFrame
    annotations: pl.DataFrame
    ledger: tuple[Entry, ...] = field(default=())
    notes: Mapping[str, str] = field(default_factory=dict)


class Reader(Protocol):
    """Reads the data set in a folder; what is no file (``image_base``) or no question of its format it ignores."""

    def __call__(self, root: Path, options: ReadOptions = DEFAULT_OPTIONS, /) -> Parsed:
        """Give what the data set in ``root`` holds; raises ``FormatError`` that names the file and the problem."""
        ...


@dataclass(frozen=True)
class Format:
    """One annotation format: how to recognise it, read it and say what it looks like.

    Attributes:
        name: what the ``format`` parameter calls it.
        describe: one line that tells a person what such a folder holds.
        detect: True when the folder looks like this format; must be quick and must not raise.
        read: ``(folder, options)`` -> ``Parsed``; raises ``FormatError`` that names the file and the problem.
        write: ``(dataset, folder, read_image)`` writes the dataset, images included, in this format.
    """

    name: str
    describe: str
    detect: Callable[[Path], bool]
    read: Reader
    write: Callable[[Dataset, Path, ReadImage], None]
