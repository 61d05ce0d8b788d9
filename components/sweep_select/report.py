"""The sweep's report: which setting won, by how much, and what the others would have given."""

import math
from collections.abc import Sequence
from pathlib import Path

from components.shared.report.charts import Chart, Series, bar_chart, line_chart
from components.shared.report.figure import Cell
from components.shared.report.page import Level, Number, Report
from components.shared.sweep import flat_setting, show_value
from components.sweep_select.candidates import SCORE, Candidate

METRICS = {SCORE: "mAP50-95", "map50": "mAP50", "precision": "precision", "recall": "recall"}
LINES = 8  # curves one chart tells apart
CLOSE = 0.01  # mAP50-95 by which another seed alone may change the order


def write_report(path: Path, candidates: Sequence[Candidate], winner: Candidate, margin: float) -> None:
    """Write the HTML report that compares the settings of a sweep.

    Args:
        path: receives the page.
        candidates: all settings, in their order.
        winner: the one that was chosen.
        margin: its mAP50-95 over that of the next best; NaN when there is none.
    """
    report = Report("Sweep report", subtitle=f"{len(candidates)} settings side by side")
    report.verdict(*_verdict(winner, margin, candidates))
    report.numbers(_numbers(candidates, winner, margin))
    report.section("Which setting is best?", "Each training's best epoch, measured on the validation split.")
    names = _short_names(candidates)
    report.chart(_scores(candidates, names))
    report.table(*_table(candidates, winner), caption="What differed and what came of it")
    report.section("How they learned")
    report.chart(_curves(candidates, names))
    failed = [each for each in candidates if each.failure]
    if failed:
        report.section("What gave no model")
        report.points([f"{each.name}: {each.failure}" for each in failed])
    report.section("The winner")
    report.facts(_facts(winner))
    report.write(path)


def _verdict(winner: Candidate, margin: float, candidates: Sequence[Candidate]) -> tuple[str, Level]:
    failed = sum(1 for each in candidates if each.failure)
    lost = f" {failed} of {len(candidates)} settings gave no model." if failed else ""
    text = f"{winner.name} wins with a validation mAP50-95 of {winner.score:.3f}"
    if math.isnan(margin):
        return f"{text}; no other setting can be compared with it.{lost}", Level.WARN
    if margin < CLOSE:
        return f"{text}, only {margin:.3f} ahead: another seed may turn that around.{lost}", Level.WARN
    return f"{text}, {margin:.3f} ahead of the next.{lost}", Level.WARN if failed else Level.GOOD


def _numbers(candidates: Sequence[Candidate], winner: Candidate, margin: float) -> list[Number]:
    spent = [each.seconds for each in candidates if math.isfinite(each.seconds)]
    ahead = "no other to compare" if math.isnan(margin) else f"{margin:.3f} ahead of the next"
    return [
        Number("mAP50-95 (validation)", f"{winner.score:.3f}", note=ahead),
        Number("mAP50 (validation)", _show(winner.metric("map50"))),
        Number("Settings", str(len(candidates)), note=f"{sum(1 for each in candidates if each.failure)} gave no model"),
        Number("Training time", f"{sum(spent):,.0f} s" if spent else "unknown", note="all settings together"),
    ]


def _table(candidates: Sequence[Candidate], winner: Candidate) -> tuple[list[str], list[list[Cell]]]:
    """Best first; a column for each parameter that some setting changes, with what each training used."""
    changed = list(dict.fromkeys(name for each in candidates for name in flat_setting(each.setting)))
    columns = ["result", *changed, *METRICS.values(), "best epoch", "epochs", "seconds"]
    rows: list[list[Cell]] = [
        [
            "winner" if each is winner else "no model" if each.failure else "",
            *(_used(each, name) for name in changed),
            *(each.metric(name) for name in METRICS),
            _whole(each.metric("best_epoch")),
            _whole(each.metric("epochs")),
            _whole(each.seconds),
        ]
        for each in _best_first(candidates)
    ]
    return columns, rows


def _scores(candidates: Sequence[Candidate], names: Sequence[str]) -> Chart:
    scores = {"mAP50-95": [each.score for each in candidates]}
    return bar_chart("Best validation mAP50-95", names, scores, x_label="setting", y_label="mAP50-95", horizontal=True)


def _curves(candidates: Sequence[Candidate], names: Sequence[str]) -> Chart:
    shown = [each for each in _best_first(candidates) if each.curve][:LINES]
    series = [
        Series(name=name, x=[float(epoch) for epoch, _ in each.curve], y=[score for _, score in each.curve])
        for name, each in zip(names, candidates, strict=True)
        if each in shown
    ]
    left_out = f", best {LINES} settings" if len(shown) < sum(1 for each in candidates if each.curve) else ""
    return line_chart(f"Validation mAP50-95 by epoch{left_out}", series, x_label="epoch", y_label="mAP50-95")


def _facts(winner: Candidate) -> dict[str, str]:
    manifest = winner.manifest
    if manifest is None:
        return {}
    return {
        "setting": winner.name,
        "model digest": manifest.digest,
        "training data": manifest.datasets.get("train", ""),
        "validation data": manifest.datasets.get("val", ""),
        **{f"parameter {name}": str(value) for name, value in manifest.parameters.items()},
    }


def _short_names(candidates: Sequence[Candidate], longest: int = 40) -> list[str]:
    """Names for a legend: the setting in words, or its number where that is too long."""
    names = [each.name for each in candidates]
    return [
        name if len(name) <= longest else f"{number}: {name[: longest - 5]}…" for number, name in enumerate(names, 1)
    ]


def _best_first(candidates: Sequence[Candidate]) -> list[Candidate]:
    """By score, in the order of the settings among equals; those without a score last."""
    return sorted(candidates, key=lambda each: -each.score if math.isfinite(each.score) else math.inf)


def _used(candidate: Candidate, name: str) -> str | None:
    """A parameter's value in the training, whether its setting names it or not; ``None`` when that is not known."""
    value = flat_setting(candidate.setting).get(name)
    if value is None and candidate.manifest:
        value = candidate.manifest.parameters.get(name)
    return None if value is None else show_value(value)


def _whole(number: float) -> int | None:
    return round(number) if math.isfinite(number) else None


def _show(value: float) -> str:
    return f"{value:.3f}" if math.isfinite(value) else "not a number"
