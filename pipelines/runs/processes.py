"""The processes of this machine: who started which, since when, and with what command."""

import os
import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")
_PARENT, _STARTED = 1, 19  # fields of /proc/<number>/stat after the command's name, see proc(5)
_ELAPSED = re.compile(r"(?:(?:(\d+)-)?(\d+):)?(\d+):(\d+)")


@dataclass(frozen=True)
class Process:
    """A process: the number of its parent, its start in seconds since 1970, and its command line."""

    parent: int
    started: float
    command: str


def processes() -> dict[int, Process]:
    """Each process that can be seen, by its number; those that are dead and not yet buried are left out."""
    if (_PROC / "self" / "stat").exists():
        return dict(_from_proc())
    return dict(_from_ps())


def _from_proc() -> Iterator[tuple[int, Process]]:
    now, ticks = time.time(), os.sysconf("SC_CLK_TCK")
    running = float((_PROC / "uptime").read_text(encoding="utf-8").split()[0])
    for folder in _PROC.glob("[0-9]*"):
        with suppress(OSError, ValueError, IndexError):
            facts = (folder / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
            if facts[0] != "Z":
                started = now - running + int(facts[_STARTED]) / ticks
                yield int(folder.name), Process(int(facts[_PARENT]), started, command)


def _from_ps() -> Iterator[tuple[int, Process]]:
    command = ["ps", "-axo", "pid=,ppid=,stat=,etime=,command="]
    found = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    for line in found.splitlines():
        with suppress(ValueError):
            number, parent, state, elapsed, text = line.split(None, 4)
            if not state.startswith("Z"):
                yield int(number), Process(int(parent), time.time() - _seconds(elapsed), text)


def _seconds(elapsed: str) -> float:
    """The seconds of ``[[days-]hours:]minutes:seconds``."""
    found = _ELAPSED.fullmatch(elapsed)
    if found is None:
        raise ValueError(elapsed)
    days, hours, minutes, seconds = (int(part or 0) for part in found.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60.0 + seconds
