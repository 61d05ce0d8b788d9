"""Filter expressions such as ``folder == "site-a" and boxes > 0``, parsed into a small checked tree.

The grammar is a part of Python's: ``and``, ``or``, ``not``, comparisons (chained ones too), ``in`` and ``not in``,
arithmetic on numbers, and the columns and functions of ``expression_tree``. Nothing is ever evaluated as Python.
"""

import ast
import difflib
import io
import math
import tokenize
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from components.shared.errors import ConfigError
from components.shared.expression_tree import (
    COLUMNS,
    FUNCTIONS,
    Among,
    Arithmetic,
    Call,
    Column,
    Comparison,
    Kind,
    Literal,
    Logic,
    Node,
)

MAX_LENGTH = 2000  # characters
MAX_DEPTH = 40  # levels of the tree
MAX_PATTERN = 300  # characters of a regular expression
MAX_WHOLE = 2**53  # the largest whole number that a float holds exactly
_SHOWN = 30  # characters of the expression an error shows on each side of the place


@dataclass(frozen=True)
class Expression:
    """A checked expression: its text, its tree and the option it came from, for messages."""

    text: str
    tree: Node
    option: str

    def error(self, place: int, problem: str) -> ConfigError:
        """What to raise about the part that begins at ``place``: the problem, and where it is."""
        return _error(self.text, self.option, place, problem)


def parse(text: str, option: str = "subset") -> Expression:
    """Read and check an expression; whether classes and tags exist only the data can tell.

    Args:
        text: the expression; not empty.
        option: the parameter it came from, for messages.

    Raises:
        ConfigError: it breaks the grammar or compares what cannot be compared; quotes the place.
    """
    if len(text) > MAX_LENGTH:
        raise ConfigError(f"{option} has {len(text)} characters, at most {MAX_LENGTH} are read: make it shorter.")
    # A place in the text stays the same place in what is parsed.
    line = "".join(" " if sign in "\r\n\t" else sign for sign in text)
    unprintable = next((place for place, sign in enumerate(line) if not sign.isprintable()), None)
    if unprintable is not None:
        raise _error(text, option, unprintable, "there is a control character")
    indent = len(line) - len(line.lstrip())
    parser = _Parser(line, option, indent)
    tree = parser.build(_python_tree(line, option, indent), 0)
    if tree.kind is not Kind.TRUTH:
        raise _error(line, option, tree.place, f"the whole is {tree.kind}, it must be true or false, as in boxes > 0")
    return Expression(line, tree, option)


def _python_tree(line: str, option: str, indent: int) -> ast.expr:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Python warns of \d in a text, which is what people write in a pattern
            tree = ast.parse(line.strip(), mode="eval").body
    except SyntaxError as error:
        place = indent + max(0, (error.offset or 1) - 1)
        hint = "write it as in: folder == \"a\" and not boxes > 3 or split in ['train', 'val']"
        raise _error(line, option, min(place, len(line)), f"{error.msg}; {hint}") from error
    except (RecursionError, MemoryError, ValueError) as error:
        raise ConfigError(f"{option} cannot be read: it is nested too deeply or has too long a number.") from error
    _refuse_comment(line, option, indent)
    return tree


def _refuse_comment(line: str, option: str, indent: int) -> None:
    """A comment would silently swallow the rest of the line, which may have been several lines."""
    for token in tokenize.generate_tokens(io.StringIO(line.strip()).readline) if "#" in line else ():
        if token.type == tokenize.COMMENT:
            raise _error(line, option, indent + token.start[1], "comments are not known here")


def _error(text: str, option: str, place: int, problem: str) -> ConfigError:
    shown = "".join(sign if sign.isprintable() else "?" for sign in text)
    start = "..." if place > _SHOWN else ""
    end = "..." if place + _SHOWN < len(text) else ""
    quote = f"{start}{shown[max(0, place - _SHOWN) : place]}>>>{shown[place : place + _SHOWN]}{end}"
    stop = "" if problem.endswith("?") else "."
    return ConfigError(f"{option} is wrong at column {place + 1}, at the arrows in  {quote}  : {problem}{stop}")


_LISTS = (ast.List, ast.Tuple, ast.Set)
_COMPARISONS: dict[type[ast.cmpop], str] = {
    ast.Eq: "==", ast.NotEq: "!=", ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=",
    ast.Is: "==", ast.IsNot: "!=", ast.In: "in", ast.NotIn: "not in",
}  # fmt: skip
_OPERATORS: dict[type[ast.operator], str] = {
    ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/",
}  # fmt: skip


