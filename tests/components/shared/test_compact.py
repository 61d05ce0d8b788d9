import math

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from components.shared.compact import compact
from components.shared.dataset import ANNOTATIONS, IMAGES

TABLES = [
    pl.DataFrame(schema=IMAGES),
    pl.DataFrame([{"kind": "prediction", "x": 1.0}], schema=ANNOTATIONS),
    pl.DataFrame({"a": [1, 1, 1], "b": ["x", "x", None], "c": [None, None, None], "d": ["é"] * 3, "e": [None, 1, 1]}),
    pl.DataFrame({"a": [math.nan] * 2, "b": [0.0, -0.0], "c": [True, True], "d": [b"x", b"x"], "e": [None, "x"]}),
]


@pytest.mark.parametrize("table", TABLES, ids=range(len(TABLES)))
def test_a_compact_table_is_the_same_table(table: pl.DataFrame) -> None:
    small = compact(table)
    assert_frame_equal(small, table)
    assert small.schema == table.schema
    assert_frame_equal(pl.concat([small, table, small]), pl.concat([table] * 3))
    assert_frame_equal(small.filter(pl.int_range(pl.len()) > 0), table.slice(1))


def test_a_column_of_one_value_can_be_filtered_and_read() -> None:
    table = pl.DataFrame({"a": range(1000), "kind": ["ground_truth"] * 1000}).with_columns(b=pl.lit("y" * 50))
    assert compact(table).filter(pl.col("a") > 2).get_column("kind").to_list() == ["ground_truth"] * 997
