"""A line of what was proved."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Proved:
    """What was looked at, in which image, how long it took, what came of it and whether that is good."""

    step: str
    image: str
    seconds: float
    result: str
    good: bool


Tell = Callable[[Proved], None]
