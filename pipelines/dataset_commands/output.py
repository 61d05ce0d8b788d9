"""How the dataset commands answer: a table for people or one JSON object, and progress on a terminal."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from components.shared.progress import Notify, silent
from pipelines.terminal import PatientConsole

SUCCESS, FAILED = 0, 1
_UNITS = ("B", "kB", "MB", "GB", "TB")
_STEP = 1000
_WIDE = 140


@dataclass(frozen=True)
class Answer:
    """What a command found.

    Attributes:
        data: as JSON-able values.
        show: prints it for people.
        code: what the command exits with.
    """

    data: Mapping[str, object]
    show: Callable[[Console], None]
    code: int = SUCCESS


def page() -> Console:
    """Standard output; where it is no terminal, wide enough for every table."""
    console = PatientConsole()
    return console if console.is_terminal else PatientConsole(width=_WIDE)


@contextmanager
def progress(title: str) -> Iterator[Notify]:
    """A listener that draws a bar on standard error when that is a terminal, and nothing elsewhere."""
    console = PatientConsole(stderr=True)
    if not console.is_terminal:
        yield silent
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[text]}"), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(title, total=1.0, text="")
        yield lambda share, text: bar.update(task, completed=share, text=text)


def line(console: Console, label: str, text: object) -> None:
    """A label and its value, as they are."""
    console.print(f"{label:<12}{text}", highlight=False, markup=False, soft_wrap=True)


def size(count: float) -> str:
    """Bytes for people: ``1.5 MB``."""
    value, unit = float(count), _UNITS[0]
    for unit in _UNITS:
        if abs(value) < _STEP or unit == _UNITS[-1]:
            break
        value /= _STEP
    return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"


def moment(seconds: float) -> str:
    """A time as the clock on the wall shows it."""
    return datetime.fromtimestamp(seconds).astimezone().strftime("%Y-%m-%d %H:%M")


def names(found: tuple[str, ...], limit: int = 10) -> str:
    """The first names of many."""
    rest = len(found) - limit
    return ", ".join(found[:limit]) + (f" and {rest} more" if rest > 0 else "")
