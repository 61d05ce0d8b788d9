"""The front page of a run: how each step went, with links to its report and log."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from components.shared.report import numerals
from components.shared.report.page import Level, Number, Report
from components.shared.report.tables import Linked

_LEVELS = {
    "succeeded": Level.GOOD,
    "success": Level.GOOD,
    "done": Level.GOOD,
    "cached": Level.GOOD,
    "failed": Level.BAD,
    "failure": Level.BAD,
    "error": Level.BAD,
    "running": Level.WARN,
    "preempted": Level.WARN,
    "cancelled": Level.WARN,
    "canceled": Level.WARN,
    "canceling": Level.WARN,
}
_MINUTE, _HOUR = 60, 3600


@dataclass(frozen=True)
class IndexStep:
    """One step of a run; ``report`` and ``log`` are paths relative to the page, ``error`` its last sentence."""

    name: str
    state: str
    seconds: float | None
    cached: bool
    report: str | None
    log: str | None
    error: str | None


def write_index(
    path: Path, *, title: str, facts: Mapping[str, str], steps: Sequence[IndexStep], numbers: Sequence[Number]
) -> None:
    """Write a run's ``index.html`` atomically: the outcome, ``numbers``, a row for each step, and ``facts``."""
    report = Report(title)
    report.verdict(*_outcome(steps))
    if numbers:
        report.numbers(numbers)
    report.section("Steps")
    report.table(["step", "state", "time", "open"], [_row(step) for step in steps], sortable=False)
    if facts:
        report.section("Facts")
        report.facts(facts)
    report.write(path)


def duration(seconds: float | None) -> str:
    """Seconds as people say them: ``0.4 s``, ``42 s``, ``3 min 05 s``, ``2 h 10 min``; an en dash when unknown."""
    if seconds is None or not 0 <= seconds < float("inf"):
        return numerals.MISSING
    if seconds < 9.95:  # noqa: PLR2004 - tenths matter below ten seconds
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < _MINUTE:
        return f"{whole} s"
    if whole < _HOUR:
        return f"{whole // _MINUTE} min {whole % _MINUTE:02d} s"
    return f"{whole // _HOUR} h {whole % _HOUR // _MINUTE:02d} min"


def _level(state: str) -> Level:
    return _LEVELS.get(state.lower(), Level.NEUTRAL)


def _outcome(steps: Sequence[IndexStep]) -> tuple[str, Level]:
    failed = next((step for step in steps if _level(step.state) is Level.BAD), None)
    if failed is not None:
        return f"{failed.name} failed. {failed.error or 'Its log says why.'}", Level.BAD
    total = duration(sum(step.seconds or 0.0 for step in steps))
    good = sum(1 for step in steps if _level(step.state) is Level.GOOD)
    if steps and good == len(steps):
        return f"All {good} steps succeeded in {total}.", Level.GOOD
    return f"{good} of {len(steps)} steps succeeded so far, in {total}.", Level.WARN if steps else Level.NEUTRAL


def _row(step: IndexStep) -> list[Linked]:
    level = _level(step.state)
    state = "cached" if step.cached and level is Level.GOOD else step.state.lower()
    links = tuple((name, _relative(path)) for name, path in (("report", step.report), ("log", step.log)) if path)
    return [
        Linked(step.name, note=step.error or ""),
        Linked(state, level=level),
        Linked(duration(step.seconds)),
        Linked("" if links else numerals.MISSING, links=links),
    ]


def _relative(path: str) -> str:
    """A link below the page's own folder; quoting turns anything else, such as a scheme, into a plain file name."""
    return quote(path.lstrip("/"), errors="replace")
