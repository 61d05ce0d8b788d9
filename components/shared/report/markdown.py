"""Pieces of Markdown for places that show no HTML: escaped text and plain tables."""

import html
import re
from collections.abc import Iterable, Sequence

LONGEST = 120  # characters of a name or a value
_JOINERS = "\u200c\u200d"  # not printable, but part of words in some scripts
_SPECIAL = re.compile(r"([\\`*_\[\]|~#{}$])")
_LEADING = re.compile(r"^(\d*)([-+=.)])")


def plain(value: object, longest: int = LONGEST) -> str:
    """A text on one line, of at most ``longest`` characters, in which Markdown and HTML mean nothing.

    Characters that are not printable, such as those that turn the direction of what follows, become ``?``.
    """
    text = " ".join(str(value).split())
    shown = "".join(sign if sign.isprintable() or sign in _JOINERS else "?" for sign in text)
    cut = shown if len(shown) <= longest else f"{shown[: longest - 3]}..."
    escaped = _SPECIAL.sub(r"\\\1", html.escape(cut, quote=False))
    return _LEADING.sub(r"\1\\\2", escaped).replace("://", "&#58;//")  # no list, no link by itself


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]], left: Sequence[int] = (0,)) -> str:
    """A table; the columns in ``left`` are text, the others numbers. The cells are escaped already."""
    rule = "|".join("---" if place in left else "--:" for place in range(len(header)))
    lines = [f"| {' | '.join(cells)} |" for cells in (header, *rows)]
    return "\n".join([lines[0], f"|{rule}|", *lines[1:]])
