"""How a step tells how far it is, without knowing who listens."""

from collections.abc import Callable

Notify = Callable[[float, str], None]  # share done (0..1), what is going on, in a few words


def silent(share: float, message: str) -> None:
    """A listener that listens to nothing."""
    del share, message
