"""Whether a version may be the champion: what the evaluation said, and whether it still speaks of today's champion."""

from components.shared.model_lineage import Gate, Quality
from components.shared.registry import SHORT

NOT_COMPARED = "off"  # as the evaluation says it; see ``ChampionState``
CHANGED = "the champion changed since the evaluation: evaluate again (--no-cache)"


def decide(quality: Quality | None, *, passed: bool) -> Gate:
    """The gate: what the step was told, unless the evaluation itself says that the model did not pass."""
    if quality is None:
        return Gate(passed=passed, reasons=() if passed else ("The quality gate did not pass.",))
    reasons = () if passed or quality.reasons else ("The quality gate did not pass.",)
    return Gate(passed=passed and quality.passed, reasons=(*quality.reasons, *reasons))


def overtaken(quality: Quality | None, current: str | None, version: str) -> str:
    """Why ``version`` may not take the place of ``current``, as a sentence; empty when it may.

    Args:
        quality: the evaluation; ``None``, or one of an earlier release, compares with nothing.
        current: the champion now; ``None`` when there is none.
        version: the one that is published.
    """
    if quality is None or quality.champion is None or quality.champion.state == NOT_COMPARED:
        return ""
    if current in {None, version, quality.champion.version}:
        return ""
    seen = quality.champion.version
    compared = f"{seen[:SHORT]!r}" if seen else "none"
    return f"The champion is {str(current)[:SHORT]!r} now and was {compared} when the model was evaluated: {CHANGED}."
