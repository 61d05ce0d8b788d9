"""Regular expressions that people write as parameters, tried before any data is read."""

from collections.abc import Iterator

import polars as pl
from polars.exceptions import PolarsError

from components.shared.expression import Expression
from components.shared.expression_tree import Call, Literal, Node, parts


def pattern_problem(pattern: str) -> str | None:
    """What is wrong with a regular expression of Rust's kind, which polars uses; ``None``: nothing."""
    try:
        pl.Series(["name"]).str.contains(pattern)
    except PolarsError as error:
        reason = str(error).split("\n\n")[0].removeprefix("regex error: ").strip().splitlines()[-1]
        return reason.strip().removeprefix("error: ").rstrip(".")
    return None


def check_patterns(expression: Expression) -> None:
    """Try every pattern of a filter expression.

    Raises:
        ConfigError: a regular expression is wrong or asks for look-around or back references.
    """
    for pattern, place in _patterns(expression.tree):
        problem = pattern_problem(pattern)
        if problem is not None:
            raise expression.error(place, f"the pattern cannot be used: {problem}")


def _patterns(node: Node) -> Iterator[tuple[str, int]]:
    if isinstance(node, Call) and node.function == "matches" and isinstance(node.arguments[1], Literal):
        yield str(node.arguments[1].value), node.arguments[1].place
    for part in parts(node):
        yield from _patterns(part)
