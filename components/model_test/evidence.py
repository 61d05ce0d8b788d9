"""What a comparison gives, and what all of them together prove."""

import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from components.shared.errors import PipelineError, ProofError

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Check:
    """The result of one comparison of the packed model with the trained one.

    Attributes:
        title: what was checked, in a word or two.
        compared: how much, as text for the report.
        differences: one sentence each; empty when all is the same.
        numbers: how much was compared and how far apart it was; empty when nothing was.
    """

    title: str
    compared: str
    differences: tuple[str, ...] = ()
    numbers: Mapping[str, float] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        """Whether nothing differs."""
        return not self.differences


@dataclass(frozen=True)
class Proof:
    """What was proved.

    Attributes:
        tag: the packed model.
        numbers: finite numbers by name, such as ``tensors_compared`` and ``max_score_difference``.
        digest: ``content_digest`` of the archive that was proved.
        document: all of it as JSON, for programs.
    """

    tag: str
    numbers: dict[str, float]
    digest: str = ""
    document: str = ""


def attempt(title: str, comparison: Callable[[], Check]) -> Check:
    """The comparison's result; one that could not be made is a difference, not the end of the other comparisons."""
    try:
        return comparison()
    except PipelineError as error:
        logger.debug("the check %r could not be made", title, exc_info=True)
        return Check(title, "not possible", (str(error),))


def judge(tag: str, checks: list[Check], digest: str = "") -> Proof:
    """The proof, when every check passed.

    Raises:
        ProofError: something differs; the message names the first difference and counts the others.
    """
    differences = [difference for check in checks for difference in check.differences]
    if differences:
        others = f" (and {len(differences) - 1} more differences: see the report)" if len(differences) > 1 else ""
        raise ProofError(f"The packed model {tag!r} is not the trained one: {differences[0].rstrip('.')}{others}.")
    return Proof(tag, gather_numbers(checks), digest)


def gather_numbers(checks: list[Check]) -> dict[str, float]:
    """Numbers of all checks; of the same name the largest for a ``max_``, else their sum; finite ones only."""
    numbers: dict[str, float] = {}
    for name, value in ((name, float(value)) for check in checks for name, value in check.numbers.items()):
        if math.isfinite(value):
            before = numbers.get(name, 0.0)
            numbers[name] = max(before, value) if "max_" in name else before + value
    return numbers
