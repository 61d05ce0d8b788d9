"""Tables with columns of one value, which many have (no score, no crowd, one kind), in little memory."""

from pathlib import Path

import polars as pl


def compact(table: pl.DataFrame) -> pl.DataFrame:
    """The same table with each column of one value, or of none, held as that value and not once a row.

    Selecting, filtering, sorting and casting such a table keep them so; a join or a new column made of one may not.
    """
    if table.is_empty():
        return table
    single = [column.name for column in table if _is_single(column)]
    return table.with_columns(pl.lit(table.item(0, name), table.schema[name]).alias(name) for name in single)


def read_compact(path: Path) -> pl.DataFrame:
    """A parquet file as a compact table, read column by column so that no other form of it takes memory."""
    names = pl.read_parquet(path, n_rows=0, glob=False).columns
    columns = [compact(pl.read_parquet(path, columns=[name], glob=False)) for name in names]
    return pl.concat(columns, how="horizontal")


def _is_single(column: pl.Series) -> bool:
    if column.null_count() == len(column):
        return True
    return column.null_count() == 0 and bool((column == column.head(1)).all())
