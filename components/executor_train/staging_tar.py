"""One uncompressed tar for many small files: a cluster moves artifacts file by file, which takes it hours."""

import io
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from components.shared.errors import StoreError
from components.shared.files import write_atomically


class StagingTar:
    """A tar whose bytes depend on what is added and in which order, on nothing else."""

    def __init__(self, tar: tarfile.TarFile) -> None:
        self._tar = tar

    def folder(self, name: str) -> None:
        """Add a folder."""
        entry = tarfile.TarInfo(name)
        entry.type, entry.mode = tarfile.DIRTYPE, 0o777  # an executor may run as any user
        self._tar.addfile(entry)

    def bytes(self, name: str, data: bytes) -> None:
        """Add a file with this content."""
        self._tar.addfile(self._entry(name, len(data)), io.BytesIO(data))

    def file(self, name: str, path: Path) -> None:
        """Add a copy of the file at ``path``."""
        with path.open("rb") as content:
            self._tar.addfile(self._entry(name, path.stat().st_size), content)

    @staticmethod
    def _entry(name: str, size: int) -> tarfile.TarInfo:
        entry = tarfile.TarInfo(name)
        entry.size, entry.mode = size, 0o666  # the script that runs the executor completes its configuration
        return entry


@contextmanager
def staging_tar(path: Path) -> Iterator[StagingTar]:
    """Write a tar at ``path``, whole or not at all.

    Raises:
        StoreError: the disk is full or cannot be written.
    """
    try:
        with write_atomically(path) as temporary, tarfile.open(temporary, "w", format=tarfile.PAX_FORMAT) as tar:
            yield StagingTar(tar)
    except OSError as error:
        raise StoreError(
            f"The data for the executor cannot be written to {str(path)!r} ({error.strerror or error}): check the"
            " free space there."
        ) from error
