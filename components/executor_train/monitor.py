"""``monitor.txt``: one record in which an executor says how far it is, and why it failed."""

import math
import re
from dataclasses import dataclass
from pathlib import Path

from components.executor_train.contract import State

MOST_BYTES = 1 << 20
_NAME = re.compile(r"(?:ExecutorState\.)?(?:ES_)?([A-Z]+)", re.IGNORECASE)
_CODE = re.compile(r"-?[0-9]{1,9}")
_FIELDS = 3  # after the task: when, how far, in which state


@dataclass(frozen=True)
class Monitor:
    """What a record says; what it does not say, or not so that it can be understood, is ``None`` or empty.

    Attributes:
        percent: 0..1.
        state: how far the executor says it is.
        return_code: why it failed; 0: it did not.
        message: further lines, such as a traceback.
    """

    percent: float | None = None
    state: State | None = None
    return_code: int = 0
    message: str = ""

    @property
    def last_words(self) -> str:
        """The last line of the message, which in a traceback is the error itself."""
        lines = [line.strip() for line in self.message.splitlines() if line.strip()]
        return lines[-1] if lines else ""


def parse_monitor(content: bytes) -> Monitor:
    """Understand a record as far as it goes.

    Fields are set off by tabs or blanks: task, seconds since 1970, share done, state as a number or a name and, of
    newer executors, a return code. Older ones write a text in its place. All lines but the first are the message.
    """
    first, _, rest = content[:MOST_BYTES].decode("utf-8", "replace").strip().partition("\n")
    fields = first.split("\t") if first.count("\t") >= _FIELDS else first.split(maxsplit=_FIELDS + 1)
    _, _, percent, state, more = [*(field.strip() for field in fields), *[""] * 5][:5]
    code = int(more) if _CODE.fullmatch(more) else 0
    message = "\n".join(part for part in ("" if _CODE.fullmatch(more) else more, rest.strip()) if part)
    return Monitor(_share(percent), _state(state), code, message)


def read_monitor(path: Path) -> Monitor | None:
    """The record at ``path``, or ``None`` while there is none that can be read."""
    try:
        with path.open("rb") as handle:
            content = handle.read(MOST_BYTES)
    except OSError:
        return None
    return parse_monitor(content) if content.strip() else None


def _share(text: str) -> float | None:
    try:
        share = float(text)
    except ValueError:
        return None
    return min(max(share, 0.0), 1.0) if math.isfinite(share) else None


def _state(text: str) -> State | None:
    try:
        return State(int(float(text)))
    except (ValueError, OverflowError):
        found = _NAME.fullmatch(text)
    return State.__members__.get(found[1].upper()) if found else None
