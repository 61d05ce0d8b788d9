"""What a person sees while a run goes on: a live table on a terminal, plain lines anywhere else."""

from typing import Protocol

from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from components.shared.progress import StepProgress
from pipelines.record import RunRecord, StepRecord

SIGNS = {"pending": "·", "running": "▸", "succeeded": "✓", "failed": "✗", "terminated": "■"}
STYLES = {"pending": "dim", "running": "cyan", "succeeded": "green", "failed": "red", "terminated": "yellow"}


class Display(Protocol):
    """Where a run is shown."""

    def begin(self, record: RunRecord) -> None:
        """The run begins."""

    def changed(self, record: RunRecord, step: StepRecord) -> None:
        """A step began or ended."""

    def update(self, record: RunRecord, progress: StepProgress | None) -> None:
        """Time passes; ``progress`` is the running step's."""

    def end(self, record: RunRecord) -> None:
        """The run has ended."""


class PlainDisplay:
    """Plain lines: one when a step begins or ends, one when what it is doing changes noticeably."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._shown = ""

    def begin(self, record: RunRecord) -> None:
        """See ``Display``."""
        self._line(f"run {record.run_id}")

    def changed(self, record: RunRecord, step: StepRecord) -> None:
        """See ``Display``."""
        del record
        if step.state == "running":
            self._line(f"{step.name}: started")
        else:
            how = "reused from an earlier run" if step.cached else f"{step.seconds or 0:.1f} s"
            self._line(f"{step.name}: {step.state} ({how})")

    def update(self, record: RunRecord, progress: StepProgress | None) -> None:
        """See ``Display``."""
        del record
        if progress is None or not progress.message.startswith("epoch "):
            return
        message = progress.message.split(",", 1)[0]
        if message != self._shown:
            self._shown = message
            self._line(f"{progress.step}: {progress.message}{eta(progress)}")

    def end(self, record: RunRecord) -> None:
        """See ``Display``."""
        self._line(f"run {record.run_id}: {record.state} ({record.seconds or 0:.1f} s)")

    def _line(self, text: str) -> None:
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)


class LiveDisplay:
    """A table of the steps that redraws itself."""

    def __init__(self, console: Console) -> None:
        self._live = Live(console=console, refresh_per_second=5, transient=True)

    def begin(self, record: RunRecord) -> None:
        """See ``Display``."""
        self._live.start()
        self._live.update(steps_table(record, None))

    def changed(self, record: RunRecord, step: StepRecord) -> None:
        """See ``Display``."""
        del step
        self._live.update(steps_table(record, None))

    def update(self, record: RunRecord, progress: StepProgress | None) -> None:
        """See ``Display``."""
        self._live.update(steps_table(record, progress))

    def end(self, record: RunRecord) -> None:
        """See ``Display``."""
        del record
        self._live.stop()


def make_display(console: Console) -> Display:
    """The display that suits where the console writes."""
    return LiveDisplay(console) if console.is_terminal else PlainDisplay(console)


def steps_table(record: RunRecord, progress: StepProgress | None) -> Table:
    """The steps with their state, seconds and what they do or made."""
    table = Table(box=None, pad_edge=False)
    for heading, justify in (("step", "left"), ("status", "left"), ("seconds", "right"), ("output", "left")):
        table.add_column(heading, justify=justify, overflow="fold")  # type: ignore[arg-type]
    for step in record.steps:
        status = f"{SIGNS[step.state]} {'reused' if step.cached else step.state}"
        seconds = f"{step.seconds:.1f}" if step.seconds is not None else ""
        doing = output_of(step)
        if progress is not None and step.state == "running":
            seconds = f"{progress.updated - progress.started:.1f}"
            doing = f"{progress.share:4.0%} {progress.message}{eta(progress)}"
        table.add_row(step.name, f"[{STYLES[step.state]}]{status}[/]", seconds, escape(doing))
    return table


def eta(progress: StepProgress) -> str:
    """How long the step has still to go, as `` (about 12 s left)``."""
    return f" (about {progress.eta:.0f} s left)" if progress.eta and progress.eta >= 1 else ""


def output_of(step: StepRecord) -> str:
    """What a finished step made, in a few words."""
    if step.error:
        return step.error
    numbers = {name: value for facts in step.metadata.values() for name, value in facts.items()}

    def number(name: str, unit: str) -> str:
        value = numbers.get(name)
        return f"{float(value):,.0f} {unit}" if isinstance(value, int | float) else ""

    def score(name: str, label: str) -> str:
        value = numbers.get(name)
        return f"{label} {float(value):.3f}" if isinstance(value, int | float) else ""

    parts = {
        "data_load": [number("images", "images"), number("boxes", "boxes"), number("classes", "classes")],
        "data_prep": [number("rejected", "rejected"), number("fixed", "repaired")],
        "model_train": [score("map50", "validation mAP50")],
        "model_pack": [str(numbers.get("tag", ""))],
        "model_eval": [score("map50", "test mAP50"), score("map50_95", "mAP50-95")],
        "model_test": [number("tensors_compared", "tensors"), number("boxes_compared", "boxes equal")],
        "model_publish": [
            str(step.outputs.get("version", ""))[:12],
            "is the champion" if step.outputs.get("champion") in (True, 1.0, "true") else "",
        ],
    }.get(step.name, [])
    return ", ".join(part for part in parts if part)
