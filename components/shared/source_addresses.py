"""Addresses of data sources - web, buckets, databases, Label Studio - checked and shown without their secrets."""

import re
from urllib.parse import SplitResult, parse_qsl, urlsplit

from components.shared.errors import SourceError

DATABASES = frozenset({
    "bigquery", "clickhouse", "cockroachdb", "databricks", "db2", "duckdb", "mariadb", "mssql", "mysql", "oracle",
    "postgres", "postgresql", "redshift", "snowflake", "sqlite", "trino",
})  # fmt: skip
SQL_PASSWORD = "PIPELINE_SQL_PASSWORD"  # noqa: S105 - the name of a variable

_SCHEME = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]*)://")
_BUCKET = re.compile(r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$")
_UNPRINTABLE = re.compile(r"[\x00-\x20\x7f\\]")
_SECRET = re.compile(r"pass(?!file$)|pwd|secret|token", re.IGNORECASE)
_TORN_PASSWORD = re.compile(r"^([^/?#@:\[]*:)(?!\d*(?:[/?#]|$))")  # user:pa/ss@host: what follows the colon is no port


def scheme_of(source: str) -> str | None:
    """The scheme of an address in lower case; ``None`` for a path."""
    found = _SCHEME.match(source)
    return found[1].lower() if found else None


def redacted(source: str) -> str:
    """A source's text as it may be shown: no user, password or query of an address."""
    if scheme_of(source) in {None, "file", "sample"}:
        return source
    scheme, _, rest = source.partition("://")
    user, at, place = _before_query(rest).rpartition("@")
    if not at and (torn := _TORN_PASSWORD.match(place)):
        return f"{scheme}://{torn[1]}..."
    name = f"{user.partition(':')[0]}@" if user and scheme.partition("+")[0] in DATABASES else ""
    return f"{scheme}://{name}{place}"


def check_url(url: str, *, plain_http: bool) -> SplitResult:
    """The parts of an ``https://`` address, or of an ``http://`` one where ``plain_http`` allows it.

    Raises:
        SourceError: it has another scheme, no host, a broken port, a user or characters no address has.
    """
    shown = redacted(url)
    parts = _parts(url)
    if parts.scheme not in {"http", "https"}:
        raise SourceError(f"{shown!r} has the scheme {parts.scheme!r}: only https:// is downloaded.")
    if parts.scheme == "http" and not plain_http:
        raise SourceError(
            f"{shown!r} is not encrypted: use https://, or set allow_private_addresses=true for a server of your own."
        )
    if parts.username is not None or parts.password is not None:
        raise SourceError(f"{shown!r} holds a user name or password, which would end up in logs: take it out.")
    return parts


def bucket_of(source: str) -> str:
    """The bucket of an ``s3://`` address.

    Raises:
        SourceError: it names none.
    """
    bucket = source.partition("://")[2].partition("/")[0]
    if not _BUCKET.match(bucket):
        raise SourceError(f"{bucket!r} in {redacted(source)!r} is no bucket name: write 's3://bucket/prefix'.")
    return bucket


def check_database(source: str) -> None:
    """Refuse the address of a database that holds a password.

    Raises:
        SourceError: it does; the message does not show it.
    """
    shown = redacted(source)
    _, _, rest = source.partition("://")
    user, _, place = _before_query(rest).rpartition("@")
    named = any(_SECRET.search(name) for name, _ in parse_qsl(rest.partition("?")[2], keep_blank_values=True))
    if ":" in user or _TORN_PASSWORD.match(place) or named:
        raise SourceError(
            f"The address of the database {shown!r} holds a password, which would end up in logs: take it out and"
            f" put it into the environment as {SQL_PASSWORD} (or libpq's own PGPASSWORD or .pgpass)."
        )


def check_label_studio(source: str, *, plain_http: bool) -> None:
    """Refuse a ``labelstudio://`` address that names no project, holds a token or is not encrypted.

    Raises:
        SourceError: it is one of these.
    """
    shown = redacted(source)
    parts = _parts(source, needs_host=False)
    if parts.scheme == "labelstudio+http" and not plain_http:
        raise SourceError(
            f"{shown!r} is not encrypted: use labelstudio://, or set allow_private_addresses=true for a server of"
            " your own."
        )
    if parts.username is not None or parts.query:
        raise SourceError(f"{shown!r} holds a user, token or query: put the token into LABEL_STUDIO_API_KEY.")
    if not parts.path.rstrip("/").rpartition("/")[2].isdecimal():
        raise SourceError(f"{shown!r} names no project: write 'labelstudio://host/<project number>'.")


def _before_query(address: str) -> str:
    return address.partition("?")[0].partition("#")[0]


def _parts(address: str, *, needs_host: bool = True) -> SplitResult:
    shown = redacted(address)
    if found := _UNPRINTABLE.search(address):
        raise SourceError(f"{shown!r} holds the character {found[0]!r}, which no address has: write it as %XX.")
    try:
        parts = urlsplit(address)
        sound = bool(parts.hostname or not needs_host) and (parts.port is None or parts.port > 0)
    except ValueError:
        sound = False
    if not sound:
        raise SourceError(f"{shown!r} is no address: write 'https://host/path/data.zip'.")
    return parts
