"""What a data source's text means, checked before anything is started."""

import re
import unicodedata
from pathlib import Path
from urllib.parse import unquote, urlsplit

from components.shared.errors import SourceError

SAMPLE = "sample://workbench"
ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz")
READABLE = f"a folder, an archive ({', '.join(ARCHIVES)}) or {SAMPLE}"


def is_sample(source: str) -> bool:
    """Whether the source is the built-in sample.

    Raises:
        SourceError: it names a sample that does not exist.
    """
    if source.startswith("sample:") and source != SAMPLE:
        raise SourceError(f"There is no built-in sample {source!r}; there is {SAMPLE!r}.")
    return source == SAMPLE


def local_path(source: str) -> Path:
    """The path of a source on this machine, also when written as a ``file://`` address, percent signs decoded.

    Raises:
        SourceError: the source has another scheme.
    """
    if source.startswith("file://"):
        return Path(unquote(source.removeprefix("file://"))).expanduser()
    if "://" in source:
        scheme = urlsplit(source).scheme
        raise SourceError(f"{source!r} cannot be loaded: there is no reader for {scheme}://; give {READABLE}.")
    return Path(source).expanduser()


def check_source(source: str) -> None:
    """See whether there is anything to load.

    Raises:
        SourceError: nothing is there, or it is neither a folder with files nor an archive.
    """
    if is_sample(source):
        return
    if not source.removeprefix("file://"):
        raise SourceError(f"The source is empty: give {READABLE}.")
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


def name_of(source: str) -> str:
    """A dataset name made from the last part of a source: ``My Data.tar.gz`` becomes ``my-data``."""
    path = Path(source.removeprefix("sample://")) if is_sample(source) else local_path(source)
    last = path.name if path.name not in ("", "..") else path.resolve().name
    for suffix in sorted(ARCHIVES, key=len, reverse=True):
        if last.lower().endswith(suffix):
            last = last[: -len(suffix)]
            break
    plain = unicodedata.normalize("NFKD", last).encode("ascii", "ignore").decode()
    return re.sub(r"[^a-z0-9._-]+", "-", plain.lower()).strip("-._")[:63] or "dataset"
