"""Small promises about files: written whole or not at all, hashed without being held in memory."""

import hashlib
import os
import re
import time
import uuid
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path

CHUNK = 1 << 20
ABANDONED = 3600.0  # seconds without a byte after which a half-written file of another machine has no writer

_HALF_WRITTEN = re.compile(r"\..+\.([0-9a-f]{8})-([0-9]+)-[0-9a-f]{8}\.tmp")  # machine and process of its writer


@contextmanager
def write_atomically(path: Path, *, durable: bool = True) -> Iterator[Path]:
    """Give a temporary path beside ``path``; when the block ends well it replaces ``path``, else it vanishes.

    What a killed writer left half-written in the folder is removed by the first write of a later process. A file that
    is not ``durable`` may be lost when the machine falls, which is right where the folder does not outlive it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_abandoned(path.parent.absolute())
    temporary = path.with_name(f".{path.name}.{_machine()}-{os.getpid()}-{uuid.uuid4().hex[:8]}.tmp")
    try:
        yield temporary
        if durable:
            with temporary.open("rb+") as handle:
                os.fsync(handle.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@lru_cache(maxsize=1024)  # once a folder is enough, and one of many files is slow to list
def remove_abandoned(folder: Path) -> None:
    """Remove the half-written files of a folder whose writers are gone; what cannot be removed stays."""
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            written = _HALF_WRITTEN.fullmatch(entry.name)
            if written and entry.is_file(follow_symlinks=False):
                old = time.time() - entry.stat(follow_symlinks=False).st_mtime > ABANDONED
                if old or (written[1] == _machine() and not _is_running(int(written[2]))):
                    Path(entry.path).unlink(missing_ok=True)


def _machine() -> str:
    """Eight hex digits that tell this host (or pod) from others."""
    return f"{zlib.crc32(os.uname().nodename.encode()):08x}"


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True  # it runs, as another user
    return True


def sha256_file(path: Path) -> str:
    """sha256 of a file's bytes, 64 hex digits."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def sha256_tree(root: Path, names: list[str] | None = None) -> dict[str, str]:
    """Map each file below ``root`` (posix path, sorted) to its sha256; ``names`` limits it to those paths."""
    chosen = names or [path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()]
    return {name: sha256_file(root / name) for name in sorted(chosen)}


def digest_of_digests(digests: dict[str, str]) -> str:
    """One sha256 for a set of files: over the sorted ``path<NUL>digest`` lines."""
    total = hashlib.sha256()
    for name in sorted(digests):
        total.update(f"{name}\0{digests[name]}\n".encode())
    return total.hexdigest()
