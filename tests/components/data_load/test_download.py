import os
import time
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from components.data_load.download import Patience, download
from components.data_load.speed import readable
from components.data_load.web import Web
from components.shared.errors import SourceError

BODY = os.urandom(300_000)


def cut(site: Any, handler: BaseHTTPRequestHandler, upto: int, **headers: str) -> None:
    """Announce everything from where it was asked for, and hang up early."""
    start = int((handler.headers.get("Range") or "bytes=0-").removeprefix("bytes=").rstrip("-"))
    handler.send_response(206 if start else 200)
    if start:
        handler.send_header("Content-Range", f"bytes {start}-{len(BODY) - 1}/{len(BODY)}")
    handler.send_header("Content-Length", str(len(BODY) - start))
    for name, value in headers.items():
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(BODY[start : start + upto])
    handler.wfile.flush()
    handler.close_connection = True
    del site


def fetch(site: Any, tmp_path: Path, path: str = "/x.zip", **options: Any) -> bytes:
    target = tmp_path / "file"
    options.setdefault("max_bytes", 10_000_000)
    download(Web(allow_private=True), site.url(path), target, **options)
    return target.read_bytes()


def test_a_download_that_breaks_off_goes_on_where_it_was(site: Any, tmp_path: Path) -> None:
    site.routes["/x.zip"] = lambda handler: cut(site, handler, 90_000, ETag='"v1"')
    assert fetch(site, tmp_path) == BODY
    asked = [(headers.get("Range"), headers.get("If-Range")) for _, headers in site.requests]
    assert asked == [(None, None), *((f"bytes={n * 90_000}-", '"v1"') for n in (1, 2, 3))]


@pytest.mark.parametrize("headers", [{}, {"ETag": 'W/"weak"'}])
def test_a_server_that_names_no_version_is_asked_for_everything_again(
    site: Any, tmp_path: Path, headers: dict[str, str]
) -> None:
    def once(handler: BaseHTTPRequestHandler) -> None:
        if len(site.requests) == 1:
            cut(site, handler, 1000, **headers)
        else:
            site.answer(handler, BODY, **headers)

    site.routes["/x.zip"] = once
    assert fetch(site, tmp_path) == BODY
    assert [headers.get("Range") for _, headers in site.requests] == [None, None]


def test_a_file_that_changed_meanwhile_is_taken_from_the_start(site: Any, tmp_path: Path) -> None:
    new = os.urandom(200_000)

    def change(handler: BaseHTTPRequestHandler) -> None:
        if len(site.requests) == 1:
            cut(site, handler, 250_000, ETag='"v1"')
        else:
            site.serve_range(handler, new, ETag='"v2"')

    site.routes["/x.zip"] = change
    assert fetch(site, tmp_path) == new  # the longer beginning of the old one is gone, too
    assert site.requests[1][1]["If-Range"] == '"v1"'


@pytest.mark.parametrize("said", ["bytes 5-99/100", "nonsense", ""])
def test_a_server_that_sends_another_range_is_asked_from_the_start(site: Any, tmp_path: Path, said: str) -> None:
    def wrong(handler: BaseHTTPRequestHandler) -> None:
        if len(site.requests) == 1:
            cut(site, handler, 100_000, ETag='"v1"')
        elif handler.headers.get("Range"):
            site.answer(handler, b"other", 206, Content_Range=said, ETag='"v1"')
        else:
            site.answer(handler, BODY, ETag='"v1"')

    site.routes["/x.zip"] = wrong
    assert fetch(site, tmp_path) == BODY


def test_a_server_without_a_range_to_give_is_asked_from_the_start(site: Any, tmp_path: Path) -> None:
    def wrong(handler: BaseHTTPRequestHandler) -> None:
        if len(site.requests) == 1:
            cut(site, handler, 100_000, ETag='"v1"')
        else:
            site.answer(handler, BODY, 416 if handler.headers.get("Range") else 200)

    site.routes["/x.zip"] = wrong
    assert fetch(site, tmp_path) == BODY


def test_a_server_that_always_breaks_off_is_given_up_with_one_sentence(site: Any, tmp_path: Path) -> None:
    site.routes["/x.zip"] = lambda handler: cut(site, handler, 10, ETag='"v1"')
    with pytest.raises(SourceError, match=r"x\.zip' cannot be read .*reachable"):
        fetch(site, tmp_path)
    assert len(site.requests) == 5


def test_a_download_larger_than_allowed_stops_whether_announced_or_not(site: Any, tmp_path: Path) -> None:
    def endless(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        while True:
            handler.wfile.write(b"10000\r\n" + bytes(0x10000) + b"\r\n")

    site.file("/told", BODY)
    site.routes["/endless"] = endless
    for path in ("/told", "/endless"):
        with pytest.raises(SourceError, match="max_download_gb"):
            fetch(site, tmp_path, path, max_bytes=200_000)
        assert not (tmp_path / "file").exists() or (tmp_path / "file").stat().st_size < 600_000


def test_a_server_that_drips_is_taken_for_a_broken_one(site: Any, tmp_path: Path) -> None:
    def drip(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "1000")
        handler.end_headers()
        for _ in range(100):
            handler.wfile.write(b"x")
            time.sleep(0.02)

    site.routes["/x.zip"] = drip
    with pytest.raises(SourceError, match=r"only \d+ bytes came"):
        fetch(site, tmp_path, patience=Patience(seconds=0.05, least=100))


def test_progress_names_bytes_speed_and_time_left(site: Any, tmp_path: Path) -> None:
    def slow(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(BODY)))
        handler.end_headers()
        for start in range(0, len(BODY), 100_000):
            handler.wfile.write(BODY[start : start + 100_000])
            handler.wfile.flush()
            time.sleep(0.25)

    heard: list[tuple[float, str]] = []
    site.routes["/x.zip"] = slow
    fetch(site, tmp_path, notify=lambda share, text: heard.append((share, text)))
    assert any("of 300.0 kB" in text and "MB/s" in text and "s left" in text for _, text in heard)
    assert [share for share, _ in heard] == sorted(share for share, _ in heard)
    assert heard[-1][0] == 1.0


def test_sizes_are_written_for_people() -> None:
    assert [readable(size) for size in (0, 999, 1000, 1_234_567, 10**13)] == [
        "0 B",
        "999 B",
        "1.0 kB",
        "1.2 MB",
        "10.0 TB",
    ]
