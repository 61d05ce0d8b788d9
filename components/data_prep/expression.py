"""A parsed filter expression as a polars expression over one row an image.

Every truth value is true or false, never null: what is missing equals ``None`` only, differs from everything else, and
is neither below nor above anything.
"""

from collections.abc import Callable, Iterator

import polars as pl

from components.shared.expression import Expression
from components.shared.expression_tree import (
    COLUMNS,
    Among,
    Arithmetic,
    Call,
    Column,
    Comparison,
    Kind,
    Literal,
    Logic,
    Node,
    parts,
)
from components.shared.patterns import check_patterns

_TYPES = {Kind.TEXT: pl.String(), Kind.NUMBER: pl.Float64()}
_ORDER: dict[str, Callable[[pl.Expr, pl.Expr], pl.Expr]] = {
    "<": pl.Expr.lt,
    "<=": pl.Expr.le,
    ">": pl.Expr.gt,
    ">=": pl.Expr.ge,
}
_ARITHMETIC: dict[str, Callable[[pl.Expr, pl.Expr], pl.Expr]] = {
    "+": pl.Expr.add,
    "-": pl.Expr.sub,
    "*": pl.Expr.mul,
    "/": pl.Expr.truediv,
}


def count_column(category: str) -> str:
    """Column with the number of an image's boxes of a class."""
    return f"count:{category}"


def tag_column(key: str) -> str:
    """Column with an image's tag."""
    return f"tag:{key}"


def calls(node: Node, *functions: str) -> Iterator[tuple[str, int]]:
    """The first argument of each call of these functions, and where it stands in the text."""
    if isinstance(node, Call) and node.function in functions and isinstance(node.arguments[0], Literal):
        yield str(node.arguments[0].value), node.arguments[0].place
    for part in parts(node):
        yield from calls(part, *functions)


def check_expression(expression: Expression) -> None:
    """Try the expression on an image without properties, for what only polars can tell.

    Raises:
        ConfigError: a regular expression is wrong or asks for look-around or back references.
    """
    columns: dict[str, pl.DataType] = {name: _TYPES[kind] for name, kind in COLUMNS.items() if kind in _TYPES}
    columns |= {count_column(name): pl.Float64() for name, _ in calls(expression.tree, "has", "count")}
    columns |= {tag_column(key): pl.String() for key, _ in calls(expression.tree, "tag")}
    frame = pl.DataFrame({name: [None] for name in columns}, schema=columns)
    check_patterns(expression)
    frame.filter(to_polars(expression.tree))


def to_polars(node: Node) -> pl.Expr:
    """The expression over the columns of ``COLUMNS`` (numbers as Float64), ``count_column`` and ``tag_column``."""
    if isinstance(node, Literal):
        return pl.lit(node.value, dtype=_TYPES.get(node.kind))
    if isinstance(node, Column):
        return pl.col(node.name)
    if isinstance(node, Logic):
        return _logic(node)
    if isinstance(node, Arithmetic):
        result = _ARITHMETIC[node.operator](to_polars(node.left), to_polars(node.right))
        return pl.when(result.is_finite()).then(result)
    return _call(node) if isinstance(node, Call) else _compare(node)


def _logic(node: Logic) -> pl.Expr:
    operands = [to_polars(operand) for operand in node.operands]
    if node.operator == "not":
        return ~operands[0]
    return pl.all_horizontal(operands) if node.operator == "and" else pl.any_horizontal(operands)


def _compare(node: Node) -> pl.Expr:
    if isinstance(node, Among):
        return _among(node)
    if not isinstance(node, Comparison):
        raise TypeError(f"{type(node).__name__} is no comparison")
    left, right = to_polars(node.left), to_polars(node.right)
    if node.operator == "in":
        return right.str.contains(left, literal=True).fill_null(value=False)
    if node.operator == "==":
        return left.eq_missing(right)
    if node.operator == "!=":
        return left.ne_missing(right)
    return _ORDER[node.operator](left, right).fill_null(value=False)


def _among(node: Among) -> pl.Expr:
    item = to_polars(node.item)
    values = pl.Series([value for value in node.values if value is not None], dtype=_TYPES[node.item.kind])
    found = item.is_in(values.implode()).fill_null(value=False)
    return found | item.is_null() if None in node.values else found


def _call(node: Call) -> pl.Expr:
    first = node.arguments[0]
    written = str(first.value) if isinstance(first, Literal) else ""
    if node.function in {"has", "count"}:
        count = pl.col(count_column(written))
        return count if node.function == "count" else (count > 0).fill_null(value=False)
    if node.function == "tag":
        return pl.col(tag_column(written))
    text = to_polars(first)
    if node.function == "number":
        number = text.str.strip_chars().cast(pl.Float64, strict=False)
        return pl.when(number.is_finite()).then(number)
    second = to_polars(node.arguments[1])
    methods = {"startswith": text.str.starts_with, "endswith": text.str.ends_with, "matches": text.str.contains}
    return methods[node.function](second).fill_null(value=False)
