"""Runs and their steps as tables for people."""

from collections.abc import Mapping, Sequence

from rich.console import Console, Group, RenderableType
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from components.shared.measures import brief, span
from pipelines.dataset_commands.output import line, moment
from pipelines.display import eta
from pipelines.runs.model import State, Status, StepFacts
from pipelines.runs.view import RunView, step_seconds, step_share
from pipelines.runs.why import tame

_STYLES: dict[State, str] = {
    "Created": "dim", "Pending": "yellow", "In Progress": "cyan", "Rerun": "cyan", "Success": "green", "Failed": "red",
    "Aborted": "red", "Terminated": "yellow", "Skipped": "dim", "Unchanged": "green",
}  # fmt: skip
_SIGNS: dict[State, str] = {
    "Created": "·", "Pending": "…", "In Progress": "▸", "Rerun": "▸", "Success": "✓", "Failed": "✗", "Aborted": "✗",
    "Terminated": "■", "Skipped": "-", "Unchanged": "=",
}  # fmt: skip
_BAR = 10
_NARROW = 100  # columns below which a table shows less
SHORT = 8  # letters of an id that tables show
_LOCAL = 20  # a local run's id is a time: short enough


def runs_table(views: Sequence[RunView], width: int) -> RenderableType:
    """The runs, and below them why those that wait or failed do, and what helps."""
    narrow = width < _NARROW
    table = Table(box=None, pad_edge=False, padding=(0, 1 if narrow else 2, 0, 0))
    identity = max((len(short_id(view.facts.run_id)) for view in views), default=SHORT)
    most = max(8, width - identity - 54) if narrow else 40
    table.add_column("name", overflow="ellipsis", no_wrap=True, max_width=most)
    table.add_column("id", no_wrap=True, min_width=identity)
    table.add_column("created", no_wrap=True, min_width=11)
    table.add_column("status", no_wrap=True, min_width=13)
    table.add_column("done" if narrow else "progress", justify="right", no_wrap=True, min_width=5)
    table.add_column("time" if narrow else "duration", justify="right", no_wrap=True, min_width=5)
    table.add_column("node", overflow="ellipsis", no_wrap=True)
    for view in views:
        table.add_row(*_run_cells(view, narrow=narrow))
    told = [view for view in views if view.status.reason]
    if not told:
        return table
    return Group(table, "", *(_told(short_id(view.facts.run_id), view.status) for view in told))


def _run_cells(view: RunView, *, narrow: bool) -> tuple[str | Text, ...]:
    facts, state = view.facts, view.status.state
    machine = f" ({view.machine})" if view.machine and not narrow else ""
    seconds = "" if view.seconds is None else brief_span(view.seconds) if narrow else span(view.seconds)
    percent = "" if view.share is None else f"{int(view.share * 100 + 1e-9)} %"
    return (
        escape(facts.name),
        short_id(facts.run_id),
        moment(facts.created)[5 if narrow else 0 :] if facts.created else "",
        f"[{_STYLES[state]}]{_SIGNS[state]} {state}[/]",
        percent if narrow else bar(view.share, _BAR, _STYLES[state]),
        seconds,
        escape(view.node + machine),
    )


def steps_table(view: RunView, width: int) -> Table:
    """A run's steps: status, progress, duration, where, and what is going on."""
    narrow = width < _NARROW
    table = Table(box=None, pad_edge=False, padding=(0, 2 if not narrow else 1, 0, 0))
    table.add_column("step", no_wrap=True)
    table.add_column("status", no_wrap=True)
    table.add_column("progress", no_wrap=True)
    table.add_column("duration", justify="right", no_wrap=True)
    if not narrow:
        table.add_column("machine", no_wrap=True)
    table.add_column("what", overflow="fold")
    for step, status in view.steps:
        seconds = step_seconds(step, status)
        cells: list[str | Text] = [
            escape(step.name),
            f"[{_STYLES[status.state]}]{_SIGNS[status.state]} {_label(step, status)}[/]",
            bar(_shown_share(step, status), 5 if narrow else _BAR, _STYLES[status.state]),
            "" if seconds is None else brief_span(seconds) if narrow else span(seconds),
        ]
        table.add_row(*cells, *([] if narrow else [escape(step.machine)]), _what(step, status))
    return table


def run_page(view: RunView, console: Console) -> None:
    """All of one run, for people."""
    facts = view.facts
    line(console, "run", f"{facts.name} ({facts.run_id})")
    line(console, "status", view.status.state + (" (archived)" if facts.archived else ""))
    if view.status.reason:
        line(console, "reason", view.status.text)
    if view.status.remedy:
        line(console, "remedy", view.status.remedy)
    if facts.pipeline:
        line(console, "pipeline", facts.pipeline)
    if facts.created:
        line(console, "created", moment(facts.created))
    if view.seconds is not None:
        line(console, "duration", span(view.seconds))
    if facts.metrics:
        line(console, "metrics", ", ".join(f"{name} {value:.4g}" for name, value in facts.metrics.items()))
    if facts.passed is not None:
        line(console, "gate", "passed" if facts.passed else "not met, the champion stays")
    if facts.link:
        line(console, "link", facts.link)
    console.print()
    console.print(steps_table(view, console.width))
    for sentence in facts.blind:
        console.print(f"[yellow]![/] {escape(sentence)}", highlight=False)


def parameters_text(parameters: Mapping[str, object]) -> str:
    """A run's parameters on one line."""
    return ", ".join(f"{name}={value}" for name, value in sorted(parameters.items()) if value not in ("", None))


def bar(share: float | None, width: int = _BAR, style: str = "cyan") -> Text:
    """A progress bar with its percentage: ``━━━━━━──── 60 %``."""
    if share is None:
        return Text("")
    full = min(int(share * width + 1e-9), width)
    text = Text("━" * full, style=style)
    text.append("─" * (width - full), style="dim")
    return text.append(f" {int(share * 100 + 1e-9):3d} %")


def short_id(run_id: str) -> str:
    """The first letters of an id, enough to name the run; a local run's whole id."""
    return run_id if len(run_id) <= _LOCAL else run_id[:SHORT]


def _told(run: str, status: Status) -> RenderableType:
    text = Text(f"{run}  ", style="bold")
    text.append(status.text, style="default" if status.is_live else _STYLES[status.state])
    if not status.remedy:
        return text
    return Group(text, Padding(Text(f"→ {status.remedy}", style="dim"), (0, 0, 0, 2)))


def _shown_share(step: StepFacts, status: Status) -> float | None:
    return None if status.state in {"Created", "Skipped"} else step_share(step, status)


def _label(step: StepFacts, status: Status) -> str:
    return "Reused" if step.cached and status.state == "Success" else status.state


def _what(step: StepFacts, status: Status) -> str:
    parts = [step.about] if step.about else []
    progress = step.progress
    if progress is not None and status.state == "In Progress" and progress.state == "running":
        parts += [f"{tame(progress.message)}{eta(progress)}", brief(progress.metrics)]
    if status.reason is not None and status.reason.code != "Reused":
        parts.append(status.reason.text)
    shown = [escape(part) for part in parts if part]
    if progress is not None:
        shown += [f"[yellow]! {escape(tame(warning))}[/]" for warning in progress.warnings]
    return "\n".join(shown)


def brief_span(seconds: float) -> str:
    """A duration in few columns: ``2h10``, ``3m05``, ``38s``."""
    whole = round(seconds)
    hours, rest = divmod(whole, 3600)
    minutes, left = divmod(rest, 60)
    return f"{hours}h{minutes:02d}" if hours else f"{minutes}m{left:02d}" if minutes else f"{left}s"
