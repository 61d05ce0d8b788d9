"""One thing about a data set that is worth a look."""

from dataclasses import dataclass

from components.shared.analysis.examples import Example
from components.shared.report.page import Level


@dataclass(frozen=True)
class Flag:
    """One thing worth a look.

    Attributes:
        title: what it is, in a few words; what its examples are filtered by.
        detail: how many, of how many, and what to do.
        level: how bad.
        examples: images that show it.
    """

    title: str
    detail: str
    level: Level = Level.WARN
    examples: tuple[Example, ...] = ()
