"""The parts of a filter expression: the columns and functions it may name, and the tree it becomes."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """What a part of an expression is; the values are the words of the errors."""

    TEXT = "text"
    NUMBER = "a number"
    TRUTH = "true or false"
    CLASSES = "a list of classes"
    NOTHING = "None"


COLUMNS: Mapping[str, Kind] = {
    "name": Kind.TEXT,
    "folder": Kind.TEXT,
    "split": Kind.TEXT,
    "format": Kind.TEXT,
    **dict.fromkeys(("width", "height", "aspect", "bytes"), Kind.NUMBER),
    **dict.fromkeys(("brightness", "contrast", "boxes"), Kind.NUMBER),
    "classes": Kind.CLASSES,
}


@dataclass(frozen=True)
class Function:
    """What a function takes, what it gives, and which of its arguments must be written out."""

    takes: tuple[Kind, ...]
    gives: Kind
    written: tuple[int, ...]
    usage: str


FUNCTIONS: Mapping[str, Function] = {
    "has": Function((Kind.TEXT,), Kind.TRUTH, (0,), 'has("car")'),
    "count": Function((Kind.TEXT,), Kind.NUMBER, (0,), 'count("car")'),
    "tag": Function((Kind.TEXT,), Kind.TEXT, (0,), 'tag("weather")'),
    "number": Function((Kind.TEXT,), Kind.NUMBER, (), 'number(tag("speed"))'),
    "startswith": Function((Kind.TEXT, Kind.TEXT), Kind.TRUTH, (1,), 'startswith(name, "site-")'),
    "endswith": Function((Kind.TEXT, Kind.TEXT), Kind.TRUTH, (1,), 'endswith(name, ".png")'),
    "matches": Function((Kind.TEXT, Kind.TEXT), Kind.TRUTH, (1,), r'matches(name, r"_\d+\.jpg$")'),
}


@dataclass(frozen=True)
class Node:
    """A part of an expression: its kind and the place it begins at, characters from the start."""

    kind: Kind
    place: int


@dataclass(frozen=True)
class Literal(Node):
    """A text, a number (as float), True, False or None."""

    value: str | float | bool | None


@dataclass(frozen=True)
class Column(Node):
    """A column of the images."""

    name: str


@dataclass(frozen=True)
class Call(Node):
    """A function of ``FUNCTIONS`` with its arguments."""

    function: str
    arguments: tuple[Node, ...]


@dataclass(frozen=True)
class Arithmetic(Node):
    """``left operator right`` on numbers; a sign is written ``0 - right``."""

    operator: str
    left: Node
    right: Node


@dataclass(frozen=True)
class Comparison(Node):
    """``left operator right``: one of ``== != < <= > >=``, or ``in`` on text and classes."""

    operator: str
    left: Node
    right: Node


@dataclass(frozen=True)
class Among(Node):
    """``item in [values]``; a None among the values stands for what is missing."""

    item: Node
    values: tuple[str | float | bool | None, ...]


@dataclass(frozen=True)
class Logic(Node):
    """``and``, ``or`` or ``not`` (of one operand)."""

    operator: str
    operands: tuple[Node, ...]


def parts(node: Node) -> tuple[Node, ...]:
    """The nodes right below one."""
    if isinstance(node, Call):
        return node.arguments
    if isinstance(node, Logic):
        return node.operands
    if isinstance(node, Arithmetic | Comparison):
        return node.left, node.right
    return (node.item,) if isinstance(node, Among) else ()
