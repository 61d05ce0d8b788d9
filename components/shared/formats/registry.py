"""The annotation formats this project reads and writes, and which of them a folder holds."""

import difflib
from pathlib import Path

from components.shared.errors import ConfigError, FormatError, InputError
from components.shared.formats import coco, datumaro_formats, groundtruth, labelstudio, voc, ymir, yolo
from components.shared.formats.base import DEFAULT_OPTIONS, Format, Parsed, ReadOptions
from components.shared.formats.tree import one_look, scan

AUTO = "auto"
_OWN = (coco.FORMAT, yolo.FORMAT, voc.FORMAT, ymir.FORMAT, groundtruth.FORMAT, labelstudio.FORMAT)
FORMATS: dict[str, Format] = {item.name: item for item in _OWN} | datumaro_formats.FORMATS
_DIALECTS = {"ymir": "voc"}  # what the former shows, the latter would show too


def get(name: str) -> Format:
    """The format of this name.

    Raises:
        ConfigError: there is none; the message names the nearest and lists all.
    """
    if name in FORMATS:
        return FORMATS[name]
    near = difflib.get_close_matches(name.lower(), FORMATS, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}? Known are" if near else "known are"
    raise ConfigError(f"There is no format {name!r}: {hint} {', '.join((AUTO, *FORMATS))}.")


def matching(root: Path) -> list[Format]:
    """Every format that ``root`` looks like; of a format and its dialect only the dialect.

    Raises:
        SourceError: the folder is missing or empty.
    """
    with one_look():
        scan(root)
        found = [item for item in FORMATS.values() if item.detect(root)]
    plainer = {_DIALECTS.get(item.name) for item in found}
    return [item for item in found if item.name not in plainer]


def detect(root: Path) -> Format:
    """The format of the data set in ``root``, which may lie a few folders down.

    Where several formats are found, the one whose annotations have the most images on disk is meant.

    Raises:
        SourceError: the folder is missing or empty.
        FormatError: it holds no data set this can read, or two that are equally complete.
    """
    with one_look():
        found = matching(root)
        if not found:
            readable = " or ".join(f"{item.name} ({item.describe})" for item in FORMATS.values())
            holds = f"{str(root)!r} holds {scan(root).contents()}"
            raise FormatError(f"{holds}, but no annotations this can read: give {readable}.")
        if len(found) == 1:
            return found[0]
        counts = {item.name: _annotated_images(item, root) for item in found}
    best = [item for item in found if counts[item.name] == max(counts.values())]
    if len(best) > 1:
        names = " and ".join(repr(item.name) for item in best)
        raise FormatError(f"{str(root)!r} holds annotations as {names}: say which to read with the parameter format.")
    return best[0]


def read_source(root: Path, format_name: str = AUTO, options: ReadOptions = DEFAULT_OPTIONS) -> tuple[Format, Parsed]:
    """Read the data set in ``root``; ``format_name`` is ``auto`` or one of ``FORMATS``.

    Raises:
        ConfigError: there is no such format.
        SourceError: the folder is missing or empty.
        FormatError: the data set breaks its format; the message names the file.
    """
    with one_look():
        chosen = detect(root) if format_name == AUTO else get(format_name)
        return chosen, chosen.read(root, options)


def _annotated_images(candidate: Format, root: Path) -> int:
    try:
        parsed = candidate.read(root)
    except InputError:
        return 0
    on_disk = set(parsed.images.drop_nulls("path").get_column("image_id"))
    return len(on_disk.intersection(parsed.annotations.get_column("image_id")))
