"""A reason: what it is called, the sentence a person reads, and what helps."""

from dataclasses import dataclass

_MOST = 300


@dataclass(frozen=True)
class Reason:
    """Why something is as it is.

    Attributes:
        code: one word for programs, such as ``OOMKilled``.
        text: a sentence.
        remedy: what to do; empty: nothing more than the sentence says.
        unexpected: something outside stopped it; tried again, it may well succeed.
    """

    code: str
    text: str
    remedy: str = ""
    unexpected: bool = False


def tame(text: str) -> str:
    """A text from elsewhere on one line, with nothing in it that would move a terminal's cursor."""
    return "".join(letter if letter.isprintable() else "?" for letter in " ".join(text.split()))


def in_brief(text: str, most: int = _MOST) -> str:
    """A message on one line without a full stop, its middle left out when it is long."""
    line = tame(text).rstrip(". ")
    return line if len(line) <= most else f"{line[: most // 2]}...{line[-most // 2 :]}"
