"""The lines of SageMaker Ground Truth manifests: one JSON object each, and what its label attributes say."""

import logging
import mmap
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from components.shared.documents import parse_json
from components.shared.errors import FormatError, SourceError, UnsafeInputError
from components.shared.formats.tree import Tree

logger = logging.getLogger(__name__)

SUFFIXES = (".manifest", ".jsonl", ".ndjson")
LINE_LIMIT = 16 << 20  # bytes; AWS stops at 100,000 characters, a line of ours with many boxes is longer
METADATA = "-metadata"
BOXES = "groundtruth/object-detection"
VERIFICATION = "groundtruth/label-verification"
CLASSIFICATION = "groundtruth/image-classification"
_BOM = b"\xef\xbb\xbf"
_HEAD = 4096
_NEVER = datetime.min.replace(tzinfo=UTC)

Record = dict[str, object]


@dataclass(frozen=True)
class Label:
    """A label attribute of a line: its name, the metadata beside it, and the list of boxes it holds."""

    attribute: str
    metadata: Record
    value: Record
    boxes: list[object]


def manifests(tree: Tree) -> list[str]:
    """Paths of the manifests with bounding boxes; those of unfinished steps do not count beside finished ones."""
    found = [path for path in tree.with_suffix(*SUFFIXES) if _sniff(Path(tree.files[path]))]
    finished = [path for path in found if "intermediate" not in path.split("/")]
    if finished and len(finished) < len(found):
        logger.info("Left out %s: a finished manifest lies beside.", sorted(set(found) - set(finished)))
    return finished or found


def _sniff(path: Path) -> bool:
    try:
        with path.open("rb") as handle:
            if not handle.read(_HEAD).removeprefix(_BOM).lstrip().startswith(b"{"):
                return False
            with mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ) as content:
                # Some writers escape the slash of ``groundtruth/object-detection``.
                return content.find(b"groundtruth") >= 0 and content.find(b"object-detection") >= 0
    except (OSError, ValueError):
        return False


def lines(tree: Tree, path: str) -> Iterator[tuple[int, bytes]]:
    """Number and bytes of each line that is not blank; at most one byte more than ``LINE_LIMIT`` of each.

    Raises:
        SourceError: the file cannot be read.
    """
    try:
        with Path(tree.files[path]).open("rb") as handle:
            number = 0
            while piece := handle.readline(LINE_LIMIT + 1):
                number += 1
                rest = piece
                while len(rest) > LINE_LIMIT and not rest.endswith(b"\n"):
                    rest = handle.readline(LINE_LIMIT + 1)
                line = piece.removeprefix(_BOM).strip()
                if line:
                    yield number, line
    except OSError as error:
        raise SourceError(f"{path!r} in {str(tree.root)!r} cannot be read: {error.strerror}.") from error


def parse(line: bytes, place: str) -> Record:
    """The object a line holds.

    Raises:
        FormatError: it holds none; the message names ``place``.
        UnsafeInputError: it is too long or nested too deeply.
    """
    if len(line) > LINE_LIMIT:
        raise UnsafeInputError(f"{place!r} is longer than {LINE_LIMIT} bytes: split it.")
    record = parse_json(line, place)
    if not isinstance(record, dict):
        raise FormatError(f"{place!r} is no JSON object: each line describes one image.")
    return record


def labels(record: Record) -> list[Label]:
    """The bounding-box labels of a line, found by the type in their metadata and never by their name."""
    found = []
    for attribute, metadata in typed(record, BOXES):
        value = record.get(attribute)
        boxes = value.get("annotations") if isinstance(value, dict) else None
        if isinstance(value, dict) and isinstance(boxes, list):
            found.append(Label(attribute, metadata, value, boxes))
    return found


def typed(record: Record, kind: str) -> Iterator[tuple[str, Record]]:
    """Attribute and metadata of each label of this type."""
    for key, metadata in record.items():
        if key.endswith(METADATA) and isinstance(metadata, dict) and metadata.get("type") == kind:
            yield key.removesuffix(METADATA), metadata


def choose(found: list[Label], wanted: str) -> Label | None:
    """The label to read: the one ``wanted``, else the newest; of equals an adjusted one wins, then the last by name."""
    if wanted:
        return next((label for label in found if label.attribute == wanted), None)
    return max(found, key=lambda label: (*_age(label.metadata), label.attribute), default=None)


def _age(metadata: Record) -> tuple[datetime, bool]:
    return created(metadata), "adjustment-status" in metadata


def created(metadata: Record) -> datetime:
    """When a label was made, UTC where it says no zone; the beginning of time where it says nothing."""
    try:
        moment = datetime.fromisoformat(str(metadata.get("creation-date")))
        return moment.replace(tzinfo=moment.tzinfo or UTC).astimezone(UTC)
    except (ValueError, OverflowError):
        return _NEVER


def verdict(record: Record, label: Label) -> Record | None:
    """Metadata of the newest verification of ``label``; one made before the label is about boxes since replaced."""
    made = created(label.metadata)
    found = [metadata for _, metadata in typed(record, VERIFICATION)]
    later = [metadata for metadata in found if created(metadata) == _NEVER or created(metadata) >= made]
    return max(later, key=created, default=None)


def failures(record: Record) -> list[str]:
    """What the jobs of a line that failed say, ``attribute: reason`` each."""
    return [
        f"{key.removesuffix(METADATA)}: {metadata['failure-reason']}"
        for key, metadata in record.items()
        if key.endswith(METADATA) and isinstance(metadata, dict) and metadata.get("failure-reason")
    ]


def class_id(value: object) -> int | None:
    """The number of a class, written as a number or as text."""
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) < 10:  # noqa: PLR2004
        return int(value)
    if isinstance(value, float) and value.is_integer() and abs(value) < LINE_LIMIT:
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and abs(value) < LINE_LIMIT else None
