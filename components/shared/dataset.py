"""A detection dataset: four small files whose images lie in shards of the object store.

``dataset.json`` is the manifest, ``images.parquet`` and ``annotations.parquet`` the content, ``ledger.parquet`` what
was repaired or rejected on the way. A version is the sha256 of the content alone, so the same data has the same
version wherever it was loaded from.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import polars as pl
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from components.shared import ledger as ledger_module
from components.shared.compact import read_compact
from components.shared.dataset_version import hash_content
from components.shared.errors import CorruptionError, FormatError
from components.shared.files import sha256_file, write_atomically

SCHEMA_VERSION = 2
MANIFEST = "dataset.json"
TABLES = ("images", "annotations", "ledger")

IMAGES = pl.Schema(
    {
        "image_id": pl.UInt32(),  # unique in the dataset, kept by its subsets
        "name": pl.String(),  # posix path below the source's image root, NFC
        "sha256": pl.String(),  # of the encoded file; null when the file is missing
        "width": pl.UInt32(),  # after EXIF orientation; 0 when it cannot be decoded
        "height": pl.UInt32(),
        "declared_width": pl.UInt32(),  # what the annotation file says; null when it says nothing
        "declared_height": pl.UInt32(),
        "format": pl.String(),  # jpeg, png, ...; null when it cannot be decoded
        "orientation": pl.UInt8(),  # EXIF orientation 1-8 of the encoded file
        "bytes": pl.UInt64(),
        "shard": pl.String(),  # sha256 of the tar that holds it; null when the file is missing
        "offset": pl.UInt64(),  # of the first byte of the file in the shard
        "split": pl.String(),  # train, val or test; null when the source gives none
        "problem": pl.String(),  # why it cannot be decoded; null when it can
        "source_id": pl.String(),  # its id in the source, for messages
        "tags": pl.String(),  # JSON object of the image's own tags, text to text; null when it has none
        "phash": pl.UInt64(),  # perceptual hash of the oriented image; null when it cannot be decoded
        "brightness": pl.Float32(),  # mean grey value, 0 black to 1 white
        "contrast": pl.Float32(),  # standard deviation of the grey values, 0 to 0.5
        "sharpness": pl.Float32(),  # variance of the Laplacian at full size; null where it was not sampled
        "parent": pl.String(),  # sha256 of the image this is a tile of; null for a whole image
        "tile_x": pl.UInt32(),  # left of the tile in its parent, pixels; null for a whole image
        "tile_y": pl.UInt32(),
        "weight": pl.Float32(),  # how often an epoch should show it; null means once
    }
)
ANNOTATIONS = pl.Schema(
    {
        "annotation_id": pl.UInt32(),  # unique in the dataset, kept by its subsets
        "image_id": pl.UInt32(),
        "category": pl.String(),  # class name; null when the source names none that exists
        "x": pl.Float64(),  # left, pixels of the oriented image, half-open
        "y": pl.Float64(),  # top
        "width": pl.Float64(),
        "height": pl.Float64(),
        "crowd": pl.Boolean(),
        "difficult": pl.Boolean(),
        "truncated": pl.Boolean(),
        "score": pl.Float64(),  # null for ground truth
        "kind": pl.String(),  # ground_truth or prediction
        "source_id": pl.String(),
        "attributes": pl.String(),  # JSON object of what the format holds beyond this, or null
    }
)


class ShardReference(BaseModel):
    """One shard a dataset needs: its digest (and so its key) and size in bytes."""

    model_config = ConfigDict(frozen=True)

    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    size: int = Field(ge=0)


class Manifest(BaseModel):
    """What ``dataset.json`` holds; committed last, so a dataset without it does not exist."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: int = SCHEMA_VERSION
    name: str
    version: str = Field(pattern=r"^[0-9a-f]{64}$")
    split: str | None = None
    parent: str | None = None
    classes: tuple[str, ...]
    image_count: int
    annotation_count: int
    shards: tuple[ShardReference, ...] = ()
    tables: dict[str, str] = Field(default_factory=dict)


