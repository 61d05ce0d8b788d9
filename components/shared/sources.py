"""What a data source's text means, checked before anything is started or contacted."""

import json
import re
import unicodedata
from enum import StrEnum
from pathlib import Path
from urllib.parse import unquote

from components.shared.errors import SourceError
from components.shared.source_addresses import (
    DATABASES,
    bucket_of,
    check_database,
    check_label_studio,
    check_url,
    redacted,
    scheme_of,
)

SAMPLE = "sample://workbench"
ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz")
READABLE = (
    f"a folder, an archive ({', '.join(ARCHIVES)}), s3://bucket/prefix, https://host/data.zip,"
    f" postgresql+psycopg://user@host/database, labelstudio://host/project or {SAMPLE}"
)

_LABEL_STUDIO = frozenset({"labelstudio", "labelstudio+http", "labelstudio+https"})


class Kind(StrEnum):
    """The kinds of source, each with its own reader."""

    SAMPLE = "sample"
    LOCAL = "local"
    S3 = "s3"
    WEB = "web"
    DATABASE = "database"
    LABEL_STUDIO = "labelstudio"


def split_sources(text: str) -> tuple[str, ...]:
    """The sources a parameter names: one, several as a JSON list, or one a line.

    Raises:
        SourceError: none is named, the list holds something else than texts, or one source comes twice.
    """
    if not text.strip().removeprefix("file://"):
        raise SourceError(f"The source is empty: give {READABLE}.")
    if ("\n" not in text and not text.lstrip().startswith("[")) or _is_path(text):
        return (text,)
    sources = _listed(text) if text.lstrip().startswith("[") else tuple(line.strip() for line in text.splitlines())
    sources = tuple(source for source in sources if source)
    if not sources:
        raise SourceError(f"The list of sources is empty: give {READABLE}.")
    for position, source in enumerate(sources):
        if source in sources[:position]:
            raise SourceError(f"The source {redacted(source)!r} is given twice: name it once.")
    return sources


def kind_of(source: str) -> Kind:
    """The kind of one source, by its scheme.

    Raises:
        SourceError: no reader has this scheme, or it names a sample that does not exist.
    """
    scheme = scheme_of(source)
    if source.startswith("sample:"):
        if source != SAMPLE:
            raise SourceError(f"There is no built-in sample {source!r}; there is {SAMPLE!r}.")
        return Kind.SAMPLE
    if scheme in {None, "file"}:
        return Kind.LOCAL
    kinds = {"s3": Kind.S3, "http": Kind.WEB, "https": Kind.WEB} | dict.fromkeys(_LABEL_STUDIO, Kind.LABEL_STUDIO)
    if scheme in kinds:
        return kinds[scheme]
    if scheme.partition("+")[0] in DATABASES:
        return Kind.DATABASE
    raise SourceError(f"{redacted(source)!r} cannot be loaded: there is no reader for {scheme}://; give {READABLE}.")


def local_path(source: str) -> Path:
    """The path of a source on this machine, also when written as a ``file://`` address, percent signs decoded.

    Raises:
        SourceError: the source has another scheme.
    """
    if source.startswith("file://"):
        return Path(unquote(source.removeprefix("file://"))).expanduser()
    if (kind := kind_of(source)) is not Kind.LOCAL:
        raise SourceError(f"{redacted(source)!r} ({kind}) is no path on this machine.")
    return Path(source).expanduser()


def settled(text: str) -> str:
    """The parameter's text with every path on this machine made absolute, so that it means the same everywhere."""
    sources = tuple(_settled(source) for source in split_sources(text))
    return sources[0] if len(sources) == 1 else json.dumps(sources, ensure_ascii=False)


def local_paths(text: str) -> tuple[Path, ...] | None:
    """The files and folders whose content is what gets loaded; ``None`` when some of it lies elsewhere.

    The built-in sample has none. A database of this machine counts as elsewhere: its images may be anywhere.
    """
    kinds = {source: kind_of(source) for source in split_sources(text)}
    if not set(kinds.values()) <= {Kind.LOCAL, Kind.SAMPLE}:
        return None
    return tuple(local_path(source) for source, kind in kinds.items() if kind is Kind.LOCAL)


