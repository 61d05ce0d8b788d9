"""What the parameter ``group_by`` may say, checked before any data is read."""

import re

from components.shared.errors import ConfigError
from components.shared.patterns import pattern_problem

FOLDER = re.compile(r"folder(?::([1-9]\d{0,2}))?")
_FORMS = "'folder', 'folder:2', 'tag:<name>' or 'name:<regular expression>'"


def check_group_by(group_by: str) -> None:
    """Refuse a grouping that does not exist or whose pattern is no regular expression.

    Raises:
        ConfigError: with the value and what can be written instead.
    """
    kind, _, text = group_by.partition(":")
    if not group_by or FOLDER.fullmatch(group_by) or (kind == "tag" and text.strip()):
        return
    if kind != "name" or not text:
        raise ConfigError(f"group_by is {group_by!r}; use {_FORMS}.")
    problem = pattern_problem(text)
    if problem is not None:
        raise ConfigError(
            f"group_by is {group_by!r}, whose pattern is no regular expression (Rust's kind, without look-around): "
            f"{problem}."
        )
