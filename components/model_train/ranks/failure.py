"""What one process of a training tells the one that started it when it fails, and what that makes of all of them."""

import signal
from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from components.model_train.ranks.processes import Ending
from components.shared import errors
from components.shared.errors import DivergedError, OutOfMemoryError, PipelineError, PreemptedError, TrainingError
from components.shared.files import write_atomically

_SAYS_MOST = (PreemptedError, OutOfMemoryError, DivergedError, PipelineError)
_TOLD = (PreemptedError.exit_code, -signal.SIGTERM)
_SHOWN_LINES = 4
_PEER_GONE = (  # what gloo and NCCL say in the ranks that a failed one leaves behind
    "connection closed by peer",
    "connection reset by peer",
    "connection refused",
    "broken pipe",
    "socket closed",
    "remote process exited",
    "ncclremoteerror",
)


class Failure(BaseModel):
    """A rank's error: the class's name and its message."""

    model_config = ConfigDict(frozen=True)

    rank: int
    kind: str
    message: str

    def save(self, folder: Path) -> None:
        """Write it where ``read_failures`` looks."""
        folder.mkdir(parents=True, exist_ok=True)
        with write_atomically(folder / f"error-{self.rank}.json") as temporary:
            temporary.write_text(self.model_dump_json(), encoding="utf-8")

    @property
    def peer_gone(self) -> bool:
        """Whether it only says that another rank is not there any more."""
        text = self.message.lower()
        return self.weight == len(_SAYS_MOST) and any(sign in text for sign in _PEER_GONE)

    @property
    def weight(self) -> int:
        """How little it says: the place of its class among those that say most, or one more than the last."""
        if not _is_ours(self.kind) or self.kind == TrainingError.__name__:
            return len(_SAYS_MOST)
        return next(place for place, kind in enumerate(_SAYS_MOST) if issubclass(getattr(errors, self.kind), kind))

    def error(self, ranks: int, last_lines: Sequence[str]) -> PipelineError:
        """The same error in this process; one that is not ours names the rank and its last lines."""
        if _is_ours(self.kind):
            kind: type[PipelineError] = getattr(errors, self.kind)
            return kind(self.message)
        said = f" ({self.message.splitlines()[0].rstrip('.')})" if self.message.strip() else ""
        return TrainingError(
            f"The process of rank {self.rank} of {ranks} failed with {self.kind}{said}; {_last(last_lines)}"
        )


def read_failures(folder: Path, ranks: int) -> list[Failure]:
    """The errors that ranks left, by rank; one that cannot be read is as good as none."""
    found = []
    for rank in range(ranks):
        try:
            found.append(Failure.model_validate_json((folder / f"error-{rank}.json").read_bytes()))
        except (OSError, ValidationError):
            continue
    return found


def the_error(failures: Sequence[Failure], endings: Sequence[Ending], *, told: bool) -> PipelineError:
    """Of all that went wrong, what began it.

    An error that says more than that the training cannot go on comes first; then that it was told to end; then the
    rank that ended first, where those that only missed another do not count.

    Args:
        failures: what ranks said.
        endings: how all of them ended, by rank.
        told: whether the training was asked to end.
    """
    ranks = len(endings)
    for failure in sorted(failures, key=lambda failure: failure.weight):
        if failure.weight < len(_SAYS_MOST):
            return failure.error(ranks, endings[failure.rank].last_lines)
    if told or endings[0].code in _TOLD:
        return PreemptedError(
            "The training was told to end and did not come to its last words: run the step again, it goes on from the"
            " last checkpoint."
        )
    said = {failure.rank: failure for failure in failures}
    for ending in sorted(endings, key=lambda ending: ending.seconds):
        spoken = said.get(ending.rank)
        if spoken is not None and not spoken.peer_gone:
            return spoken.error(ranks, ending.last_lines)
        if spoken is None and ending.code:
            return _silent_end(ending, ranks)
    if failures:
        return failures[0].error(ranks, endings[failures[0].rank].last_lines)
    return TrainingError(f"Rank 0 of {ranks} ended without a result; {_last(endings[0].last_lines)}")


def _silent_end(ending: Ending, ranks: int) -> PipelineError:
    code = ending.code or 0
    how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
    if code == -signal.SIGKILL:
        how += ", as happens when the node's memory is full"
    return TrainingError(f"The process of rank {ending.rank} of {ranks} {how}; {_last(ending.last_lines)}")


def _last(lines: Sequence[str]) -> str:
    """The last lines before a traceback, which the log has."""
    end = next((place for place, line in enumerate(lines) if "Traceback (most recent call last)" in line), len(lines))
    text = " | ".join(lines[:end][-_SHOWN_LINES:])
    return f"its last lines were: {text}" if text else "it wrote nothing before."


def _is_ours(kind: str) -> bool:
    found = getattr(errors, kind, None)
    return isinstance(found, type) and issubclass(found, PipelineError)
