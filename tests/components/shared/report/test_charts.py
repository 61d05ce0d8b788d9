import math
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.shared.report import numerals
from components.shared.report.charts import (
    Chart,
    Mark,
    Series,
    Span,
    bar_chart,
    histogram,
    line_chart,
    matrix_chart,
    scatter_chart,
)
from components.shared.report.scale import scale_for

NAN, INF = math.nan, math.inf
VALUES: dict[str, list[float]] = {
    "nothing": [],
    "only NaN": [NAN, NAN],
    "only infinities": [INF, -INF],
    "one value": [0.5],
    "one zero": [0.0],
    "equal values": [7.0, 7.0, 7.0],
    "equal negative values": [-2.5, -2.5],
    "values with gaps": [1.0, NAN, 3.0, INF, 2.0],
    "negative values": [-3.0, 2.0, -1.0],
    "huge values": [1e308, -1e308, 1.0],
    "tiny values": [1e-308, 2e-308, 5e-324],
    "nearly equal values": [1.0, 1.0 + 1e-15],
    "numpy values": list(np.linspace(0, 1, 5, dtype=np.float32)),
    "many decades": [1e-9, 1.0, 1e9],
}
CHARTS: dict[str, Callable[[list[float]], Chart]] = {
    "line": lambda v: line_chart("t", [Series("a", range(len(v)), v)], x_label="x", y_label="y", marks=[Mark(1, "m")]),
    "shaded line": lambda v: line_chart(
        "t",
        [Series("a", range(len(v)), v)],
        x_label="x",
        y_label="y",
        marks=[Mark(value, "m", thin=True) for value in v],
        spans=[Span(value, -value, "s") for value in v],
    ),
    "line over values": lambda v: line_chart("t", [Series("a", v, v, dashed=True)], x_label="x", y_label="y"),
    "fixed line": lambda v: line_chart(
        "t", [Series("a", v, v)], x_label="x", y_label="y", y_range=(0, 1), x_range=(0, 1)
    ),
    "bars": lambda v: bar_chart("t", [f"c{i}" for i in range(len(v))], {"a": v, "b": v}, x_label="x", y_label="y"),
    "stacked": lambda v: bar_chart("t", list(map(str, v)), {"a": v, "b": v}, x_label="x", y_label="y", stacked=True),
    "lying": lambda v: bar_chart("t", list(map(str, v)), {"a": v}, x_label="x", y_label="y", horizontal=True),
    "histogram": lambda v: histogram("t", {"a": v}, x_label="x"),
    "histogram of groups": lambda v: histogram("t", {"a": v, "b": [], "c": v}, x_label="x", log_x=True),
    "scatter": lambda v: scatter_chart("t", [Series("a", v, v)], x_label="x", y_label="y"),
    "log scatter": lambda v: scatter_chart("t", [Series("a", v, v)], x_label="x", y_label="y", log=True),
    "matrix": lambda v: matrix_chart("t", list(map(str, v)), [v] * len(v), x_label="x", y_label="y"),  # type: ignore[misc]
}


def check(chart: Chart) -> ET.Element:
    """A chart is well-formed, named and described, and places nothing at a number that is none."""
    root = ET.fromstring(chart.svg)
    assert root.get("role") == "img"
    ids = {element.get("id"): element.tag for element in root if element.get("id")}
    assert ids[root.get("aria-labelledby")] == "title"
    assert ids[root.get("aria-describedby")] == "desc"
    assert chart.description
    assert not re.search(r'="[^"]*\b(nan|inf)\b[^"]*"', chart.svg)
    return root


@pytest.mark.parametrize("kind", CHARTS)
@pytest.mark.parametrize("values", VALUES)
def test_a_chart_of_any_values_is_well_formed(kind: str, values: str) -> None:
    check(CHARTS[kind](VALUES[values]))


@pytest.mark.parametrize("kind", CHARTS)
def test_a_chart_without_values_says_so(kind: str) -> None:
    assert ">no data</text>" in CHARTS[kind]([]).svg


@given(st.sampled_from(sorted(CHARTS)), st.lists(st.floats(), max_size=8))
def test_no_values_break_a_chart(kind: str, values: list[float]) -> None:
    check(CHARTS[kind](values))


