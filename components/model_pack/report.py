"""The packing's report: the runtimes side by side, and how the model will be served."""

import math
from collections.abc import Sequence
from pathlib import Path

from components.model_pack.compare import Compared
from components.model_pack.options import PackOptions
from components.shared.archive import ArchiveManifest
from components.shared.detection.inference import TORCH
from components.shared.report.charts import Chart, bar_chart
from components.shared.report.page import Level, Number, Report
from components.shared.runtime_table import RuntimeRow, RuntimeTable

_ACCURACY = ("runtime", "mAP50-95", "mAP50", "drop", "box, px", "score", "boxes apart")
_SPEED = ("runtime", "median, ms", "p95, ms", "MB", "serves on", "in the archive")
_METRICS = (
    *("map50_95", "map50", "drop", "max_box_difference", "max_score_difference", "boxes_apart"),
    *("latency_ms_p50", "latency_ms_p95", "megabytes"),
)
_WEIGHTS = "weights"
_DIGITS = 6
_SHOWN = 12  # rows of a table that is not folded


def runtime_metrics(compared: Compared) -> dict[str, float]:
    """The table's numbers as flat names, ``onnx_int8_latency_ms_p50``; those that are not known are left out."""
    found = {
        f"{row.runtime.replace('-', '_')}_{name}": getattr(row, name)
        for row in compared.table.rows
        for name in _METRICS
    }
    found |= {"confidence": compared.inference.confidence, "images": compared.table.images}
    return {
        name: round(float(value), _DIGITS)
        for name, value in found.items()
        if value is not None and math.isfinite(value)
    }


def write_report(compared: Compared, manifest: ArchiveManifest, options: PackOptions, path: Path) -> None:
    """Write the report as one HTML file.

    Args:
        compared: the runtimes that were asked for.
        manifest: of what was packed.
        options: what was asked for.
        path: the file.
    """
    table = compared.table
    by_name = {row.runtime: row for row in table.rows}
    served = by_name[manifest.inference.runtime_for("cpu")]
    report = Report("Packed model", subtitle=manifest.tag)
    report.verdict(*_verdict(served, by_name[TORCH], table))
    report.numbers(_numbers(served, by_name[TORCH], table))
    _add_runtimes(report, table)
    _add_serving(report, compared, manifest.classes)
    report.section("What is in the archive")
    report.facts(_facts(manifest, options))
    report.write(path)


def _add_runtimes(report: Report, table: RuntimeTable) -> None:
    threads = "1 thread" if table.threads == 1 else f"{table.threads} threads"
    report.section(
        "Runtimes",
        f"Each runtime predicted the same {table.images} validation images ({table.device}, {threads}), every image"
        " once before the clock ran.",
    )
    charts = [chart for chart in (_latency_chart(table.rows), _accuracy_chart(table.rows)) if chart]
    if charts:
        report.charts(charts)
    accuracy = [
        (_named(row), row.map50_95, row.map50, row.drop)
        + (row.max_box_difference, row.max_score_difference, row.boxes_apart)
        for row in table.rows
    ]
    report.table(_ACCURACY, accuracy, caption="Accuracy, and the largest differences to the weights")
    speed = [
        (_named(row), row.latency_ms_p50, row.latency_ms_p95, row.megabytes)
        + (", ".join(row.served) or "-", "no" if row.refused else "yes")
        for row in table.rows
    ]
    report.table(_SPEED, speed, caption="Speed and size")
    refused = [f"{row.runtime} is left out: {row.refused}" for row in table.rows if row.refused]
    if refused:
        report.points(refused)
    report.text(
        "A box or a score differs between boxes of one class that overlap by half or more; a box is apart when only one"
        " of the two finds it. Only boxes with the scores that are served are compared."
    )


def _verdict(served: RuntimeRow, weights: RuntimeRow, table: RuntimeTable) -> tuple[str, Level]:
    refused = [row.runtime for row in table.rows if row.refused]
    name = "its weights" if served.runtime == TORCH else served.runtime
    text = f"On a CPU the model is served with {name}"
    ratio = _ratio(weights, served)
    if served.runtime != TORCH and ratio is not None:
        pace = f"{ratio:.1f} times as fast" if ratio >= 1 else f"{1 / ratio:.1f} times as slow"
        text += f", {pace} as the weights"
        text += f" at {_points(served.drop)} mAP50-95" if served.drop is not None else ""
    text += "."
    if refused:
        text += f" Left out: {', '.join(refused)}; the reasons are below the table."
    return text, Level.WARN if refused else Level.GOOD


