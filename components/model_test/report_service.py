"""The parts of the proof's page on the converted models and on the running service."""

from components.model_test.load import Load
from components.model_test.runtimes import RuntimeResult
from components.model_test.story import Story
from components.shared.report.charts import Series, histogram, scatter_chart
from components.shared.report.page import Level, Report
from components.shared.report.tables import Linked

_COLUMNS = [
    "Runtime",
    "Files",
    "Boxes",
    "Agree, %",
    "Largest score difference",
    "Largest corner difference, px",
    "Allowed",
]


def add_runtimes(story: Story, report: Report) -> None:
    """A row for each converted model: what was compared, how far apart it was, and what was allowed."""
    if not story.runtimes:
        return
    report.section(
        "Runtimes",
        "What each converted model finds, against the trained weights on the same images. Its files are compared with "
        "a new conversion of the trained weights.",
    )
    report.table(_COLUMNS, [_row(result, story.served) for result in story.runtimes], sortable=False)


def add_speed(story: Story, report: Report) -> None:
    """How fast the service answered one client, and several at once."""
    if story.single is None:
        return
    runs = {_clients(run): run for run in (story.single, story.load) if run}
    allowed = story.options.max_latency_ms
    limit = f"At most {allowed:g} ms are allowed for 95 of 100." if allowed else "No limit was set."
    report.section("Speed", f"From the client, over HTTP, {story.served} on the CPU. {limit}")
    groups = {name: run.latencies for name, run in runs.items()}
    charts = [
        histogram("How long answers took", groups, x_label="milliseconds", y_label="% of answers", shares=True, bins=24)
    ]
    if story.load and story.load.latencies:
        over_time = [Series(_clients(story.load), story.load.moments, story.load.latencies)]
        charts.append(
            scatter_chart("Answers under load", over_time, x_label="seconds since the start", y_label="milliseconds")
        )
    report.charts(charts)
    rows: list[list[str | int | float | Linked | None]] = [
        [name, len(run.latencies), run.failed, run.per_second, run.p50, run.p95, max(run.latencies, default=0.0)]
        for name, run in runs.items()
    ]
    columns = ["Asked by", "Answers", "No answer", "Images/s", "Median, ms", "95 %, ms", "Longest, ms"]
    report.table(columns, rows, sortable=False)


def _row(result: RuntimeResult, served: str) -> list[str | int | float | Linked | None]:
    name = f"{result.name}, served" if result.name == served else result.name
    if result.problem:
        return [name, result.converted.compared or "not compared", None, None, None, None, result.problem]
    enough = result.apart <= result.tolerance.allowed(result.asked)
    agree = Linked(f"{100 * result.agreement:.4g}", level=Level.GOOD if enough else Level.BAD)
    return [
        name,
        result.converted.compared or "not compared",
        result.boxes,
        agree if result.asked else Linked("none above the cut", level=Level.WARN),
        f"{result.max_score_difference:.2g}",
        f"{result.max_box_difference:.2g}",
        result.tolerance.describe(),
    ]


def _clients(run: Load) -> str:
    return f"{run.clients} clients" if run.clients > 1 else "one client"