class _Parser:
    """Python's tree of one line, turned into ours part by part; whatever is not foreseen is refused."""

    def __init__(self, line: str, option: str, indent: int) -> None:
        self._line = line
        self._option = option
        self._indent = indent
        self._bytes = line.strip().encode()

    def build(self, tree: ast.expr, depth: int) -> Node:
        """Our node for one of Python's."""
        if depth > MAX_DEPTH:
            raise self._refuse(tree, f"it is nested deeper than {MAX_DEPTH} levels")
        build: _Build | None = _BUILDERS.get(type(tree))
        if build is None:
            raise self._refuse(tree, self._why_not(tree))
        return build(self, tree, depth)

    def _place(self, tree: ast.expr) -> int:
        return self._indent + len(self._bytes[: tree.col_offset].decode(errors="replace"))

    def _refuse(self, tree: ast.expr, problem: str) -> ConfigError:
        return _error(self._line, self._option, self._place(tree), problem)

    def _why_not(self, tree: ast.expr) -> str:
        if isinstance(tree, _LISTS):
            return "a list can only stand after in"
        return "only columns, functions, texts, numbers and comparisons can be written here"

    def _of(self, kind: Kind, tree: ast.expr, depth: int) -> Node:
        node = self.build(tree, depth + 1)
        if node.kind is not kind:
            example = ", such as boxes > 0" if kind is Kind.TRUTH else ""
            raise self._refuse(tree, f"this is {node.kind}, it must be {kind}{example}")
        return node

    def _literal(self, tree: ast.Constant, _depth: int = 0) -> Literal:
        value, place = tree.value, self._place(tree)
        if value is None:
            return Literal(Kind.NOTHING, place, None)
        if isinstance(value, bool):
            return Literal(Kind.TRUTH, place, value)
        if isinstance(value, int | float):
            if abs(value) > MAX_WHOLE or not math.isfinite(value):
                raise self._refuse(tree, f"the number is beyond {MAX_WHOLE}")
            return Literal(Kind.NUMBER, place, float(value))
        if isinstance(value, str):
            if not value.isprintable():
                raise self._refuse(tree, "the text has a control character; put an r before its quote")
            return Literal(Kind.TEXT, place, value)
        raise self._refuse(tree, "this is neither text in quotes nor a number")

    def _column(self, tree: ast.Name, _depth: int) -> Column:
        if tree.id in COLUMNS:
            return Column(COLUMNS[tree.id], self._place(tree), tree.id)
        if tree.id in FUNCTIONS:
            raise self._refuse(tree, f"{tree.id} is a function, write {FUNCTIONS[tree.id].usage}")
        raise self._refuse(tree, f"there is no column {tree.id!r} (text stands in quotes); {_near(tree.id, COLUMNS)}")

    def _logic(self, tree: ast.BoolOp, depth: int) -> Node:
        operands = tuple(self._of(Kind.TRUTH, value, depth) for value in tree.values)
        operator = "and" if isinstance(tree.op, ast.And) else "or"
        return Logic(Kind.TRUTH, self._place(tree), operator, operands)

    def _unary(self, tree: ast.UnaryOp, depth: int) -> Node:
        if isinstance(tree.op, ast.Not):
            return Logic(Kind.TRUTH, self._place(tree), "not", (self._of(Kind.TRUTH, tree.operand, depth),))
        if isinstance(tree.op, ast.Invert):
            raise self._refuse(tree, "write not")
        operand = self._of(Kind.NUMBER, tree.operand, depth)
        if isinstance(tree.op, ast.UAdd):
            return operand
        place = self._place(tree)
        if isinstance(operand, Literal) and isinstance(operand.value, float):
            return Literal(Kind.NUMBER, place, -operand.value)
        return Arithmetic(Kind.NUMBER, place, "-", Literal(Kind.NUMBER, place, 0.0), operand)

    def _arithmetic(self, tree: ast.BinOp, depth: int) -> Node:
        operator = _OPERATORS.get(type(tree.op))
        if operator is None:
            words = {ast.BitAnd: "; write and", ast.BitOr: "; write or"}.get(type(tree.op), "")
            raise self._refuse(tree, f"of arithmetic only {' '.join(_OPERATORS.values())} is known{words}")
        left, right = self._of(Kind.NUMBER, tree.left, depth), self._of(Kind.NUMBER, tree.right, depth)
        return Arithmetic(Kind.NUMBER, self._place(tree), operator, left, right)

    def _comparisons(self, tree: ast.Compare, depth: int) -> Node:
        sides = [tree.left, *tree.comparators]
        pairs = [
            self._comparison(_COMPARISONS[type(operator)], left, right, depth)
            for left, operator, right in zip(sides, tree.ops, sides[1:], strict=False)
        ]
        return pairs[0] if len(pairs) == 1 else Logic(Kind.TRUTH, self._place(tree), "and", tuple(pairs))

    def _comparison(self, operator: str, left: ast.expr, right: ast.expr, depth: int) -> Node:
        if operator in {"in", "not in"}:
            found = self._membership(left, right, depth)
            return Logic(Kind.TRUTH, found.place, "not", (found,)) if operator == "not in" else found
        first, second = self.build(left, depth + 1), self.build(right, depth + 1)
        kinds = {first.kind, second.kind}
        equality = operator in {"==", "!="}
        comparable = {Kind.TEXT, Kind.NUMBER} | ({Kind.NOTHING} if equality else set())
        if not kinds <= comparable or (len(kinds) > 1 and Kind.NOTHING not in kinds):
            what = f"{first.kind} cannot be compared with {second.kind} by {operator}"
            what += "; write number(...) around the text" if kinds == {Kind.TEXT, Kind.NUMBER} else ""
            raise self._refuse(left, what + ('; write has("car")' if Kind.CLASSES in kinds else ""))
        return Comparison(Kind.TRUTH, first.place, operator, first, second)

    def _membership(self, left: ast.expr, right: ast.expr, depth: int) -> Node:
        item = self.build(left, depth + 1)
        if isinstance(right, _LISTS):
            return self._among(item, left, right, depth)
        whole = self.build(right, depth + 1)
        if item.kind is not Kind.TEXT or whole.kind not in {Kind.TEXT, Kind.CLASSES}:
            raise self._refuse(right, 'after in stands a list such as ["a", "b"], a text or classes')
        if whole.kind is Kind.CLASSES:
            if not isinstance(item, Literal):
                raise self._refuse(left, 'before "in classes" stands the name of a class in quotes')
            return Call(Kind.TRUTH, item.place, "has", (item,))
        return Comparison(Kind.TRUTH, item.place, "in", item, whole)

    def _among(self, item: Node, left: ast.expr, right: ast.List | ast.Tuple | ast.Set, depth: int) -> Among:
        if item.kind not in {Kind.TEXT, Kind.NUMBER}:
            raise self._refuse(left, f"{item.kind} cannot be in a list")
        values = []
        for element in right.elts:
            literal = self.build(element, depth + 1)
            if not isinstance(literal, Literal) or literal.kind not in {item.kind, Kind.NOTHING}:
                raise self._refuse(element, f"the list is compared with {item.kind}, so each element must be that")
            values.append(literal.value)
        return Among(Kind.TRUTH, item.place, item, tuple(values))

    def _call(self, tree: ast.Call, depth: int) -> Call:
        if not isinstance(tree.func, ast.Name):
            raise self._refuse(tree, f"functions are written as in {FUNCTIONS['startswith'].usage}")
        name = tree.func.id
        function = FUNCTIONS.get(name)
        if function is None:
            raise self._refuse(tree, f"there is no function {name!r}; {_near(name, FUNCTIONS)}")
        if tree.keywords or len(tree.args) != len(function.takes):
            raise self._refuse(tree, f"write it as in {function.usage}")
        arguments = tuple(self._of(kind, given, depth) for kind, given in zip(function.takes, tree.args, strict=True))
        for position in function.written:
            given = arguments[position]
            if not isinstance(given, Literal):
                raise self._refuse(tree.args[position], f"this must be a text in quotes, as in {function.usage}")
            if name == "matches" and len(str(given.value)) > MAX_PATTERN:
                raise self._refuse(tree.args[position], f"the pattern is longer than {MAX_PATTERN} characters")
        return Call(function.gives, self._place(tree), name, arguments)


_Build = Callable[[_Parser, Any, int], Node]
_BUILDERS: dict[type[ast.expr], _Build] = {
    ast.Constant: _Parser._literal,  # noqa: SLF001 - the table belongs to the class
    ast.Name: _Parser._column,  # noqa: SLF001 - same
    ast.BoolOp: _Parser._logic,  # noqa: SLF001 - same
    ast.UnaryOp: _Parser._unary,  # noqa: SLF001 - same
    ast.BinOp: _Parser._arithmetic,  # noqa: SLF001 - same
    ast.Compare: _Parser._comparisons,  # noqa: SLF001 - same
    ast.Call: _Parser._call,  # noqa: SLF001 - same
}


def _near(name: str, names: Mapping[str, object]) -> str:
    near = difflib.get_close_matches(name.casefold(), names, n=1)
    return f"did you mean {near[0]!r}?" if near else f"there are {', '.join(names)}"
