"""A tar whose bytes depend on its content alone."""

import tarfile
from pathlib import Path
from typing import Final

from components.shared.files import write_atomically

PRESET: Final = 0  # weights hardly shrink: the fastest preset gives 98 % of the best one's size


def write_tar(root: Path, path: Path) -> None:
    """Write the folder ``root`` as an xz tar at ``path``, atomically.

    Members are sorted, folders are listed too, and times, owners and modes are fixed.
    """
    with write_atomically(path) as temporary, tarfile.open(temporary, "w:xz", preset=PRESET) as tar:
        for member in sorted(root.rglob("*"), key=lambda found: found.relative_to(root).parts):
            _add(tar, member, member.relative_to(root).as_posix())


def _add(tar: tarfile.TarFile, path: Path, name: str) -> None:
    entry = tarfile.TarInfo(name)
    if path.is_dir():
        entry.type, entry.mode = tarfile.DIRTYPE, 0o755
        tar.addfile(entry)
        return
    entry.mode = 0o755 if path.suffix == ".sh" else 0o644
    entry.size = path.stat().st_size
    with path.open("rb") as content:
        tar.addfile(entry, content)
