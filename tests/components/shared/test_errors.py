"""What another library says becomes the end of one of our sentences."""

import pytest

from components.shared.errors import in_one_line


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ValueError("bad\n  value: 3."), "bad value: 3"),
        (ValueError(" \n"), "ValueError"),
        (KeyError("name"), "'name'"),
        (RuntimeError("one two three"), "one two"),
    ],
)
def test_an_error_is_said_on_one_line_without_a_full_stop(error: Exception, words: str) -> None:
    assert in_one_line(error, most=len("bad value: 3.") if "bad" in str(error) else 8) == words