def _named(row: RuntimeRow) -> str:
    return _WEIGHTS if row.runtime == TORCH else row.runtime


def _ratio(weights: RuntimeRow, served: RuntimeRow) -> float | None:
    if not weights.latency_ms_p50 or not served.latency_ms_p50:
        return None
    return weights.latency_ms_p50 / served.latency_ms_p50


def _points(drop: float) -> str:
    """A loss as what it does to the number: ``-0.0012``."""
    return f"{-drop:+.4f}" if abs(drop) >= 0.00005 else "the same"  # noqa: PLR2004 - half of the last digit


def _numbers(served: RuntimeRow, weights: RuntimeRow, table: RuntimeTable) -> list[Number]:
    against = f"weights {_shown(weights.latency_ms_p50, '.1f')} ms"
    return [
        Number("Serves on a CPU", _named(served), f"of {len(table.rows)} compared"),
        Number("Median latency", f"{_shown(served.latency_ms_p50, '.1f')} ms", against),
        Number("mAP50-95", _shown(served.map50_95, ".3f"), f"weights {_shown(weights.map50_95, '.3f')}"),
        Number("Size", f"{_shown(served.megabytes, '.1f')} MB", f"weights {_shown(weights.megabytes, '.1f')} MB"),
        Number("Images", str(table.images), "of the validation split"),
    ]


def _shown(value: float | None, style: str) -> str:
    return "-" if value is None else format(value, style)


def _latency_chart(rows: Sequence[RuntimeRow]) -> Chart | None:
    timed = [row for row in rows if row.latency_ms_p50 is not None]
    series = {
        "median": [row.latency_ms_p50 or 0.0 for row in timed],
        "95th percentile": [row.latency_ms_p95 or 0.0 for row in timed],
    }
    return _bars("How long an image takes", timed, series, "milliseconds")


def _accuracy_chart(rows: Sequence[RuntimeRow]) -> Chart | None:
    judged = [row for row in rows if row.map50_95 is not None]
    series = {
        "mAP50-95": [row.map50_95 or 0.0 for row in judged],
        "mAP50": [row.map50 or 0.0 for row in judged],
    }
    return _bars("How good its boxes are", judged, series, "average precision")


def _bars(title: str, rows: Sequence[RuntimeRow], series: dict[str, list[float]], label: str) -> Chart | None:
    names = [_named(row) for row in rows]
    return bar_chart(title, names, series, x_label="runtime", y_label=label) if rows else None


def _add_serving(report: Report, compared: Compared, classes: Sequence[str]) -> None:
    inference = compared.inference
    report.section("How it predicts", f"Unless a request says otherwise. {compared.thresholds}")
    tiles = (
        f"{inference.tile} px, {inference.tile_overlap:.0%} shared, {inference.tile_merge}" if inference.tile else ""
    )
    served = {kind: _WEIGHTS if name == TORCH else name for kind, name in sorted(inference.runtimes.items())}
    report.facts(
        {
            "confidence": f"{inference.confidence:g}",
            "overlap of two objects": f"{inference.iou:g}",
            "most boxes an image": str(inference.max_det),
            "tiles": tiles or "none",
            **{f"runtime on {kind}": name for kind, name in served.items()},
        }
    )
    rows = [(name, own) for name in classes if (own := inference.class_confidence.get(name)) is not None]
    if rows:
        report.table(
            ("class", "confidence"), rows, caption="Classes with a confidence of their own", folded=len(rows) > _SHOWN
        )


def _facts(manifest: ArchiveManifest, options: PackOptions) -> dict[str, str]:
    return {
        "tag": manifest.tag,
        "content digest": manifest.content_digest,
        "model digest": manifest.model_digest,
        **{f"{split} data": version for split, version in manifest.datasets.items()},
        "code": manifest.code,
        "asked for": ", ".join(options.runtimes) or "the weights only",
        "max_drop": f"{options.max_drop:g}",
        "libraries": ", ".join(manifest.requirements),
        "licences": " ".join(manifest.licences),
    }
