"""Every chart a report can hold, under one name."""

from components.shared.report.bars import bar_chart
from components.shared.report.figure import Band, Chart, Key, Mark, Series, Span, Table
from components.shared.report.heat import heat_map, named_heat_map
from components.shared.report.histogram import histogram
from components.shared.report.intervals import Estimate, interval_chart
from components.shared.report.lines import line_chart, scatter_chart
from components.shared.report.matrix import matrix_chart

__all__ = [
    "Band",
    "Chart",
    "Estimate",
    "Key",
    "Mark",
    "Series",
    "Span",
    "Table",
    "bar_chart",
    "heat_map",
    "histogram",
    "interval_chart",
    "line_chart",
    "matrix_chart",
    "named_heat_map",
    "scatter_chart",
]
