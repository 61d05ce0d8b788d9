"""How far reading and sending has come: a progress bar on a terminal, a line each anywhere else."""

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

_STEPS = ((1 << 30, "GB"), (1 << 20, "MB"), (1 << 10, "kB"))


class BarMeter:
    """A ``raw.Meter`` that people see."""

    def __init__(self, console: Console) -> None:
        self._console = console
        columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            *columns,
            console=console,
            disable=not console.is_terminal,
            transient=True,
        )
        self._task: TaskID | None = None

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def begin(self, what: str, files: int, total: int) -> None:
        """Something begins with so many files and bytes."""
        if self._task is not None:
            self._progress.remove_task(self._task)
        self._task = self._progress.add_task(what, total=total)
        if not self._console.is_terminal:
            text = f"{what}: {files} file{'' if files == 1 else 's'}, {amount(total)}"
            self._console.print(text, highlight=False, markup=False, emoji=False, soft_wrap=True)

    def advance(self, size: int) -> None:
        """A file of this size is done."""
        if self._task is not None:
            self._progress.advance(self._task, size)


def amount(size: int) -> str:
    """Bytes for people: ``12.3 MB``."""
    for unit, name in _STEPS:
        if size >= unit:
            return f"{size / unit:.1f} {name}"
    return f"{size} bytes"
