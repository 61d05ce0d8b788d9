"""The report on speed: how the runtimes in the archive compare, and what was tested."""

from collections.abc import Mapping

from components.model_eval.evaluation import Evaluation
from components.model_eval.report_words import counted, named
from components.shared.report.figure import Cell
from components.shared.report.numerals import MISSING
from components.shared.report.page import Level, Report
from components.shared.report.tables import Linked
from components.shared.runtime_table import RuntimeRow, RuntimeTable

_COLUMNS = (
    "runtime",
    "mAP50-95",
    "loss",
    "mAP50",
    "p50, ms",
    "p95, ms",
    "MB",
    "largest box shift, px",
    "largest score shift",
    "boxes apart",
    "serves on",
)


def add_runtimes(report: Report, evaluation: Evaluation) -> None:
    """The section on speed."""
    table = evaluation.runtimes
    report.section("Speed", speed_sentence(evaluation.metrics, evaluation.options.device, table))
    if table is not None and table.rows:
        report.table(
            list(_COLUMNS), [_row(row) for row in table.rows], caption="Runtimes in the archive", sortable=False
        )


def speed_sentence(metrics: Mapping[str, float], device: str, table: RuntimeTable | None) -> str:
    """How long an image took here, and where the table comes from."""
    if "latency_ms_p50" in metrics:
        said = (
            f"On these test images an image took {metrics['latency_ms_p50']:.1f} ms (median) and up to "
            f"{metrics['latency_ms_p95']:.1f} ms (95 %), from pixels to boxes, on device '{named(device)}'."
        )
    else:
        said = "No latency was measured."
    if table is None:
        return f"{said} How other runtimes compare is not known."
    where = f"{named(table.device)} with {counted(table.threads, 'thread', 'threads')}"
    images = counted(table.images, "validation image", "validation images")
    return f"{said} The table was measured on {images} on {where}; 'torch' are the weights themselves."


def _row(row: RuntimeRow) -> tuple[Linked | Cell, ...]:
    name = Linked(named(row.runtime))
    if row.refused:
        name = Linked(named(row.runtime), level=Level.BAD, note=f"Not in the archive: {named(row.refused, 300)}")
    numbers = (row.map50_95, row.drop, row.map50, row.latency_ms_p50, row.latency_ms_p95, row.megabytes)
    apart = (row.max_box_difference, row.max_score_difference, row.boxes_apart)
    return (name, *numbers, *apart, ", ".join(map(named, row.served)) or MISSING)
