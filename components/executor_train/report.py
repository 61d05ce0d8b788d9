"""The report of an executor's training, for a person."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from components.executor_train.contract import RETURN_CODES
from components.executor_train.monitor import Monitor
from components.executor_train.result import Result, Stage
from components.shared.detection.manifest import ModelManifest
from components.shared.report.charts import Chart, Series, line_chart
from components.shared.report.figure import Cell
from components.shared.report.page import Level, Number, Report

NOT_SERVED = (
    "This model is kept, versioned and hashed, but it cannot be packed and served by this project's own service,"
    " which has no runtime for it. Run it with its own image."
)


@dataclass(frozen=True)
class Account:
    """How an executor fared.

    Attributes:
        executor: its image, or the command that started it.
        exit_code: what it ended with.
        monitor: its last record.
        log: the last lines of its output.
        config: what it was told.
    """

    executor: str
    exit_code: int
    monitor: Monitor | None
    log: tuple[str, ...]
    config: dict[str, object] = field(default_factory=dict)


def write_report(
    path: Path,
    account: Account,
    *,
    failure: str = "",
    result: Result | None = None,
    chosen: Stage | None = None,
    manifest: ModelManifest | None = None,
    notes: Sequence[str] = (),
    hints: Sequence[str] = (),
) -> None:
    """Write the HTML report.

    Args:
        path: receives the page.
        account: how the executor fared.
        failure: why there is no model; empty: there is one, and the rest is given.
        result: the stages it went through.
        chosen: the one that is kept.
        manifest: of the model.
        notes: what was not as it should be.
        hints: how to go on with the model.
    """
    report = Report("Executor report", subtitle=account.executor)
    if failure or result is None or chosen is None or manifest is None:
        report.verdict(failure, Level.BAD)
    else:
        text = f"{chosen.name} is the best of {len(result.stages)} stages, with a validation mAP of {chosen.map:.3f}."
        report.verdict(" ".join((text, *notes)), Level.WARN if notes else Level.GOOD)
        report.numbers(_numbers(result, chosen))
        _stages(report, result, chosen)
        report.section("The model", NOT_SERVED)
        report.points(hints)
        report.facts(_model_facts(manifest, result))
    report.section("What the executor said")
    report.facts(_words(account))
    report.text("\n".join(account.log) or "Its log is empty.")
    report.section("What it was told")
    report.facts({name: str(value) for name, value in account.config.items()})
    report.write(path)


def _numbers(result: Result, chosen: Stage) -> list[Number]:
    names = {"mar": "mAR", "tp": "True positives", "fp": "False positives", "fn": "Missed objects"}
    how = ", ".join(f"{name} {value}" for name, value in result.evaluation.items())
    numbers = [Number("mAP (validation)", f"{chosen.map:.3f}", note=how or "as the executor measured it")]
    numbers += [Number(names[name], f"{value:g}") for name, value in chosen.numbers.items()]
    return [*numbers, Number("Stages", str(len(result.stages)))]


def _stages(report: Report, result: Result, chosen: Stage) -> None:
    report.section("Its stages", "Each is a model as it was at one time, measured by the executor itself.")
    if len(result.stages) > 1:
        report.chart(_curve(result.stages))
    rows: list[list[Cell]] = [
        [
            stage.name,
            "kept" if stage is chosen else "",
            stage.map if math.isfinite(stage.map) else None,
            *(_count(stage.numbers, name) for name in ("mar", "tp", "fp", "fn")),
            ", ".join(stage.files),
        ]
        for stage in result.stages
    ]
    report.table(["stage", "", "mAP", "mAR", "TP", "FP", "FN", "files"], rows, caption="Stages in their order")


def _curve(stages: Sequence[Stage]) -> Chart:
    series = Series("mAP", [float(number) for number in range(1, len(stages) + 1)], [stage.map for stage in stages])
    return line_chart("Validation mAP by stage", [series], x_label="stage", y_label="mAP")


def _count(numbers: Mapping[str, float], name: str) -> Cell:
    value = numbers.get(name)
    return value if value is None or name == "mar" else round(value)


def _model_facts(manifest: ModelManifest, result: Result) -> dict[str, str]:
    return {
        "model digest": manifest.digest,
        "weights": manifest.weights,
        "training data": manifest.datasets["train"],
        "validation data": manifest.datasets["val"],
        **{f"evaluated with {name}": value for name, value in result.evaluation.items()},
    }


def _words(account: Account) -> dict[str, str]:
    facts = {"exit code": str(account.exit_code)}
    monitor = account.monitor
    if monitor is None:
        return {**facts, "monitor.txt": "there is none"}
    if monitor.state is not None:
        facts["state"] = monitor.state.name.lower()
    if monitor.percent is not None:
        facts["done"] = f"{monitor.percent:.0%}"
    if monitor.return_code:
        meaning = RETURN_CODES.get(monitor.return_code, "its meaning is not in the contract")
        facts["return code"] = f"{monitor.return_code}: {meaning}"
    return facts | ({"message": monitor.message} if monitor.message else {})
