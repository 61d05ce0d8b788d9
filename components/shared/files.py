"""Small promises about files: written whole or not at all, hashed without being held in memory."""

import hashlib
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

CHUNK = 1 << 20


@contextmanager
def write_atomically(path: Path) -> Iterator[Path]:
    """Give a temporary path beside ``path``; when the block ends well it replaces ``path``, else it vanishes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        yield temporary
        with temporary.open("rb+") as handle:
            os.fsync(handle.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


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
