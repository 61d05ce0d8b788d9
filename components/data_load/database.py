"""A data set that a SQL database describes: one row a box, the images on disk or at addresses."""

import importlib
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.data_load.database_rows import Columns, Images, to_parsed
from components.shared.errors import ConfigError, SourceError
from components.shared.formats.base import Parsed
from components.shared.progress import Notify, silent
from components.shared.source_addresses import SQL_PASSWORD, redacted

if TYPE_CHECKING:
    from sqlalchemy import Connection
    from sqlalchemy.engine import URL

IMAGES_VARIABLE = "PIPELINE_SQL_IMAGES"
BATCH = 10_000
_READS = re.compile(r"(?is)^\s*\(*\s*(select|with|values|table)\b")
_QUOTED = re.compile(r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|--[^\n]*|/\*.*?\*/|\$(\w*)\$.*?\$\1\$", re.DOTALL)
_MEMORY = frozenset({"", ":memory:"})


def read_database(source: str, query: str, notify: Notify = silent) -> Parsed:
    """Ask a database and give its rows as images and boxes; nothing can be written by the query.

    Args:
        source: a SQLAlchemy address without a password, which comes from ``$PIPELINE_SQL_PASSWORD`` (or, for
            PostgreSQL, from libpq's own ``PGPASSWORD`` or ``.pgpass``).
        query: one SELECT; see ``database_rows`` for its columns.
        notify: hears how many rows came.

    Raises:
        ConfigError: SQLAlchemy or the database's driver is not installed.
        SourceError: the database cannot be reached, does not take the query, or its columns are not the right ones.
    """
    sql = _clean_query(query)
    sqlalchemy = _library("sqlalchemy")
    with _explained(source, sqlalchemy.exc.SQLAlchemyError):
        url = _address(source, sqlalchemy)
        images = _images(url)
        engine = sqlalchemy.create_engine(url, hide_parameters=True, poolclass=sqlalchemy.pool.NullPool)
        with engine.connect() as connection:
            _forbid_writing(connection, engine.dialect.name)
            names, batches = _rows(connection, sql)
            columns = Columns.of(names)
            return to_parsed(columns, _counted(batches, notify), images)


def _clean_query(query: str) -> str:
    bare = _QUOTED.sub(lambda found: " " if found[0][:2] in {"--", "/*"} else "''", query)
    if not bare.strip():
        raise ConfigError("sql_query is empty: give a query that yields image, label, x, y, width and height.")
    if not _READS.match(bare):
        raise ConfigError(f"sql_query={query[:80]!r} is no SELECT: a source is only read.")
    if ";" in bare.rstrip().rstrip(";"):
        raise ConfigError(f"sql_query={query[:80]!r} holds several statements: give one SELECT.")
    return query.rstrip().rstrip(";")


def _library(name: str) -> Any:  # noqa: ANN401 - an optional dependency
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ConfigError(
            f"A database source needs {name!r}: install the optional extra 'sql' (pip install '.[sql]')."
        ) from error


def _address(source: str, sqlalchemy: Any) -> "URL":  # noqa: ANN401 - an optional dependency
    url: URL = sqlalchemy.engine.make_url(source)
    plain = {"postgres": "postgresql+psycopg", "postgresql": "postgresql+psycopg"}
    url = url.set(drivername=plain.get(url.drivername, url.drivername))
    if password := os.environ.get(SQL_PASSWORD):
        url = url.set(password=password) if url.get_backend_name() != "sqlite" else url
    if url.get_backend_name() == "sqlite" and url.database not in {None, *_MEMORY} and "uri" not in url.query:
        path = Path(str(url.database)).expanduser().resolve()
        if not path.is_file():
            raise SourceError(f"There is no database file {str(path)!r}: check the path.")
        # The file is opened for reading only, and never created.
        url = url.set(database=f"{path.as_uri()}?mode=ro", query={**url.query, "uri": "true"})
    return url


def _images(url: "URL") -> Images:
    base = os.environ.get(IMAGES_VARIABLE, "")
    if base.startswith(("s3://", "https://", "http://")):
        return Images(None, base.rstrip("/"))
    if base:
        return Images(Path(base.removeprefix("file://")).expanduser().resolve(), None)
    if url.get_backend_name() == "sqlite" and str(url.database).startswith("file:///"):
        from urllib.parse import unquote, urlsplit  # noqa: PLC0415

        return Images(Path(unquote(urlsplit(str(url.database)).path)).parent, None)
    return Images(None, None)


def _forbid_writing(connection: "Connection", dialect: str) -> None:
    if dialect == "postgresql":
        connection.execution_options(postgresql_readonly=True)
    elif dialect == "sqlite":
        connection.exec_driver_sql("PRAGMA query_only = ON")
        connection.rollback()
    elif dialect in {"mysql", "mariadb"}:
        connection.exec_driver_sql("SET SESSION TRANSACTION READ ONLY")
        connection.rollback()


def _rows(connection: "Connection", sql: str) -> tuple[list[str], Iterator[Sequence[Sequence[object]]]]:
    # Without parameters a driver leaves the signs % and : of the query alone.
    options = {"yield_per": BATCH, "stream_results": True, "no_parameters": True}
    result = connection.execution_options(**options).exec_driver_sql(sql)
    return list(result.keys()), iter(result.partitions(BATCH))


def _counted(batches: Iterator[Sequence[Sequence[object]]], notify: Notify) -> Iterator[Sequence[Sequence[object]]]:
    count = 0
    for batch in batches:
        count += len(batch)
        notify(0.0, f"{count} rows")
        yield batch


@contextmanager
def _explained(source: str, family: type[Exception]) -> Iterator[None]:
    shown = redacted(source)
    try:
        yield
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"{shown!r} needs the driver {error.name!r}: install it, for PostgreSQL with the optional extra 'sql'"
            " (pip install '.[sql]')."
        ) from error
    except family as error:
        said = str(getattr(error, "orig", None) or error).strip().splitlines() or [type(error).__name__]
        reason = said[0].strip().rstrip(".")
        if password := os.environ.get(SQL_PASSWORD):
            reason = reason.replace(password, "***")
        raise SourceError(f"The database {shown!r} says: {reason}: check the address and sql_query.") from error
