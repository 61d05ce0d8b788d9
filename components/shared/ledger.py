"""The ledger: one row for each record that was repaired, rejected or left as it is on purpose."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

import polars as pl


class Action(StrEnum):
    """What was done with a record that broke a rule."""

    FIXED = "fixed"
    REJECTED = "rejected"
    KEPT = "kept"
    LEFT_OUT = "left out"  # asked for by a parameter, so no defect: it counts for no limit


class Rule(StrEnum):
    """The rules a record can break; each name is what reports and tables show."""

    NON_FINITE = "non-finite"
    OUTSIDE = "outside"
    CLIPPED = "clipped"
    TOO_SMALL = "too small"
    ZERO_AREA = "zero area"
    DUPLICATE_ANNOTATION = "duplicate annotation"
    DUPLICATE_IMAGE = "duplicate image"
    DUPLICATE_IMAGE_ID = "duplicate image id"
    UNKNOWN_CATEGORY = "unknown category"
    UNREADABLE_IMAGE = "unreadable image"
    TINY_IMAGE = "tiny image"
    SIZE_MISMATCH = "size mismatch"
    MISSING_IMAGE = "missing image"
    MALFORMED = "malformed"
    UNSAFE_NAME = "unsafe name"
    UNLISTED_IMAGE = "unlisted image"
    NAME_CONFLICT = "name conflict"
    VERIFIED_BAD = "verified as bad"
    NEAR_DUPLICATE = "near-duplicate image"
    SUBSET = "outside the subset"
    BALANCE = "balance"
    TILE = "tile"


SCHEMA: dict[str, pl.DataType] = {
    "image": pl.String(),
    "annotation": pl.String(),
    "rule": pl.String(),
    "action": pl.String(),
    "before": pl.String(),
    "after": pl.String(),
    "detail": pl.String(),
}


@dataclass(frozen=True)
class Entry:
    """One ledger row.

    Attributes:
        image: the image's name in the data set, or the file the record stands in.
        rule: which rule was broken.
        action: what was done.
        annotation: the annotation's id or place in its source; ``None`` when the row is about the image itself.
        before: the record as it was (a small JSON-able mapping, or ``None``).
        after: the record as it is now; ``None`` when it was rejected.
        detail: what a person needs to find and mend it.
    """

    image: str
    rule: Rule
    action: Action
    annotation: str | None = None
    before: dict[str, object] | None = None
    after: dict[str, object] | None = None
    detail: str = ""

    def row(self) -> dict[str, str | None]:
        """The entry as a table row, ``before`` and ``after`` as JSON text."""
        return {
            "image": self.image,
            "annotation": self.annotation,
            "rule": self.rule.value,
            "action": self.action.value,
            "before": None if self.before is None else json.dumps(self.before, sort_keys=True),
            "after": None if self.after is None else json.dumps(self.after, sort_keys=True),
            "detail": self.detail,
        }


def to_table(entries: Iterable[Entry]) -> pl.DataFrame:
    """Ledger entries as a table with the columns of ``SCHEMA``."""
    return pl.DataFrame([entry.row() for entry in entries], schema=SCHEMA)
