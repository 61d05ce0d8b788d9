import re

import pytest

from components.shared.report.markdown import markdown_table, plain


@pytest.mark.parametrize(
    "name",
    [
        "a|b",
        "<b>x</b>",
        "a\nb\r\nc",
        "`code`",
        "[a](javascript:x)",
        "# head",
        "- item",
        "1. item",
        "> quote",
        "= x",
        "+ y",
    ],
)
def test_a_hostile_name_stays_one_line_of_text(name: str) -> None:
    text = plain(name)
    assert "\n" not in text
    assert not re.search(r"(?<!\\)[|`\[\]#*_]|<", text)
    assert not re.match(r"[-+=>]|\d+[.)]", text)


def test_what_would_turn_or_hide_text_is_a_question_mark() -> None:
    assert plain("a\u202eb\u200bc\x00d") == "a?b?c?d"


def test_a_long_name_is_cut_and_a_link_is_no_link() -> None:
    assert len(plain("x" * 500)) == 120
    assert plain("http://x.y") == "http&#58;//x.y"


def test_a_table_has_a_rule_that_puts_numbers_to_the_right() -> None:
    table = markdown_table(["name", "n"], [["a", "1"]])
    assert table.splitlines() == ["| name | n |", "|---|--:|", "| a | 1 |"]
