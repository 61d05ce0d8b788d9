"""How far a transfer is, for people: bytes, speed and time left."""

import time

from components.shared.progress import Notify

_INTERVAL = 0.2  # seconds between two messages
_UNITS = ("B", "kB", "MB", "GB", "TB")


class Speed:
    """Tells a listener how a transfer goes.

    Args:
        what: what is transferred, in a word or two.
        notify: hears the share (0 while the total is unknown) and ``cats.zip: 1.2 of 3.4 GB, 56.7 MB/s, 38 s left``.
    """

    def __init__(self, what: str, notify: Notify) -> None:
        self._what = what
        self._notify = notify
        self._started = time.monotonic()
        self._told = float("-inf")

    def tell(self, done: int, total: int | None, more: str = "") -> None:
        """Say that ``done`` of ``total`` bytes are there; ``more`` follows what is transferred."""
        now = time.monotonic()
        if now - self._told < _INTERVAL and done != total:
            return
        self._told = now
        rate = done / max(now - self._started, 1e-3)
        parts = [f"{readable(done)}{f' of {readable(total)}' if total else ''}", f"{rate / 1e6:.1f} MB/s"]
        if total and rate and total > done:
            parts.append(f"{(total - done) / rate:.0f} s left")
        self._notify(done / total if total else 0.0, f"{self._what}{more}: {', '.join(parts)}")


def readable(size: int) -> str:
    """A number of bytes for people: ``1.2 GB``."""
    value, unit = float(size), 0
    while value >= 1000 and unit < len(_UNITS) - 1:  # noqa: PLR2004 - SI units
        value, unit = value / 1000, unit + 1
    return f"{value:.0f} {_UNITS[0]}" if unit == 0 else f"{value:.1f} {_UNITS[unit]}"
