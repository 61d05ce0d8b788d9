"""What a person sees while a run goes on: a live table on a terminal, plain lines anywhere else."""

from typing import Protocol

from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from components.shared.measures import brief, span
from components.shared.progress import StepProgress
from pipelines.record import RunRecord, StepRecord

SIGNS = {
    "pending": "·",
    "running": "▸",
    "succeeded": "✓",
    "failed": "✗",
    "terminated": "■",
    "preempted": "↻",
    "skipped": "-",
}
STYLES = {
    "pending": "dim",
    "running": "cyan",
    "succeeded": "green",
    "failed": "red",
    "terminated": "yellow",
    "preempted": "yellow",
    "skipped": "dim",
}


class Display(Protocol):
    """Where a run is shown."""

    def begin(self, record: RunRecord) -> None:
        """The run begins."""

    def changed(self, record: RunRecord, step: StepRecord) -> None:
        """A step began or ended."""

    def update(self, record: RunRecord, *running: StepProgress | None) -> None:
        """Time passes; ``running`` is the progress of each step that runs."""

    def end(self, record: RunRecord) -> None:
        """The run has ended."""


class PlainDisplay:
    """Plain lines: one when a step begins or ends, one an epoch with what it came to, and one for each warning."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._shown: dict[str, str] = {}  # by step
        self._warned: set[tuple[str, str]] = set()

    def begin(self, record: RunRecord) -> None:
        """See ``Display``."""
        self._line(f"run {record.run_id}")

    def changed(self, record: RunRecord, step: StepRecord) -> None:
        """See ``Display``."""
        del record
        if step.state == "running":
            self._line(f"{step.name}: started{f' ({step.about})' if step.about else ''}")
        else:
            for warning in step.warnings:
                self._warn(step.name, warning)
            how = "reused from an earlier run" if step.cached else f"{step.seconds or 0:.1f} s"
            self._line(f"{step.name}: {step.state} ({how})")

    def update(self, record: RunRecord, *running: StepProgress | None) -> None:
        """See ``Display``."""
        del record
        for progress in running:
            if progress is not None:
                self._progress(progress)

    def _progress(self, progress: StepProgress) -> None:
        for warning in progress.warnings:
            self._warn(progress.step, warning)
        epoch = progress.message.split(",", 1)[0]
        values = brief(progress.metrics)
        news = values or epoch  # an epoch's values come late in it, or early in the next one
        if epoch.startswith("epoch ") and news != self._shown.get(progress.step):
            self._shown[progress.step] = news
            latest = f"; latest values: {values}" if values else ""
            self._line(f"{progress.step}: {progress.share:.0%} {epoch}{eta(progress)}{latest}")

    def end(self, record: RunRecord) -> None:
        """See ``Display``."""
        self._line(f"run {record.run_id}: {record.state} ({record.seconds or 0:.1f} s)")

    def _warn(self, step: str, warning: str) -> None:
        if (step, warning) not in self._warned:
            self._warned.add((step, warning))
            self._line(f"{step}: warning: {warning}")

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

    def update(self, record: RunRecord, *running: StepProgress | None) -> None:
        """See ``Display``."""
        self._live.update(steps_table(record, *running))

    def end(self, record: RunRecord) -> None:
        """See ``Display``."""
        del record
        self._live.stop()


def make_display(console: Console) -> Display:
    """The display that suits where the console writes."""
    return LiveDisplay(console) if console.is_terminal else PlainDisplay(console)


def steps_table(record: RunRecord, *running: StepProgress | None) -> Table:
    """The steps with their state, seconds, what they do or made, and their warnings."""
    now = {progress.step: progress for progress in running if progress}
    table = Table(box=None, pad_edge=False)
    for heading, justify in (("step", "left"), ("status", "left"), ("seconds", "right"), ("output", "left")):
        table.add_column(heading, justify=justify, overflow="fold")  # type: ignore[arg-type]
    for step in record.steps:
        status = f"{SIGNS[step.state]} {'reused' if step.cached else step.state}"
        seconds = f"{step.seconds:.1f}" if step.seconds is not None else ""
        lines, warnings, progress = [output_of(step)], step.warnings, now.get(step.name)
        if progress is not None and step.state == "running":
            seconds = f"{progress.updated - progress.started:.1f}"
            lines = [f"{progress.share:4.0%} {progress.message}{eta(progress)}", brief(progress.metrics)]
            warnings = progress.warnings
        if step.about and not step.error:
            lines[0] = f"{step.about}: {lines[0]}" if lines[0] else step.about
        shown = [escape(line) for line in lines if line] + [f"[yellow]! {escape(warning)}[/]" for warning in warnings]
        table.add_row(step.name, f"[{STYLES[step.state]}]{status}[/]", seconds, "\n".join(shown))
    return table


def eta(progress: StepProgress) -> str:
    """How long the step has still to go, as `` (about 12 s left)``."""
    return f" (about {span(progress.eta)} left)" if progress.eta and progress.eta >= 1 else ""


def output_of(step: StepRecord) -> str:
    """What a finished step made, in a few words."""
    if step.error or step.reason:
        return step.error or step.reason
    numbers = {name: value for facts in step.metadata.values() for name, value in facts.items()}
    if numbers.get("failed"):
        return f"no model: {numbers['failed']}"

    def number(name: str, unit: str) -> str:
        value = numbers.get(name)
        return f"{float(value):,.0f} {unit}" if isinstance(value, int | float) else ""

    def score(name: str, label: str) -> str:
        value = numbers.get(name)
        return f"{label} {float(value):.3f}" if isinstance(value, int | float) else ""

    parts = {
        "data_load": [number("images", "images"), number("boxes", "boxes"), number("classes", "classes")],
        "data_prep": [number("rejected", "rejected"), number("fixed", "repaired")],
        "change_check": [str(step.outputs.get("reason", "")) or "there is something to do"],
        "model_train": [score("map50", "validation mAP50")],
        "executor_stage": [number("train_images", "images to train on"), number("val_images", "to validate on")],
        "executor_collect": [score("map", "mAP as the executor measured it")],
        "sweep_select": [f"{numbers['winner']} wins" if "winner" in numbers else "", score("map50_95", "mAP50-95")],
        "model_pack": [str(numbers.get("tag", ""))],
        "model_eval": [score("map50", "test mAP50"), score("map50_95", "mAP50-95")],
        "model_test": [number("tensors_compared", "tensors"), number("boxes_compared", "boxes equal")],
        "model_publish": [
            str(step.outputs.get("version", ""))[:12],
            "is the champion" if step.outputs.get("champion") in (True, 1.0, "true") else "",
        ],
    }.get(step.name.split("-")[0], [])
    return ", ".join(part for part in parts if part)
