"""Bring all sources together as one table of images and annotations, before any image is looked at."""

from dataclasses import dataclass
from pathlib import Path

from components.data_load.options import LoadOptions
from components.data_load.source import fetch
from components.shared.formats.base import Parsed
from components.shared.formats.registry import read_source
from components.shared.progress import Notify, silent


@dataclass(frozen=True)
class Gathered:
    """What the sources hold, and the names of the formats they were read as, for people."""

    parsed: Parsed
    formats: str


def gather(options: LoadOptions, work: Path, notify: Notify = silent) -> Gathered:
    """Fetch every source to disk, below ``work`` where it is not there yet, read it, and merge what they hold.

    Raises:
        InputError: a source is missing, empty, unsafe or of no known format.
    """
    root = fetch(options.source, work, options.sample, notify)
    found, parsed = read_source(root, options.format)
    return Gathered(parsed, found.name)
