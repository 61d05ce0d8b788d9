"""Bring one source to a local folder, whatever it is: a folder, an archive, a bucket, a web address, the sample."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from components.data_load.download import download
from components.data_load.label_studio_api import fetch_project
from components.data_load.objects import fetch_objects
from components.data_load.options import LoadOptions
from components.data_load.sample import write_sample
from components.data_load.unpack import settle, unpack, unpack_beside
from components.data_load.web import Web
from components.shared.archives import is_archive
from components.shared.errors import NotFoundError, SourceError
from components.shared.ledger import Entry
from components.shared.progress import Notify, silent
from components.shared.source_addresses import redacted
from components.shared.sources import Kind, check_source, kind_of, local_path


@dataclass(frozen=True)
class Fetched:
    """A source on disk.

    Attributes:
        root: the folder with its files.
        image_base: ``s3://`` or ``https://`` address that relative image names may stand below; ``None`` when all
            there is lies in ``root``.
        ledger: what was left out on the way.
    """

    root: Path
    image_base: str | None = None
    ledger: tuple[Entry, ...] = ()


def fetch(source: str, work: Path, options: LoadOptions, notify: Notify = silent) -> Fetched:
    """Bring a source to disk, below ``work`` (a new folder) where it is not there yet.

    Raises:
        SourceError: nothing is there, it cannot be reached, or it is neither a data set's folder nor an archive.
        UnsafeInputError: an archive or a server tries to do harm.
    """
    check_source(source, allow_private_addresses=options.allow_private_addresses)
    kind = kind_of(source)
    if kind is Kind.SAMPLE:
        sample = options.sample
        write_sample(work / "sample", images=sample.images, edge=sample.edge, seed=sample.seed, notify=notify)
        return Fetched(work / "sample")
    if kind is Kind.LOCAL:
        return Fetched(_local(local_path(source), work, notify))
    if kind is Kind.S3:
        return _from_bucket(source, work, options, notify)
    with _client(options) as web:
        if kind is Kind.LABEL_STUDIO:
            fetch_project(source, work / "project", web, max_bytes=max_bytes(options), notify=notify)
            return Fetched(work / "project")
        return _from_web(source, work, web, options, notify)


def max_bytes(options: LoadOptions) -> int:
    """The largest download in bytes."""
    return int(options.max_download_gb * 1e9)


@contextmanager
def _client(options: LoadOptions) -> Iterator[Web]:
    web = Web(allow_private=options.allow_private_addresses)
    try:
        yield web
    finally:
        web.close()


def _local(path: Path, work: Path, notify: Notify) -> Path:
    if path.is_dir():
        return unpack_beside(path, work / "source")
    notify(0.0, f"unpacking {path.name}")
    return _unpacked(path, work / "source", str(path))


def _from_bucket(source: str, work: Path, options: LoadOptions, notify: Notify) -> Fetched:
    found = fetch_objects(source, work / "objects", max_bytes=max_bytes(options), notify=notify)
    if found.single is None:
        return Fetched(unpack_beside(found.folder, work / "source"), found.base, found.ledger)
    return _opened(settle(found.single, source, "", redacted(source)), found.base, work, notify)


def _from_web(source: str, work: Path, web: Web, options: LoadOptions, notify: Notify) -> Fetched:
    folder = work / "download"
    folder.mkdir(parents=True)
    try:
        media_type = download(web, source, folder / "file", max_bytes=max_bytes(options), notify=notify)
    except NotFoundError as error:
        raise SourceError(str(error)) from error
    base = redacted(source).rpartition("/")[0]
    return _opened(settle(folder / "file", source, media_type, redacted(source)), base, work, notify)


def _opened(path: Path, base: str, work: Path, notify: Notify) -> Fetched:
    """The folder of a file that was fetched alone: unpacked, or as the annotation file it is."""
    if not is_archive(path):
        return Fetched(path.parent, base)
    notify(1.0, f"unpacking {path.name}")
    root = _unpacked(path, work / "source", path.name)
    path.unlink()
    return Fetched(root)


def _unpacked(path: Path, folder: Path, shown: str) -> Path:
    root = unpack(path, folder)
    if not any(root.iterdir()):
        raise SourceError(f"The archive {shown!r} is empty: pack images and annotations into it.")
    return root
