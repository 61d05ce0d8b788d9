"""Why an executor failed, in one sentence."""

import re

from components.executor_train.contract import (
    CONFIGURATION,
    DIVERGED,
    EXIT_CODES,
    OUT_OF_MEMORY,
    RETURN_CODES,
    State,
)
from components.executor_train.monitor import Monitor
from components.shared.errors import ConfigError, DivergedError, OutOfMemoryError, PipelineError, TrainingError

LONGEST = 300  # characters of what an executor said last

_KINDS: dict[int, type[PipelineError]] = {
    CONFIGURATION: ConfigError,
    OUT_OF_MEMORY: OutOfMemoryError,
    DIVERGED: DivergedError,
}
_SILENT = " It said nothing: unpack the tar that executor_stage made as /in and /out, and start it by hand to see why."
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|[\x00-\x08\x0b-\x1f\x7f]")


def find_failure(exit_code: int, monitor: Monitor | None, log: str) -> PipelineError | None:
    """The error to end with when an executor failed; ``None``: it did not, as far as it says.

    Args:
        exit_code: what it ended with.
        monitor: its last record.
        log: the end of its output.
    """
    gave_up = monitor is not None and monitor.state is State.ERROR
    code = monitor.return_code if monitor else 0
    if exit_code == 0 and not gave_up:
        return None
    reason = RETURN_CODES.get(code) or EXIT_CODES.get(exit_code) or ""
    facts = [f"return code {code}"] if code else []
    facts += [f"exit code {exit_code}"] if exit_code else []
    words = (monitor.last_words if monitor and gave_up else "") or last_line(log)
    said = f" Its last words: {shorten(words)!r}." if words else _SILENT
    because = f", as {reason}" if reason else ""
    text = f"The executor failed{because} ({', '.join(facts) or 'it says so in monitor.txt'}).{said}"
    return _KINDS.get(code, TrainingError)(text)


def last_line(log: str) -> str:
    """The last line of a log that says something; a progress bar counts by what it showed last."""
    for line in reversed(log.splitlines()):
        plain = _ESCAPES.sub("", line.rstrip().rpartition("\r")[2]).strip()
        if plain:
            return plain
    return ""


def shorten(words: str) -> str:
    """The words without control characters, cut where they are too long for one sentence."""
    plain = _ESCAPES.sub(" ", words).strip()
    return plain if len(plain) <= LONGEST else f"{plain[:LONGEST]}…"