def check_source(text: str, *, sql_query: str | None = None, allow_private_addresses: bool | None = None) -> None:
    """See whether there is anything to load, as far as this can be told without contacting anybody.

    Args:
        text: one source or several, see ``split_sources``.
        sql_query: the query a database source is asked; ``None``: not known yet.
        allow_private_addresses: whether ``http://`` may be used; ``None``: not known yet.

    Raises:
        SourceError: nothing is there, it is neither a folder with files nor an archive, or an address is malformed
            or holds a password.
    """
    for source in split_sources(text):
        kind = kind_of(source)
        if kind is Kind.LOCAL:
            _check_local(source)
        elif kind is not Kind.SAMPLE:
            _check_address(source, kind, plain_http=allow_private_addresses is not False)
        if kind is Kind.DATABASE and sql_query is not None and not sql_query.strip():
            raise SourceError(
                f"{redacted(source)!r} is a database, but sql_query is empty: give a query that yields the columns"
                " image, label, x, y, width and height."
            )
    if sql_query and sql_query.strip() and not any(kind_of(source) is Kind.DATABASE for source in split_sources(text)):
        raise SourceError(
            f"sql_query is given, but {shown_sources(text)!r} is no database: leave it empty, or give"
            " postgresql+psycopg://user@host/database."
        )


def shown_sources(text: str) -> str:
    """All sources of a parameter as they may be shown, see ``redacted``."""
    return ", ".join(redacted(source) for source in split_sources(text))


def name_of(text: str) -> str:
    """A dataset name made from the last part of the first source: ``My Data.tar.gz`` becomes ``my-data``."""
    source = split_sources(text)[0]
    kind = kind_of(source)
    if kind is Kind.LOCAL:
        path = local_path(source)
        last = path.name if path.name not in ("", "..") else path.resolve().name
    else:
        address = redacted(source).partition("://")[2].rpartition("@")[2]
        last = unquote(address.rstrip("/").rpartition("/")[2])
    if kind is Kind.LABEL_STUDIO:
        last = f"label-studio-{last}"
    for suffix in sorted((*ARCHIVES, ".json", ".manifest", ".jsonl", ".db", ".sqlite", ".sqlite3"), key=len)[::-1]:
        if last.lower().endswith(suffix) and (kind is not Kind.LOCAL or suffix in ARCHIVES):
            last = last[: -len(suffix)]
            break
    plain = unicodedata.normalize("NFKD", last).encode("ascii", "ignore").decode()
    return re.sub(r"[^a-z0-9._-]+", "-", plain.lower()).strip("-._")[:63] or "dataset"


def _is_path(text: str) -> bool:
    try:
        return scheme_of(text) is None and Path(text).expanduser().exists()
    except (OSError, ValueError, RuntimeError):
        return False


def _listed(text: str) -> tuple[str, ...]:
    try:
        values = json.loads(text)
    except ValueError:
        if text.lstrip().startswith('["'):
            raise SourceError('The list of sources is not valid JSON: write ["first", "second"].') from None
        return (text,)
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise SourceError('The list of sources holds something else than texts: write ["first", "second"].')
    return tuple(value.strip() for value in values)


def _settled(source: str) -> str:
    if kind_of(source) is Kind.LOCAL:
        return str(local_path(source).resolve())
    if scheme_of(source) in {"sqlite", "sqlite+pysqlite"} and re.match(r"^[a-z+]+:///[^/:]", source):
        scheme, _, rest = source.partition(":///")
        path, mark, query = rest.partition("?")
        return f"{scheme}:///{Path(path).expanduser().resolve()}{mark}{query}"
    return source


def _check_local(source: str) -> None:
    path = local_path(source)
    try:
        if path.is_dir():
            if not any(path.iterdir()):
                raise SourceError(f"The folder {source!r} is empty: there is nothing to load.")
            return
        if not path.exists():
            raise SourceError(f"There is nothing at {source!r}: check the path.")
    except PermissionError as error:
        raise SourceError(f"{source!r} cannot be read: {error.strerror}.") from error
    if not path.name.lower().endswith(ARCHIVES):
        raise SourceError(f"{source!r} is a file of a kind that cannot be loaded; give {READABLE}.")


def _check_address(source: str, kind: Kind, *, plain_http: bool) -> None:
    if kind is Kind.WEB:
        check_url(source, plain_http=plain_http)
    elif kind is Kind.S3:
        bucket_of(source)
    elif kind is Kind.DATABASE:
        check_database(source)
    else:
        check_label_studio(source, plain_http=plain_http)
