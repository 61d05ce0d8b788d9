"""Follow a run until it ends: live on a terminal, plain lines anywhere else; a lost connection is tried again."""

import time
from collections.abc import Callable
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from components.shared.errors import ClusterError, PreemptedError, in_one_line
from components.shared.measures import brief, span
from components.shared.progress import StepProgress
from pipelines.backends.cluster.connection import Cluster
from pipelines.display import eta
from pipelines.runs.facts import Collector
from pipelines.runs.model import Status, StepFacts
from pipelines.runs.store import RunStores
from pipelines.runs.table import run_page, steps_table
from pipelines.runs.view import RunView, step_seconds, view_of
from pipelines.terminal import PatientConsole

SUCCESS, FAILED, GATE_NOT_MET, INTERRUPTED = 0, 1, 3, 130
INTERVAL = 2.0  # seconds between two looks
FIRST_WAIT, LONGEST_WAIT = 2.0, 60.0  # seconds before a lost connection is tried again
_SETTLE = 2  # looks more at a run that failed and has not said why: pods and records come a little later
Look = Callable[[], RunView]


def follow(
    cluster: Cluster,
    run_id: str,
    console: Console | None = None,
    *,
    gate: bool = False,
    store: str = "",
    interval: float = INTERVAL,
) -> int:
    """Show a run of a cluster until it ends.

    Args:
        cluster: where it is.
        run_id: its whole id.
        console: where it is shown; without one standard error.
        gate: whether a quality gate that is not met counts.
        store: the address of its store as seen from here, where it is another than the run's own.
        interval: seconds between two looks.

    Returns:
        0 success, 1 failed or aborted, 3 the gate was asked for and not met, 75 preempted with what it learned saved,
        130 terminated by a person.

    Raises:
        ClusterAccessError: the run or the right to see it is gone; a server that fails or is lost is waited for.
    """
    collector = Collector(cluster, RunStores(store))
    return watch(lambda: view_of(collector.facts(collector.runs.get(run_id))), console, gate=gate, interval=interval)


def watch(look: Look, console: Console | None = None, *, gate: bool = False, interval: float = INTERVAL) -> int:
    """Show what ``look`` sees until it is over; the exit code as ``follow`` gives it."""
    console = console or PatientConsole(stderr=True)
    screen: Screen = LiveScreen(console) if console.is_terminal else PlainScreen(console)
    wait, settling = FIRST_WAIT, _SETTLE
    with screen:
        while True:
            try:
                view = look()
            except ClusterError as error:
                if error.exit_code != FAILED:
                    raise
                screen.lost(f"{in_one_line(error)}; trying again in {span(wait)}")
                time.sleep(wait)
                wait = min(wait * 2, LONGEST_WAIT)
                continue
            wait = FIRST_WAIT
            screen.show(view)
            if not view.status.is_live:
                reason = view.status.reason
                if not settling or reason is None or reason.code != "Unknown":
                    break
                settling -= 1
            time.sleep(interval)
    run_page(view, console)
    return exit_code(view, gate=gate)


def exit_code(view: RunView, *, gate: bool = False) -> int:
    """What a command exits with that waited for this run."""
    state = view.status.state
    if state in {"Success", "Skipped", "Unchanged"}:
        return GATE_NOT_MET if gate and view.facts.passed is False else SUCCESS
    if state == "Terminated":
        return INTERRUPTED
    reason = view.status.reason
    return PreemptedError.exit_code if reason is not None and reason.code == "Preempted" else FAILED


class Screen(Protocol):
    """Where a run is shown while it goes on."""

    def __enter__(self) -> Self:
        """Begin."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End."""

    def show(self, view: RunView) -> None:
        """The run as it is now."""

    def lost(self, sentence: str) -> None:
        """Nothing can be seen just now."""


class LiveScreen:
    """A table of the steps that redraws itself."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, refresh_per_second=4, transient=True)
        self._last: RenderableType = Text("looking for the run ...", style="dim")

    def __enter__(self) -> Self:
        self._live.start()
        self._live.update(self._last)
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def show(self, view: RunView) -> None:
        """See ``Screen``."""
        facts = view.facts
        title = Text(f"{facts.name} ", style="bold")
        title.append(f"({facts.run_id})  {view.status.state}", style="default")
        title.append(f"  {span(view.seconds)}" if view.seconds is not None else "", style="dim")
        parts: list[RenderableType] = [title, steps_table(view, self._console.width)]
        if view.status.reason and not view.status.step:  # a step's own is in the table
            parts.append(Text(view.status.text, style="yellow"))
        if view.status.remedy:
            parts.append(Text(f"→ {view.status.remedy}", style="dim"))
        parts += [Text(f"! {sentence}", style="dim") for sentence in facts.blind]
        self._last = Group(*parts)
        self._live.update(self._last)

    def lost(self, sentence: str) -> None:
        """See ``Screen``."""
        self._live.update(Group(self._last, Text(f"! {sentence}", style="yellow")))


class PlainScreen:
    """A line for each thing that changes."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._said: dict[str, str] = {}
        self._is_lost = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def show(self, view: RunView) -> None:
        """See ``Screen``."""
        if self._is_lost:
            self._is_lost = False
            self._line("connected again")
        if "" not in self._said:
            self._line(f"run {view.facts.run_id} ({view.facts.name})")
        for step, status in view.steps:
            self._step(step, status)
        remedy = f" -> {view.status.remedy}" if view.status.remedy else ""
        why = f": {view.status.text}{remedy}" if view.status.text else ""
        self._news("", f"run: {view.status.state}{why}")
        for number, sentence in enumerate(view.facts.blind):
            self._news(f"blind {number}", f"note: {sentence}")

    def lost(self, sentence: str) -> None:
        """See ``Screen``."""
        self._is_lost = True
        self._line(f"connection lost: {sentence}")

    def _step(self, step: StepFacts, status: Status) -> None:
        seconds = step_seconds(step, status)
        if status.state != "Created":
            how = "Reused" if step.cached and status.state == "Success" else status.state
            took = f" ({span(seconds)})" if seconds is not None and not status.is_live else ""
            where = f" on {step.machine}" if step.machine and status.is_live else ""
            self._news(step.name, f"{step.name}: {how}{where}{took}")
        if step.progress is not None and status.is_live:
            self._progress(step.progress)

    def _progress(self, progress: StepProgress) -> None:
        for warning in progress.warnings:
            self._news(f"{progress.step} {warning}", f"{progress.step}: warning: {warning}")
        epoch = progress.message.split(",", 1)[0]
        if not epoch.startswith("epoch "):
            return
        values = brief(progress.metrics)
        key, news = f"{progress.step} progress", values or epoch
        if self._said.get(key) != news:
            self._said[key] = news
            latest = f"; latest values: {values}" if values else ""
            self._line(f"{progress.step}: {progress.share:.0%} {epoch}{eta(progress)}{latest}")

    def _news(self, key: str, text: str) -> None:
        if self._said.get(key) != text:
            self._said[key] = text
            self._line(text)

    def _line(self, text: str) -> None:
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)
