"""What an executor left: read from its tar without unpacking it, and trusting no name in it."""

import shutil
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from components.executor_train import contract
from components.executor_train.monitor import MOST_BYTES, Monitor, parse_monitor
from components.executor_train.result import Stage
from components.shared.errors import FormatError
from components.shared.files import write_atomically

TAIL = 64 << 10  # bytes of the log that are looked at
MOST_MEMBERS = 200_000
_RESULT_LIMIT = 4 << 20


@dataclass(frozen=True)
class Leftovers:
    """The plain files of an executor's tar, by their paths below ``/out``; links and devices do not count.

    Attributes:
        monitor: what ``monitor.txt`` says; ``None``: there is none.
        result: content of ``models/result.yaml``; ``None``: there is none.
        config: what ``config.yaml`` held when the executor began.
        log: the end of its output.
        models: paths of all files below ``models``.
    """

    monitor: Monitor | None
    result: bytes | None
    config: bytes
    log: str
    models: tuple[str, ...]
    _tar: tarfile.TarFile
    _members: dict[str, tarfile.TarInfo]

    def find(self, stage: Stage) -> dict[str, str]:
        """For each file of a stage, the member of the tar that holds it; one that is missing is left out."""
        models = contract.MODELS
        places = {name: (f"{models}/{stage.name}/{name}", f"{models}/{name}") for name in stage.files}
        return self._found(places)

    def find_attachments(self, names: tuple[str, ...]) -> dict[str, str]:
        """Likewise, for further files."""
        models = contract.MODELS
        return self._found({name: (f"{models}/attachments/{name}", f"{models}/{name}") for name in names})

    def copy(self, member: str, target: Path) -> None:
        """Write a member's bytes to ``target``."""
        source = self._tar.extractfile(self._members[member])
        assert source is not None  # noqa: S101 - only plain files are members
        with source, write_atomically(target) as temporary, temporary.open("wb") as handle:
            shutil.copyfileobj(source, handle, 1 << 20)

    def _found(self, places: dict[str, tuple[str, str]]) -> dict[str, str]:
        return {
            name: next(place for place in wanted if place in self._members)
            for name, wanted in places.items()
            if any(place in self._members for place in wanted)
        }


@contextmanager
def open_leftovers(path: Path) -> Iterator[Leftovers]:
    """Look into the tar of ``executor_run``.

    Raises:
        FormatError: it is no tar, or holds far too many files.
    """
    try:
        with tarfile.open(path, "r:") as tar:
            members = _members(tar)
            log = _read(tar, members, contract.LOG, TAIL, tail=True) or b""
            monitor = _read(tar, members, contract.MONITOR, MOST_BYTES)
            yield Leftovers(
                monitor=parse_monitor(monitor) if monitor and monitor.strip() else None,
                result=_read(tar, members, contract.RESULT, _RESULT_LIMIT),
                config=_read(tar, members, contract.USED_CONFIG, _RESULT_LIMIT) or b"",
                log=log.decode("utf-8", "replace"),
                models=tuple(name for name in members if name.startswith(f"{contract.MODELS}/")),
                _tar=tar,
                _members=members,
            )
    except (tarfile.TarError, EOFError) as error:
        raise FormatError(
            f"What the executor left in {path.name!r} is no complete tar ({error}): run it again."
        ) from error


def _members(tar: tarfile.TarFile) -> dict[str, tarfile.TarInfo]:
    """Plain files by their clean paths; a hard link is the file it was packed with."""
    found: dict[str, tarfile.TarInfo] = {}
    for number, member in enumerate(tar):
        if number >= MOST_MEMBERS:
            raise FormatError(f"The executor left more than {MOST_MEMBERS} files: it must keep to its contract.")
        path = PurePosixPath(member.name)
        inside = not path.is_absolute() and ".." not in path.parts
        if inside and member.isreg():
            found[path.as_posix()] = member
        elif inside and member.islnk() and (linked := found.get(PurePosixPath(member.linkname).as_posix())):
            found[path.as_posix()] = linked
    return found


def _read(
    tar: tarfile.TarFile, members: dict[str, tarfile.TarInfo], name: str, limit: int, *, tail: bool = False
) -> bytes | None:
    """At most ``limit`` bytes of a member, its last ones if ``tail``."""
    source = tar.extractfile(members[name]) if name in members else None
    if source is None:
        return None
    with source:
        if tail:
            source.seek(max(0, members[name].size - limit))
        return source.read(limit)
