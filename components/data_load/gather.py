"""Bring all sources together as one table of images and annotations, before any image is looked at."""

from dataclasses import dataclass, replace
from pathlib import Path

from components.data_load.database import read_database
from components.data_load.merge import Part, merge
from components.data_load.options import LoadOptions
from components.data_load.parts import read_parts
from components.data_load.source import fetch
from components.shared.errors import ConfigError
from components.shared.formats.base import Parsed, ReadOptions
from components.shared.progress import Notify, silent
from components.shared.source_addresses import redacted
from components.shared.sources import Kind, check_source, kind_of, split_sources

NAME_CONFLICTS = ("stop", "first", "last")


@dataclass(frozen=True)
class Gathered:
    """What the sources hold, and the names of the formats they were read as, for people."""

    parsed: Parsed
    formats: str


def gather(options: LoadOptions, work: Path, notify: Notify = silent) -> Gathered:
    """Fetch every source to disk, below ``work`` where it is not there yet, read it, and merge what they hold.

    Raises:
        ConfigError: there is no such format, or something a source needs is not installed or not in the environment.
        InputError: a source is missing, empty, unsafe or of no known format, or two have different images of one name.
    """
    check_source(options.source, sql_query=options.sql_query, allow_private_addresses=options.allow_private_addresses)
    if options.name_conflicts not in NAME_CONFLICTS:
        raise ConfigError(f"name_conflicts is {options.name_conflicts!r}; use one of {', '.join(NAME_CONFLICTS)}.")
    sources = split_sources(options.source)
    parts: list[Part] = []
    formats: list[str] = []
    for number, source in enumerate(sources):
        told = _share_of(notify, number, len(sources))
        told(0.0, f"reading {redacted(source)}")
        for name, part in _read(source, work / f"source-{number}", options, told):
            parts.append(part)
            formats.append(name)
    if len(parts) > 1:
        notify(1.0, f"merging {len(parts)} data sets")
    return Gathered(merge(parts, options.name_conflicts), " and ".join(dict.fromkeys(formats)))


def _read(source: str, work: Path, options: LoadOptions, notify: Notify) -> list[tuple[str, Part]]:
    label = redacted(source)
    if kind_of(source) is Kind.DATABASE:
        return [("sql", Part(label, read_database(source, options.sql_query, notify)))]
    fetched = fetch(source, work, options, notify)
    asked = ReadOptions(label_attribute=options.label_attribute, image_base=fetched.image_base)
    found = read_parts(fetched.root, label, options.format, asked)
    if not fetched.ledger:
        return found
    name, first = found[0]
    parsed = replace(first.parsed, ledger=(*fetched.ledger, *first.parsed.ledger))
    return [(name, Part(first.label, parsed)), *found[1:]]


def _share_of(notify: Notify, number: int, count: int) -> Notify:
    """A listener for one of several sources, each an equal share of the whole, that never goes back."""
    highest = 0.0

    def told(share: float, message: str) -> None:
        nonlocal highest
        highest = max(highest, min(share, 1.0))
        notify((number + highest) / count, message)

    return told
