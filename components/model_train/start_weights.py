"""Find the weights that ``start_from`` means and bring them here: published, official, from a file or an s3 object."""

import re
import shutil
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from components.shared.archive import (
    BENTO,
    MODEL,
    SOURCE,
    load_archive_manifest,
    open_archive,
    unpack,
    verify,
)
from components.shared.detection.manifest import MANIFEST, ModelManifest, load_manifest, verify_files
from components.shared.detection.torchvision_runtime import load_weights
from components.shared.errors import ArchiveError, ConfigError, NotFoundError, SourceError
from components.shared.registry import CHAMPION, LEAST, SHORT, fetch_archive, fetch_file, find_model, model_names
from components.shared.source_addresses import bucket_of, redacted, scheme_of
from components.shared.sources import local_path
from components.shared.store import Store, open_store

WEIGHTS = ".pt"
ARCHIVE = ".bento"
_VERSION = re.compile(rf"[0-9a-f]{{{LEAST},64}}")


@dataclass(frozen=True)
class Weights:
    """A weights file that is here.

    Attributes:
        path: the file.
        origin: where it came from, for people.
        framework: the trainer that made it.
        architecture: what a torchvision model is called; empty for others, which know it themselves.
        classes: what it can tell apart, by class id.
    """

    path: Path
    origin: str
    framework: str
    architecture: str = ""
    classes: tuple[str, ...] = ()


def find_weights(source: str, store: Store, name: str, folder: Path) -> Weights:
    """The weights that a text means.

    Args:
        source: ``champion``, a version or the first digits of one: a published version of ``name``; with ``NAME@``
            before it: of another model; ``s3://bucket/key`` of weights or a packed model; a path to weights, a model
            folder or a packed model; the name of official weights. A file named like a version is ``./name``.
        store: where models are published.
        name: this project's model.
        folder: receives what has to be fetched.

    Raises:
        ConfigError: there are no such weights, or they are no detector's.
        ArchiveError: the packed model is broken, or not what it claims to be.
        StoreError: the store failed.
        TrainingError: official weights cannot be downloaded.
    """
    if is_published(source):
        return _published(source, store, name, folder)
    if scheme_of(source) not in {None, "file"}:
        path = fetch_object(source, folder)
        return replace(_from_path(path, source, folder), origin=redacted(source))
    path = local_path(source)
    if path.exists():
        return _from_path(path, source, folder)
    if path.name != source or path.suffix != WEIGHTS:
        raise ConfigError(_nothing(source, store))
    from components.model_train.trainers.ultralytics.names import official_weights  # noqa: PLC0415 - heavy

    return read_file(official_weights(source), f"official {source}", source)


def is_published(source: str) -> bool:
    """Whether a text names a published model, and not a file, an object or official weights."""
    if source == CHAMPION or _VERSION.fullmatch(source):
        return True
    return "@" in source and "/" not in source and not source.endswith((WEIGHTS, ARCHIVE))


def fetch_object(uri: str, folder: Path) -> Path:
    """Bring one object at ``s3://bucket/key`` into ``folder``, under the last part of its key.

    Raises:
        ConfigError: it is no such address, or there is no such object.
        StoreError: it cannot be read, or is larger than an archive may be or the disk can take.
    """
    shown = redacted(uri)
    if scheme_of(uri) != "s3":
        raise ConfigError(f"{shown!r} is not fetched: give s3://bucket/key, or download it and give its path.")
    try:
        bucket = bucket_of(uri)
    except SourceError as error:
        raise ConfigError(str(error)) from error
    key = uri.partition("://")[2].partition("/")[2]
    path = folder / "fetched" / (PurePosixPath(key).name or "object")
    try:
        fetch_file(open_store(f"s3://{bucket}"), key, path)
    except NotFoundError as error:
        raise ConfigError(f"There is no object {shown!r}: give the whole key of a file.") from error
    return path


def read_file(path: Path, origin: str, source: str) -> Weights:
    """A weights file by itself: one of the torchvision trainer's, or else one of ultralytics'; no code in it is run.

    Args:
        path: the file.
        origin: what it will be called.
        source: what messages call it.

    Raises:
        ConfigError: it is neither.
    """
    try:
        found = load_weights(path)
    except ArchiveError:
        from components.model_train.trainers.ultralytics.start import read_weights  # noqa: PLC0415 - heavy

        return Weights(path, origin, "ultralytics", classes=read_weights(path, shown=source).classes)
    return Weights(path, origin, "torchvision", found.architecture, found.classes)


def _published(source: str, store: Store, name: str, folder: Path) -> Weights:
    record = find_model(store, name, source)
    archive = fetch_archive(store, record, folder / "archive")
    opened = open_archive(archive, folder)
    (archive / BENTO).unlink()
    which = CHAMPION if source.rpartition("@")[2] == CHAMPION else "version"
    return _of_model(opened.model, f"{which} {record.version[:SHORT]} of {record.name}")


def _from_path(path: Path, source: str, folder: Path) -> Weights:
    if path.is_dir():
        if (path / BENTO).is_file():
            return _packed(path / BENTO, folder)
        if not (path / MANIFEST).is_file():
            raise ConfigError(f"The folder {source!r} holds no model: give weights, or a folder with a {MANIFEST}.")
        verify_files(path, load_manifest(path))
        return _of_model(path, f"the model in {path.name}")
    if path.suffix == ARCHIVE:
        return _packed(path, folder)
    if path.suffix != WEIGHTS:
        raise ConfigError(f"{source!r} is no weights file: give one that ends in {WEIGHTS}, or a packed model.")
    return read_file(path, path.name, source)


def _packed(bento: Path, folder: Path) -> Weights:
    """The model in a packed one; the manifest beside it is compared where there is one."""
    if bento.name == BENTO and (bento.parent / MANIFEST).is_file():
        opened = open_archive(bento.parent, folder)
        return _of_model(opened.model, str(opened.manifest.tag))
    target = folder / "bento"
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    unpack(bento, target)
    manifest = load_archive_manifest(target / SOURCE)
    verify(target, manifest)
    return _of_model(target / SOURCE / MODEL, manifest.tag)


def _of_model(model: Path, origin: str) -> Weights:
    """The served weights of a model folder whose files were verified."""
    manifest: ModelManifest = load_manifest(model)
    if manifest.weights not in manifest.files:
        raise ArchiveError(f"The weights {manifest.weights!r} are not among the files of {origin!r}: pack it again.")
    path = model / manifest.weights
    architecture = load_weights(path).architecture if manifest.framework == "torchvision" else ""
    return Weights(path, origin, manifest.framework, architecture, manifest.classes)


def _nothing(source: str, store: Store) -> str:
    meant = f"{source}@{CHAMPION}" if source in model_names(store) else ""
    ways = (
        f"give {CHAMPION}, {LEAST} or more digits of a published version (NAME@ before it: of another model), a path"
        " that exists, s3://bucket/key or official weights (yolo11n.pt)."
    )
    return f"There is nothing to start from at {source!r}: {f'did you mean {meant!r}?' if meant else ways}"