@given(st.text(), st.sampled_from(["line", "bars", "lying", "matrix"]))
def test_no_text_breaks_a_chart(text: str, kind: str) -> None:
    chart = {
        "line": lambda: line_chart(
            text,
            [Series(text, [1, 2], [1, 2])],
            x_label=text,
            y_label=text,
            marks=[Mark(1, text), Mark(2, text, thin=True)],
            spans=[Span(1, 2, text)],
        ),
        "bars": lambda: bar_chart(text, [text], {text: [1]}, x_label=text, y_label=text),
        "lying": lambda: bar_chart(text, [text], {text: [1]}, x_label=text, y_label=text, horizontal=True),
        "matrix": lambda: matrix_chart(text, [text], [[1]], x_label=text, y_label=text),
    }[kind]()
    check(chart)


def test_a_missing_value_leaves_a_gap_in_its_line() -> None:
    chart = line_chart("t", [Series("a", range(5), [1, 2, None, 3, 4])], x_label="x", y_label="y")
    drawn = check(chart).find(".//path").get("d")
    assert drawn.count("M") == 2
    assert [row[1] for row in chart.data.rows[:2]] == [1.0, 2.0]
    assert math.isnan(chart.data.rows[2][1])


def test_a_long_line_keeps_its_peaks() -> None:
    y = [0.0] * 50_000
    y[31_234] = 1.0
    chart = line_chart("t", [Series("a", range(50_000), y)], x_label="x", y_label="y")
    assert " 0L" in check(chart).find(".//path").get("d")
    assert len(chart.svg) < 30_000
    assert len(chart.data.rows) <= 400


def test_lines_beyond_a_fixed_range_are_cut_off() -> None:
    inside = line_chart("t", [Series("a", [0, 1], [0.0, 1.0])], x_label="x", y_label="y", y_range=(0, 1))
    outside = line_chart("t", [Series("a", [0, 1], [0.0, 9.0])], x_label="x", y_label="y", y_range=(0, 1))
    assert "plane clip" not in inside.svg
    assert "plane clip" in outside.svg


def test_a_mark_is_placed_at_its_value_and_named() -> None:
    chart = line_chart("t", [Series("a", [0, 10], [0, 1])], x_label="x", y_label="y", marks=[Mark(2.5, "best epoch")])
    mark = check(chart).find(".//line[@class='mark']")
    assert mark.get("x1") == "25%"
    assert ">best epoch</text>" in chart.svg
    assert "best epoch at 2.5" in chart.description


def test_a_shaded_stretch_covers_its_part_of_the_axis_and_is_named_in_the_legend() -> None:
    spans = [Span(2.5, 5, "hot"), Span(-9, 0, "outside")]
    chart = line_chart("t", [Series("a", [0, 10], [0, 1])], x_label="x", y_label="y", spans=spans, x_range=(0, 10))
    (shade,) = [rect for rect in check(chart).iter("rect") if rect.get("class") == "span"]
    assert (shade.get("x"), shade.get("width"), shade.get("height")) == ("25%", "25%", "100%")
    assert [key.name for key in chart.legend] == ["hot", "outside"]
    assert "hot from 2.5 to 5" in chart.description


def test_thin_marks_share_one_name_in_the_legend_and_shrink_when_they_are_many() -> None:
    def drawn(count: int) -> tuple[Chart, list[ET.Element]]:
        marks = [Mark(x, "resumed", thin=True) for x in range(count)]
        chart = line_chart("t", [Series("a", [0, 99], [0, 1])], x_label="x", y_label="y", marks=marks)
        return chart, [line for line in check(chart).iter("line") if line.get("class") == "rule-thin"]

    few, many = drawn(3), drawn(40)
    assert [key.name for key in few[0].legend] == ["resumed"]
    assert {line.get("y1") for line in few[1]} == {"0"}
    assert {line.get("y1") for line in many[1]} == {"90%"}
    assert (len(few[1]), len(many[1])) == (3, 40)
    assert "resumed</text>" not in few[0].svg


def test_a_scatter_chart_draws_at_most_two_thousand_points_and_says_so() -> None:
    x = np.arange(1, 5001, dtype=float)
    chart = scatter_chart("t", [Series("a", x, x), Series("b", x[:7], x[:7])], x_label="x", y_label="y")
    assert sum(path.get("d").count("M") for path in check(chart).iter("path")) == 2000
    assert "2,000 of 5,007 points drawn" in chart.svg


def test_lying_bars_grow_with_their_number_and_shorten_long_names() -> None:
    names = ["a very long name of a category that does not fit", *(f"class {i}" for i in range(199))]
    chart = bar_chart("t", names, {"boxes": range(200)}, x_label="class", y_label="boxes", horizontal=True)
    root = check(chart)
    assert float(re.search(r"height:(\d+)px", root.get("style")).group(1)) > 200 * 16
    assert "<title>a very long name of a category that does not fit</title>" in chart.svg
    assert len(list(root.iter("rect"))) == 200


