"""Numbers as people read them: three to four significant places, grouped thousands, a real minus sign."""

import itertools
import math
from collections.abc import Iterable, Sequence

MISSING = "\N{EN DASH}"
MINUS = "\N{MINUS SIGN}"
_LARGEST = 1e300  # keeps differences of two values finite
_LARGE = 10_000
_SMALL = 1e-3
_UNITS = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def finite(value: float | None) -> float:
    """The value as a plain float; NaN for what is missing or infinite."""
    if value is None:
        return math.nan
    number = float(value)
    return max(-_LARGEST, min(_LARGEST, number)) if math.isfinite(number) else math.nan


def finite_values(values: Iterable[float | None]) -> list[float]:
    """The values that are there and finite."""
    return [number for number in map(finite, values) if not math.isnan(number)]


def compact(value: float | None) -> str:
    """One number on its own: ``0.8123``, ``1,204``, ``12.3k``, ``4.2e-5``; an en dash when it is missing."""
    if value is None or math.isnan(value):
        return MISSING
    if math.isinf(value):
        return _signed("∞", value)
    size = abs(float(value))
    if size == 0:
        return "0"
    if size < _SMALL:
        return _signed(_scientific(size), value)
    if size >= _LARGE:
        size = float(f"{size:.3g}")
        unit, suffix = _unit(size)
        return _signed(f"{size / unit:.4g}{suffix}", value)
    return _signed(f"{size:,.0f}" if size >= _LARGE / 10 else _trim(f"{size:.4g}"), value)


def column(values: Sequence[float]) -> list[str]:
    """Numbers of one table column, all with the same number of decimals so that their points line up."""
    sizes = [abs(value) for value in values if math.isfinite(value)]
    decimals = _decimals(max(sizes, default=0.0))
    return [_in_column(value, decimals) for value in values]


def ticks(values: Sequence[float]) -> list[str]:
    """Labels of an axis' ticks, all in one unit and with the decimals their step needs."""
    largest = max((abs(value) for value in values), default=0.0)
    if largest and (largest < _SMALL or largest >= 1e15):  # noqa: PLR2004 - past the largest unit
        return [_signed(_scientific(abs(value)) if value else "0", value) for value in values]
    unit, suffix = _unit(largest)
    scaled = [value / unit for value in values]
    step = min((abs(b - a) for a, b in itertools.pairwise(scaled) if b != a), default=1.0)
    decimals = min(6, max(0, -math.floor(math.log10(step) + 1e-9)))
    return [_signed(f"{abs(number):,.{decimals}f}{suffix if number else ''}", number) for number in scaled]


def shorten(text: str, length: int) -> str:
    """``text`` cut to ``length`` characters in the middle, where names differ least."""
    if len(text) <= length:
        return text
    tail = (length - 1) // 3
    return f"{text[: length - 1 - tail]}…{text[len(text) - tail :]}"


def _unit(size: float) -> tuple[float, str]:
    if size < _LARGE:
        return 1.0, ""
    return next((unit, suffix) for unit, suffix in _UNITS if size >= unit)


def _decimals(largest: float) -> int:
    if largest >= 1000:  # noqa: PLR2004 - four digits are precise enough
        return 0
    return 1 if largest >= 100 else 2 if largest >= 10 else 3  # noqa: PLR2004 - digits before the point


def _in_column(value: float, decimals: int) -> str:
    if not math.isfinite(value) or (value and abs(value) < 0.5 * 10**-decimals):
        return compact(value)
    return _signed(f"{abs(value):,.{decimals}f}", value)


def _scientific(size: float) -> str:
    mantissa, exponent = f"{size:.2e}".split("e")
    return f"{_trim(mantissa)}e{int(exponent)}".replace("-", MINUS)


def _trim(text: str) -> str:
    return text.rstrip("0").rstrip(".") if "." in text else text


def _signed(text: str, value: float) -> str:
    return f"{MINUS}{text}" if value < 0 else text
