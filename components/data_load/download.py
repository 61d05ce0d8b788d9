"""A download into a file that goes on where it broke off, within a size limit, and never accepts half a file."""

import logging
import re
import shutil
import time
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import BinaryIO

import httpx

from components.data_load.speed import Speed, readable
from components.data_load.web import TRIES, BrokenOffError, RangeRefusedError, Web, gave_up, pause
from components.shared.errors import SourceError
from components.shared.progress import Notify, silent
from components.shared.source_addresses import redacted

_GAINED = 1 << 20  # bytes that make a broken try count as a step forward
_RESERVE = 64 << 20
_RANGE = re.compile(r"^bytes (\d+)-\d+/(\d+|\*)$")

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Patience:
    """When a server is too slow: fewer than ``least`` bytes in ``seconds``."""

    seconds: float = 60.0
    least: int = 64 << 10


@dataclass
class _Partial:
    """What of a file is on disk: its length, the whole's length if known, and what tells that it is the same file."""

    size: int = 0
    total: int | None = None
    validator: str | None = None

    def request(self) -> dict[str, str]:
        """Headers that ask for the rest, or for all of it when the server gave nothing to recognise the file by."""
        if not self.size or self.validator is None:
            return {}
        return {"Range": f"bytes={self.size}-", "If-Range": self.validator}


def download(
    web: Web,
    url: str,
    path: Path,
    *,
    max_bytes: int,
    headers: dict[str, str] | None = None,
    notify: Notify = silent,
    patience: Patience = Patience(),
) -> str:
    """Get the file at ``url`` into ``path`` and return its media type (lower case, ``""`` when the server gives none).

    A try that breaks off is repeated from where it stood (``Range`` with ``If-Range``), or from the start when the
    server cannot; tries that gain a mebibyte or more are not counted. Progress is told in bytes, MB/s and time left.

    Raises:
        NotFoundError: the server has no such file.
        UnsafeInputError: the host, or one that a redirect names, lies on an address that is not public.
        SourceError: the file is larger than ``max_bytes`` or than the disk has room for, or the server gives it up.
    """
    partial, attempt = _Partial(), 0
    speed = Speed(path.name, notify)
    while True:
        before = partial.size
        try:
            with web.open(url, {**(headers or {}), **partial.request()}) as response:
                _take_up(partial, response, url, max_bytes, path)
                with path.open("r+b" if partial.size else "wb") as handle:
                    handle.seek(partial.size)
                    handle.truncate()
                    _receive(response, handle, partial, url, max_bytes, speed, patience)
                return str(response.headers.get("Content-Type", "")).partition(";")[0].strip().lower()
        except BrokenOffError as error:
            if isinstance(error, RangeRefusedError):
                partial = _Partial()
            attempt = 0 if partial.size - before >= _GAINED else attempt + 1
            if attempt >= TRIES:
                raise gave_up(url, error) from error
            logger.warning("The download of %r broke off at byte %d (%s).", redacted(url), partial.size, error)
            pause(max(0, attempt - 1))


def _take_up(partial: _Partial, response: httpx.Response, url: str, max_bytes: int, path: Path) -> None:
    """Bring ``partial`` in line with what the server is about to send."""
    if response.status_code == HTTPStatus.PARTIAL_CONTENT:
        found = _RANGE.match(response.headers.get("Content-Range", ""))
        if not found or int(found[1]) != partial.size:
            raise RangeRefusedError("the server sends another range than was asked for")
        partial.total = int(found[2]) if found[2] != "*" else partial.total
    else:
        declared = response.headers.get("Content-Length", "")
        etag = response.headers.get("ETag", "")
        strong = etag if etag and not etag.startswith("W/") else None
        partial.size, partial.total = 0, int(declared) if declared.isdecimal() else None
        partial.validator = strong or response.headers.get("Last-Modified")
    _check_size(partial.total or 0, url, max_bytes)
    free = shutil.disk_usage(path.parent).free + partial.size - _RESERVE
    if partial.total is not None and partial.total > free:
        raise SourceError(
            f"{redacted(url)!r} has {readable(partial.total)} but {readable(max(0, free))} are free: make room."
        )


def _receive(
    response: httpx.Response,
    handle: BinaryIO,
    partial: _Partial,
    url: str,
    max_bytes: int,
    speed: Speed,
    patience: Patience,
) -> None:
    since, mark = time.monotonic(), partial.size
    for piece in response.iter_raw():
        handle.write(piece)
        partial.size += len(piece)
        _check_size(partial.size, url, max_bytes)
        speed.tell(partial.size, partial.total)
        now = time.monotonic()
        if now - since > patience.seconds:
            if partial.size - mark < patience.least:
                raise BrokenOffError(f"only {partial.size - mark} bytes came in {now - since:.0f} s")
            since, mark = now, partial.size
    if partial.total is not None and partial.size != partial.total:
        raise BrokenOffError(f"it ended at byte {partial.size} of {partial.total}")


def _check_size(size: int, url: str, max_bytes: int) -> None:
    if size > max_bytes:
        raise SourceError(
            f"{redacted(url)!r} has more than {readable(max_bytes)}: raise max_download_gb if it is meant to be."
        )