@dataclass(frozen=True)
class Dataset:
    """A dataset in memory: tables as polars frames with the columns of ``IMAGES``, ``ANNOTATIONS`` and the ledger.

    Attributes:
        name: the name people gave it.
        classes: class names; a class's index here is its id in training.
        shards: the shards that hold its image bytes.
        split: ``train``, ``val``, ``test`` or ``None`` for a whole dataset.
        parent: version of the dataset this one was prepared from.
    """

    name: str
    classes: tuple[str, ...]
    images: pl.DataFrame
    annotations: pl.DataFrame
    ledger: pl.DataFrame = field(default_factory=lambda: ledger_module.to_table([]))
    shards: tuple[ShardReference, ...] = ()
    split: str | None = None
    parent: str | None = None

    @cached_property
    def version(self) -> str:
        """sha256 of the canonical content, 64 hex digits."""
        return content_version(self.classes, self.images, self.annotations)

    def ground_truth(self) -> pl.DataFrame:
        """Annotations of kind ``ground_truth``."""
        predicted = self.annotations.get_column("kind") != "ground_truth"
        # Most datasets hold no predictions, and a filter would copy the whole table.
        return self.annotations.filter(~predicted) if predicted.any() else self.annotations

    def subset(self, image_ids: Sequence[int] | pl.Series, *, split: str | None = None) -> "Dataset":
        """The same dataset with only these images, their annotations and the shards they need; pixels stay put."""
        images = self.images.filter(pl.col("image_id").is_in(pl.Series(image_ids, dtype=pl.UInt32).implode()))
        kept = images.get_column("image_id").implode()
        needed = set(images.get_column("shard").drop_nulls())
        return replace(
            self,
            images=images,
            annotations=self.annotations.filter(pl.col("image_id").is_in(kept)),
            shards=tuple(shard for shard in self.shards if shard.sha256 in needed),
            split=split or self.split,
        )

    def save(self, directory: Path) -> Manifest:
        """Write the four files into ``directory``, tables first, the manifest last, each atomically."""
        directory.mkdir(parents=True, exist_ok=True)
        frames = dict(zip(TABLES, (self.images, self.annotations, self.ledger), strict=True))
        digests = {}
        for table, frame in frames.items():
            path = directory / f"{table}.parquet"
            with write_atomically(path) as temporary:
                frame.write_parquet(temporary, compression="zstd")
            digests[table] = sha256_file(path)
        manifest = Manifest(
            name=self.name,
            version=self.version,
            split=self.split,
            parent=self.parent,
            classes=self.classes,
            image_count=self.images.height,
            annotation_count=self.annotations.height,
            shards=self.shards,
            tables=digests,
        )
        with write_atomically(directory / MANIFEST) as temporary:
            temporary.write_text(manifest.model_dump_json(indent=2) + "\n", encoding="utf-8")
        return manifest

    @classmethod
    def load(cls, directory: Path) -> "Dataset":
        """Read a dataset from its directory.

        Raises:
            FormatError: there is no manifest, or it is not one of ours.
            CorruptionError: a table's bytes do not have the digest the manifest gives.
        """
        manifest = load_manifest(directory)
        frames = {}
        for table in TABLES:
            path = directory / f"{table}.parquet"
            if not path.is_file():
                raise CorruptionError(f"{str(path)!r} is missing: copy the dataset folder again as a whole.")
            if sha256_file(path) != manifest.tables.get(table):
                raise CorruptionError(f"{str(path)!r} is not the table its manifest describes: copy the folder again.")
            frames[table] = read_compact(path)
        frames["images"] = _with_new_columns(frames["images"])
        return cls(
            name=manifest.name,
            classes=manifest.classes,
            shards=manifest.shards,
            split=manifest.split,
            parent=manifest.parent,
            **frames,
        )


def _with_new_columns(images: pl.DataFrame) -> pl.DataFrame:
    """A table written by an earlier release, with the columns that came since as nulls."""
    new = [pl.lit(None, dtype=kind).alias(name) for name, kind in IMAGES.items() if name not in images.columns]
    return images.with_columns(new).select(IMAGES.keys()) if new else images


def load_manifest(directory: Path) -> Manifest:
    """The manifest of the dataset in ``directory``.

    Raises:
        FormatError: it is missing, unreadable or of a newer schema.
    """
    path = directory / MANIFEST
    try:
        manifest = Manifest.model_validate_json(path.read_bytes())
    except FileNotFoundError as error:
        raise FormatError(f"{str(directory)!r} holds no dataset ({MANIFEST} is missing).") from error
    except ValidationError as error:
        raise FormatError(f"{str(path)!r} is not a dataset manifest: {error.errors()[0]['msg']}.") from error
    if manifest.schema_version > SCHEMA_VERSION:
        raise FormatError(
            f"{str(path)!r} has schema {manifest.schema_version}, this release reads up to {SCHEMA_VERSION}: upgrade."
        )
    return manifest


def content_version(classes: Sequence[str], images: pl.DataFrame, annotations: pl.DataFrame) -> str:
    """sha256 over the canonical content: schema, classes, and per image its digest, size, split, tags and annotations.

    Names, ids, row order and where bytes lie do not count; coordinates count to a ten-thousandth of a pixel.
    """
    header = json.dumps([SCHEMA_VERSION, list(classes)], ensure_ascii=True).encode()
    return hash_content(header, classes, images, annotations)
