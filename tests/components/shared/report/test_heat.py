from xml.etree.ElementTree import fromstring

import numpy as np
import pytest

from components.shared.report.charts import heat_map, histogram, named_heat_map


def test_a_heat_map_draws_only_cells_with_a_value_and_names_the_strongest() -> None:
    chart = heat_map("Where?", [[0, 0], [0, 5]], x_label="x", y_label="y", value="boxes")
    assert chart.svg.count('class="s1 bar"') == 1
    assert "right, bottom" in chart.description
    assert chart.data.rows == ((2, 2, 5.0),)
    fromstring(chart.svg)


@pytest.mark.parametrize("grid", [[], [[0.0]], [[float("nan")]], [[-1.0]]])
def test_a_heat_map_without_values_says_so(grid: list[list[float]]) -> None:
    assert "no data" in heat_map("Where?", grid, x_label="x", y_label="y", value="boxes").svg


def test_a_named_heat_map_shades_by_the_share_of_the_row() -> None:
    names = ["<cat>", "dog"]
    chart = named_heat_map("Together?", names, np.array([[10, 5], [5, 5]]), row="with", column="also", value="images")
    assert "&lt;cat&gt; with dog: 5 images (50.0% of those with &lt;cat&gt;)" in chart.svg
    assert chart.data.rows == (("dog", "<cat>", 5),)
    fromstring(chart.svg)


def test_shares_make_groups_of_different_sizes_comparable() -> None:
    groups = {"small": np.array([1.0, 2.0]), "large": np.array([1.0] * 50 + [2.0] * 50)}
    chart = histogram("h", groups, x_label="x", shares=True)
    heights = [row[2:] for row in chart.data.rows if any(row[2:])]
    assert heights == [(50.0, 50.0), (50.0, 50.0)]


def test_an_array_with_gaps_is_counted_without_them() -> None:
    chart = histogram("h", {"a": np.array([1.0, np.nan, np.inf, 2.0])}, x_label="x")
    assert sum(row[2] for row in chart.data.rows) == 2  # type: ignore[misc]
