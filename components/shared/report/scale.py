"""Axes: from values to a place between 0 and 1, with ticks at 1, 2 or 5 times a power of ten."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from components.shared.report.numerals import finite, finite_values

_CLOSE = 1e-9
_FEW_DECADES = 2


@dataclass(frozen=True)
class Scale:
    """An axis from ``low`` to ``high`` (low < high); ``whole`` keeps its ticks on whole numbers."""

    low: float
    high: float
    log: bool = False
    whole: bool = False

    def place(self, value: float) -> float:
        """Where the value lies: 0 at ``low``, 1 at ``high``, outside of that beyond the axis."""
        if self.log:
            if value <= 0:
                return 0.0
            return (math.log(value) - math.log(self.low)) / (math.log(self.high) - math.log(self.low))
        return (value - self.low) / (self.high - self.low)

    def ticks(self, count: int = 5) -> list[float]:
        """About ``count`` round values on the axis, rising."""
        return self._decades(count) if self.log else self._steps(count)

    def _steps(self, count: int) -> list[float]:
        step = nice_step((self.high - self.low) / count, whole=self.whole)
        first = math.ceil(self.low / step - _CLOSE)
        last = math.floor(self.high / step + _CLOSE)
        return [index * step for index in range(first, min(last, first + 4 * count) + 1)]

    def _decades(self, count: int) -> list[float]:
        first, last = math.floor(math.log10(self.low)), math.ceil(math.log10(self.high))
        every = max(1, math.ceil((last - first) / count))
        factors = (1, 2, 5) if last - first <= _FEW_DECADES else (1,)
        ticks = [factor * 10.0**power for power in range(first, last + 1, every) for factor in factors]
        return [tick for tick in ticks if self.low * (1 - _CLOSE) <= tick <= self.high * (1 + _CLOSE)]


def nice_step(raw: float, *, whole: bool = False) -> float:
    """The smallest of 1, 2, 5 times a power of ten that is not below ``raw``."""
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw * (1 - _CLOSE))
    return max(1.0, step) if whole else step


def scale_for(
    values: Iterable[float | None],
    *,
    log: bool = False,
    zero: bool = False,
    rounded: bool = True,
    fixed: tuple[float, float] | None = None,
) -> Scale:
    """The axis that holds all values: ``zero`` includes 0, ``rounded`` ends it on ticks, ``fixed`` sets its ends.

    Values that are missing, not finite or, on a logarithmic axis, not positive are left out; none at all give a
    plain axis, equal ones an axis around them.
    """
    known = [value for value in finite_values(values) if value > 0 or not log]
    whole = bool(known) and all(value.is_integer() for value in known)
    if fixed is not None and finite(fixed[0]) < finite(fixed[1]) and (fixed[0] > 0 or not log):
        return Scale(finite(fixed[0]), finite(fixed[1]), log, whole and not log)
    if log:
        return _log_scale(known, rounded=rounded)
    if not known:
        return Scale(0.0, 1.0)
    low, high = min([*known, 0.0] if zero else known), max([*known, 0.0] if zero else known)
    if high - low <= abs(high) * 1e-12 or high - low < 1e-300:  # noqa: PLR2004 - equal but for rounding
        room = max(abs(low) / 2, 1e-290) if low and not whole else max(1.0, abs(low) // 2)
        low, high = (low, high + room) if zero else (low - room, high + room)
    if not rounded:
        return Scale(low, high, whole=whole)
    step = nice_step((high - low) / 5, whole=whole)
    return Scale(math.floor(low / step + _CLOSE) * step, math.ceil(high / step - _CLOSE) * step, whole=whole)


def _log_scale(known: list[float], *, rounded: bool) -> Scale:
    if not known:
        return Scale(1.0, 10.0, log=True)
    low, high = (max(1e-150, min(1e150, end)) for end in (min(known), max(known)))
    if math.log10(high / low) < 1:
        low, high = 10.0 ** math.floor(math.log10(low) + _CLOSE), 10.0 ** math.ceil(math.log10(high) - _CLOSE)
        return Scale(low, high if high > low else low * 10, log=True)
    room = (high / low) ** 0.03 if rounded else 1.0
    return Scale(low / room, high * room, log=True)
