"""Keep the local image cache, from which training folders are linked, below a size."""

import re
import time
from dataclasses import dataclass
from pathlib import Path

from components.shared.errors import StoreError

RESTING = 3600.0  # seconds a file must not have been written, read or linked for, since a step may be about to link it
_CACHED = re.compile(r"[0-9a-f]{64}.+|\.[0-9a-f]{32}\.tmp")
_FOLDER = re.compile(r"[0-9a-f]{2}")


@dataclass(frozen=True)
class Pruned:
    """What the cache held and what was (or in a dry run would be) removed, in files and bytes."""

    files: int
    bytes: int
    removed_files: int
    removed_bytes: int


@dataclass(frozen=True)
class _Cached:
    path: Path
    size: int
    used: float
    resting: bool


def prune(cache: Path, limit: int, *, dry_run: bool = False) -> Pruned:
    """Remove the images used longest ago until the cache holds at most ``limit`` bytes.

    Only what has the name of a cached image is looked at. What a training folder still links to stays, since removing
    it would free nothing, and so does what was used within the last hour.

    Raises:
        StoreError: a file cannot be removed.
    """
    found = sorted(_cached(cache), key=lambda each: each.used)
    total = sum(each.size for each in found)
    removed: list[_Cached] = []
    excess = total - limit
    for each in found:
        if excess <= 0:
            break
        if each.resting:
            removed.append(each)
            excess -= each.size
    if not dry_run:
        _remove(removed)
    return Pruned(len(found), total, len(removed), sum(each.size for each in removed))


def _cached(cache: Path) -> list[_Cached]:
    found = []
    oldest = time.time() - RESTING
    for folder in cache.glob("*"):
        if not _FOLDER.fullmatch(folder.name) or not folder.is_dir():
            continue
        for path in folder.iterdir():
            if not _CACHED.fullmatch(path.name):
                continue
            try:
                status = path.lstat()
            except FileNotFoundError:  # removed since the folder was read
                continue
            used = max(status.st_atime, status.st_mtime, status.st_ctime)  # a link changes ctime
            found.append(_Cached(path, status.st_size, used, used < oldest and status.st_nlink == 1))
    return found


def _remove(files: list[_Cached]) -> None:
    for each in files:
        try:
            each.path.unlink(missing_ok=True)
        except OSError as error:
            raise StoreError(
                f"The cached image {str(each.path)!r} cannot be removed ({error.strerror}): check its permissions."
            ) from error
