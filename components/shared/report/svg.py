"""Pieces of SVG as text: escaped, well-formed, with short numbers."""

import re
from xml.sax.saxutils import escape, quoteattr

_FORBIDDEN = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # outside XML 1.0 characters


def clean(text: str) -> str:
    """``text`` without the characters that XML cannot hold."""
    return _FORBIDDEN.sub("\N{REPLACEMENT CHARACTER}", text)


def tag(name: str, *children: str, **attributes: str | float) -> str:
    """An element; ``class_`` stands for class, ``_`` in names for a dash, children are SVG already."""
    pairs = "".join(
        f" {key.rstrip('_').replace('_', '-')}={quoteattr(clean(_plain(value)))}" for key, value in attributes.items()
    )
    return f"<{name}{pairs}>{''.join(children)}</{name}>" if children else f"<{name}{pairs}/>"


def words(text: str) -> str:
    """Text content, escaped."""
    return escape(clean(text))


def label(text: str, **attributes: str | float) -> str:
    """A ``<text>`` element."""
    return tag("text", words(text), **attributes)


def hint(text: str) -> str:
    """What a browser shows when the pointer rests on the parent element."""
    return tag("title", words(text))


def percent(share: float) -> str:
    """A share of 0..1 as an SVG length."""
    return f"{_plain(share * 100)}%"


def _plain(value: str | float) -> str:
    return value if isinstance(value, str) else f"{value:.2f}".rstrip("0").rstrip(".")
