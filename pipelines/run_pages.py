"""The pages of a local run: each step's report under a name a browser opens, and the index that links them."""

import shutil
from pathlib import Path

from components.shared.report.index import IndexStep, write_index
from components.shared.report.page import Level, Number
from pipelines.record import RunRecord


def copy_reports(record: RunRecord, directory: Path) -> None:
    """Copy each step's HTML report to ``reports/<step>.html`` in the run's folder."""
    for step in record.steps:
        source = step.outputs.get("report")
        if not isinstance(source, str) or not Path(source).is_file():
            continue
        target = directory / "reports" / f"{step.name}.html"
        target.parent.mkdir(exist_ok=True)
        shutil.copyfile(source, target)
        step.report = str(target)


def write_run_index(record: RunRecord, directory: Path) -> None:
    """Write ``index.html``: how the run went and where to look further."""
    steps = [
        IndexStep(
            name=f"{step.name} ({step.about})" if step.about else step.name,
            state=step.state,
            seconds=step.seconds,
            cached=step.cached,
            report=_relative(step.report, directory),
            log=_relative(step.log, directory),
            error=step.error or step.reason or " ".join(step.warnings) or None,
        )
        for step in record.steps
    ]
    packed = record.find("model_pack")
    facts = {"archive": str(packed.outputs.get("archive", ""))} if packed else {}
    facts["folder"] = str(directory)
    facts |= {name: str(value) for name, value in record.parameters.items()}
    write_index(
        directory / "index.html",
        title=f"Run {record.run_id}",
        facts=facts,
        steps=steps,
        numbers=_numbers(record),
    )


def _numbers(record: RunRecord) -> list[Number]:
    level = Level.GOOD if record.state == "succeeded" else Level.BAD
    numbers = [
        Number("State", "unchanged" if record.unchanged else record.state, level=level),
        Number("Time", f"{record.seconds or 0:.0f} s"),
    ]
    names = {"map50": "mAP50", "map50_95": "mAP50-95"}
    numbers += [Number(names[name], f"{value:.3f}", note="test split") for name, value in record.metrics.items()]
    if record.passed is not None:
        gate = Level.GOOD if record.passed else Level.WARN
        numbers.append(Number("Gate", "passed" if record.passed else "not met", level=gate))
    return numbers


def _relative(path: str | None, directory: Path) -> str | None:
    if path is None or not Path(path).is_file():
        return None
    return Path(path).relative_to(directory).as_posix() if Path(path).is_relative_to(directory) else path