def test_standing_bars_lie_down_when_their_names_do_not_fit() -> None:
    few = bar_chart("t", ["small", "large"], {"n": [1, 2]}, x_label="size", y_label="boxes")
    many = bar_chart("t", [f"class {i}" for i in range(40)], {"n": [1] * 40}, x_label="class", y_label="boxes")
    assert 'class="zero"' not in few.svg
    assert 'class="zero"' in many.svg


def test_counts_are_shown_whole_and_measures_with_decimals() -> None:
    counts = bar_chart("t", ["a", "b"], {"n": [1200, 1]}, x_label="class", y_label="boxes", horizontal=True)
    assert counts.data.rows == (("a", 1200), ("b", 1))
    assert all(isinstance(row[1], int) for row in counts.data.rows)
    assert ">1,200<" in counts.svg
    measures = bar_chart("t", ["a", "b"], {"n": [1.0, 0.5]}, x_label="class", y_label="AP", horizontal=True)
    assert ">1.000<" in measures.svg


def test_stacked_bars_start_where_the_one_before_ends() -> None:
    chart = bar_chart("t", ["a"], {"one": [3], "two": [1]}, x_label="x", y_label="y", stacked=True)
    one, two = check(chart).iter("rect")
    assert float(two.get("y")[:-1]) + float(two.get("height")[:-1]) == pytest.approx(float(one.get("y")[:-1]))


def test_every_value_falls_into_a_bin_that_all_groups_share() -> None:
    values = np.random.default_rng(0).normal(size=500)
    chart = histogram("t", {"a": values, "b": values[:100] + 5}, bins=20, x_label="x")
    assert sum(row[2] for row in chart.data.rows) == 500
    assert sum(row[3] for row in chart.data.rows) == 100


def test_few_whole_numbers_get_a_bin_each() -> None:
    chart = histogram("t", {"a": [1, 1, 2, 4]}, x_label="boxes")
    assert [row[2] for row in chart.data.rows] == [2, 1, 0, 1]


def test_a_matrix_is_shaded_by_the_share_of_its_row_and_counts_its_diagonal_as_right() -> None:
    chart = matrix_chart("t", ["cat", "dog"], [[9, 1], [0, 4]], x_label="predicted", y_label="true")
    cells = [
        (rect.get("class"), rect.find("title").text)
        for rect in check(chart).iter("rect")
        if rect.find("title") is not None
    ]
    assert cells == [
        ("right", "cat → cat: 9 (90.0% of the row)"),
        ("wrong", "cat → dog: 1 (10.0% of the row)"),
        ("right", "dog → dog: 4 (100.0% of the row)"),
    ]


def test_a_large_matrix_drops_its_numbers_and_lists_its_confusions() -> None:
    counts = np.eye(90, dtype=int) * 5
    counts[3, 7] = 40
    chart = matrix_chart("t", [f"class {i}" for i in range(90)], counts.tolist(), x_label="predicted", y_label="true")
    check(chart)
    assert "number middle" not in chart.svg
    assert chart.data.rows[0][:3] == ("class 3", "class 7", 40)


def test_labels_that_are_missing_are_made_up() -> None:
    chart = matrix_chart("t", ["cat"], [[1, 2, 3], [4]], x_label="predicted", y_label="true")
    assert [row[0] for row in chart.data.rows] == ["cat", "#1", "#2"]


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0, 0.99, ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]),
        (0, 14000, ["0", "5k", "10k", "15k"]),
        (-1.0, 1.5, ["\u22121.0", "\u22120.5", "0.0", "0.5", "1.0", "1.5"]),
        (1, 3, ["1", "2", "3"]),
    ],
)
def test_ticks_are_round_numbers_with_the_decimals_they_need(low: float, high: float, ticks: list[str]) -> None:
    assert numerals.ticks(scale_for([low, high]).ticks()) == ticks


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.81234, "0.8123"),
        (12, "12"),
        (1204, "1,204"),
        (12_345, "12.3k"),
        (-2.5e6, "\u22122.5M"),
        (4.2e-5, "4.2e\u22125"),
        (None, "\u2013"),
        (NAN, "\u2013"),
        (0, "0"),
        (999_999, "1M"),
    ],
)
def test_a_number_is_written_compactly(value: float | None, text: str) -> None:
    assert numerals.compact(value) == text
