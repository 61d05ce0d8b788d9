"""A folder read as one data set, or as the several that its sub-folders hold."""

import logging
from dataclasses import replace
from pathlib import Path

import polars as pl

from components.data_load.merge import Part
from components.shared.errors import FormatError, InputError
from components.shared.formats.base import Parsed, ReadOptions
from components.shared.formats.names import IMAGE_FOLDERS, clean, folder_of, split_of_folder
from components.shared.formats.registry import AUTO, get, matching, read_source
from components.shared.formats.tree import one_look, scan
from components.shared.ledger import Action, Entry, Rule

logger = logging.getLogger(__name__)
MOST_FOLDERS = 1000  # that get a row for images nobody names


def read_parts(root: Path, label: str, format_name: str, options: ReadOptions) -> list[tuple[str, Part]]:
    """The data sets of a folder with the names of their formats.

    A folder that reads as exactly one format is one data set. One that reads as none, or as several, is looked at a
    level deeper: where two or more of its sub-folders are data sets of their own, images included, those are meant.

    Args:
        root: the folder.
        label: what people call it, for messages.
        format_name: ``auto`` or the name of a format, for all of them.
        options: see ``ReadOptions``.

    Raises:
        ConfigError: there is no such format.
        SourceError: the folder is missing or empty.
        FormatError: it holds no data set this can read, or it cannot be told which.
    """
    with one_look():
        return _read_parts(root, label, format_name, options)


def _read_parts(root: Path, label: str, format_name: str, options: ReadOptions) -> list[tuple[str, Part]]:
    recognised = matching(root) if format_name == AUTO else [get(format_name)] * get(format_name).detect(root)
    if len(recognised) != 1:
        inner = _inner(root, label, format_name, options)
        if len(inner) > 1:
            logger.info("%s holds %d data sets: %s", label, len(inner), ", ".join(part.label for _, part in inner))
            return inner
    try:
        found, parsed = read_source(root, recognised[0].name if len(recognised) == 1 else format_name, options)
    except FormatError as error:
        # The folder's own path is a scratch place; people know the source by another name.
        raise FormatError(str(error).replace(repr(str(root)), repr(label))) from error
    return [(found.name, Part(label, _with_unlisted(parsed, root)))]


def _with_unlisted(parsed: Parsed, root: Path) -> Parsed:
    """With a ledger row for each folder in which images lie that the data set does not have."""
    tree = scan(root)
    known = set(parsed.images.get_column("path").drop_nulls())
    missed = [path for path in tree.images if tree.files[path] not in known]
    folders: dict[str, list[str]] = {}
    for path in missed:
        folders.setdefault(folder_of(path), []).append(path)
    entries = (
        Entry(
            clean(names[0]),
            Rule.UNLISTED_IMAGE,
            Action.LEFT_OUT,
            before={"folder": clean(folder), "images": len(names)},
            detail=clean(f"{len(names)} images in {folder or 'the top folder'!r} are named by no annotation file"),
        )
        for folder, names in sorted(folders.items())[:MOST_FOLDERS]
    )
    return replace(parsed, ledger=(*parsed.ledger, *entries))


def _inner(root: Path, label: str, format_name: str, options: ReadOptions) -> list[tuple[str, Part]]:
    found: list[tuple[str, Part]] = []
    broken: list[InputError] = []
    top = scan(root).root
    for folder in sorted(path for path in top.iterdir() if path.is_dir() and not path.is_symlink()):
        name = folder.name
        if name.startswith(".") or name.lower() in IMAGE_FOLDERS or split_of_folder(name):
            continue
        try:
            chosen, parsed = read_source(folder, format_name, options)
        except InputError as error:
            if _is_recognised(folder):
                broken.append(error)
            continue
        if _is_whole(parsed):
            found.append((chosen.name, Part(f"{label.rstrip('/')}/{name}", _with_unlisted(parsed, folder))))
    if broken and len(found) > 1:
        raise broken[0]
    return found


def _is_recognised(folder: Path) -> bool:
    try:
        return bool(matching(folder))
    except InputError:
        return False


def _is_whole(parsed: Parsed) -> bool:
    """Whether a data set brings images of its own: annotations alone belong to images elsewhere."""
    return not parsed.images.filter(pl.col("path").is_not_null() | pl.col("uri").is_not_null()).is_empty()
