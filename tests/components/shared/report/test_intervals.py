import math
import re
from xml.etree import ElementTree as ET

import pytest

from components.shared.report.charts import Band, Estimate, Mark, Series, interval_chart, line_chart


def chart(*rows: Estimate, **options: object) -> object:
    return interval_chart("Recall", rows, x_label="recall", name_label="part", **options)


def percents(svg: str, style: str, attribute: str) -> list[float]:
    found = [one for one in ET.fromstring(svg).iter() if one.get("class") == style]
    return [float(one.get(attribute).rstrip("%")) for one in found]


def test_bars_and_intervals_lie_where_their_values_are() -> None:
    drawn = chart(Estimate("a", 0.5, 0.25, 0.75), Estimate("b", 1.0), x_range=(0.0, 1.0))
    assert percents(drawn.svg, "bar s1", "width") == [50, 100]
    assert percents(drawn.svg, "whisker", "x1") == [25, 25, 75]
    assert percents(drawn.svg, "whisker", "x2") == [75, 25, 75]


def test_dots_keep_to_the_axis_around_their_intervals_and_marks() -> None:
    drawn = chart(Estimate("a", 0.02, -0.01, 0.05), marks=[Mark(-0.05, "margin"), Mark(0.0, "equal")], bars=False)
    (dot,) = percents(drawn.svg, "bar s1", "cx")
    low, high = percents(drawn.svg, "mark", "x1")
    assert 0 <= low < high < dot < 100
    names = re.findall(r'dy="(\d+)"[^>]*>(margin|equal)<', drawn.svg)
    assert [name for _, name in names] == ["margin", "equal"]
    assert int(names[1][0]) - int(names[0][0]) >= 12


def test_the_data_and_the_description_say_what_is_drawn() -> None:
    drawn = chart(Estimate("a", 0.5, 0.25, 0.75, "20 objects"), Estimate("b", -0.125))
    assert drawn.data.columns == ("part", "recall", "from", "to", "note")
    assert drawn.data.rows[0] == ("a", 0.5, 0.25, 0.75, "20 objects")
    assert "a: 0.500 (0.250 to 0.750), 20 objects; b: \N{MINUS SIGN}0.125" in drawn.description


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_rows_without_a_value_are_left_out_and_none_at_all_is_said(value: float) -> None:
    assert chart(Estimate("a", value)).data.rows == ()
    assert "no data" in chart().svg
    assert [row[0] for row in chart(Estimate("a", value), Estimate("b", 1.0)).data.rows] == ["b"]


def test_a_band_is_shaded_between_its_lines_and_named() -> None:
    band = Band("95 %", [0.0, 1.0], [0.0, 0.5], [0.5, 1.0])
    drawn = line_chart("Share", [Series("is", [0, 1], [0.2, 0.8])], x_label="x", y_label="y", spans=[band])
    shape = next(one for one in ET.fromstring(drawn.svg).iter() if one.get("class") == "band s1")
    assert len(re.findall(r"[ML]", shape.get("d"))) == 4
    assert shape.get("d").endswith("Z")
    assert [(key.name, key.mark) for key in drawn.legend] == [("95 %", "band")]
