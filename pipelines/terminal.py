"""Output that somebody may stop reading (``| head``) without ending a run or changing what a command exits with."""

import os
import sys
from contextlib import suppress
from typing import TextIO

from rich.console import Console


class PatientConsole(Console):
    """A console that falls silent when its reader has gone."""

    def on_broken_pipe(self) -> None:
        """Go on without output; rich would end the process."""
        self.quiet = True
        discard(sys.stderr if self.stderr else sys.stdout)


def print_line(text: str) -> None:
    """Print a line on standard output at once, to whoever still reads it."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        discard(sys.stdout)


def print_error(text: object) -> None:
    """Print why a command ends without having done its work, on standard error, as every command of ours says it."""
    with suppress(BrokenPipeError):
        print(f"error: {text}", file=sys.stderr)


def discard(stream: TextIO) -> None:
    """Let the rest of a stream go nowhere, so that flushing it when Python ends raises nothing."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)
