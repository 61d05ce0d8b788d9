"""What is needed to predict with a packed model, without its service: taken out of an archive, verified."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from components.shared.archive import (
    BENTO,
    MODEL,
    SOURCE,
    ArchiveManifest,
    OpenArchive,
    load_archive_manifest,
    open_archive,
    unpack,
    verify,
)
from components.shared.detection.manifest import MANIFEST
from components.shared.errors import ArchiveError, ConfigError
from components.shared.files import sha256_file

RUNTIMES = "runtimes"


def open_packed(path: Path, work: Path) -> OpenArchive:
    """Unpack a packed model below ``work`` and verify every byte.

    Args:
        path: an archive's folder, or a ``.bento`` file alone, which is compared with the manifest inside it.
        work: an empty folder.

    Raises:
        ArchiveError: it is no packed model, unsafe to unpack, or differs from its manifest; the message names the file.
    """
    if path.is_dir():
        return open_archive(path, work)
    if path.name == BENTO and path.with_name(MANIFEST).is_file():
        return open_archive(path.parent, work)
    if not path.is_file():
        raise ArchiveError(
            f"There is no packed model at {str(path)!r}: give the folder with {BENTO!r} or a .bento file."
        )
    bento = work / "bento"
    bento.mkdir(parents=True)
    unpack(path, bento)
    return verified_bento(bento)


def verified_bento(bento: Path) -> OpenArchive:
    """An unpacked bento that is what the manifest inside it says.

    Raises:
        ArchiveError: it is not; the message names the file.
    """
    manifest = load_archive_manifest(bento / SOURCE)
    verify(bento, manifest)
    return OpenArchive(bento=bento, manifest=manifest)


def inference_files(manifest: ArchiveManifest) -> dict[str, str]:
    """sha256 of the files that prediction needs, relative to the bento's source: the model and its converted forms."""
    wanted = (f"{MODEL}/", f"{RUNTIMES}/")
    return {name: digest for name, digest in manifest.source_files.items() if name.startswith(wanted)}


def write_inference_files(opened: OpenArchive, folder: Path) -> tuple[str, ...]:
    """Copy the model and its converted forms to ``folder``, beside the archive's manifest; gives their names.

    Raises:
        ArchiveError: a copy is not what the manifest says.
    """
    names = inference_files(opened.manifest)
    for name, digest in names.items():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(opened.bento / SOURCE / name, target)
        if sha256_file(target) != digest:
            raise ArchiveError(f"The copy of {name!r} in {str(folder)!r} has other bytes: look at the disk.")
    opened.manifest.save(folder)
    return (MANIFEST, *names)


@contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """Give a folder to fill; it becomes ``target`` when the block ends well, and vanishes when it does not.

    Raises:
        ConfigError: ``target`` holds something already, or cannot be made.
    """
    if target.is_symlink() or (target.exists() and not (target.is_dir() and not any(target.iterdir()))):
        raise ConfigError(f"{str(target)!r} is there already: give a new or empty folder.")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as work:
            folder = Path(work) / "new"
            folder.mkdir()
            yield folder
            folder.replace(target)
    except OSError as error:
        where = str(error.filename or target)
        raise ConfigError(f"{where!r} cannot be read or written: {error.strerror or error}.") from error
