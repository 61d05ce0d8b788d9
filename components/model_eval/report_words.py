"""How the report says names, shares, intervals and lists."""

import math
import unicodedata
from collections.abc import Sequence

from components.model_eval.bootstrap import Interval
from components.shared.report.numerals import MINUS, MISSING, shorten

_NAME = 60  # characters of a name in a table or a picture's caption
_TURNING = {"R", "AL", "AN", "RLE", "RLO", "RLI", "LRE", "LRO", "LRI", "FSI", "PDF", "PDI"}
_ISOLATE, _END = "\u2068", "\u2069"


def named(name: object, longest: int = _NAME) -> str:
    """A name from outside: on one line, of at most ``longest`` characters, not turning the text around it."""
    text = shorten(" ".join(str(name).split()), longest) or "(no name)"
    if not any(unicodedata.bidirectional(sign) in _TURNING for sign in text):
        return text
    return f"{_ISOLATE}{text.translate(dict.fromkeys(map(ord, _ISOLATE + _END)))}{_END}"


def listed(names: Sequence[str], most: int = 10, kind: str = "classes") -> str:
    """Names in a sentence, of many the first ``most``."""
    shown = ", ".join(f"'{named(name)}'" for name in names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most:,} more {kind}"


def share(value: float | None) -> str:
    """A number with three places; an en dash where there is none."""
    return MISSING if value is None or math.isnan(value) else f"{value:.3f}".replace("-", MINUS)


def interval(low: float | None, high: float | None, places: int = 2) -> str:
    """``0.87 to 0.94``; an en dash where it is not known or resampling cannot tell, as of a single image."""
    if low is None or high is None or not low < high:
        return MISSING
    return f"{low:.{places}f} to {high:.{places}f}".replace("-", MINUS)


def interval_note(found: Interval) -> str:
    """``95 %: 0.87 to 0.94``; empty where it is not known."""
    text = interval(found.low, found.high)
    return "" if text == MISSING else f"95 %: {text}"


def counted(count: float, one: str, many: str) -> str:
    """``1 box``, ``1,204 boxes``."""
    return f"{count:,.0f} {one if count == 1 else many}"


def signed(value: float) -> str:
    """A difference with its sign."""
    return share(value) if math.isnan(value) else f"{value:+.3f}".replace("-", MINUS)
