"""Fetch the weights an executor starts from: a file, a folder, or what lies at an s3:// address."""

import json
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from components.shared.errors import ConfigError, NotFoundError, SourceError
from components.shared.registry import fetch_file
from components.shared.source_addresses import bucket_of, redacted, scheme_of
from components.shared.store import open_store

MOST_FILES = 1000


def find_pretrained(pretrained: str, folder: Path) -> dict[str, Path]:
    """The weights' files by their names below ``/in/models``.

    Args:
        pretrained: a file, a folder, ``s3://bucket/key`` or ``s3://bucket/prefix/``; several as a JSON list; or empty.
        folder: receives what has to be fetched.

    Raises:
        ConfigError: there is no such thing, or two files have one name.
        StoreError: it cannot be read.
    """
    found: dict[str, Path] = {}
    for number, source in enumerate(_sources(pretrained)):
        for name, path in _files(source, folder / str(number)):
            if name in found:
                raise ConfigError(f"pretrained={pretrained!r} has two files called {name!r}: give one of them.")
            found[name] = path
    return found


def _sources(pretrained: str) -> list[str]:
    text = pretrained.strip()
    if not text.startswith("["):
        return [text] if text else []
    try:
        listed = json.loads(text)
    except ValueError as error:
        raise ConfigError(f"pretrained={pretrained!r} is no JSON list: {error}.") from error
    if not all(isinstance(item, str) and item for item in listed):
        raise ConfigError(f"pretrained={pretrained!r} must list texts: files, folders or s3:// addresses.")
    return [str(item) for item in listed]


def _files(source: str, folder: Path) -> Iterator[tuple[str, Path]]:
    if scheme_of(source) not in {None, "file"}:
        yield from _fetched(source, folder)
        return
    path = Path(source.removeprefix("file://")).expanduser()
    if path.is_file():
        yield path.name, path
    elif path.is_dir():
        inside = sorted(each for each in path.rglob("*") if each.is_file() and not each.is_symlink())
        _check_count(inside, source)
        yield from ((each.relative_to(path).as_posix(), each) for each in inside)
    else:
        raise ConfigError(f"pretrained={source!r}: there is no such file or folder.")


def _fetched(source: str, folder: Path) -> Iterator[tuple[str, Path]]:
    shown = redacted(source)
    if scheme_of(source) != "s3":
        raise ConfigError(f"pretrained={shown!r} is not fetched: give s3://bucket/key, or a file.")
    try:
        bucket = bucket_of(source)
    except SourceError as error:
        raise ConfigError(str(error)) from error
    key = source.partition("://")[2].partition("/")[2]
    store = open_store(f"s3://{bucket}")
    keys = [entry.key for entry in store.list(key)] if key.endswith("/") else [key]
    _check_count(keys, shown)
    for each in keys:
        name = each.removeprefix(key) if key.endswith("/") else PurePosixPath(each).name
        try:
            fetch_file(store, each, folder / name)
        except NotFoundError as error:
            raise ConfigError(f"pretrained={shown!r}: there is no such object.") from error
        yield name, folder / name


def _check_count(files: list[Path] | list[str], source: str) -> None:
    if not 0 < len(files) <= MOST_FILES:
        raise ConfigError(f"pretrained={source!r} holds {len(files)} files: it must be 1 to {MOST_FILES}.")
